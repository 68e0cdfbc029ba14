"""The one walk over the latents, the two visitors that code them, and what they rely on.

An entropy model visits its latents in coding order exactly once in the source. The model supplies
the steps, each a pure function of what was coded before it; the visitor decides what happens to a
step's latents: `rate.RateMeter` sums their bits (training, evaluation), `StepEncoder` collects
their symbols, `StepDecoder` reads them. The decoder is right because the encoder is.

How the papers' orders map to steps (z's symbols are a step like any other, with the medians as mu):

    bmshj2018 factorized   y
    bmshj2018, mbt2018     z | y
    octave                 z2_high | z2_low | z_low | z_high | y_low | y_high
    ms2020, tcm, icwem     z | y slice 0 | .. | y slice k
    weconvene              z | low band slices | high band slices
    gllmm with context     z | wavefront 0 | .. | wavefront n, one function that reads its number
                           from the state; n follows from the size

What both sides rely on is declared here: a `Part` says what a step codes, a `Prior` what a model
believes of it (training), a `CodedPrior` how its symbols are written and read (coding).

This module imports neither TensorFlow nor Keras.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

import numpy as np

from tfcodec.coding import Array, Decoder, Encoder, wavefront
from tfcodec.coding.format import MAX_SYMBOL, padded
from tfcodec.coding.mixtures import MixturePrior
from tfcodec.layers import Tensor, Tensors

State: TypeAlias = dict[str, Tensor]  # what a step hands to the next one; empty at first

TABLE, MIXTURE = "table", "mixture"


@dataclasses.dataclass(frozen=True)
class Part:
    """What one step of the walk codes.

    name: of the part in rates and files; steps may share one.
    stride: of its latents to the picture.
    channels: of its latents.
    coding: how its symbols become entries of tables, a key of `CODINGS`.
    first_row: where a coding whose indexes are no rows has its rows, in the codec's tables.
    wavefront: whether the step is repeated for all diagonals, see `coding.wavefront`.
    """

    name: str
    stride: int
    channels: int
    coding: str = TABLE
    first_row: int = 0
    wavefront: bool = False

    def to_json(self) -> dict[str, Any]:
        """As config.json has it: what is as usual is left out. Fingerprints depend on its order."""
        fields = {"name": self.name, "stride": self.stride, "channels": self.channels}
        if self.wavefront:
            fields["wavefront"] = True
        if self.coding != TABLE:
            fields |= {"coding": self.coding, "first_row": self.first_row}
        return fields


class Prior(Protocol):
    """What a model believes of one step's latents before it sees them, for `rate.RateMeter`.

    mu: float32, broadcasts to the latents [B, h, w, c]; symbols are round(latent - mu).
    """

    mu: Tensor

    def bits(self, values: Tensor) -> Tensor:
        """Bits of float32 values [B, h, w, c], which may be noisy."""

    def coded_bits(self, symbols: Tensor) -> Tensor:
        """Bits of integer symbols [B, h, w, c], float32, as the coder charges them."""

    def indexes(self) -> Tensor:
        """int32, all that the `CodedPrior` of the part's coding has to know beside mu."""


class CodedPrior(Protocol):
    """The same prior as the coding visitors see it, in numpy or inside a graph.

    mu: as `Prior` has it.
    coder: an `Encoder` or a `Decoder` of tfcodec.coding; in a graph, those of tfcodec.serving.
    """

    mu: Array

    def encode(self, symbols: Array, coder: Any) -> None:
        """Writes int32 symbols of the step's shape."""

    def decode(self, shape: tuple[Any, ...], coder: Any) -> Array:
        """Reads the int32 symbols of a step of that shape."""


class Steps(Protocol):
    """What the walk visits: a Keras model in training, an exported one in the codec."""

    def step(self, k: int, state: State, symbols: Array | None) -> tuple[State, Any]:
        """(state, symbols of step k - 1, None at first) to (state, prior of step k)."""

    def finish(self, state: State, symbols: Array) -> Tensors:
        """(state, symbols of the last step) to y_hat, or whatever the synthesis takes."""


class Visitor(Protocol):
    """What happens to the latents of `num_steps` steps."""

    num_steps: int

    def __call__(self, k: int, prior: Any) -> Array:
        """The symbols of step k, from its prior."""


@dataclasses.dataclass(frozen=True)
class LatentShapes:
    """Where the latents of a picture of any size lie.

    parts: one `Part` a step; stride: the picture's sides are padded to a multiple of it.
    """

    parts: tuple[Part, ...]
    stride: int

    def padded(self, height: int, width: int) -> list[int]:
        """The two sides of a picture as the model sees it."""
        return [padded(side, self.stride) for side in (height, width)]

    def shapes(self, height: int, width: int) -> list[tuple[int, ...]]:
        """Shape (1, h, w, c) of each step's latents for a picture of that size."""
        whole, shapes = self.padded(height, width), []
        for part in self.parts:
            sides = [side // part.stride for side in whole]
            if part.wavefront:
                shapes += wavefront.shapes(*sides, part.channels)
            else:
                shapes.append((1, *sides, part.channels))
        return shapes


def walk(model: Steps, code: Visitor) -> Tensors:
    """Visits the steps in coding order; returns what `model.finish` makes of the last symbols.

    The model's steps give `Prior`s to a `rate.RateMeter`, and `CodedPrior`s to the other visitors.
    """
    state, symbols = {}, None
    for k in range(code.num_steps):
        state, prior = model.step(k, state, symbols)
        symbols = code(k, prior)
    return model.finish(state, symbols)


@dataclasses.dataclass(frozen=True)
class TablePrior:
    """A `CodedPrior` with a row of the tables for each symbol.

    mu: float32 array, broadcasts to the latents; indexes: int32 array, too.
    """

    mu: np.ndarray
    indexes: np.ndarray

    def encode(self, symbols: np.ndarray, coder: Encoder) -> None:
        """Writes int32 symbols of the step's shape."""
        coder.write(np.broadcast_to(self.indexes, symbols.shape), symbols)

    def decode(self, shape: tuple[int, ...], coder: Decoder) -> np.ndarray:
        """Reads the int32 symbols of a step of that shape."""
        return coder.read(np.broadcast_to(self.indexes, shape))


# How symbols become entries of tables: from a part, and mu and indexes of its step's `Prior`, to a
# `CodedPrior`. `serving.walk.CODINGS` has the same keys, for graphs.
CODINGS: dict[str, Callable[[Part, np.ndarray, np.ndarray], CodedPrior]] = {
    TABLE: lambda part, mu, indexes: TablePrior(mu, indexes),
    MIXTURE: lambda part, mu, indexes: MixturePrior(indexes, part.first_row),
}


def read_parts(steps: Iterable[dict[str, Any]]) -> tuple[Part, ...]:
    """The parts of a config.json. Raises: ValueError for a coding that this release lacks."""
    parts = tuple(Part(**fields) for fields in steps)
    for part in parts:
        if part.coding not in CODINGS:
            raise ValueError(
                f"the part {part.name!r} is coded as {part.coding!r}, which this release does not "
                f"know; it knows {', '.join(CODINGS)}"
            )
    return parts


class StepEncoder:
    """Visitor that rounds each step's latents and has the step's prior write the symbols.

    latents: one float32 array [1, h, w, c] a step, from the analysis.
    coder: an encoder, see tfcodec.coding.
    `symbols` holds the int32 arrays in coding order afterwards.
    """

    def __init__(self, latents: Iterable[np.ndarray], coder: Encoder):
        self.latents, self.coder = list(latents), coder
        self.num_steps = len(self.latents)
        self.symbols = []

    def __call__(self, k: int, prior: CodedPrior) -> np.ndarray:
        residual = np.asarray(self.latents[k]) - np.asarray(prior.mu)
        self.latents[k] = None  # needed no longer, and large if the picture is
        np.rint(residual, out=residual)
        # Not-a-number (a broken model) would become an arbitrary integer: make it zero.
        np.nan_to_num(residual, copy=False, nan=0.0)
        np.clip(residual, -MAX_SYMBOL, MAX_SYMBOL, out=residual)
        symbols = residual.astype(np.int32)
        del residual
        prior.encode(symbols, self.coder)
        self.symbols.append(symbols)
        return symbols


class StepDecoder:
    """Visitor that has each step's prior read its symbols from the coder.

    shapes: one (1, h, w, c) a step, derived from the picture's height and width alone.
    coder: a decoder, see tfcodec.coding.
    `symbols` holds the int32 arrays in coding order afterwards.
    """

    def __init__(self, shapes: list[tuple[int, ...]], coder: Decoder):
        self.shapes, self.coder = shapes, coder
        self.num_steps = len(shapes)
        self.symbols = []

    def __call__(self, k: int, prior: CodedPrior) -> np.ndarray:
        symbols = prior.decode(self.shapes[k], self.coder)
        self.symbols.append(symbols)
        return symbols
