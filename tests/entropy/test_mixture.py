import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from harness import check_prior, gradients
from scipy import special

from tfcodec.coding import RANGE_CODER, TFC, open_decoder, open_encoder
from tfcodec.coding import mixtures as coding
from tfcodec.coding.mixtures import MixturePrior
from tfcodec.coding.range_coder import RangeDecoder, RangeEncoder
from tfcodec.coding.tables import CodingTables
from tfcodec.entropy import mixture
from tfcodec.entropy.rate import RateMeter

FAMILIES = {
    "gaussian": special.ndtr,
    "laplacian": lambda t: np.where(t < 0, 0.5 * np.exp(-abs(t)), 1 - 0.5 * np.exp(-abs(t))),
    "logistic": special.expit,
}


@pytest.fixture(scope="module")
def tables():
    return CodingTables.build(coding.binary_rows())


def _raw(count, seed=0, spread=3.0, scales=(-2.0, 2.0), only=None):
    """Numbers of `count` elements as a network emits them, float32 [1, 1, 1, 30 count]."""
    rng = np.random.default_rng(seed)
    raw = np.zeros([mixture.NUMBERS, count])
    raw[0:27:3] = rng.normal(0, 2, [9, count])
    raw[1:27:3] = rng.normal(0, spread, count) + rng.normal(0, 1, [9, count])
    raw[2:27:3] = rng.uniform(*scales, [9, count])
    raw[27:] = rng.normal(0, 1, [3, count])
    if only:
        raw[27 + list(FAMILIES).index(only)] += 200
    return np.float32(raw).reshape(1, 1, 1, -1)


def _reference(raw, edges):
    """Cumulative of each element's mixture at `edges` [count], float64, by the formula."""
    raw = np.float64(raw).reshape(mixture.NUMBERS, -1)
    family = special.softmax(raw[27:], axis=0)
    total = 0.0
    for f, cumulative in enumerate(FAMILIES.values()):
        logits, means, scales = (raw[9 * f + k : 9 * f + 9 : 3] for k in range(3))
        weights = special.softmax(logits, axis=0)
        scales = np.exp(np.clip(scales, math.log(mixture.SCALE_MIN), math.log(mixture.SCALE_MAX)))
        total = total + family[f] * np.sum(weights * cumulative((edges - means) / scales), axis=0)
    return total


def _sample(raw, seed=0):
    """A symbol of each element, drawn from its mixture; int32 [1, 1, 1, count]."""
    uniform = np.random.default_rng(seed).random(raw.size // mixture.NUMBERS)
    low, high = np.full(uniform.shape, -4096.0), np.full(uniform.shape, 4096.0)
    for _ in range(13):
        middle = (low + high) / 2
        below = _reference(raw, middle - 0.5) < uniform
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low.astype(np.int32).reshape(1, 1, 1, -1)


def _prior(raw, first_row=1):
    return MixturePrior(np.array(mixture.Mixture(raw, first_row).indexes()), first_row)


@pytest.mark.parametrize("only", [None, *FAMILIES])
def test_a_mixture_is_a_prior(only):
    raw = tf.constant(_raw(8, only=only, scales=(-4.0, 3.0)))

    def make(batch, first_row):
        return mixture.Mixture(tf.repeat(raw, batch, 0), first_row)

    def coded(prior):
        return MixturePrior(np.array(prior.indexes()), prior.first_row)

    check_prior(make, 8, coding.binary_rows(), [raw], coded, centred=False)


@pytest.mark.parametrize("only", [None, *FAMILIES])
def test_bits_are_those_of_the_formula(only):
    raw = _raw(500, only=only, scales=(-3.5, 5.0))
    v = np.float32(_sample(raw))
    mass = _reference(raw, v.ravel() + 0.5) - _reference(raw, v.ravel() - 0.5)
    bits = np.array(mixture.Mixture(raw, 1).bits(v)).ravel()
    np.testing.assert_allclose(bits, -np.log2(mass), atol=2e-3, rtol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.5, 300.0, -3e4])
@pytest.mark.parametrize("level", [0.0, 1e2, -1e2, 1e4, -1e4])
def test_bits_and_gradients_are_finite_for_extreme_numbers(value, level):
    raw = tf.constant(_raw(8, scales=(-20.0, 20.0)) + np.float32(level))
    values = tf.fill([1, 1, 1, 8], value)
    bits = mixture.Mixture(raw, 1).bits(values)
    assert np.all(np.isfinite(bits)) and np.min(bits) > -1e-4
    for gradient in gradients(lambda: mixture.Mixture(raw, 1).bits(values), [raw, values]):
        assert np.all(np.isfinite(gradient))


def test_the_gradient_of_a_far_value_still_pulls():
    raw = tf.constant(_raw(8))
    (gradient,) = gradients(lambda: mixture.Mixture(raw, 1).bits(tf.fill([1, 1, 1, 8], 1e3)), [raw])
    means = gradient.reshape(mixture.NUMBERS, 8)[1:27:3]
    assert np.all(means.sum(axis=0) < -1e-3)  # a larger mean would cost fewer bits


def test_bfloat16_numbers_give_float32_bits():
    raw = _raw(50)
    low = keras.ops.cast(raw, "bfloat16")
    bits = mixture.Mixture(low, 1).bits(np.zeros([1, 1, 1, 50], np.float32))
    assert keras.backend.standardize_dtype(bits.dtype) == "float32"
    rounded = mixture.Mixture(np.float32(keras.ops.cast(low, "float32")), 1)
    np.testing.assert_array_equal(bits, rounded.bits(np.zeros([1, 1, 1, 50], np.float32)))


def test_tables_of_the_families_are_their_cumulatives_rounded():
    grid = np.arange(-24576, 24577) / 1024
    for table, cumulative in zip(
        coding.family_tables().reshape(3, -1), FAMILIES.values(), strict=True
    ):
        np.testing.assert_allclose(table, cumulative(grid) * 2**24, atol=0.51, rtol=0)
        assert np.all(np.diff(table) >= 0)
        np.testing.assert_array_equal(table + table[::-1], 2**24)


def test_integer_weights_sum_to_the_whole_and_other_numbers_are_near():
    raw = _raw(300)
    means, inverses, weights = np.array(mixture.Mixture(raw, 1).indexes()).reshape(3, 9, 300)
    np.testing.assert_array_equal(weights.sum(axis=0), 2**coding.WEIGHT_BITS)
    assert weights.min() >= 0
    numbers = raw.reshape(mixture.NUMBERS, 300)
    np.testing.assert_allclose(means / 64, numbers[1:27:3], atol=1 / 128 + 1e-4)
    np.testing.assert_allclose(inverses / 2**14, np.exp(-numbers[2:27:3]), atol=1e-4)


def test_masses_are_the_same_number_in_numpy_eagerly_in_a_graph_and_under_xla():
    raw = _raw(1001, spread=30.0, scales=(-6.0, 6.0))
    parameters = np.array(mixture.Mixture(raw, 1).indexes()).reshape(3, 9, -1).astype(np.int64)
    edges = np.random.default_rng(0).integers(-60, 60, 1001) * 64 + 32
    family_tables = coding.family_tables()
    expected = coding.cumulative(edges, *parameters, family_tables)

    def cumulative(edges, parameters):
        return coding.cumulative(
            edges, *tf.unstack(parameters), tf.constant(family_tables), xp=keras.ops
        )

    for function in (
        cumulative,
        tf.function(cumulative),
        tf.function(cumulative, jit_compile=True),
    ):
        found = function(tf.constant(edges), tf.constant(parameters))
        np.testing.assert_array_equal(found, expected)
    # Masses over all integers add up to the whole, because each is a difference of neighbours.
    assert np.all((expected >= 0) & (expected <= coding.TOTAL))
    reference = _reference(raw, edges / 64)
    np.testing.assert_allclose(expected / coding.TOTAL, reference, atol=0.02)
    assert np.mean(np.abs(expected / coding.TOTAL - reference)) < 1e-3


def test_coding_costs_next_to_nothing_over_the_models_own_bits(tables):
    raw = _raw(30_000, scales=(-2.3, 1.5))
    symbols = _sample(raw)
    encoder = RangeEncoder(tables)
    _prior(raw).encode(symbols, encoder)
    (stream,), escapes = encoder.finish()
    assert not escapes
    meter = RateMeter([np.float32(symbols)], ["y"])
    meter(0, mixture.Mixture(raw, 1))
    assert len(stream) * 8 < 1.0005 * float(meter.bits["y"][0]) + 24
    decoder = RangeDecoder(tables, (stream,))
    np.testing.assert_array_equal(_prior(raw).decode(symbols.shape, decoder), symbols)
    decoder.finish()


@pytest.mark.parametrize(("coder", "lanes"), [(TFC, 1), (TFC, 8), (RANGE_CODER, 1)])
def test_symbols_however_far_come_back(tables, coder, lanes):
    if coder == RANGE_CODER:
        pytest.importorskip("range_coder")
    raw = _raw(64, spread=2000.0, scales=(-9.0, 9.0))
    symbols = np.random.default_rng(1).integers(-32767, 32768, [1, 1, 1, 64]).astype(np.int32)
    symbols[..., :4] = -32767, 32767, 0, 1
    symbols[..., 32:] = _sample(raw)[..., 32:]
    encoder = open_encoder(coder, tables, lanes)
    _prior(raw).encode(symbols, encoder)
    decoder = open_decoder(coder, tables, *encoder.finish())
    found = _prior(raw).decode(symbols.shape, decoder)
    np.testing.assert_array_equal(found, symbols)


def test_what_is_not_valid_is_zero_and_costs_nothing(tables):
    raw = np.float32(np.repeat(_raw(6), 5, axis=1))  # [1, 5, 1, 30 * 6]
    valid = np.array([True, False, True, False, False]).reshape(1, 5, 1, 1)
    parameters = np.array(mixture.Mixture(raw, 1, valid).indexes())
    symbols = np.int32(valid * np.arange(6))
    encoder, alone = RangeEncoder(tables), RangeEncoder(tables)
    MixturePrior(parameters, 1).encode(symbols, encoder)
    MixturePrior(parameters[:, :, [0, 2]], 1).encode(symbols[:, [0, 2]], alone)
    streams, _ = encoder.finish()
    assert streams == alone.finish()[0]
    decoder = RangeDecoder(tables, streams)
    np.testing.assert_array_equal(
        MixturePrior(parameters, 1).decode(symbols.shape, decoder), symbols
    )
    nothing = MixturePrior(np.zeros([27, 1, 2, 2, 3], np.int32), 1)
    assert not nothing.decode((1, 2, 2, 3), decoder).any()


@pytest.mark.parametrize("stream", [b"", b"\xff" * 40, b"\x00" * 3, bytes(range(200))])
def test_any_bytes_decode_to_symbols_within_the_limit(tables, stream):
    raw = _raw(300, spread=30000.0, scales=(-9.0, 9.0))
    found = _prior(raw).decode((1, 1, 1, 300), RangeDecoder(tables, (stream,)))
    assert np.abs(found).max() <= 32767


def test_entries_that_their_rows_lack_are_refused(tables):
    encoder = RangeEncoder(tables)
    with pytest.raises(ValueError, match="entries must be within the sizes of their rows"):
        encoder.write_entries(np.int32([1, 1]), np.int32([0, 2]))
    with pytest.raises(ValueError, match=r"mixtures of \(1, 1, 1, 4\) cannot code \(1, 1, 1, 3\)"):
        _prior(_raw(4)).decode((1, 1, 1, 3), RangeDecoder(tables, (b"",)))
