import dataclasses

import keras
import numpy as np
import pytest
from harness import gradients
from tiny_exports import BLOCKS

from tfcodec import codec, models, pictures
from tfcodec.coding import container
from tfcodec.entropy.walk import walk
from tfcodec.exports import write
from tfcodec.training import losses

TINY = {"filters": 8, "hyper_filters": 12, "estimators": (10, 10)}
TRANSFORMS = {**BLOCKS, "latents": 16}
VARIANTS = {
    "compact": {},
    "gllmm": {"likelihood": "gllmm"},
    "one_layer": {"hyper_layers": 1},
    "alone": {"cross_resolution": False},
    "paper": {},
}
ORDER = ("z2_high", "z2_low", "z_low", "z_high", "y_low", "y_high")


def _model(variant=None, **changes):
    keras.utils.set_random_seed(1)
    paper = variant == "paper"
    changes = {**TINY, **VARIANTS.get(variant, {}), **changes}
    changes |= {"lambdas": (0.01, 0.02)} if paper else TRANSFORMS
    preset = "n256" if paper else "compact"
    config = models.config("octave", preset, **changes)
    return models.module("octave").build(config, name="octave").build_weights(), config


def _pictures(count=1, height=128, width=256):
    return np.random.default_rng(0).random([count, height, width, 3], dtype=np.float32)


class Replay:
    """Visitor that hands out given symbols and keeps the numbers of each step's prior."""

    def __init__(self, symbols):
        self.symbols, self.num_steps, self.numbers = symbols, len(symbols), []

    def __call__(self, k, prior):
        if hasattr(prior, "log_scale"):
            self.numbers.append(np.concatenate([prior.mu, prior.log_scale], axis=-1))
        else:
            self.numbers.append(np.array(prior.raw) if hasattr(prior, "raw") else None)
        return self.symbols[k]


def _numbers(model, symbols):
    visitor = Replay(symbols)
    walk(model, visitor)
    return visitor.numbers


@pytest.mark.parametrize("variant", VARIANTS)
def test_latents_have_the_shapes_that_the_parts_promise(variant):
    model, config = _model(variant)
    x = _pictures()
    latents = model.analysis(x, np.zeros([1], np.float32))
    expected = ORDER if config.hyper_layers == 2 else ("z_high", "z_low", "y_low", "y_high")
    assert tuple(part.name for part in model.parts) == expected
    for latent, part in zip(latents, model.parts, strict=True):
        stride = part.stride
        assert latent.shape == (1, 128 // stride, 256 // stride, part.channels)
    x_hat, bits = model(x)
    assert x_hat.shape == x.shape and tuple(bits) == expected


def test_training_starts_at_a_projection_onto_principal_components():
    model, _ = _model()
    x, rung = _pictures(2, 128, 128), np.float32([0, 0])
    smooth = keras.ops.convert_to_numpy(keras.ops.image.resize(x[:, ::32, ::32], (128, 128)))
    model.prepare(smooth)
    once = model.synthesis(model.to_y(smooth, rung), rung)
    np.testing.assert_allclose(model.synthesis(model.to_y(once, rung), rung), once, atol=1e-5)
    assert np.mean((once - smooth) ** 2) < 0.1 * np.var(smooth)


@pytest.mark.parametrize("variant", ["gllmm", "one_layer", "paper"])
def test_every_weight_receives_a_gradient(variant):
    model, config = _model(variant)
    x = np.uint8(255 * _pictures(2, 128, 128))
    rung = np.float32([0.5, 0.9])
    keys = np.arange(len(x), dtype=np.uint32)
    for weight in model.trainable_weights:  # away from zero, where paths end and GDNs are unmoved
        if weight.path.endswith("bias") or not np.any(weight):
            weight.assign_add(np.random.default_rng(1).normal(0, 0.05, weight.shape))
    if config.hyper_layers == 2:  # symbols of z2 that are not all zero
        last = model.latents.net.top_analysis.stages[-1]
        for conv in (last.high, last.low):
            conv.kernel.assign(30 * conv.kernel.numpy())
    found = gradients(
        lambda: losses.rate_distortion(model, x, rung, keys, progress=0.0)[0],
        model.trainable_weights,
    )
    for weight, gradient in zip(model.trainable_weights, found, strict=True):
        assert gradient is not None and np.all(np.isfinite(gradient)), weight.path
        assert np.any(gradient), f"{weight.path} receives no gradient"


@pytest.mark.parametrize("likelihood", ["gaussian", "gllmm"])
@pytest.mark.parametrize("band", ["z", "y"])
def test_low_latents_move_the_parameters_of_high_ones_and_never_the_reverse(likelihood, band):
    model, _ = _model(likelihood=likelihood)
    rng = np.random.default_rng(0)
    symbols = [
        np.int32(rng.normal(0, 3, [1, *[256 // part.stride] * 2, part.channels]))
        for part in model.parts
    ]
    before = _numbers(model, symbols)
    low, high = (ORDER.index(f"{band}_{resolution}") for resolution in ("low", "high"))
    for changed in (low, high):
        other = list(symbols)
        other[changed] = symbols[changed] + 1
        after = _numbers(model, other)
        moved = [k for k in range(6) if before[k] is not None and np.any(before[k] != after[k])]
        assert (high in moved) == (changed == low)
        assert min(moved, default=6) > changed


def test_without_cross_resolution_the_low_latents_move_nothing_of_the_high():
    model, _ = _model(cross_resolution=False)
    symbols = [
        np.zeros([1, *[128 // part.stride] * 2, part.channels], np.int32) for part in model.parts
    ]
    before = _numbers(model, symbols)
    symbols[4] = symbols[4] + 5
    np.testing.assert_array_equal(_numbers(model, symbols)[5], before[5])


def test_information_fidelity_counts_at_the_start_and_then_is_exactly_zero():
    model, config = _model()
    _, code = model.forward(_pictures(2, 128, 128), np.float32([2.0, 5.0]))
    latents = dict(zip(ORDER, code.decoded, strict=True))
    expected = sum(
        np.mean(np.square(up(latents[f"{band}_low"]) - latents[f"{band}_high"]))
        for band, up in (("y", model.latents.net.y_fidelity), ("z", model.latents.net.z_fidelity))
    )
    before = config.fidelity_share - 1e-3
    found = float(model.latent_loss(code.decoded, before))
    assert found == pytest.approx(config.fidelity * expected, rel=1e-5) and found > 0
    assert float(model.latent_loss(code.decoded, config.fidelity_share)) == 0
    kernels = [net.kernel for net in (model.latents.net.y_fidelity, model.latents.net.z_fidelity)]
    for gradient in gradients(lambda: model.latent_loss(code.decoded, 0.5), kernels):
        assert not np.any(gradient)
    assert _model(fidelity=0.0)[0].latent_loss(code.decoded, 0.0) == 0.0


@pytest.mark.slow
def test_pictures_of_three_sizes_come_back_from_their_files(tmp_path):
    model, config = _model(likelihood="gllmm")  # y by mixtures, z by Gaussians, z2 by its tables
    info = write.write(model, str(tmp_path / "tiny"), "octave", "compact", config)
    tiny = codec.Codec(info)
    for size in ((1, 1), (130, 97), (128, 256)):
        picture = pictures.from_array(np.uint8(255 * _pictures(1, *size)[0]))
        encoded = tiny.encode(picture, 6)
        decoded = tiny.decode(container.unpack(encoded.data))
        np.testing.assert_array_equal(decoded.rgb, encoded.reconstruction().rgb)


def test_its_presets_say_what_they_are():
    presets = models.module("octave").PRESETS
    assert presets["n448"] == dataclasses.replace(presets["n256"], filters=448)
    with pytest.raises(ValueError, match="must be even .* filters=7, latents=288"):
        models.build("octave", "compact", filters=7)
