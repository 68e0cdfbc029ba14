"""Laws of the coder in stock operations: the same bytes and symbols as the ops, in every case."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfcodec.coding.range_coder import RangeDecoder, RangeEncoder
from tfcodec.coding.tables import CodingTables
from tfcodec.serving.coder import StockDecoder, StockEncoder, StockTables

INT32 = tf.TensorSpec([None], tf.int32)


class Coder:
    """Both directions for a step of bisected rows and a step of looked-up ones, as graphs."""

    def __init__(self, tables, bisected, compiled=False):
        stock = StockTables(tables, bisected)

        @tf.function(autograph=False, input_signature=[INT32] * 4 + [tf.TensorSpec([], tf.int32)])
        def encode(first, first_symbols, second, second_symbols, lanes):
            encoder = StockEncoder(stock, lanes, compiled)
            encoder.write(first, first_symbols)
            encoder.write(second, second_symbols)
            return encoder.finish()

        payload, lengths = tf.TensorSpec([None], tf.uint8), tf.TensorSpec([None], tf.int64)

        @tf.function(autograph=False, input_signature=[INT32, INT32, payload, lengths, INT32])
        def decode(first, second, payload, lengths, escapes):
            decoder = StockDecoder(stock, payload, lengths, escapes, compiled)
            return decoder.read(first, bisect=True), decoder.read(second), decoder.finish()

        self.tables, self.encode, self.decode = tables, encode, decode

    def check(self, steps, lanes):
        """Asserts that the ops and the graph give the same bytes, and read each other's."""
        there = RangeEncoder(self.tables, lanes)
        for step in steps:
            there.write(*step)
        streams, escapes = there.finish()
        payload, lengths, found = self.encode(*steps[0], *steps[1], lanes)
        assert payload.numpy().tobytes() == b"".join(streams)
        assert lengths.numpy().tolist() == [len(stream) for stream in streams]
        assert tuple(found.numpy()) == escapes
        *symbols, used = self.decode(steps[0][0], steps[1][0], payload, lengths, found)
        for here, (_, sent) in zip(symbols, steps, strict=True):
            np.testing.assert_array_equal(here, sent)
        assert used == len(escapes)


def random_tables(rng):
    """Rows of many kinds: flat, peaked, long, of two entries, of one symbol beside the escape."""
    rows = []
    for _ in range(12):
        size = int(rng.choice([2, 2, 3, 10, 100, 3000]))
        pmf = rng.random(size) ** rng.choice([0, 1, 30]) + 1e-9
        if rng.random() < 0.3:
            pmf[rng.integers(size)] = 1e9  # a probability of nearly 1: others are 2^-16
        rows.append((pmf, int(rng.integers(-size, 2))))
    return CodingTables.build(rows)


def random_step(rng, tables, rows, count):
    """(indexes, symbols): some rows' likely symbols, some any, a few far outside."""
    indexes = np.int32(rng.choice(rows, count))
    sizes, offsets = tables.sizes[indexes], tables.offsets[indexes]
    if rng.random() < 0.5:
        entries = rng.integers(0, sizes)
    else:  # as the tables want it, so that intervals hardly shrink
        best = np.array([np.argmax(np.diff(tables.cdf(row))) for row in range(tables.sizes.size)])
        entries = np.where(rng.random(count) < 0.95, best[indexes], rng.integers(0, sizes))
    symbols = offsets + entries
    far = rng.random(count) < rng.choice([0, 0.02])
    return indexes, np.where(far, rng.integers(-32767, 32768, count), symbols).astype(np.int32)


def random_cases(seed, count, coder_of):
    rng = np.random.default_rng(seed)
    for number in range(count):
        if number % 50 == 0:
            tables = random_tables(rng)
            coder = coder_of(tables, range(1, 7))
        lanes = int(2 ** rng.integers(0, 11))
        sizes = [int(rng.integers(0, most * lanes + 2)) for most in (6, 12)]
        rows = (np.arange(1, 7), np.arange(7, 13))
        coder.check(
            [random_step(rng, tables, *step) for step in zip(rows, sizes, strict=True)], lanes
        )


@pytest.mark.parametrize("seed", range(2))
def test_the_bytes_are_those_of_the_ops_and_each_decodes_the_other(seed):
    random_cases(seed, 100, Coder)


@pytest.mark.slow
def test_a_thousand_cases_are_those_of_the_ops():
    random_cases(100, 1000, Coder)


def test_compiled_by_xla_the_bytes_are_the_same():
    rng = np.random.default_rng(3)
    tables = random_tables(rng)
    coder = Coder(tables, range(1, 7), compiled=True)
    rows = (np.arange(1, 7), np.arange(7, 13))
    for _ in range(3):  # of one shape, which is compiled once
        coder.check([random_step(rng, tables, step, 200) for step in rows], 16)


def test_carries_run_through_words_of_ones_in_every_lane():
    """Intervals at the upper end for long, then a choice that decides whether the carry comes."""
    tables = CodingTables.build([([1.0] + [1e9] + [1.0], 0)])
    coder = Coder(tables, [1])
    nothing = np.zeros(0, np.int32), np.zeros(0, np.int32)
    low, high = 0, tables.sizes[1] - 2
    for length in range(1, 40, 3):
        for last in (low, high):
            symbols = np.repeat(np.int32([high] * length + [last]), 4)
            step = np.ones(symbols.size, np.int32), symbols
            coder.check([step, nothing], 4)
    rng = np.random.default_rng(0)
    flat = CodingTables.build([(np.ones(4), 0)])
    coder = Coder(flat, [1])
    for value in range(40):  # the middle of the range, where carries stay open
        symbols = np.int32([1] + [2] * int(rng.integers(0, 40)) + [value % 3])
        for tail in (symbols, np.int32([1] + [3] * 30)):
            coder.check([(np.ones(tail.size, np.int32), tail), nothing], 1)


@pytest.mark.parametrize("entries", [2, 3, 300])
def test_zeros_at_the_end_are_cut_where_the_ops_cut_them(entries):
    """Entry 0 again and again: words of zero leave, and the interval begins at zero."""
    tables = CodingTables.build([(np.ones(entries), 0), (np.ones(entries), 0)])
    coder = Coder(tables, [1])
    rng = np.random.default_rng(entries)
    for tail in (0, 1, 5, 60, 400):
        for _ in range(6):
            steps = []
            for row, length in ((1, int(rng.integers(0, 300))), (2, 4 * tail)):
                symbols = rng.integers(0, 2 if row == 1 else 1, length).astype(np.int32)
                steps.append((np.full(length, row, np.int32), symbols))
            coder.check(steps, int(rng.choice([1, 4])))


def test_binary_decisions_of_many_probabilities_are_those_of_the_ops():
    """One static table of 2^14 probabilities, an escape beside them: as mixtures are coded."""
    count = 1 << 14
    p = (np.arange(count) + 0.5) / count
    tables = CodingTables.build([((1 - q, q, 1e-9), 0) for q in p])
    coder = Coder(tables, range(1, count + 1))
    rng = np.random.default_rng(0)
    indexes = np.int32(rng.integers(1, count + 1, 20_000))
    symbols = np.int32(rng.random(indexes.size) < p[indexes - 1])
    coder.check([(indexes, symbols), (indexes[:0], symbols[:0])], 64)


@pytest.mark.parametrize("damage", ["empty", "zeros", "ones", "noise", "half"])
def test_a_hostile_stream_ends_in_the_symbols_that_the_ops_find(damage):
    rng = np.random.default_rng(5)
    tables = random_tables(rng)
    coder = Coder(tables, range(1, 7))
    steps = [random_step(rng, tables, np.arange(a, a + 6), 3000) for a in (1, 7)]
    lengths = rng.integers(0, 100, 16)
    streams = {
        "empty": [b""] * 16,
        "zeros": [bytes(int(n)) for n in lengths],
        "ones": [b"\xff" * int(n) for n in lengths],
        "noise": [rng.bytes(int(n)) for n in lengths],
        "half": [rng.bytes(int(n)) + b"\0\0" for n in lengths],
    }[damage]
    escapes = np.int32(rng.integers(-500, 500, 6000))  # more than can be asked for
    there = RangeDecoder(tables, tuple(streams), tuple(escapes.tolist()))
    expected = [there.read(indexes) for indexes, _ in steps]
    payload = np.frombuffer(b"".join(streams), np.uint8)
    sizes = np.int64([len(stream) for stream in streams])
    *symbols, used = coder.decode(steps[0][0], steps[1][0], payload, sizes, escapes)
    for here, wanted in zip(symbols, expected, strict=True):
        np.testing.assert_array_equal(here, wanted)
    assert 0 <= used <= 6000


def test_missing_escapes_are_zero_and_counted():
    tables = CodingTables.build([([1.0, 1.0, 1.0], 0)])
    coder = Coder(tables, [1])
    nothing = np.zeros(0, np.int32)
    indexes, symbols = np.ones(40, np.int32), np.full(40, 500, np.int32)
    payload, lengths, escapes = coder.encode(indexes, symbols, nothing, nothing, 4)
    decoded, _, used = coder.decode(indexes, nothing, payload, lengths, escapes[:10])
    assert used == 40
    assert decoded.numpy().tolist() == [500] * 10 + [0] * 30


def test_the_inverse_table_is_filled_at_load_and_not_stored(tmp_path):
    rng = np.random.default_rng(6)
    stock = StockTables(random_tables(rng), range(1, 7))
    module = tf.Module()
    module.tables = stock
    module.read = tf.function(lambda: stock.inverse, autograph=False, input_signature=[])
    tf.saved_model.save(module, str(tmp_path))
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert size < 7 * 65536 * 4 / 2
    restored = tf.saved_model.load(str(tmp_path)).read().numpy()
    np.testing.assert_array_equal(restored, stock.inverse)
    for number, row in enumerate(range(7, 13), 1):
        cdf = stock.bounds.numpy()[stock.starts.numpy()[row] :][: stock.sizes.numpy()[row]] >> 32
        expected = np.searchsorted(cdf, np.arange(65536), side="right") - 1
        found = restored[number * 65536 : (number + 1) * 65536] - stock.starts.numpy()[row]
        np.testing.assert_array_equal(found, expected)


def test_a_stream_is_as_short_as_the_tables_allow():
    tables = CodingTables.build([([0.7, 0.2, 0.1], 0), ([0.5, 0.5], 0)])
    coder = Coder(tables, [1])
    rng = np.random.default_rng(8)
    indexes, symbols = np.ones(50_000, np.int32), np.int32(rng.random(50_000) < 0.2)
    nothing = np.zeros(0, np.int32)
    payload, _, _ = coder.encode(indexes, symbols, nothing, nothing, 64)
    ideal = tables.ideal_bits(indexes, symbols).sum() / 8
    assert math.isclose(payload.shape[0], ideal, rel_tol=0.01)
