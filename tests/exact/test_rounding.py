"""Laws of weights that make up for each other's rounding."""

import keras
import numpy as np
import pytest

from tfcodec.exact import freezing, rounding, specification
from tfcodec.layers.conv import DownConv2D, SubpixelConv2D, UpConv2D

LAYERS = {
    "conv3": lambda: keras.layers.Conv2D(6, 3, padding="same"),
    "conv5 even": lambda: keras.layers.Conv2D(6, (4, 5), padding="same"),
    "strided": lambda: DownConv2D(6, 5),
    "strided 3": lambda: DownConv2D(6, 3, strides=3),
    "transposed": lambda: UpConv2D(6, 5),
    "sub-pixel": lambda: SubpixelConv2D(6, 3),
}


@pytest.mark.parametrize("name", LAYERS)
def test_patches_times_the_kernels_matrix_are_the_convolution(name):
    layer = LAYERS[name]()
    layer.build((None, None, None, 4))
    x = np.float32(np.random.RandomState(1).normal(size=(2, 9, 12, 4)))
    kernel, bias, fields = freezing.convolution(layer)
    rows = rounding.patches(x, *(fields[k] for k in ("kernel_size", "pads", "strides")))
    y = rows @ kernel.reshape(rows.shape[1], -1) + bias
    shape = keras.ops.shape(layer(x))
    factor = fields["factor"]
    y = y.reshape(2, shape[1] // factor, shape[2] // factor, -1)
    if factor > 1:
        y = keras.ops.convert_to_numpy(keras.ops.depth_to_space(y, factor))
    np.testing.assert_allclose(y, keras.ops.convert_to_numpy(layer(x)), atol=2e-5)


@pytest.mark.parametrize("profile", specification.PROFILES.values(), ids=lambda p: p.name)
def test_a_frozen_convolution_is_nearer_on_what_it_was_calibrated_with(profile):
    """By half of its error at least, where inputs are correlated and two blocks unlike."""
    rng = np.random.RandomState(2)
    kernel, bias = rng.normal(size=(1, 1, 60, 8)), rng.normal(size=8)
    x = rng.normal(size=(3000, 60)) @ (rng.normal(size=(60, 60)) * np.geomspace(1, 20, 60)) + 5
    x[:, 40:] *= 30
    reach = np.abs(x).max(0)
    in_scale = np.exp2(np.ceil(np.log2(reach / profile.input_max)))
    most = np.full(8, 2**22)
    output = specification.Meaning(np.full(8, 1e-3 * reach.max()), np.zeros(8), -most, most)
    fields = dict(name="c", transposed=0, kernel_size=(1, 1), pads=((0, 0), (0, 0)))
    fields |= dict(strides=(1, 1), factor=1, blocks=(40, 20), slope=(1, 0))
    covariance = np.cov(x.T, bias=True)

    def error(known):
        source = specification.Source(in_scale, x.mean(0), known)
        conv = specification.quantise(kernel, bias, source, output, profile, **fields)
        found, offset = specification.dequantise(conv)
        return np.square(x @ (found - kernel)[0, 0] + offset - bias).mean()

    assert error(covariance) < 0.5 * error(None)


def test_moments_are_those_of_all_rows():
    rng = np.random.RandomState(3)
    rows, moments = np.float32(rng.normal(size=(50, 6)) + 2), rounding.Moments()
    moments.add(rows[:20])
    moments.add(rows[20:])
    np.testing.assert_allclose(moments.second(), np.float64(rows.T @ rows) / 50, rtol=1e-5)
    np.testing.assert_allclose(moments.covariance(), np.cov(rows.T, bias=True), atol=1e-5)


def test_inputs_that_are_always_zero_leave_the_nearest_integers():
    matrix = np.random.RandomState(4).normal(size=(70, 5))
    found = rounding.Compensation(np.zeros([70, 70])).round(matrix, 0.01, 127)
    np.testing.assert_array_equal(found, np.clip(np.rint(matrix / 0.01), -127, 127))
