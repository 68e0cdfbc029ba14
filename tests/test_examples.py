"""The examples do what they say: bits add up, and WeConv drops in."""

import importlib.util
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tiny_exports
from PIL import Image

from tfcodec import codec, pictures
from tfcodec.coding import container

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def _example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    return _example("where_bits_go")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return codec.Codec(tiny_exports.tiny_export(str(tmp_path_factory.mktemp("m") / "tiny")))


def picture(height=128, width=192):
    rng = np.random.default_rng(3)
    rgb = np.full([height, width, 3], 120, np.uint8)
    rgb[:, : width // 3] = rng.integers(0, 256, [height, width // 3, 3])
    return rgb


def test_the_map_holds_the_bits_of_the_file(script, tiny):
    rgb = picture()
    encoded = tiny.encode(pictures.from_array(rgb), 6)
    parts = script.measure(tiny, rgb, encoded.rung)
    heat = script.bit_map(parts, [p.stride for p in tiny.exported.parts], *rgb.shape[:2])
    total = sum(part["bits"].sum() for part in parts)
    assert heat.shape == rgb.shape[:2] and heat.sum() == pytest.approx(total)
    packed = container.unpack(encoded.data)
    assert not packed.escapes
    assert total / 8 == pytest.approx(len(packed.streams[0]), abs=8)


def test_the_script_writes_a_figure(tmp_path, tiny):
    Image.fromarray(picture()).save(tmp_path / "p.png")
    argv = [sys.executable, EXAMPLES / "where_bits_go.py", tmp_path / "p.png", tmp_path / "f.png"]
    done = subprocess.run(
        [*argv, "--model", tiny.info.path], capture_output=True, text=True, check=True
    )
    assert " bpp" in done.stdout and "z: " in done.stdout and "y: " in done.stdout
    with Image.open(tmp_path / "f.png") as figure:
        assert figure.size[0] > 800


@pytest.mark.parametrize("wavelet", ["haar", "9/7"])
def test_weconv_drops_into_mbt2018_mean(wavelet, capsys):
    _example("weconv_mbt2018_mean").main(["--wavelet", wavelet])
    plain, ours = capsys.readouterr().out.splitlines()
    assert plain.startswith("mbt2018_mean") and "4,307,404 parameters" in plain
    assert ours.startswith("mbt2018_weconv")


@pytest.mark.slow
def test_weconv_drops_into_a_denoiser_that_learns(capsys):
    example = _example("weconv_denoiser")
    example.main(["--steps", "60"])
    plain, ours = capsys.readouterr().out.splitlines()
    noisy = 20.17  # dB: noise of 25 / 255 alone
    for line, name in ((plain, "Conv2D"), (ours, "WeConv")):
        assert line.startswith(name)
        assert float(line.split()[-3]) > noisy + 1
