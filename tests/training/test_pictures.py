import importlib.util
import time

import numpy as np
import pytest
from PIL import Image

from tfcodec.errors import InputError
from tfcodec.training import pictures as data

OPTIONS = dict(count=7, batch_size=4, num_rungs=3, seed=5)


@pytest.fixture
def folder(tmp_path):
    """Three pictures of growing size, one of them deeper, and a file that is no picture."""
    rng = np.random.default_rng(0)
    (tmp_path / "more").mkdir()
    for k, place in enumerate(("a.png", "b.jpg", "more/c.PNG")):
        pixels = rng.integers(0, 256, [24 + 8 * k, 40, 3], dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / place)
    (tmp_path / "notes.txt").write_text("not a picture")
    return tmp_path


def test_folders_globs_and_files_are_searched_and_nothing_is_named_twice(folder):
    names = [path.rsplit("/", 1)[-1] for path in data.find(str(folder))]
    assert names == ["a.png", "b.jpg", "c.PNG"]
    assert data.find(f"{folder}/*.png,{folder}/a.png") == [f"{folder}/a.png"]


def test_a_pattern_that_names_no_picture_is_an_error(folder):
    with pytest.raises(InputError, match="nowhere/\\*.png: no picture found there"):
        data.find([str(folder), "nowhere/*.png"])


def test_pictures_too_small_or_broken_are_left_out_and_counted(folder):
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n")
    pictures = data.Pictures(data.find(str(folder)), min_side=32)
    assert len(pictures) == 2 and pictures[0].shape == (32, 40, 3)
    assert [path.rsplit("/", 1)[-1] for path in pictures.skipped] == ["a.png", "broken.png"]
    with pytest.raises(InputError, match="no picture of at least 99 pixels a side among 4"):
        data.Pictures(data.find(str(folder)), min_side=99)


def test_pictures_beyond_the_budget_are_decoded_anew_and_equal(folder):
    paths = data.find(str(folder))
    kept, poor = data.Pictures(paths, 8), data.Pictures(paths, 8, budget=0)
    for k in range(3):
        assert kept[k] is kept[k] and poor[k] is not poor[k]
        np.testing.assert_array_equal(kept[k], poor[k])


def test_a_plan_follows_from_seed_and_step_alone():
    first, again = data.plan(11, **OPTIONS), data.plan(11, **OPTIONS)
    for key, value in first.items():
        np.testing.assert_array_equal(again[key], value)
    for other in (data.plan(12, **OPTIONS), data.plan(11, **{**OPTIONS, "seed": 6})):
        assert not np.any(other["key"] == first["key"]) and np.any(other["top"] != first["top"])


@pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX, of the extra `test`, is not installed"
)
def test_an_accelerator_makes_the_plan_of_the_host_bit_for_bit():
    import jax

    options = {**OPTIONS, "batch_size": 9}  # of more than an epoch
    traced = jax.jit(lambda step: data.plan(step, **options, xp=jax.numpy))
    for step in (0, 5, 100_003):
        for key, value in data.plan(step, **options).items():
            found = traced(np.int32(step))[key]
            np.testing.assert_array_equal(np.array(found), value, err_msg=key)
            assert found.dtype == value.dtype, key


def test_what_is_drawn_is_spread_evenly():
    plans = [data.plan(step, **{**OPTIONS, "batch_size": 16}) for step in range(500)]
    drawn = {key: np.concatenate([plan[key] for plan in plans]) for key in plans[0]}
    for key in ("top", "left"):
        assert 0 <= drawn[key].min() < 0.001 and 0.999 < drawn[key].max() < 1
        np.testing.assert_allclose(np.histogram(drawn[key], 8)[0], 1000, atol=120)
    assert abs(np.corrcoef(drawn["top"], drawn["left"])[0, 1]) < 0.04
    assert abs(np.mean(drawn["flip"]) - 1 / 2) < 0.02 and abs(np.mean(drawn["turn"]) - 1 / 4) < 0.02
    assert len(set(drawn["key"])) > 7990


def test_every_epoch_is_another_permutation():
    order = np.concatenate([data.plan(step, **OPTIONS)["index"] for step in range(14)])
    epochs = order.reshape(8, 7)
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 6


def test_every_batch_spans_the_ladder_of_rates():
    for step in range(20):
        rungs = data.plan(step, **OPTIONS)["rung"]
        assert set(rungs) == {0, 1, 2} and rungs.dtype == np.float32


def test_the_halves_of_a_plan_make_the_halves_of_the_batch(folder):
    pictures = data.Pictures(data.find(str(folder)), 16)
    plan = data.plan(3, **{**OPTIONS, "count": 3})
    whole = data.crops(pictures, plan, 16)
    halves = [{key: value[part] for key, value in plan.items()} for part in (slice(2), slice(2, 4))]
    parts = [data.crops(pictures, half, 16) for half in halves]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_crop_is_where_the_plan_says(folder):
    pictures = data.Pictures(data.find(str(folder)), 16)
    places = [0.0, 0.999, 0.0]
    plan = {"index": [1, 1, 1], "top": places, "left": places}
    plan |= {"flip": [False, True, False], "turn": [False, False, True]}
    first, last, turned = data.crops(pictures, plan, 16)
    np.testing.assert_array_equal(first, pictures[1][:16, :16])
    np.testing.assert_array_equal(last, pictures[1][-16:, -16:][:, ::-1])
    np.testing.assert_array_equal(turned, first.swapaxes(0, 1))


def test_prefetching_keeps_the_order_and_raises_what_the_maker_raises():
    for threads in (1, 3):
        made = data.prefetch(lambda k: k * k, 3, 7, threads)
        assert [item for item, waited in made] == [9, 16, 25, 36]
    assert list(data.prefetch(lambda k: k, 3, 3)) == []
    with pytest.raises(ZeroDivisionError):
        list(data.prefetch(lambda k: 1 / k, -1, 2))


def test_prefetching_tells_how_long_an_item_was_waited_for():
    def make(k):
        time.sleep(0.2)

    patient, at_once = data.prefetch(make, 0, 2), data.prefetch(make, 0, 2)
    assert next(at_once)[1] > 0.1 and next(at_once)[1] > 0.1
    next(patient)
    time.sleep(1.0)
    assert next(patient)[1] < 0.1


def test_a_picture_that_cannot_be_decoded_is_stood_in_for_named_and_counted(folder, monkeypatch):
    notices = []
    monkeypatch.setattr(data.logging, "warning", lambda text, *v: notices.append(text % v))
    content = (folder / "b.jpg").read_bytes()
    (folder / "b.jpg").write_bytes(content[: len(content) // 2])  # its header is sound
    for order in ((0, 1, 2), (2, 1, 0)):
        pictures = data.Pictures(data.find(str(folder)), 16)
        found = {k: pictures[k] for k in order}
        assert len(pictures) == 3 and not pictures.skipped and pictures.failed == {1}
        np.testing.assert_array_equal(found[1], found[2])  # whenever it is asked for
    assert len(notices) == 2 and f"left out {folder}/b.jpg: " in notices[0]
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:100])
    (folder / "more/c.PNG").unlink()
    with pytest.raises(InputError, match="none of the 2 pictures can be decoded"):
        data.Pictures(data.find(str(folder)), 16)[1]
