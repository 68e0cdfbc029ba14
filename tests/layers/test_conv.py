import numpy as np
import pytest
from harness import check_layer

from tfcodec.layers.conv import DownConv2D, SubpixelConv2D, UpConv2D

KERNELS = [1, 3, 5]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("height,width", [(8, 6), (7, 5)])
def test_convolutions_owe_what_every_layer_owes(kernel, height, width):
    shape = (2, height, width, 3)
    assert check_layer(DownConv2D(4, kernel), shape).shape == (
        2,
        -(-height // 2),
        -(-width // 2),
        4,
    )
    assert check_layer(UpConv2D(4, kernel), shape).shape == (2, 2 * height, 2 * width, 4)
    assert check_layer(SubpixelConv2D(4, kernel), shape).shape == (2, 2 * height, 2 * width, 4)


@pytest.mark.parametrize("height", [6, 7])
def test_down_with_an_even_kernel_tells_its_size(height):
    check_layer(DownConv2D(4, 2, use_bias=False), (1, height, 6, 3))


def test_subpixel_by_one_is_a_plain_convolution():
    assert check_layer(SubpixelConv2D(4, 3, factor=1), (1, 5, 6, 3)).shape == (1, 5, 6, 4)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("side", [8, 9])
def test_down_is_centred_on_the_input_sample_at_twice_the_place(kernel, side):
    layer = DownConv2D(1, kernel, use_bias=False)
    layer.build((None, None, None, 1))
    impulse = np.zeros([kernel, kernel, 1, 1], np.float32)
    impulse[kernel // 2, kernel // 2] = 1
    layer.kernel.assign(impulse)
    x = np.random.default_rng(0).standard_normal([1, side, side, 1]).astype(np.float32)
    np.testing.assert_array_equal(layer(x), x[:, ::2, ::2])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("side", [8, 9])
def test_down_pads_like_pytorch_on_both_sides_alike(kernel, side):
    rng = np.random.default_rng(1)
    x = rng.standard_normal([1, side, side, 2]).astype(np.float32)
    layer = DownConv2D(3, kernel)
    layer.build(x.shape)
    layer.bias.assign(rng.standard_normal(3))
    pad = kernel // 2
    padded = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))
    weights = layer.kernel.numpy()
    expected = np.einsum("bhwcij,ijco->bhwo", windows[:, ::2, ::2], weights) + layer.bias.numpy()
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("strides", [1, 2])
def test_up_is_the_adjoint_of_down(kernel, strides):
    rng = np.random.default_rng(2)
    x = rng.standard_normal([1, 8, 6, 3]).astype(np.float32)
    y = rng.standard_normal([1, 8 // strides, 6 // strides, 4]).astype(np.float32)
    down = DownConv2D(4, kernel, strides=strides, use_bias=False)
    up = UpConv2D(3, kernel, strides=strides, use_bias=False)
    down.build(x.shape)
    up.build(y.shape)
    up.kernel.assign(down.kernel)
    np.testing.assert_allclose(np.sum(down(x) * y), np.sum(x * up(y)), rtol=1e-3, atol=1e-4)


def test_subpixel_deals_the_channels_out_to_the_pixels_of_a_block():
    layer = SubpixelConv2D(1, 1, use_bias=False)
    layer.build((None, None, None, 4))
    layer.conv.kernel.assign(np.eye(4, dtype=np.float32)[None, None])
    out = np.array(layer(np.float32([[[[1, 2, 3, 4]]]])))
    np.testing.assert_array_equal(out[0, :, :, 0], [[1, 2], [3, 4]])
