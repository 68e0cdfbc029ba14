"""PSNR, MS-SSIM and BD-rate against values that can be worked out by hand."""

import math
import subprocess
import sys

import numpy as np
import pytest

from tfcodec import evaluate, metrics


@pytest.fixture
def noise():
    return np.random.default_rng(2).integers(20, 230, (176, 170, 3), np.uint8)


def test_psnr_of_a_known_error(noise):
    # One level of error everywhere: 20 log10(255).
    assert metrics.psnr(noise, noise + 1) == pytest.approx(20 * math.log10(255), abs=1e-9)
    assert metrics.psnr(noise + 1, noise) == metrics.psnr(noise, noise + 1)


def test_psnr_of_equal_pictures_is_infinite(noise):
    assert metrics.psnr(noise, noise) == math.inf


def test_psnr_agrees_with_the_definition(noise):
    other = np.random.default_rng(3).integers(0, 256, noise.shape, np.uint8)
    mse = np.mean((noise.astype(float) - other) ** 2)
    assert metrics.psnr(noise, other) == pytest.approx(10 * math.log10(255**2 / mse))


def test_ms_ssim_falls_as_noise_grows(noise):
    rng = np.random.default_rng(4)
    values = [
        metrics.ms_ssim(noise, (noise + rng.integers(-n, n + 1, noise.shape)).astype(np.uint8))
        for n in (0, 5, 20)
    ]
    assert values[0] == pytest.approx(1, abs=1e-6)
    assert 1 > values[1] > values[2] > 0


def test_ms_ssim_exists_from_161_pixels_on(noise):
    assert metrics.ms_ssim(noise[:161, :161], noise[:161, :161]) is not None
    assert metrics.ms_ssim(noise[:160], noise[:160]) is None
    assert metrics.ms_ssim(noise[:, :160], noise[:, :160]) is None


@pytest.mark.parametrize("measure", [metrics.psnr, metrics.ms_ssim])
def test_what_cannot_be_compared_is_refused(noise, measure):
    with pytest.raises(ValueError, match="one shape"):
        measure(noise, noise[:-1])
    with pytest.raises(ValueError, match="uint8"):
        measure(noise, noise.astype(np.float32))


def test_psnr_needs_no_tensorflow():
    code = "import sys, tfcodec.metrics; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


CURVE = [(0.1, 27.0), (0.2, 29.5), (0.45, 32.1), (0.9, 35.2), (1.6, 38.9)]


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.37, 3.0])
def test_bd_rate_of_a_scaled_curve_is_its_factor(factor):
    scaled = [(bpp * factor, psnr) for bpp, psnr in CURVE]
    result = evaluate.bd_rate(CURVE, scaled[::-1])  # the order of points does not matter
    assert result.percent == pytest.approx(100 * (factor - 1), abs=1e-9)
    assert result.overlap == (27.0, 38.9)


def test_bd_rate_is_the_mean_over_the_overlap():
    scaled = [(bpp * 0.7, psnr) for bpp, psnr in CURVE]
    result = evaluate.bd_rate(CURVE[:4], scaled[1:])
    assert result.overlap == (29.5, 35.2)
    # The shape of a curve near its ends depends a little on the points beyond.
    assert result.percent == pytest.approx(-30, abs=1)


@pytest.mark.parametrize(
    "points, words",
    [
        (CURVE[:1], "two points"),
        ([(0.1, 30.0), (0.2, 29.0)], "must rise"),
        ([(0.1, 50.0), (0.2, 51.0)], "do not overlap: 27.00 - 38.90 dB and 50.00 - 51.00 dB"),
    ],
)
def test_bd_rate_refuses_what_is_no_curve(points, words):
    with pytest.raises(ValueError, match=words):
        evaluate.bd_rate(CURVE, points)


def test_mean_curve_averages_over_pictures():
    curves = [[(0.1, 30), (0.2, 32)], [(0.3, 34), (0.6, 36)]]
    assert evaluate.mean_curve(curves) == [
        (pytest.approx(0.2), pytest.approx(32)),
        (pytest.approx(0.4), pytest.approx(34)),
    ]
