import dataclasses
import json
import time
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfcodec import complexity, models
from tfcodec.errors import InputError
from tfcodec.training import (
    backend_tensorflow,
    checkpoint,
    crops,
    loop,
    losses,
    run_log,
    schedule,
    weights,
)
from tfcodec.training.pictures import Pictures, find
from tfcodec.training.schedule import Clock, Schedule
from tfcodec.training.settings import Settings, check
from tfcodec.training.trainer import Trainer

SETTINGS = Settings(
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
    return Pictures(find(str(folder)), SETTINGS.crop)


def _model(seed=0, **changes):
    keras.utils.set_random_seed(seed)
    tiny = {"widths": (8, 8), "filters": 8, "latents": 8}
    return models.build("mbt2018_mean", "compact", **{**tiny, **changes}).build_weights()


def _state(trainer):
    variables = [*trainer.model.variables, *trainer.training_step.optimizer.variables]
    return {v.path: v.numpy() for v in variables}


def _records(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def _pictures_in_events(directory):
    """Name: arrays uint8 of TensorBoard's pictures in a run's event files."""
    found = {}
    for path in directory.glob("events.out.*"):
        for record in tf.data.TFRecordDataset(str(path)):
            for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value:
                if value.metadata.plugin_data.plugin_name == "images":
                    images = value.tensor.string_val[2:]  # after width and height
                    found[value.tag] = [tf.io.decode_png(image).numpy() for image in images]
    return found


@pytest.mark.slow
def test_a_run_that_stopped_halfway_ends_as_one_that_did_not(pictures, tmp_path):
    straight = Trainer(_model(), pictures, SETTINGS)
    start = _state(straight)
    loop.fit(straight, str(tmp_path / "a"), validation=pictures)
    assert [r["step"] for r in _records(tmp_path / "a")] == [2, 3, 4, 6, 6]
    names = [path.rsplit("/", 1)[-1] for path in checkpoint.listed(str(tmp_path / "a"))]
    assert names == ["step-00000003", "step-00000006"]
    points = _records(tmp_path / "a")[-1]["validation"]
    assert len(points) == 8 and all(p["bpp"] > 0 and p["psnr"] > 5 for p in points)

    shown = _pictures_in_events(tmp_path / "a")["samples"]
    assert [image.shape for image in shown] == [(2 * SETTINGS.crop, SETTINGS.crop, 3)] * 3
    offset = [(side - SETTINGS.crop) // 2 for side in pictures[0].shape[:2]]
    for image, picture in zip(shown, (pictures[k] for k in range(3)), strict=True):
        centre = picture[offset[0] :, offset[1] :][: SETTINGS.crop, : SETTINGS.crop]
        np.testing.assert_array_equal(image[: SETTINGS.crop], centre)
        assert np.any(image[SETTINGS.crop :] != centre)

    half = Trainer(_model(), pictures, dataclasses.replace(SETTINGS, steps=3))
    loop.fit(half, str(tmp_path / "b"))
    resumed = Trainer(_model(seed=9), pictures, SETTINGS)
    loop.fit(resumed, str(tmp_path / "b"))

    assert resumed.step == straight.step == 6
    expected, found = _state(straight), _state(resumed)
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_allclose(found[path], value, rtol=1e-5, atol=1e-6, err_msg=path)
    assert any(np.any(value != start[path]) for path, value in expected.items())

    # The averaged weights are what validation and exports see, and what `initialise` takes.
    fresh = _model(seed=3)
    weights.initialise(fresh, str(tmp_path / "a"))
    with straight.averaged() as averaged:
        for mine, theirs in zip(fresh.variables, averaged.variables, strict=True):
            np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
        kernel = averaged.trainable_variables[0].numpy()
    weights.initialise(fresh, str(tmp_path / "a"), averaged=False)
    for mine, theirs in zip(fresh.variables, straight.model.variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    assert np.any(kernel != straight.model.trainable_variables[0].numpy())


def test_weights_of_another_model_or_of_nothing_are_refused(pictures, tmp_path):
    Trainer(_model(), pictures, SETTINGS).save(str(tmp_path))
    other = Trainer(_model(latents=9), pictures, SETTINGS)
    with pytest.raises(InputError, match=r"conv2/kernel should be .*, 9\], found .*, 8\]"):
        loop.fit(other, str(tmp_path))
    with pytest.raises(InputError, match=r"kernel should be \[5, 5, 3, 16\], found \[5, 5, 3, 8\]"):
        weights.initialise(_model(widths=(16, 8)), str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: not a checkpoint of training"):
        weights.initialise(_model(), str(tmp_path / "empty"))


def test_a_step_that_is_no_number_changes_nothing_and_is_counted(pictures, monkeypatch):
    trainer = Trainer(_model(), pictures, SETTINGS)
    objective = trainer.training_step.objective
    loss_at, gradient_at = (trainer.training_step.plan(step)["key"][0] for step in (1, 3))

    def bad(x, rung, keys, progress):
        loss, metrics = objective(x, rung, keys, progress)
        fault = keras.ops.where(keys[0] == loss_at, float("nan"), 0.0)
        # Nothing, with a gradient whose norm overflows.
        spike = keras.ops.where(keys[0] == gradient_at, 1e38, 0.0)
        return loss + fault + spike * (loss - keras.ops.stop_gradient(loss)), metrics

    bad_steps = {2, 4}
    monkeypatch.setattr(trainer.training_step, "objective", bad)
    states, skipped = [_state(trainer)], [0]
    for step, measured in trainer.run(5):
        states.append(_state(trainer))
        skipped.append(int(trainer.training_step.tally[0].numpy()))
        assert np.isfinite(float(measured["loss"]))  # that before the faults
        changed = [p for p in states[-1] if np.any(states[-1][p] != states[-2][p])]
        assert (changed == []) == (step in bad_steps), (step, changed)
    assert skipped == [0, 0, 1, 1, 2, 2] and trainer.step == 5
    assert int(states[-1]["muon/iteration"]) == 3


def test_too_many_steps_that_are_no_numbers_end_the_run_in_a_sentence(
    pictures, tmp_path, monkeypatch
):
    settings = dataclasses.replace(SETTINGS, steps=50, skip_limit=3, checkpoint_every=0)
    trainer = Trainer(_model(), pictures, settings)
    nothing = ({"loss": keras.ops.zeros(()), "mse": keras.ops.ones(())},)
    no_number = (keras.ops.ones(()) * np.nan, *nothing)
    monkeypatch.setattr(trainer.training_step, "objective", lambda *a: no_number)
    with pytest.raises(InputError) as error:
        loop.fit(trainer, str(tmp_path))
    assert str(error.value) == (
        "the loss or its gradient was not a number in 4 steps up to step 4, 3 are allowed "
        "(--skip_limit); try a lower --learning_rate"
    )
    assert [record["skipped"] for record in _records(tmp_path)] == [2, 4]
    assert all(np.all(np.isfinite(value)) for value in _state(trainer).values())


def test_what_is_due_every_so_many_steps_happens_also_when_steps_come_in_leaps(tmp_path):
    saved, skipped = [], keras.Variable(0, dtype="int32", name="skipped")
    leaping = types.SimpleNamespace(
        settings=dataclasses.replace(SETTINGS, steps=14, log_every=6, checkpoint_every=10),
        backend=types.SimpleNamespace(chief=True, agreed=lambda stop, measured: stop),
        resume=lambda directory: None,
        synchronise=lambda: None,
        save=saved.append,
        training_step=types.SimpleNamespace(tally=[skipped]),
        **{"step": 0, "waited": 0.0, "input_bound": 0, "pictures": ()},
    )

    def run(last):
        for step in (4, 8, 12, 14):
            leaping.over = step >= last
            yield step, {"loss": 1.0}

    leaping.run = run
    loop.fit(leaping, str(tmp_path))
    assert [r["step"] for r in _records(tmp_path)] == [8, 12, 14]
    assert len(saved) == 2  # at 12 and at the end


def test_throughput_is_logged_and_a_wait_for_pictures_is_named(pictures, tmp_path, monkeypatch):
    make, warnings = crops.cut, []

    def slow(*arguments):
        time.sleep(0.2)
        return make(*arguments)

    def quick(x, rung, keys, progress):
        loss = keras.ops.sum(trainer.model.trainable_variables[0])
        return loss, {"loss": loss, "mse": loss}

    monkeypatch.setattr(backend_tensorflow.crops, "cut", slow)
    monkeypatch.setattr(
        run_log.logging, "warning", lambda text, *values: warnings.append(text % values)
    )
    settings = dataclasses.replace(SETTINGS, input_threads=1, peak_tflops=2.0)
    trainer = Trainer(_model(), pictures, settings)
    monkeypatch.setattr(trainer.training_step, "objective", quick)
    loop.fit(trainer, str(tmp_path))
    last = _records(tmp_path)[-1]
    assert last["images_per_second"] == pytest.approx(2 / last["seconds_per_step"])
    assert last["mpixel_per_second"] == pytest.approx(last["images_per_second"] * 64**2 / 1e6)
    assert last["share_of_peak"] == pytest.approx(last["tflops"] / 2)
    per_image = complexity.training_flop_per_pixel(trainer.model) * 64**2
    assert last["tflops"] == pytest.approx(per_image * last["images_per_second"] / 1e12)
    assert 0.3 < last["input_wait"] <= 1 and last["input_bound_steps"] >= 1
    assert "input-bound" in warnings[-1] and "more --input_threads" in warnings[-1]


def test_principal_start_begins_at_a_transform_codec_and_not_at_noise(pictures):
    plan = crops.plan(0, count=3, batch_size=32, num_rungs=1, seed=0)
    x = crops.cut(pictures, plan, 64)
    model = _model(latents=48)
    rung = np.full([len(x)], 7, np.float32)
    noise = losses.rate_distortion(model, x, rung)[1]
    model.prepare(x / np.float32(255))
    prepared = losses.rate_distortion(model, x, rung)[1]
    assert float(prepared["psnr"]) > 25 and float(prepared["psnr"]) > float(noise["psnr"]) + 10
    assert float(prepared["loss"]) < float(noise["loss"])


def test_training_can_begin_from_the_transforms_of_another_model(pictures, tmp_path):
    trainer, saved = Trainer(_model(), pictures, SETTINGS), str(tmp_path / "weights")
    trainer.save_weights(saved)
    known = {v.path.partition("/")[2]: v.numpy() for v in trainer.model.variables}
    tiny = {"widths": (8, 8), "filters": 8, "latents": 8, "hyper_latents": 8, "slices": (2, 6)}
    model = models.build("ms2020", "compact", **tiny).build_weights()
    with pytest.raises(InputError, match="should be .*, found nothing"):
        weights.initialise(model, saved)
    anew = weights.initialise(model, saved, partly=True)
    assert {v.path.split("/")[1] for v in anew} == {"hyper_means", "charm"}
    taken = [v for v in model.variables if all(v is not other for other in anew)]
    for variable in taken:
        np.testing.assert_array_equal(
            variable.numpy(), known[variable.path.partition("/")[2]], err_msg=variable.path
        )
    # Coding starts at the spread of what those transforms make, and leaves them alone.
    x = np.float32(crops.cut(pictures, trainer.training_step.plan(0), 64)) / 255
    before = [v.numpy() for v in taken]
    model.start_rates(x)
    assert all(np.array_equal(v, old) for v, old in zip(taken, before, strict=True))
    y = np.concatenate(model.analysis(x, np.full([len(x)], 3.5, np.float32))[1:], axis=-1)
    start = np.concatenate([s.mean.convs[-1].bias.numpy()[-w:] for s, w in _slices(model)])
    np.testing.assert_allclose(np.exp(start), y.std(axis=(0, 1, 2)) + 0.11, rtol=1e-4)
    other = types.SimpleNamespace(
        name="other", lambdas=(1,), variables=[keras.Variable(0.0, name="w")]
    )
    with pytest.raises(InputError, match="has no variable in common with other"):
        weights.initialise(other, saved, partly=True)


def _slices(model):
    context = model.latents.context
    return zip(context.slices, context.widths, strict=True)


def test_the_learning_rate_rises_stays_and_falls_to_zero():
    s = dataclasses.replace(SETTINGS, steps=1000, warmup=100, cooldown=0.25, learning_rate=1e-3)

    def rate(step, settings=s):
        progress = Clock(settings).progress(step)
        return float(Schedule(settings)(step, progress))

    found = [rate(step) for step in (0, 49, 99, 500, 750, 875, 1000)]
    falling = 1e-3 * (1 - 0.5**0.5)
    np.testing.assert_allclose(found, [1e-5, 5e-4, 1e-3, 1e-3, 1e-3, falling, 0], atol=1e-9)
    assert rate(700, dataclasses.replace(s, steps=9000)) == rate(700)  # a run can be continued
    assert rate(1000, dataclasses.replace(s, cooldown=0.0)) == pytest.approx(1e-3)


def test_a_run_ends_by_its_steps_or_its_seconds_whichever_is_first(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(schedule.time, "monotonic", lambda: now[0])
    clock = Clock(dataclasses.replace(SETTINGS, steps=10, seconds=60.0))
    clock.before = 15.0  # of the run before it was resumed
    assert clock.seconds == 15 and clock.progress(1) == 0.25
    clock.start()
    now[0] = 115.0
    assert clock.seconds == 30 and clock.progress(1) == 0.5 and clock.progress(8) == 0.8
    now[0] = 999.0
    assert clock.progress(1) == 1
    assert Clock(dataclasses.replace(SETTINGS, steps=0)).progress(0) == 1


def test_a_run_of_some_seconds_ends_at_the_rate_zero_and_counts_those_before(pictures, tmp_path):
    settings = dataclasses.replace(SETTINGS, steps=10**6, seconds=3.0, cooldown=0.5, log_every=1)
    settings = dataclasses.replace(settings, validate_every=0, checkpoint_every=0)
    trainer = Trainer(_model(), pictures, settings)
    loop.fit(trainer, str(tmp_path))
    rates = [record["learning_rate"] for record in _records(tmp_path)]
    assert rates[-1] == 0 and rates[0] > 0 and trainer.over and trainer.step == len(rates)
    _, arrays, state = checkpoint.newest(str(tmp_path))
    assert 3 <= state["seconds"] < 60
    # Its time is used up: continued, it takes one step that changes nothing.
    again = Trainer(_model(seed=1), pictures, settings)
    loop.fit(again, str(tmp_path))
    assert again.step == trainer.step + 1
    for variable in again.model.variables:
        np.testing.assert_array_equal(variable.numpy(), arrays[f"model/{variable.path}"])


def test_a_run_goes_on_with_the_optimizer_it_began_with(pictures, tmp_path):
    adam = dataclasses.replace(SETTINGS, optimizer="adam")
    Trainer(_model(), pictures, adam).save(str(tmp_path))
    with pytest.raises(InputError) as error:
        loop.fit(Trainer(_model(), pictures, SETTINGS), str(tmp_path))
    path = tmp_path / "step-00000000"
    assert str(error.value) == (
        f"{path}: trained with --optimizer=adam, now it is muon; continue with the former, or "
        f"begin another --run_dir with --init_from={tmp_path}"
    )
    # Checkpoints of before there was a choice are Adam's, and have no clock.
    state = json.loads((path / "state.json").read_text())
    for name in ("optimizer", "seconds"):
        del state["settings"][name]
    del state["seconds"], state["spikes"], state["calm"]
    (path / "state.json").write_text(json.dumps(state))
    assert Trainer(_model(1), pictures, adam).resume(str(tmp_path)) == str(path)
    with pytest.raises(InputError, match="--optimizer is one of muon, adam, received 'sgd'"):
        check(dataclasses.replace(SETTINGS, optimizer="sgd"))


def test_a_spike_is_left_out_where_it_is_calm_and_taken_where_it_is_not(pictures):
    trainer = Trainer(_model(), pictures, SETTINGS)
    values = [v.numpy() for v in trainer.model.trainable_variables]

    def step(state, size):
        gradients = [np.full(v.shape, size, np.float32) for v in values]
        new, measured = trainer.training_step.update(state, np.float32(1), gradients, np.float32(0))
        new = [np.array(value) for value in new]
        moved = any(np.any(a != b) for a, b in zip(new[:-3], state[:-3], strict=True))
        return new, moved, float(measured["gradient_norm"])

    state = [v.numpy() for v in trainer.training_step.variables]
    large = 2 * SETTINGS.spike / step(state, 1.0)[2]
    for _ in range(3):  # a young model: all its gradients are large
        state, moved, _ = step(state, large)
        assert moved
    for _ in range(40):
        state, moved, _ = step(state, 1e-4)
        assert moved
    calm, moved, norm = step(state, large)
    assert not moved and norm > SETTINGS.spike
    assert [int(v) for v in calm[-3:-1]] == [0, 1]  # a spike, and a number


def test_the_averaged_weights_travel_alone(pictures, tmp_path):
    wide = {"filters": 24, "latents": 24}
    trainer = Trainer(_model(**wide), pictures, SETTINGS)
    loop.fit(trainer, str(tmp_path / "run"), weights_dir=str(tmp_path / "weights"))
    other = _model(seed=9, **wide)
    weights.initialise(other, str(tmp_path / "weights"))
    with trainer.averaged() as model:
        for ours, theirs in zip(other.variables, model.variables, strict=True):
            large = theirs.numpy().size >= weights.LARGE  # travels in half precision
            travelled = np.float16(theirs.numpy()) if large else theirs.numpy()
            np.testing.assert_array_equal(ours.numpy(), np.float32(travelled))
    assert any(np.size(v) >= weights.LARGE for v in other.variables)
    assert not (tmp_path / "weights.partial").exists()
    (tmp_path / "weights" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="holds other files; it is not replaced"):
        trainer.save_weights(str(tmp_path / "weights"))


def test_a_longer_ladder_begins_with_the_gains_of_the_shorter_one(pictures, tmp_path):
    short, long = (0.002, 0.008, 0.032), (0.0005, 0.002, 0.004, 0.008, 0.032, 0.128)
    trainer = Trainer(_model(lambdas=short), pictures, SETTINGS)
    for layer in trainer.model.gains.layers:
        layer.log_gain.assign(np.random.default_rng(0).normal(size=layer.log_gain.shape))
    trainer.save_weights(str(tmp_path))
    other = _model(seed=5, lambdas=long)
    weights.initialise(other, str(tmp_path))
    for layers in zip(trainer.model.gains.layers, other.gains.layers, strict=True):
        old, new = (layer.log_gain.numpy() for layer in layers)
        expected = [2 * old[0] - old[1], old[0], (old[0] + old[1]) / 2, old[1], old[2]]
        np.testing.assert_allclose(new, [*expected, 2 * old[2] - old[1]], atol=1e-5)
    far = _model(lambdas=(2.4, 71.0))  # of MS-SSIM
    with pytest.raises(InputError, match="log_gain should be .*, found"):
        weights.initialise(far, str(tmp_path))


def test_rate_weights_name_parts_of_the_model(pictures):
    settings = dataclasses.replace(SETTINGS, rate_weights="z=0.5,y=2")
    assert Trainer(_model(), pictures, settings).training_step.rate_weights == {"z": 0.5, "y": 2.0}
    for text, message in (
        ("high=1", "there is no part 'high'; the parts are y, z"),
        ("y", "rate_weights are NAME=NUMBER,.., received 'y'"),
    ):
        with pytest.raises(InputError) as error:
            Trainer(_model(), pictures, dataclasses.replace(settings, rate_weights=text))
        assert str(error.value) == message
