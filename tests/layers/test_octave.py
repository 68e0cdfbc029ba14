import doctest

import keras
import numpy as np
import pytest
from harness import gradients

from tfcodec.layers import octave
from tfcodec.layers.conv import DownConv2D, UpConv2D
from tfcodec.layers.gdn import GDN
from tfcodec.layers.octave import OctaveBlock, OctaveConv2D, OctaveConv2DTranspose

BOTH = pytest.mark.parametrize("layer_type", [OctaveConv2D, OctaveConv2DTranspose])


def _features(side=16, high=6, low=4, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (2, side, side + 8, high), (2, side // 2, side // 2 + 4, low)
    return tuple(np.float32(rng.uniform(-1, 1, shape)) for shape in shapes)


@BOTH
@pytest.mark.parametrize("strides", [1, 2])
def test_without_the_paths_between_it_is_two_separate_convolutions(layer_type, strides):
    layer = layer_type(10, 5, strides, low_ratio=0.4)
    x = _features()
    layer(x)
    for path in (layer.down, layer.up):
        for weight in path.weights:
            weight.assign(np.zeros(weight.shape))
    plain = DownConv2D if layer_type is OctaveConv2D else UpConv2D
    for found, inputs, inner in zip(layer(x), x, (layer.high, layer.low), strict=True):
        alone = plain(inner.filters, 5, strides)
        alone.build(inputs.shape)
        alone.set_weights(inner.get_weights())
        np.testing.assert_allclose(found, alone(inputs), atol=1e-5)


@BOTH
def test_each_resolution_hears_of_the_other(layer_type):
    layer = layer_type(8, 3, activation=GDN())
    high, low = _features()
    before, changed_low = layer((high, low)), layer((high, low + 1))
    changed_high = layer((high + 1, low))
    assert np.abs(before[0] - changed_low[0]).max() > 1e-3
    assert np.abs(before[1] - changed_high[1]).max() > 1e-3


@BOTH
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("low_ratio", [0.0, 0.5, 0.75])
@pytest.mark.parametrize("pair", [True, False])
def test_sizes_are_those_that_the_shape_tells(layer_type, strides, low_ratio, pair):
    layer = layer_type(8, 5, strides, low_ratio, cross_kernel_size=3)
    x = _features() if pair else _features()[0]
    output = layer(x)
    told = layer.compute_output_shape([v.shape for v in x] if pair else x.shape)
    if not low_ratio:
        assert output.shape == told and output.shape[-1] == 8
        return
    assert tuple(v.shape for v in output) == tuple(told)
    assert [v.shape[-1] for v in output] == [8 - 8 * low_ratio, 8 * low_ratio]
    high, low = (tuple(v.shape[1:3]) for v in output)
    assert high == (2 * low[0], 2 * low[1])
    factor = strides if layer_type is OctaveConv2DTranspose else 1 / strides
    assert high == (16 * factor, 24 * factor)


@BOTH
@pytest.mark.parametrize("low_ratio", [0.0, 0.5])
@pytest.mark.parametrize("pair", [True, False])
def test_every_weight_receives_a_gradient(layer_type, low_ratio, pair):
    layer = layer_type(6, 3, 2, low_ratio, activation=GDN())
    x = _features() if pair else _features()[0]
    layer(x)

    def total():
        outputs = layer(x)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return sum(keras.ops.sum(v * v * v) for v in outputs)

    for weight, gradient in zip(
        layer.trainable_weights, gradients(total, layer.trainable_weights), strict=True
    ):
        assert gradient is not None and np.any(gradient), f"{weight.path} receives no gradient"


@BOTH
def test_its_config_makes_the_same_layer(layer_type):
    layer = layer_type(8, 5, 2, cross_kernel_size=3, activation=GDN(order=1), use_bias=False)
    layer(_features())
    clone = layer_type.from_config(layer.get_config())
    clone(_features())
    assert clone.get_config() == layer.get_config()
    assert [w.shape for w in clone.weights] == [w.shape for w in layer.weights]
    assert len({w.path for w in layer.weights}) == 4 + 2 * 4


def test_a_saved_network_of_octave_layers_comes_back(tmp_path):
    picture = keras.Input((None, None, 3))
    inner = OctaveConv2D(8, 3, 2, activation=keras.layers.LeakyReLU(negative_slope=0.2))(picture)
    network = keras.Model(picture, OctaveConv2DTranspose(3, 3, 2, low_ratio=0)(inner))
    network.save(tmp_path / "network.keras")
    clone = keras.saving.load_model(tmp_path / "network.keras")
    x = _features(high=3)[0]
    np.testing.assert_array_equal(clone(x), network(x))


def test_bfloat16_keeps_float32_variables():
    layer = OctaveConv2D(8, 3, activation=GDN(), dtype="mixed_bfloat16")
    high, low = layer(_features())
    assert {keras.backend.standardize_dtype(v.dtype) for v in (high, low)} == {"bfloat16"}
    assert {keras.backend.standardize_dtype(w.dtype) for w in layer.weights} == {"float32"}


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="leave channels at high resolution.*low_ratio=1.0"):
        OctaveConv2D(8, 3, low_ratio=1.0)
    high, low = _features()
    with pytest.raises(ValueError, match=r"half as high and wide.*high=\(2, 16, 24, 6\)"):
        OctaveConv2D(8, 3)((high, high))


def test_the_examples_run():
    names = {**vars(octave), "keras": keras}
    assert doctest.testmod(octave, extraglobs=names).failed == 0


def test_a_block_starts_as_the_identity_and_every_weight_learns():
    block, x = OctaveBlock(10), _features(high=5, low=5)
    for out, band in zip(block(x), x, strict=True):
        np.testing.assert_allclose(out, band, atol=1e-6)
    config = block.get_config()
    assert OctaveBlock.from_config(config).get_config() == config
    for k, weight in enumerate(block.trainable_weights):
        weight.assign_add(np.random.default_rng(k).normal(0, 0.3, weight.shape))
    found = gradients(
        lambda: sum(keras.ops.sum(keras.ops.square(band)) for band in block(x)),
        block.trainable_weights,
    )
    for weight, gradient in zip(block.trainable_weights, found, strict=True):
        assert np.all(np.isfinite(gradient)) and np.any(gradient), weight.path
