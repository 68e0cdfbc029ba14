import numpy as np
import pytest
from harness import check_layer, gradients

from tfcodec.layers.residual import ResidualBlock, ResidualBlockDown, ResidualBlockUp

SHAPE = (2, 6, 5, 3)


@pytest.mark.parametrize(
    "layer,shape",
    [
        (ResidualBlock(3), (2, 6, 5, 3)),
        (ResidualBlock(4, slope=0.125), (2, 6, 5, 4)),
        (ResidualBlockDown(4), (2, 3, 3, 4)),
        (ResidualBlockDown(4, strides=1), (2, 6, 5, 4)),
        (ResidualBlockUp(4), (2, 12, 10, 4)),
        (ResidualBlockUp(4, factor=1), (2, 6, 5, 4)),
    ],
)
def test_residual_blocks_owe_what_every_layer_owes(layer, shape):
    assert check_layer(layer, SHAPE).shape == shape


@pytest.mark.parametrize("height,width,channels", [(8, 12, 4), (8, 16, 4), (64, 64, 3)])
def test_even_sides_do_not_corrupt_memory(height, width, channels):
    # TensorFlow's filter gradient of a strided 1x1 convolution did, for these shapes.
    layer = ResidualBlockDown(6)
    x = np.ones([1, height, width, channels], np.float32)
    layer(x)
    for _ in range(20):
        gradients(lambda: layer(x), layer.trainable_weights)


def test_a_block_whose_branch_is_silent_passes_its_input_on():
    layer = ResidualBlock(3)
    layer.build(SHAPE)
    layer.conv2.kernel.assign(np.zeros(layer.conv2.kernel.shape))
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    np.testing.assert_array_equal(layer(x), x)


def test_only_a_change_of_width_costs_a_skip_convolution():
    same, wider = ResidualBlock(3), ResidualBlock(4)
    for layer in (same, wider):
        layer.build(SHAPE)
    assert same.count_params() == 2 * (9 * 3 * 3 + 3)
    assert wider.count_params() == (9 * 3 * 4 + 4) + (9 * 4 * 4 + 4) + (3 * 4 + 4)
