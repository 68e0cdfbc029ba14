"""Every recipe is a run that could start, and says what to expect of it."""

import dataclasses
import pathlib
import re

import pytest

from tfcodec import models
from tfcodec.errors import InputError
from tfcodec.training import trainer as training

ROOT = pathlib.Path(__file__).parent.parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.flags"))


@pytest.fixture
def train_tf(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return __import__("train_tf")


def _args(train_tf, *argv):
    return train_tf.parser().parse_args(train_tf.expanded(argv))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_describes_a_run_that_can_start(path, train_tf):
    args = _args(train_tf, "--flagfile", str(path))
    config, settings = train_tf.chosen(args)
    model = models.module(args.model).build(config)
    assert len(model.parts) > 0 and path.stem.startswith(f"{args.model}-{args.preset}")
    training.rate_weights(settings.rate_weights, model)
    assert settings.crop % model.stride == 0
    # The papers' sizes are trained as the papers say; ours with what is the default.
    ours = args.model == "quad" or args.preset.startswith("compact")
    assert ours or settings.optimizer == "adam"
    assert ("ms_ssim" in path.stem) == (settings.distortion == "ms_ssim")
    largest = max(config.lambdas)
    assert 1 < largest < 300 if settings.distortion == "ms_ssim" else largest < 1
    if args.init_from and args.init_from.startswith("runs/"):
        assert (ROOT / "recipes" / f"{args.init_from[5:]}.flags").exists()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_result_time_and_command_at_its_top(path):
    text = path.read_text()
    comment = " ".join(line[1:].strip() for line in text.splitlines() if line.startswith("#"))
    assert re.search(r"Expected: .+ Time and hardware: .+ python train_tf.py", comment)
    assert f"--flagfile recipes/{path.name} " in comment and "runs/" + path.stem in comment
    assert text.index("--model=") > text.index("Time and hardware")
    # Nothing is promised that was not measured.
    measured = re.search(r"Expected: .*\d.*measured", comment)
    assert measured or "not yet run" in comment


def test_there_is_a_recipe_for_every_model_and_purpose(train_tf):
    args = [_args(train_tf, "--flagfile", str(path)) for path in RECIPES]
    assert {a.model for a in args} >= set(models.MODELS)
    rates = {len(train_tf.chosen(a)[0].lambdas) > 1 for a in args if a.distortion == "ms_ssim"}
    assert rates == {True, False}
    assert any(a.init_from and a.init_from.startswith("my_models/") for a in args)


def test_flags_after_a_file_win_and_its_faults_are_named(tmp_path, train_tf):
    file = tmp_path / "a.flags"
    file.write_text("# a comment\n\n--steps=7\n  --config=wavelet=5/3\n")
    args = _args(train_tf, "--steps", "3", f"--flagfile={file}", "--batch_size", "5")
    assert (args.steps, args.batch_size, args.config) == (7, 5, "wavelet=5/3")
    assert _args(train_tf, "--flagfile", str(file), "--steps", "9").steps == 9
    file.write_text("--steps=7\nsteps 8\n")
    with pytest.raises(InputError, match="a.flags, line 2: expected --FLAG=VALUE, found 'steps 8'"):
        train_tf.expanded(["--flagfile", str(file)])
    with pytest.raises(InputError, match="--flagfile 'nowhere' cannot be read"):
        train_tf.expanded(["--flagfile=nowhere"])


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--distortion=ms_ssim"], "--distortion=ms_ssim needs --lambda"),
        (["--distortion=ms_ssim", "--lambda=8", "--crop=128"], "crops of at least 161 pixels"),
        (["--distortion=psnr"], "--distortion is one of mse, ms_ssim, received 'psnr'"),
        (["--optimizer=sgd"], "--optimizer is one of muon, adam, received 'sgd'"),
    ],
)
def test_settings_that_cannot_be_are_refused(argv, sentence, train_tf):
    with pytest.raises(InputError, match=re.escape(sentence)):
        train_tf.chosen(_args(train_tf, *argv))


def test_every_setting_is_a_flag(train_tf):
    args = _args(train_tf)
    for field in dataclasses.fields(training.Settings):
        assert getattr(args, field.name) == field.default and field.metadata["help"]
