"""ICWEM: what stands around the transforms, with and without its parts, from picture to file."""

import dataclasses

import keras
import numpy as np
import pytest
from tiny_exports import TINY_ICWEM, tiny_model

from tfcodec import codec, models, pictures
from tfcodec.coding import container
from tfcodec.exports import write

NONE = {"enhancement": 0, "levels": 0}


def _pixels(seed=0, **changes):
    """(a built `PixelTransform`, pictures): noise on every weight, nothing is an identity."""
    module = models.module("icwem")
    options = dict(enhancement=4, kernel_sizes=(3, 3), couplings=1, squeeze=2, name="pixels")
    pixels = module.PixelTransform(**{**options, **changes})
    rng = np.random.default_rng(seed)
    pixels.build((1, 16, 24, 3))
    for weight in pixels.weights:
        fan_in = max(1, np.prod(weight.shape[:-1]))
        weight.assign_add(0.3 / np.sqrt(fan_in) * rng.standard_normal(weight.shape))
    return pixels, rng.random([1, 16, 24, 3], dtype=np.float32)


@pytest.fixture(scope="module")
def tiny():
    """(model, config) whose invertible network is no rotation, and leaves [0, 1] far behind."""
    model, config = tiny_model("icwem")
    rng = np.random.default_rng(0)
    for weight in model.pixels.trainable_weights:
        fan_in = max(1, np.prod(weight.shape[:-1]))
        weight.assign_add(0.2 / np.sqrt(fan_in) * rng.standard_normal(weight.shape))
    return model, config


@pytest.fixture(scope="module")
def tiny_codec(tiny, tmp_path_factory):
    model, config = tiny
    path = tmp_path_factory.mktemp("models") / "tiny"
    return codec.Codec(write.write(model, path, "icwem", "compact", config, weights="float32"))


@pytest.mark.parametrize("squeeze", [1, 2])
def test_without_enhancement_the_pixels_come_back(squeeze):
    pixels, x = _pixels(enhancement=0, squeeze=squeeze, centre=0.5)
    v = pixels(x)
    assert v.shape == (1, 16 // squeeze**2, 24 // squeeze**2, 3 * squeeze**4)
    np.testing.assert_allclose(pixels.inverse(v), x, atol=1e-5)


def test_the_enhancement_of_the_decoder_comes_last_and_has_weights_of_its_own():
    pixels, x = _pixels()
    v = pixels(x)
    np.testing.assert_allclose(
        pixels.inverse(v), pixels.restore(pixels.network.inverse(v)), atol=1e-6
    )
    assert np.abs(pixels.restore(x) - pixels.enhance(x)).max() > 1e-3


def test_under_bfloat16_grey_levels_pass_the_start_exactly():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        pixels = models.module("icwem").PixelTransform(8, (), 0, squeeze=2)
        x = np.float32(np.arange(192).reshape(1, 8, 8, 3) + 64) / 255
        found = [pixels(x), pixels.inverse(x)]
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert pixels.enhance.dense_in.convs[0].compute_dtype == "bfloat16"
    for y in found:
        np.testing.assert_array_equal(y, x)


def test_training_starts_at_an_orthogonal_transform_of_the_picture():
    model, _ = tiny_model("icwem")
    ramp = np.linspace(0, 1, 64, dtype=np.float32)
    x = np.stack([np.full([64, 64], 0.2, np.float32), *np.meshgrid(ramp, ramp)], -1)[None]
    model.prepare(x)
    v = np.array(model.pixels(x))
    np.testing.assert_allclose(np.square(v).sum(), np.square(x - 0.5).sum(), rtol=1e-5)
    energy = np.square(v).sum((0, 1, 2))
    assert energy[:4].sum() > 0.99 * energy.sum()  # the strongest components come first
    np.testing.assert_allclose(model.pixels.inverse(v), x, atol=1e-5)


def test_decoding_does_not_clamp_what_the_invertible_network_has_yet_to_undo(tiny, tiny_codec):
    """The authors' decoder does: it clamps v_hat to [0, 1] as if it were a picture."""
    model, _ = tiny
    x = np.random.default_rng(1).integers(0, 256, [64, 128, 3], dtype=np.uint8)
    encoded = tiny_codec.encode(pictures.from_array(x), 8)
    decoded = tiny_codec.decode(container.unpack(encoded.data)).rgb
    np.testing.assert_array_equal(decoded, encoded.reconstruction().rgb)

    rung = np.float32([7])
    x_hat = np.array(model(np.float32(x[None]) / 255, rung)[0])
    expected = np.rint(255 * np.clip(x_hat[0], 0, 1))
    assert np.mean(np.abs(decoded - expected) <= 1) > 0.99

    y_hat, _ = model.rate(model.analysis(np.float32(x[None]) / 255, rung))
    v_hat = model.synthesis_transform(model.gains.undo(y_hat, rung))
    clamped = np.array(model.pixels.inverse(np.clip(v_hat, 0, 1)))
    clamped = np.rint(255 * np.clip(clamped[0], 0, 1))
    assert np.mean(np.abs(decoded - clamped) > 8) > 0.1  # here the bug would be seen


@pytest.mark.parametrize("size", [(1, 1), (97, 131)])
def test_pictures_come_back_from_their_files(size, tiny_codec):
    rgb = np.random.default_rng(2).integers(0, 256, [*size, 3], dtype=np.uint8)
    encoded = tiny_codec.encode(pictures.from_array(rgb), 4)
    decoded = tiny_codec.decode(container.unpack(encoded.data)).rgb
    np.testing.assert_array_equal(decoded, encoded.reconstruction().rgb)
    assert decoded.shape == rgb.shape


@pytest.mark.parametrize("enhancement", [0, 4])
def test_the_enhancement_can_be_left_out_and_the_latents_stay(enhancement):
    config = models.config("icwem", "compact", **{**TINY_ICWEM, "enhancement": enhancement})
    model = models.module("icwem").build(config).build_weights()
    x = np.random.default_rng(0).random([2, 64, 64, 3], dtype=np.float32)
    model.prepare(x)
    for part in (model.pixels.enhance, model.pixels.restore):
        assert (part is not None) == bool(enhancement)
    assert [part.stride for part in model.parts] == [64, 16, 16, 16, 16]
    x_hat, _ = model(x, np.float32([0, 7]))
    assert x_hat.shape == x.shape and np.all(np.isfinite(x_hat))


def test_without_its_parts_it_is_lic_tcm():
    narrow = dict(filters=8, latents=8, slices=2, hyper_latents=6)
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).random([1, 128, 128, 3], dtype=np.float32)
    tcm = models.build("tcm", "n64", **narrow)
    x_hat, _ = tcm(x)
    ours = models.build("icwem", "n64", **narrow, **NONE).build_weights()
    for mine, theirs in zip(ours.variables, tcm.variables, strict=True):
        assert mine.path == theirs.path.replace("tcm/", "icwem/")
        mine.assign(theirs.numpy())
    np.testing.assert_array_equal(ours(x)[0], x_hat)


def test_the_papers_network_starts_as_a_rotation_of_colours():
    model = models.build("icwem", "n64", filters=8, latents=8, slices=2).build_weights()
    x = np.random.default_rng(0).random([1, 128, 128, 3], dtype=np.float32)
    model.prepare(x)  # gives the kernels of the transforms another scale
    np.testing.assert_array_equal(model.pixels.enhance(x), x)
    v = model.pixels(x)
    np.testing.assert_allclose(np.square(v).sum(-1), np.square(x).sum(-1), rtol=1e-5)


def test_its_presets_say_what_they_are():
    module = models.module("icwem")
    papers = [module.PRESETS[name] for name in ("n64", "n96", "n128")]
    assert [config.filters for config in papers] == [64, 96, 128]
    assert {dataclasses.replace(config, filters=0) for config in papers} == {
        module.Config(filters=0, enhancement=64, levels=4, lambdas=(0.013,))
    }
    assert module.PRESETS["compact"].lambdas == models.config("tcm", "compact").lambdas
