"""Symbols with a mixture each, in stock TensorFlow operations.

`coding.mixtures` once more, traced into a graph: the same questions to the same integers,
asked of all symbols of a step at once, in rounds that are a loop.
"""

import dataclasses

import numpy as np
import tensorflow as tf
from keras import ops

from tfcodec.coding.mixtures import (
    BINARY_ROWS,
    COMPONENTS,
    MEAN_BITS,
    ask_centre,
    ask_distance,
    ask_side,
    binary_row,
    cumulative,
    is_open,
    value,
)
from tfcodec.entropy.walk import CodedPrior, Part
from tfcodec.serving.coder import StockDecoder, StockEncoder

MAX_QUESTIONS = 32  # to a symbol: two, then 15 that double the distance and 15 that halve


@dataclasses.dataclass(frozen=True)
class StockMixturePrior:
    """A step's prior of mixtures, as visitors inside a graph see it.

    parameters: int32 tensor [27, 1, h, w, c], as `MixturePrior` has them.
    first_row: row of the codec's tables where `binary_rows` begin.
    tables: `family_tables()`, a tensor.
    """

    parameters: tf.Tensor
    first_row: int
    tables: tf.Tensor
    mu = 0.0
    most_reads = MAX_QUESTIONS  # of the decoder, a symbol

    @classmethod
    def make(
        cls, part: Part, mu: tf.Tensor, indexes: tf.Tensor, server: tf.Module, k: int
    ) -> "StockMixturePrior":
        """The prior of step k of a part, see `serving.walk.CODINGS`."""
        return cls(indexes, part.first_row, tf.identity(server.family_tables))

    @staticmethod
    def bisected_rows(part: Part, prior: CodedPrior, last: bool) -> np.ndarray:
        """All rows are binary decisions, which are bisected."""
        return part.first_row + np.arange(BINARY_ROWS)

    def encode(self, symbols: tf.Tensor, coder: StockEncoder) -> None:
        """Has a `StockEncoder` write int32 symbols of the step's shape."""
        flat = tf.cast(tf.reshape(symbols, [-1]), tf.int64)

        def answer(indexes, live, question):
            answers = question(tf.gather(flat, live))
            coder.write_binary(indexes, tf.cast(answers, tf.int32))
            return answers

        self._rounds(coder, answer)

    def decode(self, shape: tuple, coder: StockDecoder) -> tf.Tensor:
        """The symbols of the step, int32, from a `StockDecoder`."""
        found = self._rounds(coder, lambda indexes, *_: coder.read_binary(indexes) > 0)
        return tf.reshape(found, shape)

    def _rounds(self, coder, answer):
        """As `MixturePrior._rounds`: the symbols, int32 [h w c]."""
        flat = tf.reshape(self.parameters, [3, COMPONENTS, -1])
        live = _places(tf.reduce_any(flat[2] != 0, 0))

        def asking(live):
            mixtures = tf.unstack(tf.gather(flat, live, axis=2))

            def ask(yes, whole, question):
                row = binary_row(yes, whole, ops)
                return answer(row + (self.first_row - 1), live, question)

            return mixtures, lambda symbol: self._below(mixtures, symbol), ask

        (means, _, weights), below, ask = asking(live)
        differs, state = ask_centre(means, weights, below, ask, ops)
        symbols = tf.scatter_nd(live[:, None], _values(state), tf.shape(flat)[2:])

        kept = _places(differs)
        live, state = tf.gather(live, kept), tf.gather(tf.stack(state), kept, axis=1)
        *_, ask = asking(live)
        state = tf.stack(ask_side(tf.unstack(state), ask, ops))

        def turn(live, state, symbols):
            _, below, ask = asking(live)
            state = ask_distance(tf.unstack(state), below, ask, ops)
            symbols = tf.tensor_scatter_nd_update(symbols, live[:, None], _values(state))
            kept = _places(is_open(state))
            return tf.gather(live, kept), tf.gather(tf.stack(state), kept, axis=1), symbols

        *_, symbols = coder.loop(lambda live, *_: tf.size(live) > 0, turn, (live, state, symbols))
        return symbols

    def _below(self, mixtures, symbol):
        """Mass below symbol - 1/2, int64 [n]."""
        edge = tf.bitwise.left_shift(symbol, MEAN_BITS) - (1 << (MEAN_BITS - 1))
        means, inverses, weights = (tf.cast(numbers, tf.int64) for numbers in mixtures)
        return cumulative(edge, means, inverses, weights, self.tables, ops)


def _places(mask):
    return tf.cast(tf.where(mask)[:, 0], tf.int32)


def _values(state):
    return tf.cast(value(state, ops), tf.int32)
