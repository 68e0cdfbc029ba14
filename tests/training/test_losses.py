from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfcodec import metrics
from tfcodec.training import losses

X = np.random.default_rng(0).integers(0, 256, [3, 8, 8, 3], dtype=np.uint8)


class Off:
    """A codec whose picture is off by `error` 8-bit levels and costs `bits` an example."""

    def __init__(self, lambdas, error, bits, auxiliary=0.0):
        self.lambdas, self.error, self.bits, self.auxiliary = lambdas, error, bits, auxiliary

    def forward(self, x, rung, keys):
        error = tf.reshape(tf.constant(self.error), [-1, 1, 1, 1]) / 255
        bits = {part: tf.constant(bits) for part, bits in self.bits.items()}
        return x + error, SimpleNamespace(bits=bits, decoded=[5.0])

    def auxiliary_loss(self):
        return self.auxiliary

    def latent_loss(self, decoded, progress):
        return decoded[0] * (1.0 - progress)


def test_at_one_rate_the_loss_is_the_lagrangian_of_the_field():
    model = Off((0.01,), [2.0, 2.0, 2.0], {"z": [64.0] * 3, "y": [128.0] * 3}, auxiliary=7.0)
    objective, metrics = losses.rate_distortion(model, X, np.zeros([3], np.float32))
    assert float(metrics["loss"]) == pytest.approx(3.0 + 0.01 * 4, rel=1e-5)  # bpp + lambda mse
    assert float(objective) == pytest.approx(float(metrics["loss"]) + 7)
    assert float(metrics["bpp_z"]) == pytest.approx(1) and float(metrics["bpp_y"]) == pytest.approx(
        2
    )
    assert float(metrics["psnr"]) == pytest.approx(20 * np.log10(255 / 2), rel=1e-5)


def test_terms_of_the_latents_follow_the_progress_of_the_training():
    model = Off((0.01,), [2.0, 2.0, 2.0], {"y": [64.0] * 3})
    rung = np.zeros([3], np.float32)
    start, end = (float(losses.rate_distortion(model, X, rung, progress=p)[0]) for p in (0.25, 1.0))
    assert start - end == pytest.approx(0.75 * 5)


def test_on_a_ladder_each_example_is_weighed_by_the_root_of_its_lambda():
    lambdas, error, bits = (0.001, 0.004, 0.016), [4.0, 2.0, 1.0], [64.0, 128.0, 256.0]
    model = Off(lambdas, error, {"y": bits})
    rung = np.float32([0, 1, 2])
    _, metrics = losses.rate_distortion(model, X, rung)
    weights = np.array(lambdas) ** -0.5
    each = np.array(bits) / 64 + np.array(lambdas) * np.square(error)
    expected = np.mean(weights / weights.mean() * each)
    assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-5)


def test_lambda_is_geometric_between_two_rungs():
    found = losses.ladder_lambda((0.001, 0.004, 0.016), tf.constant([0.0, 0.5, 2.0]))
    np.testing.assert_allclose(found, [0.001, 0.002, 0.016], rtol=1e-5)


def test_rate_weights_move_the_loss_and_never_the_reported_rate():
    model = Off((0.01,), [2.0] * 3, {"low": [64.0] * 3, "high": [128.0] * 3})
    rung = np.zeros([3], np.float32)
    _, metrics = losses.rate_distortion(model, X, rung, rate_weights={"high": 0.5})
    assert float(metrics["loss"]) == pytest.approx(1 + 0.5 * 2 + 0.01 * 4, rel=1e-5)
    assert float(metrics["bpp"]) == pytest.approx(3)
    assert float(metrics["bpp_high"]) == pytest.approx(2)


def _pairs(seed, size=(192, 176)):
    """Four pairs of smooth pictures, from alike to unlike, float32 in [0, 1]."""
    rng = np.random.default_rng(seed)
    a = tf.image.resize(rng.random([4, 12, 12, 3]), size, "bicubic").numpy().clip(0, 1)
    noise = rng.normal(size=a.shape) * np.reshape([0.003, 0.03, 0.1, 0.3], [4, 1, 1, 1])
    return np.float32(a), np.float32((a + noise).clip(0, 1))


def test_ms_ssim_is_that_of_tensorflow_and_of_the_evaluation():
    a, b = _pairs(0)
    found = np.array(losses.ms_ssim(a, b))
    np.testing.assert_allclose(found, tf.image.ssim_multiscale(a, b, 1.0), atol=3e-4)
    levels = [np.uint8(np.rint(v * 255)) for v in (a, b)]
    exact = [metrics.ms_ssim(*pair) for pair in zip(*levels, strict=True)]
    rounded = losses.ms_ssim(*(np.float32(v) / 255 for v in levels))
    np.testing.assert_allclose(rounded, exact, atol=2e-5)
    assert found[0] > 0.99 and found[3] < 0.8 and np.all(np.diff(found) < 0)
    np.testing.assert_allclose(losses.ms_ssim(a, a), 1.0, atol=1e-6)


def test_ms_ssim_of_contrary_pictures_has_a_finite_gradient():
    a, _ = _pairs(1)
    contrary = tf.Variable(1.0 - a)
    with tf.GradientTape() as tape:
        similarity = losses.ms_ssim(contrary, a)
    assert np.all(np.isfinite(similarity)) and np.all(np.array(similarity) < 0.05)
    assert np.all(np.isfinite(tape.gradient(similarity, contrary)))


def test_the_gradient_of_ms_ssim_leads_to_likeness():
    a, b = _pairs(2)
    b = tf.Variable(b)
    with tf.GradientTape() as tape:
        start = losses.ms_ssim(a, b)
    gradient = tape.gradient(start, b)
    step = 1e-3 * gradient / tf.reduce_max(tf.abs(gradient), axis=(1, 2, 3), keepdims=True)
    assert np.all(np.array(losses.ms_ssim(a, b + step)) > np.array(start))


def test_at_the_distortion_ms_ssim_the_loss_is_its_lagrangian():
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, [2, 161, 170, 3], dtype=np.uint8)
    bits = {"y": [float(161 * 170)] * 2}
    _, measured = losses.rate_distortion(
        Off((12.0,), [20.0, 40.0], bits), x, np.zeros([2], np.float32), distortion="ms_ssim"
    )
    shifted = np.float32(x) / 255 + np.reshape([20.0, 40.0], [2, 1, 1, 1]) / 255
    similarity = np.mean(losses.ms_ssim(np.float32(shifted), np.float32(x) / 255))
    assert float(measured["ms_ssim"]) == pytest.approx(similarity, rel=1e-4)
    assert float(measured["loss"]) == pytest.approx(1 + 12 * (1 - similarity), rel=1e-4)
    assert (
        "ms_ssim"
        not in losses.rate_distortion(Off((0.1,), [1.0, 1.0], bits), x, np.zeros([2], np.float32))[
            1
        ]
    )
