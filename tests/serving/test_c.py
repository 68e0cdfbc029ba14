"""Serving in C, `examples/serve.c`: no Python in the process, and the command line's bytes."""

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny_exports
from drawn import as_png
from PIL import Image
from served import pixels

from tfcodec.commands import main as cli
from tfcodec.exports import installed, runtimes
from tfcodec.serving import export

ROOT = pathlib.Path(__file__).parents[2]
LIBRARIES = ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2")


def commands_of_the_page():
    """docs/serving.md: (the command that exports, those that build, those that use)."""
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    exports = next(line for line in page.splitlines() if line.startswith("tfcodec export"))
    section = page.split("## From C, without Python\n")[1].split("\n## ")[0]
    lines = [line[4:] for line in section.splitlines() if line.startswith("    ")]
    first = next(k for k, line in enumerate(lines) if line.startswith("./serve"))
    assert lines[0].startswith("TF=") and len(lines) > first
    return exports.strip(), "\n".join(lines[:first]), "\n".join(lines[first:])


def shell(commands, folder):
    """Runs them where the page is read: beside examples/, and with this Python as `python`."""
    if not (folder / "examples").exists():
        (folder / "examples").symlink_to(ROOT / "examples")
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    run = ["sh", "-e", "-c", commands]
    return subprocess.run(
        run, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder in which the page's commands made the program `serve`."""
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler, `cc`")
    missing = [name for name in LIBRARIES if not os.path.exists(f"{tf.sysconfig.get_lib()}/{name}")]
    if missing:
        pytest.skip(f"this build of TensorFlow has no {missing[0]}")
    folder = tmp_path_factory.mktemp("c")
    run = shell(commands_of_the_page()[1], folder)
    assert run.returncode == 0 and "warning: " not in run.stderr, run.stderr
    return folder


@pytest.fixture(scope="module")
def tiny(built):
    """(small model, its export for servers)"""
    info = tiny_exports.tiny_export(str(built / "models" / "tiny"), lambdas=(0.001, 0.2))
    export.export(info, str(built / "served"), max_pixels=128 * 128)
    return info.path, str(built / "served")


@pytest.fixture
def serve(built):
    def serve(*arguments):
        command = [built / "serve", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True)

    return serve


def last_line(run):
    """What the program said, after what TensorFlow logged."""
    return run.stderr.splitlines()[-1]


@pytest.mark.parametrize(("channels", "quality"), [(3, None), (1, 3.5), (4, 8)])
def test_files_and_pixels_are_the_command_lines(
    tiny, serve, tmp_path, monkeypatch, channels, quality
):
    model, served = tiny
    monkeypatch.setenv(installed.MODELS_VARIABLE, os.path.dirname(model))
    source, ours, theirs = (tmp_path / name for name in ("p.png", "c.tfcd", "py.tfcd"))
    # Where alpha is 0, the command line alone makes colours cheap.
    source.write_bytes(as_png(np.maximum(pixels(3, 97, 121, channels), 1)))
    wanted = [] if quality is None else [quality]
    run = serve("encode", f"{served}/1", source, ours, *wanted)
    assert run.returncode == 0, run.stderr
    flags = ["--model", model, "--profile", "serving"]
    flags += [] if quality is None else ["--quality", str(quality)]
    assert cli.main(["encode", str(source), "-o", str(theirs), *flags]) == 0
    if channels != 4:  # PNG encoders differ, and alpha is a PNG in the file
        assert ours.read_bytes() == theirs.read_bytes()

    run = serve("decode", f"{served}/1", ours, tmp_path / "c.png")
    assert run.returncode == 0, run.stderr
    assert cli.main(["decode", str(theirs), "-o", str(tmp_path / "py.png")]) == 0
    with Image.open(tmp_path / "c.png") as shown, Image.open(tmp_path / "py.png") as expected:
        assert shown.mode == expected.mode
        np.testing.assert_array_equal(shown, expected)


def test_a_bad_file_is_a_sentence_of_the_status_and_exit_1(tiny, serve, tmp_path):
    source, file, target = (tmp_path / name for name in ("p.png", "p.tfcd", "q.png"))
    source.write_bytes(as_png(pixels(0)))
    flags = ["--model", tiny[0], "--profile", "serving"]
    assert cli.main(["encode", str(source), "-o", str(file), *flags]) == 0
    sound = file.read_bytes()
    damaged = {
        "CRC-32 does not match": sound[:-1] + bytes([sound[-1] ^ 1]),
        "not a tfcodec file": source.read_bytes(),
    }
    for sentence, data in damaged.items():
        file.write_bytes(data)
        run = serve("decode", f"{tiny[1]}/1", file, target)
        assert run.returncode == 1 and not target.exists()
        assert last_line(run).startswith(f"{file}: ") and sentence in last_line(run)


def test_a_bad_picture_or_quality_is_a_sentence_and_exit_1(tiny, serve, tmp_path):
    source, target = tmp_path / "p.png", tmp_path / "p.tfcd"
    source.write_bytes(as_png(pixels(0, 200, 300)))
    run = serve("encode", f"{tiny[1]}/1", source, target)
    assert run.returncode == 1 and "has 300x200 pixels, at most 16384" in last_line(run)
    source.write_bytes(as_png(pixels(0)))
    run = serve("encode", f"{tiny[1]}/1", source, target, 9)
    assert run.returncode == 1 and "quality is from 1 to 8" in last_line(run)
    assert not target.exists()


def test_what_is_no_model_or_no_command_is_said(tiny, built, serve, tmp_path):
    source, target = tmp_path / "p.png", tmp_path / "p.tfcd"
    run = serve("encode", f"{tiny[1]}/1", source, target)
    assert run.returncode == 1 and last_line(run) == f"{source}: No such file or directory"
    source.write_bytes(as_png(pixels(0)))
    run = serve("encode", tmp_path / "nowhere", source, target)
    assert run.returncode == 1 and "Could not find SavedModel" in last_line(run)
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    run = serve("encode", tmp_path / "other", source, target)
    assert run.returncode == 1
    assert last_line(run) == "the model has no 'encode_one'; did `tfcodec export` write it?"
    for wrong in (["decode", "a", "b"], ["encode", "a", "b", "c", "best"], ["code", "a", "b", "c"]):
        run = serve(*wrong)
        assert run.returncode == 2 and "usage: " in run.stderr


@pytest.mark.slow
@pytest.mark.skipif(not installed.models(), reason="no model is bundled")
def test_the_page_holds_with_the_bundled_model(built, tmp_path, monkeypatch):
    """Its commands as they stand: export, build, encode, decode."""
    monkeypatch.setenv(runtimes.RUNTIME_VARIABLE, runtimes.TENSORFLOW)
    exports, _, uses = commands_of_the_page()
    run = shell("\n".join([exports, uses]), built)
    assert run.returncode == 0, run.stderr
    encode = ["encode", str(ROOT / "examples" / "kodim23.png"), "-o", str(tmp_path / "k.tfcd")]
    assert cli.main([*encode, "--profile", "serving"]) == 0
    assert (built / "k.tfcd").read_bytes() == (tmp_path / "k.tfcd").read_bytes()
    assert cli.main(["decode", str(tmp_path / "k.tfcd"), "-o", str(tmp_path / "k.png")]) == 0
    with Image.open(built / "k.png") as shown, Image.open(tmp_path / "k.png") as expected:
        np.testing.assert_array_equal(shown, expected)
