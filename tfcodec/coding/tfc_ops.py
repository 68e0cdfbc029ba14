"""TensorFlow Compression's ops as a body of the range coder, for the TensorFlow they are built for.

The ops are quick and trusting, so the caller, `range_coder`, gives them sound rows and entries
alone; tables have positive precision only (in-line escapes can hang on hostile streams), and a
handle is never sliced.
"""

import numpy as np
import tensorflow as tf
import tensorflow_compression_ops as tfc

from tfcodec.coding.arithmetic import fill_lanes
from tfcodec.coding.tables import CodingTables

name = "tfc"


class OpsEncoder:
    """As `arithmetic.LaneEncoder`."""

    def __init__(self, tables: CodingTables, lanes: int):
        self._lanes = lanes
        with tf.device("CPU"):
            shape = () if lanes == 1 else (lanes,)
            self._handle = tfc.create_range_encoder(shape, tables.lookup)

    def encode(self, rows: np.ndarray, entries: np.ndarray) -> None:
        with tf.device("CPU"):
            self._handle = tfc.entropy_encode_index(
                self._handle, _to_lanes(rows, self._lanes), _to_lanes(entries, self._lanes)
            )

    def finish(self) -> tuple[bytes, ...]:
        with tf.device("CPU"):
            streams = tfc.entropy_encode_finalize(self._handle).numpy()
        return tuple(np.atleast_1d(streams).tolist())


class OpsDecoder:
    """As `arithmetic.LaneDecoder`."""

    def __init__(self, tables: CodingTables, streams: tuple[bytes, ...]):
        self._lanes = len(streams)  # never none: the op would crash
        with tf.device("CPU"):
            self._handle = tfc.create_range_decoder(
                streams[0] if self._lanes == 1 else np.array(streams, object), tables.lookup
            )

    def decode(self, rows: np.ndarray) -> np.ndarray:
        lanes = _to_lanes(rows, self._lanes)
        with tf.device("CPU"):
            self._handle, entries = tfc.entropy_decode_index(
                self._handle, lanes, lanes.shape[-1:], tf.int32
            )
        # The transpose back to symbol order; one lane is in order already.
        return entries.numpy().T.reshape(-1)[: rows.size]


encoder, decoder = OpsEncoder, OpsDecoder


def _to_lanes(array: np.ndarray, lanes: int) -> np.ndarray:
    """[T] for one lane, else [S, T]."""
    return array if lanes == 1 else fill_lanes(array, lanes).reshape(-1, lanes).T
