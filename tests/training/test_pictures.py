import importlib.util
import itertools
import time

import numpy as np
import pytest
from PIL import Image, ImageCms

from tfcodec.errors import InputError
from tfcodec.pictures import SUFFIXES, read
from tfcodec.training import crops
from tfcodec.training import pictures as training_pictures
from tfcodec.training.pictures import Pictures, find, without

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
    names = [path.rsplit("/", 1)[-1] for path in find(str(folder))]
    assert names == ["a.png", "b.jpg", "c.PNG"]
    assert find(f"{folder}/*.png,{folder}/a.png") == [f"{folder}/a.png"]


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        (["{}", "nowhere/*.png"], "nowhere/*.png: there is no such file, folder or glob"),
        ("{}/nosuch", "{}/nosuch: there is no such file, folder or glob"),
        ("{}/empty", "{}/empty: no picture found there"),
        ("{0},,{0}", "{0},,{0}: there is nothing between two commas"),
        (
            "{}/notes.txt",
            "{0}/notes.txt: no picture found there, by its name; "
            "a list of pictures is given as @{0}/notes.txt",
        ),
        ("@{}/nolist", "@{}/nolist: the list cannot be read (No such file or directory)"),
        ("@{}/empty.txt", "@{}/empty.txt: the list is empty"),
        ("@{}/notes.txt", "{}/not a picture: there is no such file, folder or glob"),
    ],
)
def test_a_source_that_names_no_picture_is_an_error(folder, sources, sentence):
    (folder / "empty").mkdir()
    (folder / "empty.txt").write_text("# nothing yet\n\n")
    many = isinstance(sources, list)
    sources = [s.format(folder) for s in sources] if many else sources.format(folder)
    with pytest.raises(InputError) as error:
        find(sources, "--data")
    assert str(error.value) == f"--data {sentence.format(folder)}"


@pytest.mark.parametrize("name", ["[2024] a,b", "x,y", "*", "@home", "a[1-3]"])
def test_what_exists_wins_over_globs_commas_and_lists(folder, tmp_path, name):
    place = tmp_path / name
    place.mkdir()
    (folder / "a.png").rename(place / f"{name}.png")
    expected = [str(place / f"{name}.png")]
    assert find(str(place)) == expected
    assert find(f"{place}/{name}.png") == expected
    both = find(f"{folder}/b.jpg,{place},{folder}/more")
    assert both == sorted([*expected, f"{folder}/b.jpg", f"{folder}/more/c.PNG"])


def test_a_list_names_pictures_relative_to_itself(folder, monkeypatch):
    (folder / "lists").mkdir()
    text = f"# ours\n../a.png\n\n  {folder}/b.jpg\n../mo*\n../a.png\n"
    (folder / "lists" / "all,of them.txt").write_text(text.replace("mo*", "more"))
    monkeypatch.chdir(folder)
    found = find("@lists/all,of them.txt")
    assert [path.rsplit("/", 1)[-1] for path in found] == ["b.jpg", "a.png", "c.PNG"]
    kept = without(find(str(folder)), find("@lists/all,of them.txt"))
    assert not kept and len(without(find(f"{folder}/more/.."), [f"{folder}/b.jpg"])) == 2


def test_pictures_too_small_or_broken_are_left_out_and_counted(folder):
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n")
    pictures = Pictures(find(str(folder)), min_side=32)
    assert len(pictures) == 2 and pictures[0].shape == (32, 40, 3)
    assert [path.rsplit("/", 1)[-1] for path in pictures.skipped] == ["a.png", "broken.png"]
    with pytest.raises(InputError, match="no picture of at least 99 pixels a side among 4"):
        Pictures(find(str(folder)), min_side=99)


def test_pictures_beyond_the_budget_are_decoded_anew_and_equal(folder):
    paths = find(str(folder))
    kept, poor = Pictures(paths, 8), Pictures(paths, 8, budget=0)
    for k in range(3):
        assert kept[k] is kept[k] and poor[k] is not poor[k]
        np.testing.assert_array_equal(kept[k], poor[k])


def test_a_plan_follows_from_seed_and_step_alone():
    first, again = crops.plan(11, **OPTIONS), crops.plan(11, **OPTIONS)
    for key, value in first.items():
        np.testing.assert_array_equal(again[key], value)
    for other in (crops.plan(12, **OPTIONS), crops.plan(11, **{**OPTIONS, "seed": 6})):
        assert not np.any(other["key"] == first["key"]) and np.any(other["top"] != first["top"])


@pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX, of the extra `test`, is not installed"
)
def test_an_accelerator_makes_the_plan_of_the_host_bit_for_bit():
    import jax

    options = {**OPTIONS, "batch_size": 9}  # of more than an epoch
    xp = jax.numpy
    traced = jax.jit(lambda step, seed: crops.plan(step, **{**options, "seed": seed}, xp=xp))
    for step, seed in itertools.product((0, 5, 100_003), (5, 2**32 - 1)):
        for key, value in crops.plan(step, **{**options, "seed": seed}).items():
            found = traced(np.int32(step), np.uint32(seed))[key]
            np.testing.assert_array_equal(np.array(found), value, err_msg=key)
            assert found.dtype == value.dtype, key


def test_what_is_drawn_is_spread_evenly():
    plans = [crops.plan(step, **{**OPTIONS, "batch_size": 16}) for step in range(500)]
    drawn = {key: np.concatenate([plan[key] for plan in plans]) for key in plans[0]}
    for key in ("top", "left"):
        assert 0 <= drawn[key].min() < 0.001 and 0.999 < drawn[key].max() < 1
        np.testing.assert_allclose(np.histogram(drawn[key], 8)[0], 1000, atol=120)
    assert abs(np.corrcoef(drawn["top"], drawn["left"])[0, 1]) < 0.04
    assert abs(np.mean(drawn["flip"]) - 1 / 2) < 0.02 and abs(np.mean(drawn["turn"]) - 1 / 4) < 0.02
    assert len(set(drawn["key"])) > 7990


def test_every_epoch_is_another_permutation():
    order = np.concatenate([crops.plan(step, **OPTIONS)["index"] for step in range(14)])
    epochs = order.reshape(8, 7)
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 6


def test_every_batch_spans_the_ladder_of_rates():
    for step in range(20):
        rungs = crops.plan(step, **OPTIONS)["rung"]
        assert set(rungs) == {0, 1, 2} and rungs.dtype == np.float32


def test_the_halves_of_a_plan_make_the_halves_of_the_batch(folder):
    pictures = Pictures(find(str(folder)), 16)
    plan = crops.plan(3, **{**OPTIONS, "count": 3})
    whole = crops.cut(pictures, plan, 16)
    halves = [{key: value[part] for key, value in plan.items()} for part in (slice(2), slice(2, 4))]
    parts = [crops.cut(pictures, half, 16) for half in halves]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_crop_is_where_the_plan_says(folder):
    pictures = Pictures(find(str(folder)), 16)
    places = [0.0, 0.999, 0.0]
    plan = {"index": [1, 1, 1], "top": places, "left": places}
    plan |= {"flip": [False, True, False], "turn": [False, False, True]}
    first, last, turned = crops.cut(pictures, plan, 16)
    np.testing.assert_array_equal(first, pictures[1][:16, :16])
    np.testing.assert_array_equal(last, pictures[1][-16:, -16:][:, ::-1])
    np.testing.assert_array_equal(turned, first.swapaxes(0, 1))


def test_prefetching_keeps_the_order_and_raises_what_the_maker_raises():
    for threads in (1, 3):
        made = crops.prefetch(lambda k: k * k, 3, 7, threads)
        assert [item for item, waited in made] == [9, 16, 25, 36]
    assert list(crops.prefetch(lambda k: k, 3, 3)) == []
    with pytest.raises(ZeroDivisionError):
        list(crops.prefetch(lambda k: 1 / k, -1, 2))


def test_prefetching_tells_how_long_an_item_was_waited_for():
    def make(k):
        time.sleep(0.2)

    patient, at_once = crops.prefetch(make, 0, 2), crops.prefetch(make, 0, 2)
    assert next(at_once)[1] > 0.1 and next(at_once)[1] > 0.1
    next(patient)
    time.sleep(1.0)
    assert next(patient)[1] < 0.1


def test_a_picture_that_cannot_be_decoded_is_stood_in_for_named_and_counted(folder, monkeypatch):
    notices = []
    logger = training_pictures.logging
    monkeypatch.setattr(logger, "warning", lambda text, *v: notices.append(text % v))
    content = (folder / "b.jpg").read_bytes()
    (folder / "b.jpg").write_bytes(content[: len(content) // 2])  # its header is sound
    for order in ((0, 1, 2), (2, 1, 0)):
        pictures = Pictures(find(str(folder)), 16)
        found = {k: pictures[k] for k in order}
        assert len(pictures) == 3 and not pictures.skipped and pictures.failed == {1}
        np.testing.assert_array_equal(found[1], found[2])  # whenever it is asked for
    assert len(notices) == 2 and f"left out {folder}/b.jpg: " in notices[0]
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:100])
    (folder / "more/c.PNG").unlink()
    with pytest.raises(InputError, match="none of the 2 pictures can be decoded"):
        Pictures(find(str(folder)), 16)[1]


def _gray_ramp(folder):
    """A deep gray ramp, as Pillow writes 16 bits."""
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
    Image.fromarray(ramp).save(folder / "ramp.png")
    return folder / "ramp.png"


def _turned(folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: the top is at the right
    pixels = np.zeros([32, 64, 3], np.uint8)
    pixels[:, :32] = 200
    Image.fromarray(pixels).save(folder / "turned.jpg", exif=exif, quality=95)
    return folder / "turned.jpg"


def _wide_gamut(folder):
    """A picture whose profile swaps red and blue, as no spelling of sRGB does."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # The table of tags: signature, offset and size, 12 bytes each.
    count = int.from_bytes(profile[128:132], "big")
    for k in range(count):
        place = slice(132 + 12 * k, 136 + 12 * k)
        swapped = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}
        profile[place] = swapped.get(bytes(profile[place]), bytes(profile[place]))
    pixels = np.full([40, 40, 3], (220, 120, 30), np.uint8)
    Image.fromarray(pixels).save(folder / "swapped.png", icc_profile=bytes(profile))
    return folder / "swapped.png"


def _transparent(folder):
    pixels = np.random.default_rng(0).integers(0, 256, [40, 40, 4], dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "transparent.png")
    return folder / "transparent.png"


@pytest.mark.parametrize("make", [_gray_ramp, _turned, _wide_gamut, _transparent])
def test_training_sees_what_encode_sees(make, tmp_path):
    path = make(tmp_path)
    expected = read(path).rgb
    (found,) = (Pictures(find(str(path)), 16)[k] for k in range(1))
    np.testing.assert_array_equal(found, expected)
    with Image.open(path) as image:  # and that is not what is in the file
        plain = np.asarray(image.convert("RGB"))
    same = plain.shape == expected.shape and np.array_equal(plain, expected)
    assert not same


def test_a_deep_ramp_is_a_ramp(tmp_path):
    pixels = Pictures(find(str(_gray_ramp(tmp_path))), 16)[0]
    assert 126 < pixels.mean() < 129 and len(np.unique(pixels)) == 64


def test_what_pictures_give_up_is_told_once(tmp_path, monkeypatch):
    notices = []
    logger = training_pictures.logging
    monkeypatch.setattr(logger, "info", lambda text, *v: notices.append(text % v))
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(_gray_ramp(tmp_path).read_bytes())
    pictures = Pictures(find(str(tmp_path)), 16)
    assert [pictures[k].shape for k in range(3)] == [(48, 64, 3)] * 3
    (notice,) = notices
    assert notice.startswith(f"{tmp_path}/a.png: its 16-bit samples are reduced to 8 bits; ")


@pytest.mark.filterwarnings("error")
def test_the_size_is_had_without_pillows_limits(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert not Pictures(find(str(folder)), 24).skipped


def test_every_format_that_is_read_is_found_in_folders(tmp_path):
    for suffix in SUFFIXES:
        (tmp_path / f"a{suffix}").write_bytes(b"")
    assert len(find(str(tmp_path))) == len(SUFFIXES)
