"""PSNR and MS-SSIM against values worked out by hand and against other implementations."""

import math
import subprocess
import sys

import numpy as np
import pytest

from tfcodec import metrics


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


def pictures(height, width, sigma):
    """A smooth picture with a little noise, and a distorted one."""
    rng = np.random.default_rng(height)
    y, x = np.mgrid[:height, :width] / 64.0
    waves = [np.sin(3 * x + c) * np.cos(2 * y - c) + np.sin(x * y + c) for c in range(3)]
    smooth = np.stack(waves, axis=2)
    a = np.clip(128 + 50 * smooth + rng.normal(0, 4, smooth.shape), 0, 255)
    b = np.clip(0.95 * a + 5 + rng.normal(0, sigma, smooth.shape), 0, 255)
    return a.round().astype(np.uint8), b.round().astype(np.uint8)


@pytest.mark.parametrize("sigma", [0.5, 3, 30])
def test_psnr_agrees_with_scikit_image(sigma):
    skimage = pytest.importorskip("skimage.metrics")
    a, b = pictures(176, 200, sigma)
    expected = skimage.peak_signal_noise_ratio(a, b, data_range=255)
    assert metrics.psnr(a, b) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    "picture, expected",
    [
        ((256, 384, 3), 0.9905747689980785),
        ((256, 384, 12), 0.9001979679424061),
        ((192, 176, 30), 0.6244952878776241),
        ((512, 768, 60), 0.578961521203243),
    ],
)
def test_ms_ssim_agrees_with_pytorch_msssim(picture, expected):
    """Expected: pytorch-msssim 1.0.0, `ms_ssim` of float64 tensors with data_range=255."""
    assert metrics.ms_ssim(*pictures(*picture)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("picture", [(161, 163, 3), (256, 384, 3), (177, 205, 30)])
def test_ms_ssim_agrees_with_tensorflow_as_far_as_its_float32_goes(picture):
    tf = pytest.importorskip("tensorflow")
    a, b = pictures(*picture)
    expected = float(tf.image.ssim_multiscale(a[None], b[None], 255)[0])
    assert metrics.ms_ssim(a, b) == pytest.approx(expected, abs=3e-5)


def test_metrics_need_no_tensorflow():
    code = "import sys, tfcodec.metrics; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
