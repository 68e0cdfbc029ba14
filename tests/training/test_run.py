"""A run that cannot be what was meant is refused before any work, and harms nothing."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from PIL import Image

from tfcodec import models
from tfcodec.errors import InputError
from tfcodec.exports.weights import read_weights
from tfcodec.training import checkpoint, run_log
from tfcodec.training import trainer as trainers
from tfcodec.training.losses import rate_distortion
from tfcodec.training.optimizer import RULES
from tfcodec.training.run import Export, Run, Start, check, collect, train
from tfcodec.training.settings import (
    DISTORTIONS,
    OPTIMIZERS,
    Settings,
    check_crop,
    read_lambdas,
)
from tfcodec.training.settings import check as check_settings

SMALL = Settings(
    steps=2,
    batch_size=2,
    crop=64,
    warmup=1,
    precision="float32",
    checkpoint_every=0,
    validate_every=0,
    input_threads=1,
)
TINY = "filters=8,latents=8"  # with the compact preset's widths


@pytest.fixture
def folder(tmp_path):
    """A folder with three pictures to train on."""
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for k in range(3):
        small = Image.fromarray(rng.integers(0, 256, [9, 10, 3], dtype=np.uint8))
        small.resize((100, 90), Image.BICUBIC).save(tmp_path / "pictures" / f"{k}.png")
    return tmp_path


def _run(folder, **changes):
    run = Run(
        "mbt2018_mean",
        "compact",
        SMALL,
        changes=TINY,
        data=str(folder / "pictures"),
        run_dir=str(folder / "run"),
    )
    return dataclasses.replace(run, **changes)


def _train(run):
    check(run)
    return train(run, collect(run))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"batch_size": 0}, "--batch_size must be at least 1, received 0"),
        ({"steps": -3}, "--steps must be at least 0, received -3"),
        ({"learning_rate": float("nan")}, "--learning_rate must be more than 0, received nan"),
        ({"learning_rate": 0.0}, "--learning_rate must be more than 0, received 0.0"),
        ({"cooldown": 1.5}, "--cooldown must be at most 1, received 1.5"),
        ({"seconds": float("inf")}, "--seconds must be at least 0, received inf"),
        ({"seed": -1}, "--seed must be at least 0, received -1"),
        (
            {"crop": 100},
            "--crop must be a multiple of the model's stride, which is 64 or 128 for most: "
            "64, 128, 256 .., received 100",
        ),
        ({"precision": "int8"}, "--precision is one of float32, bfloat16, received 'int8'"),
    ],
)
def test_settings_that_cannot_train_are_refused(changes, sentence):
    with pytest.raises(InputError) as error:
        check_settings(dataclasses.replace(SMALL, **changes))
    assert str(error.value) == sentence


def test_a_crop_that_no_latent_fits_is_refused():
    check_crop(SMALL, 64)
    with pytest.raises(InputError, match=r"multiple of 128 for this model \(128, 256, 384 ..\)"):
        check_crop(SMALL, 128)


@pytest.mark.parametrize("text", ["-1", "0", "0.01,,0.02", "", "a", "0.02,0.01", "0.1,0.1", "inf"])
def test_a_ladder_rises_from_above_zero(text):
    with pytest.raises(InputError) as error:
        read_lambdas(text)
    assert str(error.value) == (
        f"--lambda takes numbers above 0 in rising order, commas between, received {text!r}"
    )
    assert read_lambdas("0.01") == (0.01,) and read_lambdas("0.01,0.5") == (0.01, 0.5)
    assert read_lambdas(None) is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "quod"}, "there is no model 'quod'; the models are bmshj2018, "),
        ({"preset": "huge"}, "mbt2018_mean has no preset 'huge'; it has compact, n128, n192"),
        ({"changes": "filters=-1"}, "--config filters must not be negative, received -1"),
        ({"changes": "filter=1"}, "--config cannot set 'filter'; it sets filters, latents"),
        ({"data": None}, "--data is needed: folders, files or globs of training pictures"),
        ({"start": Start("nowhere")}, "--init_from nowhere: no such folder"),
        (
            {"settings": dataclasses.replace(SMALL, steps=0), "export": Export("new")},
            "--export with --steps 0 needs trained weights: --init_from, or a --run_dir that",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(folder, changes, sentence):
    with pytest.raises(InputError) as error:
        check(_run(folder, **changes))
    assert str(error.value).startswith(sentence)


def test_held_out_pictures_must_leave_some(folder):
    with pytest.raises(InputError) as error:
        collect(_run(folder, validation=f"{folder}/pictures/*.png"))
    assert str(error.value) == (
        "--validation holds out all 3 pictures of --data; none is left to train on"
    )
    with pytest.raises(InputError, match="^--data: no picture of at least 128 pixels a side"):
        collect(_run(folder, settings=dataclasses.replace(SMALL, crop=128)))


def test_a_config_that_makes_no_model_is_one_sentence(folder):
    with pytest.raises(InputError, match="^--config filters=0: makes no model of mbt2018_mean"):
        _train(_run(folder, changes="filters=0"))


@pytest.mark.slow
def test_a_refused_run_leaves_the_one_before_as_it_was(folder, monkeypatch):
    notices = []
    monkeypatch.setattr(trainers.logging, "warning", lambda text, *v: notices.append(text % v))
    assert _train(_run(folder)) is None
    described = (folder / "run" / "model.json").read_text()
    assert json.loads(described)["config"]["filters"] == 8
    longer = dataclasses.replace(SMALL, steps=3)
    for changes, sentence in (
        ({"model": "ms2020"}, "holds a run of --model mbt2018_mean --preset compact; continue it"),
        ({"changes": "filters=8,latents=9"}, "should be"),
        ({"settings": dataclasses.replace(longer, optimizer="adam")}, "with --optimizer=muon"),
    ):
        with pytest.raises(InputError, match=sentence):
            _train(_run(folder, **changes))
        assert (folder / "run" / "model.json").read_text() == described

    # Another ladder of as many rungs is a choice, and said.
    assert not notices
    lambdas = tuple(2 * value for value in json.loads(described)["config"]["lambdas"])
    _train(_run(folder, settings=longer, lambdas=lambdas))
    assert [notice.split()[:3] for notice in notices] == [["continued", "with", "lambda"]]
    assert json.loads((folder / "run" / "model.json").read_text())["config"]["lambdas"] == [
        *lambdas
    ]


def test_what_learnt_nothing_is_not_exported(folder, monkeypatch):
    def no_number(*arguments, **options):
        objective, measured = rate_distortion(*arguments, **options)
        return objective * float("nan"), measured

    monkeypatch.setattr("tfcodec.training.losses.rate_distortion", no_number)
    with pytest.raises(InputError) as error:
        _train(_run(folder, export=Export(str(folder / "export"))))
    assert str(error.value).startswith("nothing was learnt: all 2 steps were left out")
    assert not (folder / "export").exists()


def test_a_run_of_no_steps_exports_nothing_of_its_own(folder):
    still = dataclasses.replace(SMALL, steps=0)
    _train(_run(folder, settings=still))  # leaves no checkpoint of what was not begun
    (folder / "run" / "step-00000000").mkdir()
    with pytest.raises(InputError, match="^nothing was learnt: no step was made"):
        _train(_run(folder, settings=still, export=Export(str(folder / "export"))))
    assert not (folder / "export").exists()


def test_choices_are_what_there_is():
    assert set(OPTIMIZERS) == set(RULES)
    assert DISTORTIONS == ("mse", "ms_ssim")


def test_progress_is_told_soon_and_then_more_rarely(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(run_log.time, "monotonic", lambda: now[0])
    clock = type("Clock", (), {"seconds": 0.0})()
    settings = dataclasses.replace(SMALL, steps=100_000, batch_size=8)
    trainer = type("Trainer", (), {"settings": settings, "clock": clock, "over": False})()
    progress, told = run_log.Progress(trainer), []
    for step in range(1, 20_001):
        now[0] += 0.5
        if progress.due(step):
            told.append(now[0])
    waits = np.diff(told)
    assert told[0] == 10 and np.all(np.diff(waits) >= 0) and waits[-1] <= 600 < 2 * waits[-1]
    line = progress.line(20_000, {"loss": 1.25, "bpp": 0.5, "psnr": 31.0})
    assert line == (
        "step 20,000 of 100,000  loss 1.25  0.5 bpp  31 dB  16 images/s  11 h 7 min left"
    )
    assert progress.due(20_001, over=True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (91, "2 min"), (5300, "88 min"), (9000, "2 h 30 min")],
)
def test_durations_are_read_at_a_glance(seconds, text):
    assert run_log.duration(seconds) == text
    assert run_log.duration(86400 * 5 + 3600 * 4) == "5 d 4 h"


def test_weights_to_start_from_may_be_exported_as_they_are(folder):
    keras.utils.set_random_seed(0)
    tiny = {"filters": 8, "latents": 8}
    model = models.build("mbt2018_mean", "compact", **tiny).build_weights()
    values = {f"model/{v.path}": np.array(v) for v in model.variables}
    checkpoint.write(str(folder / "weights"), values, {"step": 0})
    still = dataclasses.replace(SMALL, steps=0)
    start = Start(str(folder / "weights"))
    export = Export(str(folder / "export"), weights="float32")
    info = _train(_run(folder, settings=still, start=start, data=None, export=export))
    assert info.name == "export"
    stored = read_weights(info.path)
    for variable in model.variables:
        np.testing.assert_array_equal(stored[variable.path], np.array(variable))
