"""Every recipe is a run that could start, and says what to expect of it."""

import argparse
import dataclasses
import pathlib
import re

import pytest

from tfcodec import models
from tfcodec.commands import train
from tfcodec.errors import InputError
from tfcodec.training.run import check
from tfcodec.training.settings import Settings
from tfcodec.training.settings import check as check_settings
from tfcodec.training.step import rate_weights

ROOT = pathlib.Path(__file__).parent.parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.flags"))


def _arguments(*words):
    parser = argparse.ArgumentParser()
    train.add(parser.add_subparsers())
    return parser.parse_args(["train", *words])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_describes_a_run_that_can_start(path):
    args = _arguments("--flagfile", str(path))
    run = train.ask(args)
    config, settings = run.configure(), run.settings
    check_settings(settings)
    model = models.module(args.model).build(config)
    assert len(model.parts) > 0 and path.stem.startswith(f"{args.model}-{args.preset}")
    rate_weights(settings.rate_weights, model)
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
    expected = re.search(r"Expected: (.+?) Time and hardware: ", comment)[1]
    assert re.search(r"\d.*(?<!not )measured", expected) or "not yet run" in expected


def test_there_is_a_recipe_for_every_model_and_purpose():
    args = [_arguments("--flagfile", str(path)) for path in RECIPES]
    assert {a.model for a in args} >= set(models.MODELS)
    rates = {len(train.ask(a).configure().lambdas) > 1 for a in args if a.distortion == "ms_ssim"}
    assert rates == {True, False}
    assert any(a.init_from and a.init_from.startswith("my_models/") for a in args)


def test_flags_after_a_file_win_and_its_faults_are_named(tmp_path):
    file = tmp_path / "a.flags"
    file.write_text("# a comment\n\n--steps=7\n  --config=wavelet=5/3\n")
    args = _arguments("--steps", "3", f"--flagfile={file}", "--batch_size", "5")
    assert (args.steps, args.batch_size, args.config) == (7, 5, "wavelet=5/3")
    assert _arguments("--flagfile", str(file), "--steps", "9").steps == 9
    file.write_text("--steps=7\nsteps 8\n")
    with pytest.raises(InputError, match="a.flags, line 2: expected --FLAG=VALUE, found 'steps 8'"):
        _arguments("--flagfile", str(file))
    with pytest.raises(InputError, match="--flagfile 'nowhere' cannot be read"):
        _arguments("--flagfile=nowhere")


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--distortion=ms_ssim"], "--distortion=ms_ssim needs --lambda"),
        (["--distortion=ms_ssim", "--lambda=8", "--crop=128"], "crops of at least 161 pixels"),
        (["--distortion=psnr"], "--distortion is one of mse, ms_ssim, received 'psnr'"),
        (["--optimizer=sgd"], "--optimizer is one of muon, adam, received 'sgd'"),
    ],
)
def test_settings_that_cannot_be_are_refused(argv, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        check(train.ask(_arguments(*argv)))


def test_every_setting_is_a_flag():
    args = _arguments()
    for field in dataclasses.fields(Settings):
        assert getattr(args, field.name) == field.default and field.metadata["help"]
