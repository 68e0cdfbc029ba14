import keras
import numpy as np
import pytest
from harness import check_layer

from tfcodec.layers.conv import WideConv2D
from tfcodec.layers.depthwise import DepthBlock, DepthwiseConv3x3, ScaledConv2D


@pytest.mark.parametrize("form", ["conv", "shifts"])
def test_a_depthwise_convolution_owes_what_layers_owe(form):
    check_layer(DepthwiseConv3x3(scale=0.5, form=form), (2, 6, 8, 5))


@pytest.mark.parametrize("height,width", [(1, 1), (1, 5), (7, 4)])
def test_the_two_forms_of_a_depthwise_convolution_are_equal(height, width):
    x = np.random.default_rng(0).normal(size=[2, height, width, 6]).astype(np.float32)
    forms = [DepthwiseConv3x3(scale=0.25, form=form) for form in ("conv", "shifts")]
    for layer in forms:
        layer.build(x.shape)
        layer.kernel.assign(np.random.default_rng(1).normal(size=layer.kernel.shape))
        layer.bias.assign(np.arange(6))
    one, other = (np.array(layer(x)) for layer in forms)
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_depthwise_convolution_filters_each_channel_by_itself():
    layer = DepthwiseConv3x3()
    x = np.zeros([1, 5, 5, 3], np.float32)
    x[0, 2, 2, 1] = 1.0
    y = np.array(layer(x))
    np.testing.assert_array_equal(y[0, 1:4, 1:4, 1], layer.kernel.numpy()[::-1, ::-1, 1])
    assert not y[..., [0, 2]].any() and not y[0, [0, 4]].any()


def test_an_unknown_form_is_said():
    with pytest.raises(ValueError, match="`form` must be 'conv' or 'shifts'. Received: form='fft'"):
        DepthwiseConv3x3(form="fft")


def test_scales_of_a_convolution_are_those_of_its_kernel_and_bias():
    x = np.random.default_rng(0).normal(size=[1, 4, 4, 3]).astype(np.float32)
    layer = ScaledConv2D(5, 1, scale=4.0, bias_scale=0.5)
    layer.build(x.shape)
    layer.bias.assign(np.arange(5))
    expected = 4.0 * x @ layer.kernel.numpy()[0, 0] + 0.5 * np.arange(5)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def test_a_block_owes_what_layers_owe_and_starts_as_the_identity():
    block = DepthBlock(6)
    x = np.random.default_rng(0).normal(size=[2, 4, 5, 6]).astype(np.float32)
    np.testing.assert_array_equal(block(x), x)
    for layer in (block.b, block.d):  # from here on every weight has a gradient
        kernel = layer.kernel
        kernel.assign(np.random.default_rng(1).normal(size=kernel.shape))
    config = block.get_config()
    assert DepthBlock.from_config(config).get_config() == config


def test_a_block_computes_its_formula():
    block, rng = DepthBlock(4), np.random.default_rng(2)
    x = rng.normal(size=[1, 5, 6, 4]).astype(np.float32)
    block(x)
    for weight in block.weights:
        weight.assign(rng.normal(0, 0.5, weight.shape))

    def act(v):
        return v / (1.0 + np.exp(-4.0 * v))

    def pointwise(layer, v):
        return v @ layer.kernel.numpy()[0, 0] + layer.bias.numpy()

    hidden = act(pointwise(block.a, x))
    padded = np.pad(hidden, ((0, 0), (1, 1), (1, 1), (0, 0)))
    filtered = block.dw.bias.numpy() + sum(
        padded[:, i : i + 5, j : j + 6] * block.dw.kernel.numpy()[i, j]
        for i in range(3)
        for j in range(3)
    )
    y = x + pointwise(block.b, filtered)
    y = y + pointwise(block.d, act(pointwise(block.c, y)))
    np.testing.assert_allclose(block(x), y, atol=1e-4)


def test_a_wide_convolution_is_the_plain_one_to_the_bit():
    x = np.random.default_rng(0).normal(size=[1, 6, 7, 8]).astype(np.float32)
    wide = WideConv2D(14, 3, padding="same")
    plain = keras.layers.Conv2D(14, 3, padding="same")
    wide.build(x.shape), plain.build(x.shape)
    plain.kernel.assign(wide.kernel)
    np.testing.assert_array_equal(wide(x), plain(x))
