"""What tests share: the obligations of every layer and of every prior, and gradients in numpy."""

import keras
import numpy as np
import tensorflow as tf

from tfcodec.coding.container import Container, pack, part_sizes
from tfcodec.coding.format import TFC
from tfcodec.coding.range_coder import RangeDecoder, RangeEncoder
from tfcodec.coding.tables import CodingTables
from tfcodec.entropy.rate import RateMeter
from tfcodec.entropy.walk import StepDecoder, StepEncoder, TablePrior


def gradients(function, sources):
    """Gradients of sum(function()) to variables or tensors as numpy; None where none arrives."""
    with tf.GradientTape() as tape:
        for source in sources:
            tape.watch(source.value if isinstance(source, keras.Variable) else source)
        total = tf.reduce_sum(function())
    values = [s.value if isinstance(s, keras.Variable) else s for s in sources]
    return [None if g is None else np.array(g) for g in tape.gradient(total, values)]


def check_layer(layer, *shapes):
    """Asserts what every layer owes, for inputs of the given shapes (batch first).

    Config round trip; symbolic shape = eager shape = compute_output_shape, with unknown sides too;
    every weight receives a finite gradient that is not zero; runs under the policy mixed_bfloat16,
    with float32 variables. Returns the output for random inputs, as numpy.
    """
    rng = np.random.default_rng(0)
    inputs = [rng.uniform(0.1, 1.0, shape).astype(np.float32) for shape in shapes]

    config = layer.get_config()
    clone = type(layer).from_config(config)
    assert clone.get_config() == config

    output = layer(*inputs)
    symbolic = layer(*(keras.Input(batch_shape=shape) for shape in shapes))
    assert symbolic.shape == output.shape
    assert tuple(layer.compute_output_shape(shapes[0])) == output.shape
    if len(shapes[0]) == 4:
        unknown = (shapes[0][0], None, None, shapes[0][3])
        rest = [keras.Input(batch_shape=shape) for shape in shapes[1:]]
        dynamic = clone(keras.Input(batch_shape=unknown), *rest)
        assert dynamic.shape == (output.shape[0], None, None, output.shape[3])
    assert [w.shape for w in clone.weights] == [w.shape for w in layer.weights]

    weigh = rng.standard_normal(output.shape).astype(np.float32)
    found = gradients(lambda: layer(*inputs) * weigh, layer.trainable_weights)
    for weight, gradient in zip(layer.trainable_weights, found, strict=True):
        assert gradient is not None, f"{weight.path} receives no gradient"
        assert np.all(np.isfinite(gradient)) and np.any(gradient), f"{weight.path}: {gradient}"

    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        mixed = type(layer).from_config({k: v for k, v in config.items() if k != "dtype"})
        low = mixed(*inputs)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert np.all(np.isfinite(keras.ops.convert_to_numpy(low).astype(np.float32)))
    assert {keras.backend.standardize_dtype(w.dtype) for w in mixed.weights} <= {"float32"}
    return keras.ops.convert_to_numpy(output)


# ------------------------------------------------------------------------------------------ priors


def as_coded(prior):
    """A prior with a table row for each symbol as the coding visitors take it."""
    return TablePrior(np.array(prior.mu), np.array(prior.indexes()))


def check_prior(make, channels, rows, sources=(), coded=as_coded, centred=True):
    """Asserts what every prior owes, whatever its family.

    Probabilities of any grid of step 1 sum to one; bits and gradients are finite and bits not
    negative, however far; what evaluation charges are lengths of a code that can exist; training
    charges latents drawn from the prior at least that, and at most twice; the coder takes what
    evaluation charges and no less than the information in the symbols, in rows that are the
    prior's, and gives them back.

    Args:
        make: called as make(batch, first_row): the prior of latents [batch, 1, 1, channels], whose
            pictures are all alike.
        rows: the table rows that `first_row` is the first of.
        sources: variables and tensors that `make` uses, to which training needs gradients.
        coded: makes of a prior what the coding visitors take.
        centred: whether latents are rounded about where they are most likely. On any other grid
            rounding may cost some percent more than noise, which costs the mean of all grids.
    """
    _check_sums(make, channels)
    _check_tails(make, channels, sources)
    drawn = _draw(make, channels, count=4000)
    _check_training(make, drawn, least=0.998 if centred else 0.95)
    _check_coding(make, drawn, rows, coded)


def coded_size(prior, coded, latents, rows):
    """(the meter's bits of latents [1, h, w, c], bits of payload and escapes of their file)."""
    meter = RateMeter([latents], ["y"])
    meter(0, prior)
    encoder = RangeEncoder(CodingTables.build(rows))
    StepEncoder([latents], encoder)(0, coded)
    return float(meter.bits["y"][0]), _bits_of_file(*encoder.finish())


def _bits_of_file(streams, escapes):
    """Bits of payload and escapes of a file."""
    file = Container(b"test", 0, 0, 64, 64, False, TFC, streams, escapes, None, 0)
    sizes = part_sizes(pack(file))
    return 8 * (sizes["payload"] + sizes.get("escapes", 0))


def _values(make, channels, steps):
    """(values at these distances [n] from mu, float32 [n, 1, 1, C], and the prior of so many)."""
    steps = np.float32(steps)[:, None, None, None]
    prior = make(len(steps), 1)
    mu = np.array(prior.mu)[:1] if np.ndim(prior.mu) else prior.mu
    return np.broadcast_to(mu + steps, [len(steps), 1, 1, channels]).astype(np.float32), prior


def _check_sums(make, channels):
    for shift in (0.0, 0.37):
        values, prior = _values(make, channels, np.arange(-3000, 3001) + shift)
        probabilities = 2.0 ** -np.array(prior.bits(values), np.float64)
        np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-3)
    # Kraft's inequality, but for shares of 2^-16 of a table that its improbable symbols have: what
    # these take from the likely ones is not charged.
    symbols, _ = _values(make, channels, np.arange(-3000, 3001))
    symbols = np.rint(symbols - symbols[3000])
    lengths = np.array(prior.coded_bits(symbols), np.float64)
    improbable = np.sum((probabilities < 2.0**-16) & (lengths <= 16), axis=0)
    assert np.max(np.sum(2.0**-lengths, axis=0) - improbable * 2.0**-16) < 1.002


def _check_tails(make, channels, sources):
    values, prior = _values(make, channels, [0, 0.5, -0.5, 3, 300, -1e4, 3e4])
    bits = np.array(prior.bits(values))
    assert np.all(np.isfinite(bits)) and np.min(bits) > -1e-4
    symbols = np.float32([0, 1, -1, 3, 300, -32767, 32767]).reshape(-1, 1, 1, 1)
    symbols = np.broadcast_to(symbols, values.shape)
    bits = np.array(prior.coded_bits(symbols))
    assert np.all(np.isfinite(bits)) and np.min(bits) > -1e-4
    values = tf.constant(values)
    for gradient in gradients(lambda: make(len(values), 1).bits(values), [values, *sources]):
        assert gradient is not None and np.all(np.isfinite(gradient))


def _draw(make, channels, count, parts=8):
    """Latents drawn from a prior, float32 [count, 1, 1, C], by its bits alone.

    The mass of a bin is a difference of the cumulative: masses of bins side by side add up to it.
    """
    values, prior = _values(make, channels, np.arange(-1500 * parts, 1500 * parts) / parts)
    masses = 2.0 ** -np.array(prior.bits(values), np.float64)[:, 0, 0]
    cumulative = np.cumsum(masses.reshape(-1, parts, channels), axis=0).reshape(-1, channels)
    cumulative = np.maximum.accumulate(cumulative, axis=0)
    uniform = np.random.default_rng(1).random([count, channels])
    drawn = [
        np.interp(uniform[:, c], cumulative[:, c], values[:, 0, 0, c] + 0.5)
        for c in range(channels)
    ]
    return np.float32(np.stack(drawn, axis=1))[:, None, None, :]


def _check_training(make, drawn, least):
    prior = make(len(drawn), 1)
    keys = np.random.default_rng(0).integers(0, 2**32, [len(drawn)], dtype=np.uint32)
    noisy, rounded = RateMeter([drawn], ["y"], keys), RateMeter([drawn], ["y"])
    noisy(0, prior), rounded(0, prior)
    noisy, rounded = (np.sum(meter.bits["y"], dtype=np.float64) for meter in (noisy, rounded))
    assert least * rounded <= noisy <= 2 * rounded + 0.01 * drawn.size, (noisy, rounded)


class _Recording(RangeEncoder):
    """An encoder that also keeps which rows it was asked for."""

    def __init__(self, tables):
        super().__init__(tables)
        self.rows = []

    def write(self, indexes, symbols):
        self.rows.append(np.unique(indexes))
        super().write(indexes, symbols)

    def write_entries(self, indexes, entries):
        self.rows.append(np.unique(indexes))
        super().write_entries(indexes, entries)


def _check_coding(make, drawn, rows, coded):
    # As one picture; before these rows stand others, of another prior.
    other = [(np.float64([0.5, 0.5]), 0)] * 6
    prior, tables = make(len(drawn), 7), CodingTables.build([*other, *rows])
    meter = RateMeter([drawn], ["y"])
    meter(0, prior)
    estimate = np.sum(meter.bits["y"], dtype=np.float64)
    encoder = _Recording(tables)
    symbols = StepEncoder([drawn], encoder)(0, coded(prior))
    streams, escapes = encoder.finish()
    assert min(map(np.min, encoder.rows)) >= 7
    assert max(map(np.max, encoder.rows)) < 7 + len(rows)
    size = _bits_of_file(streams, escapes)
    assert abs(size - estimate) <= 0.005 * estimate + 64
    information = np.sum(prior.bits(np.float32(symbols) + prior.mu), dtype=np.float64)
    assert size >= 0.995 * information - 64
    decoder = RangeDecoder(tables, streams, escapes)
    found = StepDecoder([drawn.shape], decoder)(0, coded(make(len(drawn), 7)))
    decoder.finish()
    np.testing.assert_array_equal(found, symbols)
