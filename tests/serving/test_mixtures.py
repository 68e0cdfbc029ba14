"""Laws of mixtures in stock operations: the bytes and symbols of coding.mixtures with the ops."""

import numpy as np
import pytest
import tensorflow as tf

from tfcodec.coding import mixtures
from tfcodec.coding.mixtures import BINARY_ROWS, MixturePrior
from tfcodec.coding.range_coder import RangeDecoder, RangeEncoder
from tfcodec.coding.tables import CodingTables
from tfcodec.serving.coder import StockDecoder, StockEncoder, StockTables
from tfcodec.serving.mixtures import MAX_QUESTIONS, StockMixturePrior

FIRST_ROW = 3
MIXTURES = tf.TensorSpec([27, 1, None, None, None], tf.int32)
SYMBOLS = tf.TensorSpec([1, None, None, None], tf.int32)
INT32, INT64 = tf.TensorSpec([], tf.int32), tf.TensorSpec([None], tf.int64)


class Coder:
    """Both directions for two steps of mixtures, in numpy and as graphs."""

    def __init__(self, compiled=False):
        rows = [([0.5, 0.4, 0.1], 0)] * (FIRST_ROW - 1) + mixtures.binary_rows()
        self.tables = CodingTables.build(rows)
        stock = StockTables(self.tables, FIRST_ROW + np.arange(BINARY_ROWS))
        family = tf.Variable(mixtures.family_tables())

        def prior(parameters):
            return StockMixturePrior(parameters, FIRST_ROW, tf.identity(family))

        @tf.function(autograph=False, input_signature=[[MIXTURES] * 2, [SYMBOLS] * 2, INT32])
        def encode(parameters, symbols, lanes):
            encoder = StockEncoder(stock, lanes, compiled)
            for step in zip(parameters, symbols, strict=True):
                prior(step[0]).encode(step[1], encoder)
            return encoder.finish()

        payload = tf.TensorSpec([None], tf.uint8)

        @tf.function(autograph=False, input_signature=[[MIXTURES] * 2, payload, INT64])
        def decode(parameters, payload, lengths):
            decoder = StockDecoder(stock, payload, lengths, tf.zeros([0], tf.int32), compiled)
            return [prior(p).decode(tf.shape(p)[1:], decoder) for p in parameters]

        self.encode, self.decode = encode, decode

    def decode_streams(self, parameters, streams):
        payload = np.frombuffer(b"".join(streams), np.uint8)
        lengths = np.int64([len(stream) for stream in streams])
        return [symbols.numpy() for symbols in self.decode(parameters, payload, lengths)]

    def check(self, parameters, symbols, lanes):
        """Asserts that both write the same bytes and the graph reads them."""
        there = RangeEncoder(self.tables, lanes)
        for step in zip(parameters, symbols, strict=True):
            MixturePrior(step[0], FIRST_ROW).encode(step[1], there)
        streams, _ = there.finish()
        payload, lengths, escapes = self.encode(parameters, symbols, lanes)
        assert lengths.numpy().tolist() == [len(stream) for stream in streams]
        assert payload.numpy().tobytes() == b"".join(streams)
        assert escapes.shape == [0]
        for here, sent in zip(self.decode_streams(parameters, streams), symbols, strict=True):
            np.testing.assert_array_equal(here, sent)


@pytest.fixture(scope="module")
def coder():
    return Coder()


def random_step(rng, count):
    """(parameters [27, 1, 1, count, 1], symbols [1, 1, count, 1]) of mixtures of many kinds."""
    spread = rng.choice([1.0, 30.0, 4000.0])
    means = rng.normal(0, spread * 2**mixtures.MEAN_BITS, [9, count])
    scales = np.exp(rng.uniform(np.log(0.05), np.log(rng.choice([0.3, 3, 256])), [9, count]))
    weights = rng.dirichlet(np.full(9, rng.choice([0.1, 1.0])), count).T
    weights = np.int64(weights * 2**mixtures.WEIGHT_BITS)
    if rng.random() < 0.3:  # equal weights: the first component is the heaviest
        weights = np.full([9, count], 2**mixtures.WEIGHT_BITS // 9)
        weights[:8] += rng.integers(0, 2)
    weights[8] += 2**mixtures.WEIGHT_BITS - weights.sum(0)
    weights *= rng.random(count) < rng.choice([1.0, 0.7])  # elements that are not coded
    limit = mixtures.MEAN_LIMIT << mixtures.MEAN_BITS
    inverses = np.round(2**mixtures.INVERSE_BITS / scales)
    parameters = np.concatenate([np.clip(np.round(means), -limit, limit), inverses, weights])
    near = np.round(means[rng.integers(0, 9), np.arange(count)] / 2**mixtures.MEAN_BITS)
    far = rng.integers(-32767, 32768, count)
    symbols = np.where(rng.random(count) < rng.choice([0, 0.02]), far, near + rng.integers(-2, 3))
    symbols = np.clip(symbols, -32767, 32767) * weights.any(axis=0)
    return (
        parameters.astype(np.int32).reshape(27, 1, 1, count, 1),
        symbols.astype(np.int32).reshape(1, 1, count, 1),
    )


def random_cases(coder, seed, count):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        lanes = int(2 ** rng.integers(0, 11))
        steps = [random_step(rng, int(rng.integers(0, 4 * lanes + 30))) for _ in range(2)]
        coder.check(*map(list, zip(*steps, strict=True)), lanes)


def test_the_bytes_are_those_of_the_ops_and_decode_in_the_graph(coder):
    random_cases(coder, 0, 30)


@pytest.mark.slow
def test_a_thousand_cases_are_those_of_the_ops(coder):
    random_cases(coder, 1, 1000)


def test_compiled_by_xla_the_bytes_are_the_same():
    rng = np.random.default_rng(2)
    Coder(compiled=True).check(
        *map(list, zip(random_step(rng, 40), random_step(rng, 40), strict=True)), 16
    )


@pytest.mark.parametrize("stream", [b"", b"\xff" * 40, None])
def test_hostile_streams_end_in_the_symbols_that_the_ops_find(coder, stream):
    rng = np.random.default_rng(3)
    parameters = [random_step(rng, 200)[0] for _ in range(2)]
    streams = [rng.bytes(60) if stream is None else stream] * 8
    there = RangeDecoder(coder.tables, tuple(streams))
    expected = [MixturePrior(p, FIRST_ROW).decode(p.shape[1:], there) for p in parameters]
    for here, wanted in zip(coder.decode_streams(parameters, streams), expected, strict=True):
        np.testing.assert_array_equal(here, wanted)


def test_parameters_that_are_garbage_end_in_symbols_within_the_limit(coder):
    """A forged file may drive a network to not-a-number, which casts to any integer."""
    rng = np.random.default_rng(4)
    parameters = rng.integers(-(2**31), 2**31, [27, 1, 10, 10, 3]).astype(np.int32)
    lowest = np.full_like(parameters, -(2**31))
    for symbols in coder.decode_streams([parameters, lowest], [rng.bytes(300)] * 4):
        assert np.abs(symbols).max() <= 32767


def test_no_symbol_takes_more_questions_than_servers_reckon_with():
    limit = mixtures.MEAN_LIMIT << mixtures.MEAN_BITS
    parameters = np.zeros([27, 1, 1, 2, 1], np.int32)
    parameters[:9, ..., 0, :], parameters[:9, ..., 1, :] = limit, 0
    parameters[9:18], parameters[18] = 2**mixtures.INVERSE_BITS, 2**15

    class Count:
        rounds = 0

        def write_entries(self, *_):
            self.rounds += 1

    for far in (-32767, 32767):
        counted = Count()
        MixturePrior(parameters, FIRST_ROW).encode(np.full([1, 1, 2, 1], far, np.int32), counted)
        assert MAX_QUESTIONS - 2 <= counted.rounds <= MAX_QUESTIONS
