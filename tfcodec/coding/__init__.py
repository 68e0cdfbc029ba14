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

Coders are loaded when first opened, so that reading a container needs no TensorFlow.
"""

from tfcodec.coding.container import CODER_NAMES, MAX_LANES, RANGE_CODER, TFC
from tfcodec.coding.tables import CodingTables
from tfcodec.errors import ModelError

__all__ = ["RANGE_CODER", "TFC", "CodingTables", "open_decoder", "open_encoder", "serving_lanes"]

# Most symbols of a lane for servers: 768x512 pixels of 300,000 symbols then have 64 lanes, which
# stock operations decode in about 5,000 turns of a loop.
SERVING_SYMBOLS = 8192


def serving_lanes(symbols: int) -> int:
    """Lanes that let stock TensorFlow decode so many symbols fast."""
    lanes = 1
    while lanes < MAX_LANES and lanes * SERVING_SYMBOLS < symbols:
        lanes *= 2
    return lanes


def open_encoder(coder: int, tables: CodingTables, lanes: int = 1, symbols: int = 0):
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
):
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
