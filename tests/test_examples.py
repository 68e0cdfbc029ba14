import importlib.util
import pathlib

import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def _example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("wavelet", ["haar", "9/7"])
def test_weconv_drops_into_mbt2018_mean(wavelet, capsys):
    _example("weconv_mbt2018_mean").main(["--wavelet", wavelet])
    plain, ours = capsys.readouterr().out.splitlines()
    assert plain.startswith("mbt2018_mean") and "4,307,404 parameters" in plain
    assert ours.startswith("mbt2018_weconv")


def test_weconv_drops_into_a_denoiser_that_learns(capsys):
    example = _example("weconv_denoiser")
    example.main(["--steps", "60"])
    plain, ours = capsys.readouterr().out.splitlines()
    noisy = 20.17  # dB: noise of 25 / 255 alone
    for line, name in ((plain, "Conv2D"), (ours, "WeConv")):
        assert line.startswith(name)
        assert float(line.split()[-3]) > noisy + 1
