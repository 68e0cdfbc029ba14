import keras
import numpy as np
import pytest
from harness import check_layer, gradients

from tfcodec.layers.residual import ResidualBlockDown
from tfcodec.layers.wavelet import dwt2, idwt2
from tfcodec.layers.weconv import WeConv, WeConv3D, WeConvBlock, WeConvDown, WeConvUp


def _noise(shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "layer,shape",
    [
        (WeConv(6, norm="igdn"), (2, 6, 8, 4)),
        (WeConv(4, wavelet="9/7", high_kernel=1, order=1), (1, 5, 7, 4)),
        (WeConv3D(6, wavelet="5/3", levels=2), (2, 8, 12, 4)),
        (WeConv3D(4, levels=1, norm="none", high_kernel=3), (1, 5, 7, 2)),
        (WeConvDown(6, wavelet="9/7"), (1, 8, 12, 4)),
        (WeConvDown(6, wavelet="5/3", levels=2), (1, 8, 16, 4)),
        (WeConvUp(6), (1, 4, 6, 4)),
        (WeConvUp(6, wavelet="9/7", levels=1), (1, 4, 6, 4)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_layer_keeps_what_every_layer_owes(layer, shape):
    check_layer(layer, shape)


@pytest.mark.parametrize("height,width", [(1, 1), (7, 10), (13, 5)])
@pytest.mark.parametrize(
    "make", [lambda: WeConv(4, norm="none"), lambda: WeConv3D(4, levels=3, norm="none")]
)
def test_any_size_is_kept(make, height, width):
    assert make()(_noise([2, height, width, 4])).shape == (2, height, width, 4)


@pytest.mark.parametrize("wavelet", ["haar", "5/3", "9/7"])
def test_with_kernels_that_pass_everything_through_it_is_the_identity(wavelet):
    flat, deep = WeConv(4, wavelet, norm="none"), WeConv3D(4, wavelet, levels=2, norm="none")
    x = _noise([1, 9, 13, 4])
    for layer in (flat, deep):
        layer.build(x.shape)
        for conv in (layer.low, layer.high) if layer is flat else layer.convs:
            kernel = np.zeros(conv.kernel.shape, np.float32)
            kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] = np.eye(kernel.shape[-1])
            conv.kernel.assign(kernel)
        np.testing.assert_allclose(layer(x), x, atol=2e-6)


def test_bands_have_kernels_of_their_own():
    layer = WeConv(3, norm="none")
    x = _noise([1, 8, 8, 3])
    layer(x)
    layer.high.kernel.assign(np.zeros(layer.high.kernel.shape))
    ll, *high = dwt2(keras.ops.convert_to_tensor(x), "haar")
    expected = idwt2((layer.low(ll), *(keras.ops.zeros_like(band) for band in high)), "haar")
    np.testing.assert_allclose(layer(x), expected, atol=1e-6)


def test_the_blocks_have_the_papers_parameters():
    shape = (1, 8, 8, 128)
    counts = {}
    for layer in (
        ResidualBlockDown(128),
        WeConvDown(128),
        WeConvUp(128),
        WeConv3D(128, norm="none", levels=2),
    ):
        layer.build(shape)
        counts[type(layer).__name__] = layer.count_params()
    assert counts["ResidualBlockDown"] == 328_192
    core = 9 * 128 * 128 + 128 + 9 * 384 * 384 + 384 + 128 * 129 + 384 * 385
    assert counts["WeConvDown"] == core + (9 * 128 * 128 + 128) + (128 * 128 + 128) == 1_803_520
    assert counts["WeConvUp"] == core + 2 * (9 * 128 * 512 + 512)
    # 3DM: two halves of a 3x3 and six 1x1 on 64 channels.
    assert counts["WeConv3D"] == 2 * (9 * 64 * 64 + 64 + 6 * (64 * 64 + 64))


def test_it_survives_saving_inside_a_keras_model(tmp_path):
    x = _noise([1, 8, 8, 4])
    model = keras.Sequential(
        [keras.layers.Input((None, None, 4)), WeConv(4), WeConv3D(4, levels=1)]
    )
    expected = model(x)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), expected)


@pytest.mark.parametrize(
    "make,message",
    [
        (
            lambda: WeConv(4, norm="batch"),
            "`norm` must be one of gdn, igdn, none. Received: 'batch'",
        ),
        (lambda: WeConv3D(5), "`filters` must be even. Received: filters=5"),
        (
            lambda: WeConv3D(4)(np.zeros([1, 4, 4, 3], np.float32)),
            "channels must be even. Received: shape (1, 4, 4, 3)",
        ),
    ],
)
def test_what_cannot_be_built_is_said(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)


@pytest.mark.parametrize("wavelet,levels", [("haar", None), ("9/7", 2), ("5/3", 1)])
def test_a_block_starts_as_the_identity_and_every_weight_learns(wavelet, levels):
    block = WeConvBlock(6, wavelet, levels)
    x = _noise((2, 8, 12, 6))
    np.testing.assert_allclose(block(x), x, atol=1e-5)
    config = block.get_config()
    assert WeConvBlock.from_config(config).get_config() == config
    for k, weight in enumerate(block.trainable_weights):
        weight.assign_add(np.random.default_rng(k).normal(0, 0.3, weight.shape))
    found = gradients(lambda: keras.ops.sum(block(x) * _noise(x.shape)), block.trainable_weights)
    for weight, gradient in zip(block.trainable_weights, found, strict=True):
        assert np.all(np.isfinite(gradient)) and np.any(gradient), weight.path


def test_bands_of_a_block_have_networks_of_their_own():
    """What changes the networks of the high bands alone changes nothing of a constant picture."""
    block = WeConvBlock(4)
    x = np.ones([1, 4, 6, 4], np.float32)
    block(x)
    high = block.units[1]
    high.b.kernel.assign(np.ones(high.b.kernel.shape))
    np.testing.assert_allclose(block(x), x, atol=1e-6)
    assert np.abs(block(_noise(x.shape)) - _noise(x.shape)).max() > 0.1
