"""Symbols to bytes and back. Which coder should I use?

The default, coder 0 (`tfc`, range_coder.py): TensorFlow Compression's range coder, in a body of our
own or its. With one lane files are smallest; with many lanes, stock TensorFlow decodes the same
streams fast (serving). Coder 1 (`range-coder`, reference_coder.py) is an independent package: to
cross-check. Both take the same steps and give the same symbols:

    encoder = open_encoder(TFC, tables)           decoder = open_decoder(TFC, tables, streams, ...)
    encoder.write(indexes, symbols)  # per step   symbols = decoder.read(indexes)  # per step
    streams, escapes = encoder.finish()           decoder.finish()

Priors without a table for each symbol code entries of tables themselves, by `write_entries` and
`read_entries`, in any number of rounds a step.

    format     the numbers              container   the file       tables    integer probabilities
    mixtures   symbols as questions     wavefront   the order of a context model

Coders are loaded when first opened, so that reading a container needs no TensorFlow.

Rules. May import: numpy, and its own room; a coder may need a package of its own. Imported by all
that code or read files. Never knows: networks, models, pictures.
"""

from typing import Any, Protocol, TypeAlias

import numpy as np

from tfcodec.coding.format import CODER_NAMES, MAX_LANES, RANGE_CODER, SERVING_SYMBOLS, TFC
from tfcodec.coding.tables import CodingTables
from tfcodec.errors import ModelError

__all__ = ["RANGE_CODER", "TFC", "CodingTables", "open_decoder", "open_encoder", "serving_lanes"]

Array: TypeAlias = Any  # of numpy, or a tensor where a function takes the namespace `keras.ops`


class Encoder(Protocol):
    """What every coder's encoder does; see `range_coder.RangeEncoder`."""

    def write(self, indexes: np.ndarray, symbols: np.ndarray) -> None: ...

    def write_entries(self, indexes: np.ndarray, entries: np.ndarray) -> None: ...

    def finish(self) -> tuple[tuple[bytes, ...], tuple[int, ...]]: ...


class Decoder(Protocol):
    """The reverse; see `range_coder.RangeDecoder`."""

    def read(self, indexes: np.ndarray) -> np.ndarray: ...

    def read_entries(self, indexes: np.ndarray) -> np.ndarray: ...

    def finish(self) -> None: ...


def serving_lanes(symbols: int) -> int:
    """Lanes that let stock TensorFlow decode so many symbols fast."""
    lanes = 1
    while lanes < MAX_LANES and lanes * SERVING_SYMBOLS < symbols:
        lanes *= 2
    return lanes


def open_encoder(coder: int, tables: CodingTables, lanes: int = 1, symbols: int = 0) -> Encoder:
    """An encoder of that number; see `RangeEncoder`.

    Raises: ModelError if its package is missing; ValueError on an unknown coder or lanes.
    """
    encoder, _ = _load(coder)
    return encoder(tables, lanes, symbols)


def open_decoder(
    coder: int,
    tables: CodingTables,
    streams: tuple[bytes, ...],
    escapes: tuple[int, ...] = (),
    name: str = "input",
    symbols: int = 0,
) -> Decoder:
    """A decoder of that number; see `RangeDecoder`.

    Raises: ModelError if its package is missing; ValueError on an unknown coder.
    """
    _, decoder = _load(coder)
    return decoder(tables, streams, escapes, name, symbols)


def _load(coder: int) -> tuple[type, type]:
    """Encoder and decoder classes of a coder."""
    if coder not in (TFC, RANGE_CODER):
        raise ValueError(f"this release knows the coders 0 and 1, got {coder}")
    try:
        if coder == TFC:
            from tfcodec.coding.range_coder import RangeDecoder, RangeEncoder

            return RangeEncoder, RangeDecoder
        from tfcodec.coding.reference_coder import ReferenceDecoder, ReferenceEncoder

        return ReferenceEncoder, ReferenceDecoder
    except ImportError as error:
        raise ModelError(
            f"the coder {CODER_NAMES[coder]} cannot be loaded here ({error}); is it installed?"
        ) from error
