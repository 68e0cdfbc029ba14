"""TensorFlow Compression's range coder, coder 0 of the file, in the body that suits the process.

Three bodies write and read the same bytes:

    tfc       TensorFlow Compression's C++ ops, where they load and TensorFlow is there anyway
    compiled  our own arithmetic compiled by numba, where that is installed and pays
    plain     our own arithmetic in plain Python, everywhere

The environment variable TFCODEC_CODER_BODY names one in place of this choice.

Nothing reaches a body unchecked: rows and entries are in range, and shapes come from the caller,
never from the stream. Decoding any bytes then ends, with some symbols; whether they are the right
ones, the file's CRC and checksum tell. Importing this module imports neither TensorFlow nor numba.

With S lanes, the symbols of a step go to the lanes in turn: symbol i to lane i mod S.
"""

import functools
import importlib.util
import os
import sys
from types import ModuleType

import numpy as np

from tfcodec.coding import arithmetic
from tfcodec.coding.format import MAX_LANES
from tfcodec.coding.tables import CodingTables, EscapeReader
from tfcodec.errors import ContainerError, ModelError

BODY_VARIABLE = "TFCODEC_CODER_BODY"
# Symbols from which on loading numba and the compiled functions takes less time than it saves.
WORTH_COMPILING = 1_500_000


class RangeEncoder:
    """Codes the symbols of an image step by step into one stream per lane.

    Args:
        tables: of the model.
        lanes: independent streams, a power of two up to 1024; more lanes let stock TensorFlow
            decode faster, and cost about half a byte each.
        symbols: how many there will be, as far as that is known.
    Raises: ValueError on another number of lanes; ModelError as `choose_body`.
    """

    def __init__(self, tables: CodingTables, lanes: int = 1, symbols: int = 0):
        if not 1 <= lanes <= MAX_LANES or lanes & (lanes - 1):
            raise ValueError(f"lanes must be a power of two from 1 to {MAX_LANES}, got {lanes}")
        self._tables = tables
        self._escapes: list[int] = []
        self._lanes = choose_body(symbols).encoder(tables, lanes)

    def write(self, indexes: np.ndarray, symbols: np.ndarray) -> None:
        """Takes the symbols of one step, int32 of any one shape, in C order.

        Raises: ValueError as `CodingTables.to_entries`.
        """
        entries, escaped = self._tables.to_entries(indexes, symbols)
        if escaped.any():
            self._escapes += symbols[escaped].tolist()
        self._lanes.encode(indexes.reshape(-1), entries.reshape(-1))

    def write_entries(self, indexes: np.ndarray, entries: np.ndarray) -> None:
        """Takes entries of their tables as they are, int32 of the shape of `indexes`; no escapes.

        Raises: ValueError as `CodingTables.check_entries`.
        """
        self._tables.check_entries(indexes, entries)
        self._lanes.encode(indexes.reshape(-1), entries.reshape(-1))

    def finish(self) -> tuple[tuple[bytes, ...], tuple[int, ...]]:
        """The streams, one per lane, and the escapes in coding order. Ends the encoder."""
        lanes, self._lanes = self._lanes, None  # a body would go on from a stale state
        return lanes.finish(), tuple(self._escapes)


class RangeDecoder:
    """Decodes an image step by step, as its encoder was fed.

    Args:
        tables: of the model.
        streams, escapes: of the file.
        name: what to call the file in an error.
        symbols: how many there will be, as far as that is known.
    Raises: ContainerError if an escape is beyond +-32767; ModelError as `choose_body`.
    """

    def __init__(
        self,
        tables: CodingTables,
        streams: tuple[bytes, ...],
        escapes: tuple[int, ...] = (),
        name: str = "input",
        symbols: int = 0,
    ):
        lanes = len(streams)
        if not 1 <= lanes <= MAX_LANES:
            raise ContainerError(f"{name}: found {lanes} lanes, expected 1 to {MAX_LANES}")
        self._tables = tables
        self._escapes = EscapeReader(escapes, name)
        self._lanes = choose_body(symbols).decoder(tables, streams)

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
        return self._lanes.decode(indexes.reshape(-1)).reshape(indexes.shape)

    def finish(self) -> None:
        """Raises ContainerError if escapes are left over."""
        self._escapes.finish()


# ------------------------------------------------------------------------------- which body runs

_expected = 0  # symbols that this process has opened coders for


def choose_body(symbols: int = 0) -> arithmetic.Arithmetic | ModuleType:
    """The body for a picture of so many symbols: an `Arithmetic`, or the module `tfc_ops`.

    A process that codes many pictures in plain Python compiles after some of them.
    Raises: ModelError if the environment names a body that there is none of.
    """
    global _expected
    _expected += symbols
    wish = os.environ.get(BODY_VARIABLE)
    if wish:
        body = _BODIES[wish]() if wish in _BODIES else None
        if body is None:
            raise ModelError(f"{BODY_VARIABLE}={wish}: cannot be loaded here; {_known()}")
        return body
    # TensorFlow alone takes longer to import than a large picture to code.
    body = _tfc() if "tensorflow" in sys.modules else None
    if body is None and _expected >= WORTH_COMPILING:
        body = arithmetic.compiled()
    return body or arithmetic.PLAIN


def bodies() -> list[str]:
    """Names of the bodies that are installed, the preferred one first; loads none."""
    names = ["tfc"] * _ops_match() + ["compiled"] * bool(importlib.util.find_spec("numba"))
    return [*names, "plain"]


def describe() -> str:
    """Which body runs in a process that uses TensorFlow; loads nothing."""
    if os.environ.get(BODY_VARIABLE):
        return f"{os.environ[BODY_VARIABLE]} ({BODY_VARIABLE})"
    first = bodies()[0]
    return f"plain, compiled from {WORTH_COMPILING} symbols on" if first == "compiled" else first


def _known() -> str:
    return f"bodies: {', '.join(_BODIES)}; installed: {', '.join(bodies())}"


def _ops_match() -> bool:
    """Whether TensorFlow Compression's ops are installed, for this very release of TensorFlow.

    They are built for one, and what they do in another is not defined.
    """
    from importlib import metadata  # with mail and sockets: not for a command that codes nothing

    releases = []
    for names in (("tensorflow", "tensorflow-cpu"), ("tensorflow-compression-ops",)):
        for name in names:
            try:
                releases.append(metadata.version(name).split(".")[:2])
                break
            except metadata.PackageNotFoundError:
                continue
    return len(releases) == 2 and releases[0] == releases[1]


@functools.cache
def _tfc():
    """TensorFlow Compression's ops, None if they do not load."""
    if not _ops_match():
        return None
    try:
        import tensorflow as tf
    except ImportError:
        return None
    try:
        from tfcodec.coding import tfc_ops
    except (ImportError, tf.errors.OpError):
        return None
    return tfc_ops


_BODIES = {"tfc": _tfc, "compiled": arithmetic.compiled, "plain": lambda: arithmetic.PLAIN}
