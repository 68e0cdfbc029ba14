import dataclasses
import json
import types

import keras
import numpy as np
import pytest
from PIL import Image

from tfcodec import data, losses, models, training
from tfcodec.errors import InputError

SETTINGS = training.Settings(
    steps=6,
    batch_size=2,
    crop=64,
    warmup=2,
    cooldown=0.0,
    precision="float32",
    log_every=2,
    checkpoint_every=3,
    validate_every=6,
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three smooth random pictures, a little larger than a crop."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for k in range(3):
        small = Image.fromarray(rng.integers(0, 256, [6, 8, 3], dtype=np.uint8))
        small.resize((96, 72), Image.Resampling.BICUBIC).save(folder / f"{k}.png")
    return data.Pictures(data.find(str(folder)), SETTINGS.crop)


def _model(seed=0, **changes):
    keras.utils.set_random_seed(seed)
    tiny = {"widths": (8, 8, 8), "filters": 8, "latents": 8}
    return models.build("mbt2018_mean", "compact", **{**tiny, **changes}).build_weights()


def _state(trainer):
    variables = [*trainer.model.variables, *trainer.optimizer.variables]
    return {v.path: np.array(v) for v in variables}


def _records(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_a_run_that_stopped_halfway_ends_as_one_that_did_not(pictures, tmp_path):
    straight = training.Trainer(_model(), pictures, SETTINGS)
    start = _state(straight)
    training.fit(straight, str(tmp_path / "a"), validation=pictures)
    assert [r["step"] for r in _records(tmp_path / "a")] == [2, 3, 4, 6, 6]
    names = [path.rsplit("/", 1)[-1] for path in training.checkpoints(str(tmp_path / "a"))]
    assert names == ["step-00000003", "step-00000006"]
    points = _records(tmp_path / "a")[-1]["validation"]
    assert len(points) == 8 and all(p["bpp"] > 0 and p["psnr"] > 5 for p in points)

    half = training.Trainer(_model(), pictures, dataclasses.replace(SETTINGS, steps=3))
    training.fit(half, str(tmp_path / "b"))
    resumed = training.Trainer(_model(seed=9), pictures, SETTINGS)
    training.fit(resumed, str(tmp_path / "b"))

    assert resumed.step == straight.step == 6
    expected, found = _state(straight), _state(resumed)
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_allclose(found[path], value, rtol=1e-5, atol=1e-6, err_msg=path)
    assert any(np.any(value != start[path]) for path, value in expected.items())

    # The averaged weights are what validation and exports see, and what `initialise` takes.
    fresh = _model(seed=3)
    training.initialise(fresh, str(tmp_path / "a"))
    with straight.averaged() as averaged:
        for mine, theirs in zip(fresh.variables, averaged.variables, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        kernel = np.array(averaged.trainable_variables[0])
    assert np.any(kernel != np.array(straight.model.trainable_variables[0]))


def test_weights_of_another_model_or_of_nothing_are_refused(pictures, tmp_path):
    training.Trainer(_model(), pictures, SETTINGS).save(str(tmp_path))
    other = training.Trainer(_model(latents=9), pictures, SETTINGS)
    with pytest.raises(InputError, match=r"conv3/kernel should be .*, 9\], found .*, 8\]"):
        training.fit(other, str(tmp_path))
    with pytest.raises(InputError, match=r"kernel should be \[5, 5, 3, 16\], found \[5, 5, 3, 8\]"):
        training.initialise(_model(widths=(16, 8, 8)), str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: not a checkpoint of train_tf.py"):
        training.initialise(_model(), str(tmp_path / "empty"))


def test_a_checkpoint_half_written_is_not_seen(tmp_path):
    (tmp_path / "step-00000002.partial").mkdir()
    assert training.checkpoints(str(tmp_path)) == []
    assert training.checkpoints(str(tmp_path / "missing")) == []


def test_a_loss_that_is_not_a_number_ends_the_run_in_a_sentence(tmp_path):
    diverged = types.SimpleNamespace(
        settings=SETTINGS, step=0, run=lambda last: iter([(2, {"loss": float("nan")})])
    )
    with pytest.raises(InputError, match="the loss is nan at step 2; lower the rate"):
        training.fit(diverged, str(tmp_path))


def test_what_is_due_every_so_many_steps_happens_also_when_steps_come_in_leaps(tmp_path):
    saved = []
    leaping = types.SimpleNamespace(
        settings=dataclasses.replace(SETTINGS, steps=14, log_every=6, checkpoint_every=10),
        step=0,
        run=lambda last: ((step, {"loss": 1.0}) for step in (4, 8, 12, 14)),
        save=saved.append,
    )
    training.fit(leaping, str(tmp_path))
    assert [r["step"] for r in _records(tmp_path)] == [8, 12, 14]
    assert len(saved) == 2  # at 12 and at the end


def test_principal_start_begins_at_a_transform_codec_and_not_at_noise(pictures):
    plan = data.plan(0, count=3, batch_size=32, num_rungs=1, seed=0)
    crops = data.crops(pictures, plan, 64)
    model = _model(latents=48)
    rung = np.full([len(crops)], 7, np.float32)
    noise = losses.rate_distortion(model, crops, rung)[1]
    model.prepare(crops / np.float32(255))
    prepared = losses.rate_distortion(model, crops, rung)[1]
    assert float(prepared["psnr"]) > 25 and float(prepared["psnr"]) > float(noise["psnr"]) + 10
    assert float(prepared["loss"]) < float(noise["loss"])


def test_the_learning_rate_rises_stays_and_falls():
    s = dataclasses.replace(SETTINGS, steps=1000, warmup=100, cooldown=0.25, learning_rate=1e-3)
    rate = [float(training.Schedule(s)(step)) for step in (0, 49, 99, 500, 750, 875, 1000)]
    falling = 1e-3 * (1 - 0.99 * 0.5**0.5)
    np.testing.assert_allclose(rate, [1e-5, 5e-4, 1e-3, 1e-3, 1e-3, falling, 1e-5], rtol=1e-4)
    longer = training.Schedule(dataclasses.replace(s, steps=9000))
    assert float(longer(700)) == float(training.Schedule(s)(700))  # a run can be continued


def test_the_averaged_weights_travel_alone(pictures, tmp_path):
    trainer = training.Trainer(_model(), pictures, SETTINGS)
    training.fit(trainer, str(tmp_path / "run"), weights_dir=str(tmp_path / "weights"))
    other = _model(seed=9)
    training.initialise(other, str(tmp_path / "weights"))
    with trainer.averaged() as model:
        for ours, theirs in zip(other.variables, model.variables, strict=True):
            np.testing.assert_array_equal(np.array(ours), np.array(theirs))
    assert not (tmp_path / "weights.partial").exists()
    (tmp_path / "weights" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="holds other files; it is not replaced"):
        trainer.save_weights(str(tmp_path / "weights"))
