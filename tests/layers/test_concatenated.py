import keras
import numpy as np
import pytest
from harness import check_layer, gradients

from tfcodec.layers.concatenated import (
    ConcatenatedResidualBlock,
    ResidualUnit,
    SimplifiedAttention,
)
from tfcodec.layers.masked import MaskedConv2D

SHAPE = (2, 6, 8, 4)


@pytest.mark.parametrize(
    "layer_type", [ConcatenatedResidualBlock, ResidualUnit, SimplifiedAttention]
)
def test_sizes_and_gradients(layer_type):
    keras.utils.set_random_seed(0)  # two channels behind a ReLU: some starts leave both dead
    assert check_layer(layer_type(), SHAPE).shape == SHAPE


@pytest.mark.parametrize(
    "layer_type,gain", [(ConcatenatedResidualBlock, 2.0), (ResidualUnit, 1.0),
                        (SimplifiedAttention, 1.5)]
)  # fmt: skip
def test_with_its_convolutions_zeroed_the_input_passes_with_a_known_gain(layer_type, gain):
    # Attention then gates the input, which its trunk passes on, by sigmoid(0).
    layer, x = layer_type(), np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    layer(x)
    for weight in layer.weights:
        weight.assign(np.zeros(weight.shape))
    np.testing.assert_allclose(layer(x), gain * x, rtol=1e-6)


def test_activations_come_before_the_sums():
    layer, x = ConcatenatedResidualBlock(slope=0.0), np.zeros([1, 5, 5, 3], np.float32)
    layer(x)
    layer.convs[1].bias.assign([-1.0, -1.0, -1.0])  # the leaky ReLU of slope 0 removes it
    layer.convs[3].bias.assign([0.5, 0.5, 0.5])
    np.testing.assert_allclose(layer(x), 0.5 * np.ones_like(x))


def test_a_masked_convolution_has_sizes_and_gradients():
    layer = MaskedConv2D(5)
    assert check_layer(layer, SHAPE).shape == (2, 6, 8, 5)
    kernel, _ = gradients(lambda: layer(np.ones(SHAPE, np.float32)), layer.trainable_weights)
    seen = np.any(kernel, axis=(2, 3)).ravel()
    np.testing.assert_array_equal(seen, np.arange(25) < 12)


@pytest.mark.parametrize("position", [(h, w) for h in range(4) for w in range(5)])
def test_a_position_changes_only_what_follows_it(position):
    layer, x = MaskedConv2D(3), np.random.default_rng(0).random([1, 4, 5, 2], dtype=np.float32)
    before = np.array(layer(x))
    for channel in range(2):
        other = x.copy()
        other[0, *position, channel] += 1
        changed = np.any(before != np.array(layer(other)), axis=-1)[0].ravel()
        place = position[0] * 5 + position[1]
        assert not changed[: place + 1].any()
        assert changed.any() == (place + 1 < 20)


def test_windows_give_single_positions():
    layer, x = MaskedConv2D(6), np.random.default_rng(0).random([1, 4, 5, 3], dtype=np.float32)
    whole = np.array(layer(x))[0]
    padded = np.pad(x[0], [(2, 2), (2, 2), (0, 0)])
    windows = [padded[h : h + 5, w : w + 5].reshape(25, 3)[:12] for h in range(4) for w in range(5)]
    np.testing.assert_allclose(layer.at(np.stack(windows)), whole.reshape(20, 6), atol=1e-5)
