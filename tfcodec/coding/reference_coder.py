"""The `range-coder` package, coder 1 of the file: slower, independent of TensorFlow.

It cross-checks the tables and coder 0. One stream, no lanes. A call codes with one table, so the
symbols of a step are coded table by table: rows in ascending order, symbols of a row in C order.
The package works on files; ours are temporary.
Any bytes, even none, decode to some symbols of the tables (it reads zeros past the end); whether
they are the right ones, the file's CRC and checksum tell.
"""

import pathlib
import tempfile
from collections.abc import Iterator

import numpy as np
import range_coder

from tfcodec.coding.tables import CodingTables, EscapeReader
from tfcodec.errors import ContainerError, InputError


class ReferenceEncoder:
    """Collects the symbols of an image, then codes them; the interface of `RangeEncoder`, which
    alone asks for the number of symbols.

    Raises: ValueError unless `lanes` is 1.
    """

    def __init__(self, tables: CodingTables, lanes: int = 1, symbols: int = 0):
        if lanes != 1:
            raise ValueError(f"the coder range-coder has one lane, got {lanes}")
        self._tables = tables
        self._steps: list[tuple[np.ndarray, np.ndarray]] = []
        self._escapes: list[int] = []

    def write(self, indexes: np.ndarray, symbols: np.ndarray) -> None:
        """Takes the symbols of one step, int32 of any one shape.

        Raises: ValueError as `CodingTables.to_entries`.
        """
        entries, escaped = self._tables.to_entries(indexes, symbols)
        self._escapes += symbols[escaped].tolist()
        self._steps.append((indexes.copy(), entries.reshape(-1)))

    def write_entries(self, indexes: np.ndarray, entries: np.ndarray) -> None:
        """Takes entries of their tables as they are; see `RangeEncoder`."""
        self._tables.check_entries(indexes, entries)
        self._steps.append((indexes.copy(), entries.reshape(-1)))

    def finish(self) -> tuple[tuple[bytes, ...], tuple[int, ...]]:
        """The stream, alone in its tuple, and the escapes in coding order."""
        cdfs = _CdfLists(self._tables)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "stream")
            encoder = range_coder.RangeEncoder(str(path))
            for indexes, entries in self._steps:
                for row, where in _by_row(indexes):
                    try:
                        encoder.encode(entries[where].tolist(), cdfs[row])
                    except ValueError as error:  # the package bounds the length of a table
                        raise InputError(
                            f"the coder range-coder cannot take this picture ({error}); use tfc"
                        ) from error
            encoder.close()
            return (path.read_bytes(),), tuple(self._escapes)


class ReferenceDecoder:
    """Decodes an image step by step; the interface of `RangeDecoder`.

    Raises: ContainerError on more than one stream, or an escape beyond +-32767.
    """

    def __init__(
        self,
        tables: CodingTables,
        streams: tuple[bytes, ...],
        escapes: tuple[int, ...] = (),
        name: str = "input",
        symbols: int = 0,
    ):
        if len(streams) != 1:
            raise ContainerError(
                f"{name}: the coder range-coder has one lane, found {len(streams)}"
            )
        self._tables, self._name = tables, name
        self._cdfs = _CdfLists(tables)
        self._escapes = EscapeReader(escapes, name)
        # The package holds the file open; its name can go at once.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = pathlib.Path(folder, "stream")
            path.write_bytes(streams[0])
            self._decoder = range_coder.RangeDecoder(str(path))

    def read(self, indexes: np.ndarray) -> np.ndarray:
        """The symbols of the next step, int32 of the shape of `indexes`, which are int32 too.

        Raises: ValueError on indexes that name no row; ContainerError if the escapes run out.
        """
        symbols, escaped = self._tables.from_entries(indexes, self.read_entries(indexes))
        self._escapes.fill(symbols, escaped)
        return symbols

    def read_entries(self, indexes: np.ndarray) -> np.ndarray:
        """The next entries of the tables `indexes`; see `RangeDecoder`."""
        self._tables.check_indexes(indexes)
        entries = np.empty(indexes.size, np.int32)
        for row, where in _by_row(indexes):
            try:
                entries[where] = self._decoder.decode(where.size, self._cdfs[row])
            except ValueError as error:  # a table that no encoder of the package could have used
                raise ContainerError(
                    f"{self._name}: the coder range-coder cannot decode it ({error}); damaged?"
                ) from error
        return entries.reshape(indexes.shape)

    def finish(self) -> None:
        """Raises ContainerError if escapes are left over."""
        self._decoder.close()
        self._escapes.finish()


class _CdfLists(dict):
    """The lists of Python integers that the package takes, made when a row is first used."""

    def __init__(self, tables: CodingTables):
        super().__init__()
        self._tables = tables

    def __missing__(self, row: int) -> list[int]:
        self[row] = self._tables.cdf(row).tolist()
        return self[row]


def _by_row(indexes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """For each row in use, ascending: the row and the positions [n] where it is used."""
    order = np.argsort(indexes, axis=None, kind="stable")
    rows, starts = np.unique(indexes.reshape(-1)[order], return_index=True)
    for row, start, end in zip(rows.tolist(), starts, [*starts[1:], indexes.size], strict=False):
        yield row, order[start:end]
