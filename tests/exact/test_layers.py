"""Laws of frozen networks: every kernel is the integer specification, bit for bit."""

import dataclasses
import re
from functools import partial

import keras
import numpy as np
import pytest
from harness import gradients
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcodec.entropy import chains, gaussian
from tfcodec.errors import NotFreezable
from tfcodec.exact import freezing, specification
from tfcodec.exact import layers as exact
from tfcodec.exact.phases import from_phases, to_phases
from tfcodec.layers.conv import DownConv2D, SubpixelConv2D, UpConv2D
from tfcodec.layers.gdn import GDN
from tfcodec.layers.octave import OctaveConv2D, OctaveConv2DTranspose
from tfcodec.models.octave import PairSequential
from tfcodec.models.transforms import conv, leaky, relu, sequential, subpixel, up_conv

PROFILES = list(specification.PROFILES.values())
LAYERS = {
    "conv3": lambda: keras.layers.Conv2D(6, 3, padding="same"),
    "conv1": lambda: keras.layers.Conv2D(6, 1, padding="same", use_bias=False),
    "conv5 even": lambda: keras.layers.Conv2D(6, (4, 5), padding="same"),
    "strided": lambda: DownConv2D(6, 5),
    "strided 3": lambda: DownConv2D(6, 3, strides=3),
    "transposed 5": lambda: UpConv2D(6, 5),
    "transposed 3": lambda: UpConv2D(6, 3),
    "transposed by 3": lambda: UpConv2D(6, 5, strides=3),
    "sub-pixel": lambda: SubpixelConv2D(6),
}


def frozen(layer, channels, profile, slope=1.0, blocks=None, seed=0, steps=0):
    """The `Conv` of a float layer with heavy-tailed weights and unlike input ranges, whose mean is
    `steps` of each."""
    rng = np.random.RandomState(seed)
    layer.build((None, None, None, channels))
    for variable in layer.variables:
        variable.assign(rng.standard_t(3, variable.shape) * 0.1)
    kernel, bias, fields = freezing.convolution(layer)
    blocks = blocks or (channels,)
    in_scale = 2.0 ** np.repeat(rng.randint(-8, 3, len(blocks)), blocks)
    reach = (np.abs(kernel) * in_scale[:, None]).sum((0, 1, 2)).reshape(fields["factor"] ** 2, -1)
    most = np.full(reach.shape[1], profile.input_max)
    return specification.quantise(
        kernel,
        bias,
        specification.Source(in_scale, steps * in_scale),
        specification.Meaning(0.3 * reach.max(0), np.zeros(reach.shape[1]), -most, most),
        profile,
        blocks=blocks,
        slope=specification.slope_ratio(slope),
        **fields,
    )


def inputs(conv, seed=0, shape=(1, 5, 7)):
    """Random integers, and the extremes of both signs, as an adversary would choose them."""
    rng = np.random.RandomState(seed)
    most, size = specification.PROFILES[conv.profile].input_max, (*shape, conv.channels)
    yield rng.randint(-most, most + 1, size)
    yield most * rng.choice([-1, 1], size)
    yield np.full(size, most)
    # One output channel's sum as large as it can be, in the middle of the picture.
    signs = np.sign(conv.arrays["kernel"][..., 0].astype(int))
    tiles = [-(-side // k) + 1 for side, k in zip(shape[1:], conv.kernel_size, strict=True)]
    yield most * np.tile(signs, [*tiles, 1])[None, : shape[1], : shape[2]]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.name)
@pytest.mark.parametrize("kind", LAYERS)
def test_both_forms_of_a_kernel_are_the_specification(kind, profile):
    conv = frozen(LAYERS[kind](), 10, profile, slope=0.125, blocks=(7, 3))
    layers = [exact.ExactConv2D(conv, form) for form in ("conv", "taps")]
    for layer in layers:
        layer.build()
    for x in inputs(conv):
        expected = conv.apply(x)
        for layer in layers:
            found = layer(np.float32(x))
            assert found.dtype == "float32"
            np.testing.assert_array_equal(found, expected)
    assert np.ptp(expected) > 0


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.name)
@pytest.mark.parametrize("kind", ["conv3", "strided", "transposed 5", "sub-pixel"])
def test_a_path_that_is_added_is_added_before_the_clip(kind, profile):
    """In unbounded integers, up to the largest sum that the proof allows."""
    conv = frozen(LAYERS[kind](), 10, profile, slope=0.125)
    most = np.full(conv.outputs, specification.LEAKY_MAX, np.int32)
    wide = dataclasses.replace(conv, arrays={**conv.arrays, "low": -most, "high": most})
    wide.prove()
    layers = [exact.ExactConv2D(conv, form) for form in ("conv", "taps")]
    for layer in layers:
        layer.build()
    low, high = (int(conv.arrays[end][0]) for end in ("low", "high"))
    rng = np.random.RandomState(0)
    for x in inputs(conv):
        alone = wide.apply(x).astype(object)
        largest = specification.LEAKY_MAX * np.where(alone < 0, -1, 1)
        near = rng.randint(low, high + 1, alone.shape)
        for added in (near, largest.astype(int), -alone.astype(int)):
            expected = np.minimum(np.maximum(alone + added, low), high).astype(int)
            np.testing.assert_array_equal(conv.apply(x, added), expected)
            for layer in layers:
                np.testing.assert_array_equal(layer(np.float32(x), np.float32(added)), expected)
    assert not expected.any()  # a path and its opposite


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(PROFILES),
    st.sampled_from([1.0, 0.0, 0.01, 0.2, 0.125]),
    st.lists(st.integers(1, 60), min_size=1, max_size=3),
)
def test_any_blocks_and_slopes_are_the_specification(seed, profile, slope, blocks):
    layer = keras.layers.Conv2D(5, 3, padding="same")
    conv = frozen(layer, sum(blocks), profile, slope, tuple(blocks), seed)
    layer = exact.ExactConv2D(conv)
    layer.build()
    for x in inputs(conv, seed, (1, 3, 4)):
        np.testing.assert_array_equal(layer(np.float32(x)), conv.apply(x))


def test_the_specification_is_written_out_once_more():
    """Against a loop over every product in Python's unbounded integers."""
    conv = frozen(DownConv2D(3, 3), 4, specification.PROFILES["exact-12"], 0.01, blocks=(3, 1))
    x = next(inputs(conv))
    a, (numerator, bits) = {k: v.tolist() for k, v in conv.arrays.items()}, conv.slope
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))[0].tolist()
    expected = np.zeros([1, 3, 4, 3], int)
    for row, column, o in np.ndindex(3, 4, 3):
        shift, total = max(s[o] for s in a["shifts"]), a["bias"][o]
        for i, j, c in np.ndindex(3, 3, 4):
            left = shift - a["shifts"][0 if c < 3 else 1][o]
            product = padded[2 * row + i][2 * column + j][c] * a["kernel"][i][j][c][o]
            total += product << left
        y = (2 * total + 2**shift) // 2 ** (shift + 1)
        y = y if y >= 0 else (2 * y * numerator + 2**bits) // 2 ** (bits + 1)
        expected[0, row, column, o] = min(max(y, a["low"][o]), a["high"][o])
    np.testing.assert_array_equal(conv.apply(x), expected)


@pytest.mark.parametrize("kind", LAYERS)
def test_integers_mean_the_float_convolution(kind):
    """To the error of 12 bits; and what they mean can be read back as float weights."""
    layer = LAYERS[kind]()
    conv = frozen(layer, 8, specification.PROFILES["exact-12"])
    rng = np.random.RandomState(1)
    x = rng.randint(-400, 401, [1, 6, 9, 8])
    expected = np.array(layer(np.float32(x) * conv.arrays["in_scale"]))
    found = conv.apply(x) * conv.arrays["out_scale"]
    inside = np.abs(expected) < 2000 * conv.arrays["out_scale"]
    assert inside.mean() > 0.9
    error = (
        np.abs(found - expected)[inside]
        / np.broadcast_to(conv.arrays["out_scale"], found.shape)[inside]
    )
    assert error.max() < 2.0
    kernel, bias = specification.dequantise(conv)
    inner = layer.conv if kind == "sub-pixel" else layer
    np.testing.assert_allclose(kernel, inner.kernel, atol=1e-3 * np.abs(inner.kernel).max())
    if inner.bias is not None:
        np.testing.assert_allclose(bias, inner.bias, atol=1e-2 * np.abs(inner.bias).max())


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.name)
@pytest.mark.parametrize("kind", ["conv3", "strided", "transposed 5", "sub-pixel"])
def test_an_input_that_is_its_mean_is_off_by_no_more_than_one_rounding(kind, profile):
    """Away from the border, where zeros are seen, too; a bias that is not corrected is off by more
    where weights have few bits."""
    errors = []
    for steps in (profile.input_max // 3, 0):
        layer = LAYERS[kind]()
        conv = frozen(layer, 64, profile, steps=steps)
        x = np.full([1, 9, 9, 64], profile.input_max // 3)
        expected = np.array(layer(np.float32(x) * conv.arrays["in_scale"]))
        error = np.abs(conv.apply(x) - expected / conv.arrays["out_scale"])
        middle = slice(4, -4) if error.shape[1] > 9 else slice(2, -2)
        errors.append(error[:, middle, middle].max())
    assert errors[0] <= 0.51
    assert profile.weight_bits > 8 or errors[1] > 1


def test_blocks_of_unlike_ranges_keep_their_digits():
    """A block whose inputs are a thousandth of the other's is not rounded away."""
    rng = np.random.RandomState(0)
    kernel = rng.standard_normal([1, 1, 8, 4])
    in_scale = np.repeat([1.0, 2.0**-12], 4)
    fields = dict(
        name="c", transposed=0, kernel_size=(1, 1), pads=((0, 0), (0, 0)), strides=(1, 1), factor=1
    )
    profile = specification.PROFILES["exact-10"]
    output = specification.Meaning(np.full(4, 2.0), np.zeros(4), np.full(4, -511), np.full(4, 511))
    kept = {}
    for blocks in ((8,), (4, 4)):
        conv = specification.quantise(
            kernel,
            np.zeros(4),
            specification.Source(in_scale, np.zeros(8)),
            output,
            profile,
            **fields,
            blocks=blocks,
            slope=(1, 0),
        )
        small = specification.dequantise(conv)[0][:, :, 4:]
        kept[len(blocks)] = np.abs(small - kernel[:, :, 4:]).max()
    assert kept[2] < 0.01 < 0.5 < kept[1]


def test_sums_that_could_leave_exact_numbers_are_refused():
    conv = frozen(keras.layers.Conv2D(4, 3, padding="same"), 96, specification.PROFILES["exact-10"])
    conv.prove()
    large = np.full_like(conv.arrays["kernel"], 511)

    def changed(name, value):
        return dataclasses.replace(conv, arrays={**conv.arrays, name: value})

    with pytest.raises(
        ValueError, match=r"channels 0 to \d+: a sum can reach 2\^2\d.* below 2\^24"
    ):
        changed("kernel", large).prove()
    with pytest.raises(ValueError, match="a weight is 512, beyond 511"):
        changed("kernel", large + np.int16(1)).prove()
    with pytest.raises(ValueError, match=r"a sum can reach 2\^31.0, which must stay below 2\^31"):
        changed("bias", np.full(4, 2**31 - 1, np.int32)).prove()
    with pytest.raises(ValueError, match="shifts are from 0 to 30"):
        changed("shifts", conv.arrays["shifts"] - np.int8(31)).prove()
    with pytest.raises(ValueError, match=r"added to another path: a sum can reach 2\^24.0, which"):
        changed("high", np.full(4, 2**23 + 1, np.int32)).prove()
    with pytest.raises(ValueError, match="the groups do not fit the blocks"):
        dataclasses.replace(conv, groups=(5,)).prove()
    with pytest.raises(ValueError, match="kernel is not int16"):
        changed("kernel", np.float32(large)).prove()
    wide = dataclasses.replace(conv, profile="exact-12", groups=())
    wide.prove()
    shifts = np.concatenate([conv.arrays["shifts"] * 0, conv.arrays["shifts"] * 0 + 30])
    far = dataclasses.replace(wide, blocks=(48, 48), arrays={**conv.arrays, "shifts": shifts})
    with pytest.raises(ValueError, match=r"which must stay below 2\^53"):
        far.prove()


def test_the_bound_is_reached():
    """It is tight: the worst input makes the very sum that the proof forbids to be larger."""
    conv = frozen(keras.layers.Conv2D(1, 3, padding="same"), 30, specification.PROFILES["exact-10"])
    *_, worst = inputs(conv, shape=(1, 3, 3))
    total = (worst[0].astype(object) * conv.arrays["kernel"][..., 0].astype(object)).sum()
    bound = specification.total_bound(
        conv.arrays, conv.lefts(), specification.PROFILES["exact-10"]
    )[0]
    rest = abs(int(conv.arrays["bias"][0])) + 2 ** int(conv.arrays["shifts"].max())
    assert total + rest == bound


def test_float32_without_groups_is_not_exact():
    """Why there are groups: the same integers in one float32 convolution lose their last bits."""
    conv = frozen(
        keras.layers.Conv2D(8, 3, padding="same"), 200, specification.PROFILES["exact-10"]
    )
    assert len(conv.groups) > 1
    *_, x = inputs(conv)
    kernel = conv.arrays["kernel"]
    one = keras.ops.conv(np.float32(x), np.float32(kernel), padding="same")
    wide = keras.ops.conv(np.float64(x), np.float64(kernel), padding="same")
    assert np.any(np.float64(one) != np.array(wide))


@pytest.mark.parametrize(
    "slope, ratio", [(0.125, (1, 3)), (0.01, (41, 12)), (0.2, (819, 12)), (0, (0, 0)), (1, (1, 0))]
)
def test_slopes_become_ratios(slope, ratio):
    assert specification.slope_ratio(slope) == ratio


@pytest.mark.parametrize("size, strides", [(5, 2), (3, 2), (4, 2), (5, 3), (1, 2), (2, 4)])
def test_phases_hold_each_weight_once(size, strides):
    kernel = np.arange(1, size * size * 6 + 1, dtype=float).reshape(size, size, 2, 3)
    phases, _ = to_phases(kernel, strides)
    assert np.count_nonzero(phases) == kernel.size
    np.testing.assert_array_equal(from_phases(phases, size, strides), kernel)


class Owner(keras.layers.Layer):
    """A layer with one network."""

    def __init__(self, layers, **kwargs):
        super().__init__(**kwargs)
        self.net = sequential(layers, name="net")

    def call(self, x):
        return self.net(x)


def owner(layers, outputs, channels=6, seed=0):
    layer = Owner(layers)
    rng = np.random.RandomState(seed)
    x = np.rint(rng.standard_t(3, [1, 8, 9, channels]) * 40) / 8
    layer(np.float32(x))
    stages = chains.list_stages(layer.net)
    chain = chains.FreezableNetwork(layer, "net", stages, outputs, (channels,))
    return layer, chain, np.float32(x)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.name)
def test_a_frozen_chain_replaces_the_network_and_its_weights(profile):
    layers = [up_conv(8, 5), relu(), subpixel(8), leaky(0.01), conv(10, 3)]
    outputs = (("mu", 4), ("log_scale", 3), ("features", 3))
    layer, chain, x = owner(layers, outputs)
    expected = np.array(layer(x))
    with freezing.Calibration([chain]) as calibration:
        layer(1.5 * x)  # so that nothing of x saturates
    freezing.swap(chain, freezing.freeze(chain, calibration, profile))
    types = {"int8", "int32", "float32", profile.weight_type}
    assert {v.dtype for v in layer.variables} == types
    assert not layer.trainable_variables
    found = np.array(layer(x))
    with exact.by_the_specification():
        np.testing.assert_array_equal(layer(x), found)
    tolerance = 0.01 if profile.name == "exact-12" else 0.05
    spread = expected.std()
    assert np.abs(found - expected)[..., [0, 1, 2, 3, 7, 8, 9]].mean() < tolerance * spread
    assert np.all(found[..., :4] * 64 == np.rint(found[..., :4] * 64))
    levels = (found[..., 4:7] - gaussian.LOG_MIN) / gaussian.LEVEL_STEP
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)


class Octaves(keras.layers.Layer):
    """A layer with a network of octave convolutions, (high, low) to (high, low)."""

    def __init__(self, act, **kwargs):
        super().__init__(**kwargs)
        up = partial(OctaveConv2DTranspose, activation=act, dtype="float32")
        layers = [partial(up, 12, 5, strides=2, cross_kernel_size=3), partial(up, 10, 3)]
        layers += [partial(OctaveConv2D, 8, 3, cross_kernel_size=5, dtype="float32")]
        self.net = PairSequential(layers, name="net")

    def call(self, x):
        return self.net(x)


def octaves(kinds, seed=0):
    layer, rng = Octaves(keras.layers.LeakyReLU(negative_slope=0.2)), np.random.RandomState(seed)
    x = tuple(
        np.float32(np.rint(rng.standard_t(3, [1, *size, 6]) * 40) / 8) for size in ((8, 6), (4, 3))
    )
    layer(x)
    stages, wiring = chains.list_octave_stages(layer.net.stages)
    outputs = tuple((kind, 4) for kind in kinds)
    chain = chains.FreezableNetwork(layer, "net", stages, outputs, (6, 6), 2, wiring)
    with freezing.Calibration([chain]) as calibration:
        layer(tuple(1.5 * each for each in x))  # so that nothing of x saturates
    return layer, chain, calibration, x


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.name)
def test_frozen_octave_convolutions_add_integers_of_one_scale(profile):
    layer, chain, calibration, x = octaves(("features", "mu"))
    expected = [np.array(each) for each in layer(x)]
    convs = freezing.freeze(chain, calibration, profile)
    wiring = chain.wired()
    for number, other in enumerate(wiring.added):
        if other is not None:
            paths = convs[number], convs[other - wiring.inputs]
            np.testing.assert_array_equal(*(conv.arrays["out_scale"] for conv in paths))
    freezing.swap(chain, convs)
    found = [np.array(each) for each in layer(x)]
    with exact.by_the_specification():
        for specified, each in zip(layer(x), found, strict=True):
            np.testing.assert_array_equal(specified, each)
    tolerance = 0.01 if profile.name == "exact-12" else 0.05
    for y, each in zip(found, expected, strict=True):
        assert y.shape == each.shape
        assert np.abs(y - each).mean() < tolerance * each.std()
    assert np.all(found[1] * 64 == np.rint(found[1] * 64))


def test_the_two_forms_of_a_frozen_pair_have_one_gradient():
    """That of the network it was made of, whose outputs are those of the integers."""
    layer, chain, calibration, x = octaves(("features", "features"))
    network = layer.net
    freezing.pair(chain, freezing.freeze(chain, calibration, PROFILES[0]))
    for found, integers in zip(layer(x), layer.net.exact(x), strict=True):
        np.testing.assert_array_equal(found, integers)
    weights = network.trainable_variables
    both = [
        gradients(lambda net=net: sum(keras.ops.sum(each) for each in net(x)), weights)
        for net in (layer.net, network)
    ]
    for first, second in zip(*both, strict=True):
        np.testing.assert_array_equal(first, second)


def test_what_octave_convolutions_cannot_freeze_is_said():
    _, chain, calibration, _ = octaves(("features", "log_scale"))
    with pytest.raises(ValueError, match=r"two paths is features or means, not log\(sigma\)"):
        freezing.freeze(chain, calibration, PROFILES[0])
    with pytest.raises(ValueError, match="an octave convolution has a GDN between z and an index"):
        chains.list_octave_stages(Octaves(GDN()).net.stages)


def test_a_layer_that_pads_otherwise_is_said_by_freezing_not_by_calibration():
    layer, chain, x = owner([partial(keras.layers.Conv2D, 4, 3)], (("mu", 4),))
    with freezing.Calibration([chain]) as calibration:
        layer(x)
    with pytest.raises(NotFreezable, match="pads in a way that is not supported"):
        freezing.freeze(chain, calibration, PROFILES[0])


def test_no_multiple_of_a_64th_is_near_a_tie_between_levels():
    """So that log(sigma) on that grid gives one index, however float32 rounds on the way."""
    log_scale = np.arange(64 * (gaussian.LOG_MIN - 1), 64 * (gaussian.LOG_MAX + 1)).round() / 64
    level = np.rint((log_scale - gaussian.LOG_MIN) / gaussian.LEVEL_STEP)
    level = np.clip(level, 0, gaussian.NUM_LEVELS - 1)
    log_scale = np.float32(log_scale)
    for ulps in (-8, 0, 8):
        moved = log_scale + ulps * np.spacing(np.abs(log_scale) + 1)
        indexes = gaussian.Gaussian(0.0, keras.ops.convert_to_tensor(moved), 5).indexes()
        np.testing.assert_array_equal(indexes, level + 5)


def test_no_last_bit_moves_an_index():
    """log(sigma) at a level gives that level's index, however float32 rounds on the way."""
    level = np.arange(gaussian.NUM_LEVELS, dtype=np.float32)
    exactly = level * np.float32(gaussian.LEVEL_STEP) + np.float32(gaussian.LOG_MIN)
    for ulps in (-64, 0, 64):
        log_scale = exactly + ulps * np.spacing(np.abs(exactly)).astype(np.float32)
        indexes = gaussian.Gaussian(0.0, keras.ops.convert_to_tensor(log_scale), 5).indexes()
        np.testing.assert_array_equal(indexes, level + 5)


@pytest.mark.parametrize("reach", [1.0, 1e6])
def test_inputs_beyond_any_range_are_clipped_alike(reach):
    layer, chain, x = owner([conv(4, 3), leaky(0.125), conv(4, 3)], (("mu", 4),))
    with freezing.Calibration([chain]) as calibration:
        layer(x)
    freezing.swap(chain, freezing.freeze(chain, calibration, PROFILES[0]))
    symbols = np.float32(np.random.RandomState(1).choice([-32767, 32767], x.shape) * reach)
    found = layer(symbols)
    first, last = layer.net.convs
    v = last.conv.apply(first.conv.apply(first.conv.take(symbols)))
    np.testing.assert_array_equal(found, last.conv.mean(v))


def test_networks_that_cannot_be_frozen_say_why():
    class Odd(keras.layers.Layer):
        pass

    with pytest.raises(ValueError, match="net has a Odd between z and an index"):
        chains.list_stages(sequential([conv(3, 3), Odd], name="net"))


def test_a_backend_without_float64_is_an_error(monkeypatch):
    monkeypatch.setattr(keras.backend, "standardize_dtype", lambda dtype: "float32")
    message = re.escape("computes in") + ".*float64 is needed; in JAX, set jax_enable_x64"
    with pytest.raises(ValueError, match=message):
        exact._cast(keras.ops.ones([1]), "float64")
