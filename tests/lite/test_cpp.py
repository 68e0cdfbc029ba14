"""Decoding in C++, `examples/lite.cc`: neither Python nor TensorFlow, and the same picture."""

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tfcodec import lite
from tfcodec.exports import installed
from tfcodec.lite import export

pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
if not shutil.which("c++"):
    pytest.skip("needs a C++ compiler, `c++`", allow_module_level=True)
pytestmark = pytest.mark.slow  # exports the default

ROOT = pathlib.Path(__file__).parents[2]


def commands_of_the_page():
    """docs/lite.md: (those that build, the one that decodes)."""
    page = (ROOT / "docs" / "lite.md").read_text(encoding="utf-8")
    section = page.split("### From C++\n")[1].split("\n### ")[0]
    lines = [line[4:] for line in section.splitlines() if line.startswith("    ")]
    assert lines[-1].startswith("./lite_decode ")
    return "\n".join(lines[:-1]), lines[-1]


def shell(commands, folder):
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    run = ["sh", "-e", "-c", commands]
    return subprocess.run(
        run, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder in which the page's commands made the program, beside a model and a file."""
    folder = tmp_path_factory.mktemp("cpp")
    (folder / "examples").symlink_to(ROOT / "examples")
    run = shell(commands_of_the_page()[0], folder)
    assert run.returncode == 0 and "warning: " not in run.stderr, run.stderr
    export.export(installed.find("quad-base"), str(folder / "lite" / "quad-base"))
    with Image.open(ROOT / "examples" / "kodim23.png") as photograph:
        odd = np.asarray(photograph)[100:233, 200:447]  # sides that are no multiples of 64
    (folder / "k.tfcd").write_bytes(lite.compress(odd, "quad-base", quality=8))
    return folder


def test_the_program_decodes_to_the_same_picture(built):
    run = shell(commands_of_the_page()[1], built)
    assert run.returncode == 0, run.stderr
    with Image.open(built / "k.ppm") as shown:
        decoded = np.asarray(shown).astype(int)
    expected = lite.decompress((built / "k.tfcd").read_bytes())
    assert np.abs(decoded - expected).max() <= 1


@pytest.mark.parametrize(
    "place, sentence", [(200, "damaged"), (0, "no .tfcd file"), (6, "damaged")]
)
def test_a_damaged_file_is_a_sentence(built, place, sentence):
    data = bytearray((built / "k.tfcd").read_bytes())
    data[place] ^= 1
    (built / "damaged.tfcd").write_bytes(data)
    run = shell("./lite_decode lite/quad-base damaged.tfcd x.ppm", built)
    assert run.returncode == 1 and run.stderr.splitlines()[-1].endswith(sentence)
    assert not (built / "x.ppm").exists()


def test_a_file_of_another_model_is_a_sentence(built):
    (built / "other.tfcd").write_bytes((ROOT / "tests/data/icwem-compact.tfcd").read_bytes())
    run = shell("./lite_decode lite/quad-base other.tfcd x.ppm", built)
    assert run.returncode == 1 and run.stderr.splitlines()[-1].endswith("is of another model")
