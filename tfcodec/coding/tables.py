"""Integer probability tables: what the entropy models and the coders agree on.

A table gives each symbol value an integer share of 2^16; its last entry is the escape, which stands
for every value that the table does not hold (the value itself travels in a side list of the file).
Tables are built once after training, stored in the export as plain integer arrays and never derived
again: one different last bit on another machine would ruin decoding.

All tables of a model lie in one array, in the layout of TensorFlow Compression's range coder:

    lookup = [16, 0, 65536,  16, 0, c_1, ..., 65536,  16, 0, c_1, ..., 65536,  ...]
              row 0: certain  row 1: the model's first  row 2

Row 0 holds one entry of probability 1, which costs no bits: coders pad with it.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from tfcodec.coding.format import MAX_SYMBOL
from tfcodec.errors import ContainerError, ModelError

PRECISION = 16  # bits; the coder's own limit, and what its stock-op twin relies on
TOTAL = 1 << PRECISION
_BLOCK = 1 << 15  # elements mapped at once: temporaries that are reused and cached, 5x faster


def quantize_pmf(pmf: np.ndarray) -> np.ndarray:
    """Rounds probabilities to an integer cumulative distribution.

    Every frequency is at least 1, so that every symbol can be coded. The others share what is left
    in proportion, rounded down; the remaining units go where they save most bits.

    Args:
        pmf: [n], float, not negative; divided by its sum here. 1 <= n <= 65536.
    Returns: int32 [n + 1], strictly increasing from 0 to 65536.
    Raises: ValueError if `pmf` is empty, too long, not finite, negative or zero throughout.
    """
    pmf = np.asarray(pmf, np.float64)
    if pmf.ndim != 1 or not 1 <= pmf.size <= TOTAL:
        raise ValueError(f"a pmf needs 1 to {TOTAL} entries in one axis, got shape {pmf.shape}")
    if not np.all(np.isfinite(pmf)) or pmf.min() < 0 or pmf.max() == 0:
        raise ValueError("a pmf needs finite entries, none negative and not all zero")
    pmf = pmf / pmf.max()  # before the sum, which could overflow

    # Entries too small for their share get exactly 1. Were the m smallest the ones, the others
    # would be scaled by scale[m]; m is right when the next smallest then reaches 1 by itself.
    ascending = np.sort(pmf)
    masses = np.cumsum(ascending[::-1])[::-1]  # masses[m]: all but the m smallest
    scale = (TOTAL - np.arange(pmf.size)) / masses
    m = np.argmax(ascending * scale >= 1)
    frequencies = np.maximum(np.floor(pmf * scale[m]), 1).astype(np.int64)

    missing = TOTAL - frequencies.sum()
    gain = pmf * np.log1p(1 / frequencies)  # nats saved by one more unit
    frequencies[np.argsort(-gain, kind="stable")[:missing]] += 1
    return np.concatenate([[0], np.cumsum(frequencies)]).astype(np.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class CodingTables:
    """All tables of a model, row 0 being the certain one.

    Args:
        lookup: int32 [sum(sizes + 2)], rows `[16, 0, ..., 65536]` one after the other.
        offsets: int32 [rows], symbol value of each row's entry 0; 0 for row 0.
        sizes: int32 [rows], entries of each row, the escape included; 1 for row 0, which has none.
    Raises: ModelError if the arrays, which come from files, are malformed.
    """

    lookup: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _int32(field.name, getattr(self, field.name)))
        self.validate()
        # Place in `lookup` of each row's 0, and its last entry.
        object.__setattr__(self, "starts", np.cumsum(self.sizes + 2) - self.sizes - 1)
        object.__setattr__(self, "_escape", self.sizes - 1)

    @classmethod
    def build(cls, rows: Sequence[tuple[np.ndarray, int]]) -> "CodingTables":
        """Quantizes the model's rows: pairs of (pmf with the escape last, value of entry 0).

        Raises: ValueError if a pmf is unsound or a row reaches beyond +-32767.
        """
        cdfs = [quantize_pmf(pmf) for pmf, _ in rows]
        for (_, offset), cdf in zip(rows, cdfs, strict=True):
            _check_reach(offset, cdf.size - 1, ValueError)
        return cls(
            lookup=np.concatenate([[PRECISION, 0, TOTAL], *([PRECISION, *cdf] for cdf in cdfs)]),
            offsets=np.array([0, *(offset for _, offset in rows)]),
            sizes=np.array([1, *(cdf.size - 1 for cdf in cdfs)]),
        )

    def validate(self) -> None:
        """Raises ModelError in a sentence unless the three arrays are what the class promises."""
        if not 2 <= self.sizes.size == self.offsets.size:
            raise ModelError(
                "coding tables need row 0, rows of the model and as many offsets as sizes, got "
                f"{self.sizes.size} sizes and {self.offsets.size} offsets"
            )
        if self.sizes.min() < 1 or self.sizes.max() > TOTAL:
            raise ModelError(f"coding tables need 1 to {TOTAL} entries in every row")
        ends = np.cumsum(self.sizes.astype(np.int64) + 2)
        if self.lookup.size != ends[-1]:
            raise ModelError(
                f"coding tables need {ends[-1]} numbers for their sizes, got {self.lookup.size}"
            )
        starts = ends - self.sizes - 2
        steps = np.diff(self.lookup)
        steps[starts], steps[ends[:-1] - 1] = 1, 1  # between precision and 0, and between rows
        sound = (self.lookup[starts] == PRECISION) & (self.lookup[starts + 1] == 0)
        sound &= (self.lookup[ends - 1] == TOTAL) & (np.minimum.reduceat(steps, starts) > 0)
        if not sound.all():
            raise ModelError(
                f"row {np.argmin(sound)} of the coding tables is not [{PRECISION}, 0, ..., {TOTAL}]"
                " with every probability above zero"
            )
        if self.sizes[0] != 1 or self.offsets[0] != 0:
            raise ModelError("row 0 of the coding tables must be certain: one entry, offset 0")
        for offset, size in zip(self.offsets.tolist(), self.sizes.tolist(), strict=True):
            _check_reach(offset, size, ModelError)

    def cdf(self, row: int) -> np.ndarray:
        """The cumulative distribution of one row, int32 [size + 1]."""
        start = self.starts[row]
        return self.lookup[start : start + self.sizes[row] + 1]

    def check_indexes(self, indexes: np.ndarray) -> None:
        """Raises ValueError unless `indexes` is int32 and names rows of the model, 1 and up."""
        _require_int32("indexes", indexes)
        if indexes.size and not 1 <= indexes.min() <= indexes.max() < self.sizes.size:
            raise ValueError(
                f"indexes must be from 1 to {self.sizes.size - 1}, "
                f"got {indexes.min()} to {indexes.max()}"
            )

    def check_entries(self, indexes: np.ndarray, entries: np.ndarray) -> None:
        """Raises ValueError unless `entries` is int32 and holds an entry of each row of `indexes`.

        For symbols that are coded as entries, without an escape.
        """
        self.check_indexes(indexes)
        _require_int32("entries", entries)
        if indexes.shape != entries.shape:
            raise ValueError(
                f"indexes and entries need one shape, got {indexes.shape} and {entries.shape}"
            )
        if np.any(entries < 0) or np.any(entries >= self.sizes[indexes]):
            raise ValueError("entries must be within the sizes of their rows")

    def to_entries(self, indexes: np.ndarray, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Symbol values to entries of their rows; what a row does not hold becomes its escape.

        Args: indexes and symbols, int32 of one shape.
        Returns: entries, int32, and which of them are escapes, bool; both of that shape.
        Raises: ValueError on other dtypes or shapes, unknown rows and symbols beyond +-32767.
        """
        self.check_indexes(indexes)
        _require_int32("symbols", symbols)
        if indexes.shape != symbols.shape:
            raise ValueError(
                f"indexes and symbols need one shape, got {indexes.shape} and {symbols.shape}"
            )
        if symbols.size and not -MAX_SYMBOL <= symbols.min() <= symbols.max() <= MAX_SYMBOL:
            raise ValueError(
                f"symbols must be within +-{MAX_SYMBOL}, got {symbols.min()} to {symbols.max()}; "
                "clamp them before coding"
            )
        entries = np.empty(symbols.shape, np.int32)
        escaped = np.empty(symbols.shape, bool)
        for offset, escape, symbol, entry, mask in self._blocks(indexes, symbols, entries, escaped):
            np.subtract(symbol, offset, out=entry)
            # Unsigned, a symbol below the table is a huge entry: one comparison finds both ends.
            entry, escape = entry.view(np.uint32), escape.view(np.uint32)
            np.greater_equal(entry, escape, out=mask)
            np.minimum(entry, escape, out=entry)
        return entries, escaped

    def from_entries(
        self, indexes: np.ndarray, entries: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The reverse of `to_entries`: symbols, int32, and which are escapes, still to be filled.

        Raises: ValueError on indexes that name no row of the model.
        """
        self.check_indexes(indexes)
        symbols = np.empty(entries.shape, np.int32)
        escaped = np.empty(entries.shape, bool)
        for offset, escape, entry, symbol, mask in self._blocks(indexes, entries, symbols, escaped):
            np.add(entry, offset, out=symbol)
            np.equal(entry, escape, out=mask)
        return symbols, escaped

    def ideal_bits(self, indexes: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """Bits that the tables charge for each symbol, float64 of the symbols' shape.

        An escape costs its entry here; its bytes in the side list come on top.
        """
        entries, _ = self.to_entries(indexes, symbols)
        low = self.starts[indexes] + entries
        return PRECISION - np.log2(self.lookup[low + 1] - self.lookup[low])

    def _blocks(self, indexes: np.ndarray, *arrays: np.ndarray):
        """For each block of elements: offset and escape entry of their rows, then their parts of
        `arrays`, flat. Fresh arrays are contiguous, so that writing to a part writes to them."""
        indexes, *arrays = (array.reshape(-1) for array in (indexes, *arrays))
        for start in range(0, indexes.size, _BLOCK):
            part = slice(start, start + _BLOCK)
            rows = indexes[part].astype(np.intp)
            # Rows were checked; of the modes of take, wrap is the fastest.
            yield (
                self.offsets.take(rows, mode="wrap"),
                self._escape.take(rows, mode="wrap"),
                *(array[part] for array in arrays),
            )


class EscapeReader:
    """Hands the escapes of a file, in coding order, to the symbols that need them.

    Args:
        values: the file's escapes; each must be within +-32767.
        name: what to call the file in an error.
    """

    def __init__(self, values: Iterable[int], name: str):
        values = list(values)
        if values and not -MAX_SYMBOL <= min(values) <= max(values) <= MAX_SYMBOL:
            raise ContainerError(
                f"{name}: escapes must be within +-{MAX_SYMBOL}, "
                f"found {min(values)} to {max(values)}"
            )
        self._values = np.array(values, np.int32)
        self._used = 0
        self._name = name

    def fill(self, symbols: np.ndarray, escaped: np.ndarray) -> None:
        """Puts the next escapes where `escaped` says; raises ContainerError if they run out."""
        needed = np.count_nonzero(escaped)
        remaining = self._values.size - self._used
        if needed > remaining:
            raise ContainerError(
                f"{self._name}: decoding needs {needed} more escapes, {remaining} remain; "
                "damaged, or decoded with other weights?"
            )
        if needed:
            symbols[escaped] = self._values[self._used : self._used + needed]
            self._used += needed

    def finish(self) -> None:
        """Raises ContainerError if escapes are left over."""
        if self._used != self._values.size:
            raise ContainerError(
                f"{self._name}: {self._values.size - self._used} of {self._values.size} escapes "
                "left over; damaged, or decoded with other weights?"
            )


def _int32(name: str, array) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ModelError(
            f"{name} of the coding tables must be integers in one axis, "
            f"got {array.dtype} of shape {array.shape}"
        )
    if array.size and not -(2**31) <= array.min() <= array.max() < 2**31:
        raise ModelError(f"{name} of the coding tables must fit 32 bits")
    return np.ascontiguousarray(array, np.int32)


def _check_reach(offset: int, size: int, error: type[Exception]) -> None:
    if not (-MAX_SYMBOL <= offset and offset + size - 2 <= MAX_SYMBOL):
        raise error(
            f"a coding table's symbols must be within +-{MAX_SYMBOL}, "
            f"got {size - 1} symbols from {offset}"
        )


def _require_int32(name: str, array: np.ndarray) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != np.int32:
        got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{name} must be a numpy array of int32, got {got}")
