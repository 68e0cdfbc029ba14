"""`tfcodec train` as a process: what it refuses at once, and what it says."""

import argparse
import pathlib
import subprocess
import sys

import pytest

from tfcodec import models
from tfcodec.commands import train

ROOT = pathlib.Path(__file__).parents[2]
# Ends with status 99 where Keras or a backend is imported.
WITHOUT = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in ("keras", "tensorflow", "jax"):
            sys.exit(99)
sys.meta_path.insert(0, Refuse())
from tfcodec.commands.main import run
run("train")
"""


def without_keras(*words):
    return subprocess.run([sys.executable, "-c", WITHOUT, *words], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--data", "nosuch"], "--data nosuch: there is no such file, folder or glob"),
        (["--batch_size", "0"], "--batch_size must be at least 1, received 0"),
        (["--crop", "100"], "--crop must be a multiple of the model's stride"),
        (["--config", "filters=-1"], "--config filters must not be negative, received -1"),
        (["--lambda", "-1"], "--lambda takes numbers above 0 in rising order"),
        (["--preset", "huge"], "quad has no preset 'huge'; it has small, base, large"),
        (["--run_dir", __file__], f"{__file__}: cannot be a directory, since {__file__} is a file"),
        (["--run_dir", f"{__file__}/run"], f"{__file__}/run: cannot be a directory, since"),
        (["--flagfile", "no-recipe"], "--flagfile 'no-recipe' cannot be read"),
        (["--flagfile", "quad-small", "--steps", "-3"], "--steps must be at least 0, received -3"),
    ],
)
def test_what_cannot_be_is_one_sentence_without_keras(words, sentence, here):
    done = without_keras(*words)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"tfcodec: {sentence}") and done.stderr.count("\n") == 1
    assert not list(here.iterdir())


def test_a_flag_that_is_no_number_says_what_it_must_be():
    done = without_keras("--steps", "abc")
    assert done.returncode == 2
    assert done.stderr.endswith("argument --steps: must be a whole number, received 'abc'\n")


def test_a_backend_that_is_none_is_one_sentence(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "nosuch")
    done = subprocess.run(
        [sys.executable, ROOT / "train_tf.py", "--describe"], capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("tfcodec: Keras and its backend nosuch cannot be imported")


def test_help_and_list_need_no_keras():
    shown = without_keras("--help").stdout
    assert "--batch_size N" in shown and "(default: 16)" in shown
    listed = without_keras("--list").stdout.splitlines()
    assert [line.split(": ")[0] for line in listed] == list(models.MODELS)


def test_recipes_are_found_by_their_name_or_path(tmp_path):
    (path,) = train.recipes().glob("quad-base.flags")
    assert train.read_flags("quad-base") == train.read_flags(str(path))
    assert "--model=quad" in train.read_flags("quad-base")


def test_the_script_of_the_checkout_is_the_command():
    done = subprocess.run(
        [sys.executable, ROOT / "train_tf.py", "--list"], capture_output=True, text=True
    )
    assert done.stdout == without_keras("--list").stdout and done.stderr == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("quad", "base")),
        (["--model", "mbt2018_mean"], ("mbt2018_mean", "compact")),
        (["--preset", "small"], ("quad", "small")),
    ],
)
def test_what_is_trained_unless_it_is_said(words, expected):
    parser = argparse.ArgumentParser()
    train.add(parser.add_subparsers())
    run = train.ask(parser.parse_args(["train", *words]))
    assert (run.model, run.preset) == expected
