from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfcodec import losses

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
