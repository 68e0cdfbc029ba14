"""TensorFlow Compression's range coder, coder 0 of the file: the fast one, needs its C++ ops.

The ops are quick and trusting, so nothing reaches them unchecked: tables have positive precision
only (in-line escapes can hang on hostile streams), rows and entries are in range, shapes come from
the caller and never from the stream, and a handle is never sliced. Decoding any bytes then ends,
with some symbols; whether they are the right ones, the file's CRC and checksum tell.

With S lanes, the symbols of a step go to the lanes in turn: symbol i to lane i mod S. Each step
fills its last row with entries of the certain table, which cost nothing.
"""

import numpy as np
import tensorflow as tf
import tensorflow_compression_ops as tfc

from tfcodec.coding.container import MAX_LANES
from tfcodec.coding.tables import CodingTables, EscapeReader
from tfcodec.errors import ContainerError


class RangeEncoder:
    """Codes the symbols of an image step by step into one stream per lane.

    Args:
        tables: of the model.
        lanes: independent streams, a power of two up to 1024; more lanes let stock TensorFlow
            decode faster, and cost about half a byte each.
    Raises: ValueError on another number of lanes.
    """

    def __init__(self, tables: CodingTables, lanes: int = 1):
        if not 1 <= lanes <= MAX_LANES or lanes & (lanes - 1):
            raise ValueError(f"lanes must be a power of two from 1 to {MAX_LANES}, got {lanes}")
        self._tables = tables
        self._lanes = lanes
        self._escapes: list[int] = []
        with tf.device("CPU"):
            shape = () if lanes == 1 else (lanes,)
            self._handle = tfc.create_range_encoder(shape, tables.lookup)

    def write(self, indexes: np.ndarray, symbols: np.ndarray) -> None:
        """Takes the symbols of one step, int32 of any one shape, in C order.

        Raises: ValueError as `CodingTables.to_entries`.
        """
        entries, escaped = self._tables.to_entries(indexes, symbols)
        if escaped.any():
            self._escapes += symbols[escaped].tolist()
        self._encode(indexes, entries)

    def write_entries(self, indexes: np.ndarray, entries: np.ndarray) -> None:
        """Takes entries of their tables as they are, int32 of the shape of `indexes`; no escapes.

        Raises: ValueError as `CodingTables.check_entries`.
        """
        self._tables.check_entries(indexes, entries)
        self._encode(indexes, entries)

    def _encode(self, indexes: np.ndarray, entries: np.ndarray) -> None:
        with tf.device("CPU"):
            self._handle = tfc.entropy_encode_index(
                self._handle, _to_lanes(indexes, self._lanes), _to_lanes(entries, self._lanes)
            )

    def finish(self) -> tuple[tuple[bytes, ...], tuple[int, ...]]:
        """The streams, one per lane, and the escapes in coding order. Ends the encoder."""
        handle, self._handle = self._handle, None  # the op would go on from a stale state
        with tf.device("CPU"):
            streams = tfc.entropy_encode_finalize(handle).numpy()
        return tuple(np.atleast_1d(streams).tolist()), tuple(self._escapes)


class RangeDecoder:
    """Decodes an image step by step, as its encoder was fed.

    Args:
        tables: of the model.
        streams, escapes: of the file.
        name: what to call the file in an error.
    Raises: ContainerError if an escape is beyond +-32767.
    """

    def __init__(
        self,
        tables: CodingTables,
        streams: tuple[bytes, ...],
        escapes: tuple[int, ...] = (),
        name: str = "input",
    ):
        lanes = len(streams)
        if not 1 <= lanes <= MAX_LANES:  # the op crashes without lanes
            raise ContainerError(f"{name}: found {lanes} lanes, expected 1 to {MAX_LANES}")
        self._tables = tables
        self._lanes = lanes
        self._escapes = EscapeReader(escapes, name)
        with tf.device("CPU"):
            self._handle = tfc.create_range_decoder(
                streams[0] if lanes == 1 else np.array(streams, object), tables.lookup
            )

    def read(self, indexes: np.ndarray) -> np.ndarray:
        """The symbols of the next step, int32 of the shape of `indexes`, which are int32 too.

        Raises: ValueError on indexes that name no row; ContainerError if the escapes run out.
        """
        symbols, escaped = self._tables.from_entries(indexes, self.read_entries(indexes))
        self._escapes.fill(symbols, escaped)
        return symbols

    def read_entries(self, indexes: np.ndarray) -> np.ndarray:
        """The next entries of the tables `indexes`, int32 of their shape.

        Raises: ValueError on indexes that name no row.
        """
        self._tables.check_indexes(indexes)
        rows = _to_lanes(indexes, self._lanes)
        with tf.device("CPU"):
            self._handle, entries = tfc.entropy_decode_index(
                self._handle, rows, rows.shape[-1:], tf.int32
            )
        # The transpose back to symbol order; one lane is in order already.
        return entries.numpy().T.reshape(-1)[: indexes.size].reshape(indexes.shape)

    def finish(self) -> None:
        """Raises ContainerError if escapes are left over."""
        self._escapes.finish()


def _to_lanes(array: np.ndarray, lanes: int) -> np.ndarray:
    """[T*S] for one lane, else [S, T], padded with zeros: row 0 is certain, as is its entry 0."""
    flat = array.reshape(-1)
    if lanes == 1:
        return flat
    return np.pad(flat, (0, -flat.size % lanes)).reshape(-1, lanes).T
