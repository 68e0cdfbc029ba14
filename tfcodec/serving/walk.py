"""`entropy.walk` inside a graph: the exported steps and the visitors that code them, of tensors."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from tfcodec.coding import wavefront
from tfcodec.coding.format import (
    MAX_LANES,
    MAX_SYMBOL,
    SERVING_SYMBOLS,
)
from tfcodec.entropy.walk import MIXTURE, TABLE, CodedPrior, Part
from tfcodec.exports import loaded
from tfcodec.serving.coder import StockDecoder, StockEncoder
from tfcodec.serving.mixtures import StockMixturePrior


class ExportedInGraph:
    """The model of `walk.walk`, of tensors.

    The walk sees the first step of each part. Further wavefronts, whose number depends on the
    picture's size, are a loop before the end.
    """

    def __init__(
        self,
        server: tf.Module,
        parts: Sequence[Part],
        visitor: "GraphEncoder | GraphDecoder",
        shapes: list[tuple[tf.Tensor, tuple]],
    ):
        self._server, self._parts, self._visitor, self._shapes = server, parts, visitor, shapes

    def step(
        self, k: int, state: dict, symbols: tf.Tensor | None
    ) -> tuple[dict, "GraphTablePrior | StockMixturePrior"]:
        server, part = self._server, self._parts[min(k, len(self._parts) - 1)]
        given = () if k == 0 else (state, symbols)
        state, mu, indexes = server.steps[k](*given)
        return state, CODINGS[part.coding].make(part, mu, indexes, server, k)

    def finish(self, state: dict, symbols: tf.Tensor) -> Any:
        if self._parts[-1].wavefront:
            state, symbols = self._wavefronts(state, symbols)
        return self._server.finish(state, symbols)

    def _wavefronts(self, state, symbols):
        """State and symbols of the last wavefront; the visitor keeps the symbols of all."""
        visitor, k = self._visitor, len(self._parts) - 1
        count = tf.cast(self._shapes[k][0], tf.int32)
        found = tf.TensorArray(tf.int32, count, element_shape=symbols.shape).write(0, symbols)

        def turn(t, state, symbols, found):
            state, prior = self.step(k + 1, state, symbols)
            symbols = visitor.code(k, t, prior)
            return t + 1, state, symbols, found.write(t, symbols)

        _, state, symbols, found = visitor.coder.loop(
            lambda t, *_: t < count, turn, (tf.constant(1), state, symbols, found)
        )
        visitor.symbols[k] = found.stack()
        return state, symbols


@dataclasses.dataclass(frozen=True)
class GraphTablePrior:
    """`walk.TablePrior` of tensors; `bisected` says how its rows are searched."""

    mu: tf.Tensor
    indexes: tf.Tensor
    bisected: bool
    most_reads = 1  # of the decoder, a symbol

    @classmethod
    def make(
        cls, part: Part, mu: tf.Tensor, indexes: tf.Tensor, server: tf.Module, k: int
    ) -> "GraphTablePrior":
        """The prior of step k of a part, see `CODINGS`."""
        # A hostile file may drive a network to not-a-number, which casts to any integer.
        indexes = tf.clip_by_value(indexes, 1, tf.size(server.stock_tables.sizes) - 1)
        return cls(mu, indexes, server.bisected[k])

    @staticmethod
    def bisected_rows(part: Part, prior: CodedPrior, last: bool) -> np.ndarray | None:
        """Those of a step where one row serves a channel; None for another, and for the last."""
        few = not last and prior.indexes.shape[1:3] == (1, 1)
        return np.unique(prior.indexes) if few else None

    def encode(self, symbols: tf.Tensor, coder: StockEncoder) -> None:
        coder.write(tf.broadcast_to(self.indexes, tf.shape(symbols)), symbols)

    def decode(self, shape: tuple, coder: StockDecoder) -> tf.Tensor:
        return coder.read(tf.broadcast_to(self.indexes, shape), self.bisected)


# `entropy.walk.CODINGS` inside a graph: classes of `CodedPrior`s with two more methods.
#     make(part, mu, indexes, server, k): the prior of a step, of tensors;
#     bisected_rows(part, prior, last): from the numpy twin's prior, the rows that the decoder is to
#         bisect, or None if a step's rows are to have inverse tables.
CODINGS = {TABLE: GraphTablePrior, MIXTURE: StockMixturePrior}


class _Visitor:
    """Visitor of the parts, inside a graph; `symbols` of each in the end, int32.

    coder: `StockEncoder` or `StockDecoder`.
    parts: of the export.
    """

    def __init__(self, coder, parts):
        self.coder, self.parts, self.symbols = coder, parts, []
        self.num_steps = len(parts)

    def __call__(self, k, prior):
        self.symbols.append(self.code(k, 0, prior))
        return self.symbols[-1]


class GraphEncoder(_Visitor):
    """`walk.StepEncoder` of tensors; latents: of each part, as the analysis gives them."""

    def __init__(self, coder: StockEncoder, parts: Sequence[Part], latents: Sequence[tf.Tensor]):
        super().__init__(coder, parts)
        self.latents = latents

    def code(
        self, k: int, t: int | tf.Tensor, prior: GraphTablePrior | StockMixturePrior
    ) -> tf.Tensor:
        """The symbols of part k, or of its wavefront t."""
        latent = self.latents[k]
        if self.parts[k].wavefront:
            row, column, valid = wavefront.positions(t, *tf.unstack(tf.shape(latent)[1:3]), xp=ops)
            latent = tf.gather_nd(latent[0], tf.stack([row, column], 1))
            latent = tf.where(valid[:, None], latent, 0.0)[None, :, None]
        residual = latent - prior.mu
        rounded = tf.where(tf.math.is_nan(residual), 0.0, tf.round(residual))
        limited = tf.clip_by_value(rounded, -float(MAX_SYMBOL), float(MAX_SYMBOL))
        symbols = tf.cast(limited, tf.int32)
        prior.encode(symbols, self.coder)
        return symbols


class GraphDecoder(_Visitor):
    """`walk.StepDecoder` of tensors; shapes: of a step of each part."""

    def __init__(self, coder: StockDecoder, parts: Sequence[Part], shapes: list[tuple]):
        super().__init__(coder, parts)
        self.shapes = shapes

    def code(
        self, k: int, t: int | tf.Tensor, prior: GraphTablePrior | StockMixturePrior
    ) -> tf.Tensor:
        symbols = prior.decode(self.shapes[k], self.coder)
        return tf.ensure_shape(symbols, [1, None, None, self.parts[k].channels])


def bisected_rows(exported: loaded.Exported) -> tuple[list[bool], list[int]]:
    """Which parts' rows are bisected, and all these rows: where one row serves a channel and
    symbols are few, and where rows are binary decisions.

    Found by walking over symbols of zero of a small picture. The rows of all other parts get an
    inverse table, as do those of the last part, which has the most symbols.
    """
    state, symbols, steps, rows = {}, None, [], [np.zeros(0, np.int64)]
    shapes = exported.shapes(2 * exported.stride, 2 * exported.stride)  # none is 1x1 by its size
    last = len(exported.parts) - 1
    for k, part in enumerate(exported.parts):
        state, prior = exported.step(k, state, symbols)
        symbols = np.zeros(shapes[k], np.int32)
        bisected = CODINGS[part.coding].bisected_rows(part, prior, k == last)
        steps.append(bisected is not None)
        rows += [bisected] if steps[k] else []
    return steps, np.unique(np.concatenate(rows)).tolist()


def count_elements(shape: tuple) -> tf.Tensor:
    """Elements of a shape of int32 tensors, int64."""
    return functools.reduce(lambda a, b: a * tf.cast(b, tf.int64), shape, tf.constant(1, tf.int64))


def serving_lanes(symbols: tf.Tensor) -> tf.Tensor:
    """`coding.serving_lanes` of an int64 tensor."""
    powers = tf.constant([1 << k for k in range(MAX_LANES.bit_length())], tf.int64)
    enough = powers * SERVING_SYMBOLS >= symbols
    return tf.cast(tf.reduce_min(tf.where(enough, powers, MAX_LANES)), tf.int32)
