"""The arithmetic of TensorFlow Compression's range coder: the same bytes, without its ops.

A stream is one long number below 1, in words of 16 bits, and coding narrows the interval in which
it lies. Both sides keep the interval's `size`, from 2^16 to 2^32 in units of the last word but one;
the encoder its `base`, the decoder the stream's `offset` above that. A symbol that has the
shares [low, high) of 2^16 in its table takes that part of the interval:

    [0, size)  becomes  [size * low >> 16, size * high >> 16)

and if 2^16 or less are left, the interval grows by a word, which goes to or comes from the stream.
Past its end, a stream is zeros. All numbers are integers below 2^49.

`encode` and `decode` are plain Python, over lists; where numba is installed, the same two functions
are compiled, over arrays. Whatever the stream, a symbol costs one search in its row and at most one
word, and no index leaves the row: rows and entries are checked by the caller, `range_coder`.

This module imports neither TensorFlow nor Keras.
"""

import dataclasses
import functools
from bisect import bisect_right
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from tfcodec.coding.tables import CodingTables

Numbers: TypeAlias = list[int] | np.ndarray  # in plain Python the former, compiled the latter

_WHOLE = 1 << 32
_BLOCK = 1 << 16  # symbols that are numbers of Python at a time; a multiple of any lanes


def encode(
    rows: Numbers,
    entries: Numbers,
    starts: Numbers,
    lookup: Numbers,
    bases: Numbers,
    sizes: Numbers,
    words: Numbers,
    ends: Numbers,
) -> None:
    """Codes a block, symbol i in lane i mod lanes.

    Args:
        rows, entries: of the symbols; `starts`: place in `lookup` of each row's first 0.
        bases, sizes: of each lane's interval, changed in place. A base has no upper end: what goes
            beyond 2^32 is a carry to the words before, and stays part of the word that is written.
        words: room for as many words as symbols; word j of a lane is at lane + j * lanes.
        ends: of each lane, the place behind its last word.
    """
    lanes = len(bases)
    for lane in range(lanes):
        base, size, end = bases[lane], sizes[lane], lane
        for row, entry in zip(rows[lane::lanes], entries[lane::lanes]):  # noqa: B905
            place = starts[row] + entry
            low = size * lookup[place] >> 16
            base += low
            size = (size * lookup[place + 1] >> 16) - low
            if size <= 0x10000:
                words[end] = base >> 16
                end += lanes
                base, size = (base & 0xFFFF) << 16, size << 16
        bases[lane], sizes[lane], ends[lane] = base, size, end


def decode(
    rows: Numbers,
    starts: Numbers,
    stops: Numbers,
    lookup: Numbers,
    offsets: Numbers,
    sizes: Numbers,
    words: Numbers,
    ats: Numbers,
    ends: Numbers,
    entries: Numbers,
) -> None:
    """Decodes a block into `entries`, symbol i from lane i mod lanes.

    Args:
        rows: of the symbols; `starts`, `stops`: places in `lookup` of each row's 0 and of its 2^16.
        offsets, sizes: of each lane, changed in place: 0 <= offset < size.
        words: of all streams; `ats`, `ends`: place of each lane's next word, which moves, and of
            the end of its stream.
    """
    lanes = len(offsets)
    for lane in range(lanes):
        offset, size, at, end = offsets[lane], sizes[lane], ats[lane], ends[lane]
        place = lane
        for row in rows[lane::lanes]:
            share = ((offset << 16) + 0xFFFF) // size  # the largest that lies at or below offset
            start = starts[row]
            high = bisect_right(lookup, share, start, stops[row])
            low = size * lookup[high - 1] >> 16
            size = (size * lookup[high] >> 16) - low
            offset -= low
            if size <= 0x10000:
                offset, size = offset << 16, size << 16
                if at < end:
                    offset |= words[at]
                    at += 1
            entries[place] = high - 1 - start
            place += lanes
        offsets[lane], sizes[lane], ats[lane] = offset, size, at


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """A body of the range coder: the two functions, and what they take arrays as.

    Args:
        name: of the body.
        numbers: makes what `encode` and `decode` index of a numpy array.
    """

    name: str
    numbers: Callable
    encode: Callable
    decode: Callable

    def encoder(self, tables: CodingTables, lanes: int) -> "LaneEncoder":
        return LaneEncoder(self, tables, lanes)

    def decoder(self, tables: CodingTables, streams: tuple[bytes, ...]) -> "LaneDecoder":
        return LaneDecoder(self, tables, streams)

    def tables(self, tables: CodingTables) -> tuple[Numbers, Numbers, Numbers]:
        """(lookup, starts, stops) as the functions take them, made once for each model."""
        kept = tables.__dict__.setdefault("_of_bodies", {})
        if self.name not in kept:
            places = tables.starts, tables.starts + tables.sizes
            kept[self.name] = tuple(map(self.numbers, (tables.lookup, *places)))
        return kept[self.name]


PLAIN = Arithmetic("plain", np.ndarray.tolist, encode, decode)


@functools.cache
def compiled() -> Arithmetic | None:
    """The functions compiled by numba, None if it is not installed or does not load.

    Compiled code is kept on disk, beside this file or in the user's cache folder.
    """
    try:
        import numba
        from numba import extending
    except (ImportError, OSError):  # what it says of a numpy or an LLVM that it cannot use
        return None

    @extending.overload(bisect_right)
    def _bisect_right(numbers, number, low, high):
        def search(numbers, number, low, high):
            while low < high:
                middle = (low + high) // 2
                if number < numbers[middle]:
                    high = middle
                else:
                    low = middle + 1
            return low

        return search

    def compile_(function):
        try:
            return numba.njit(function, cache=True, error_model="numpy", nogil=True)
        except RuntimeError:  # no folder for the cache can be written
            return numba.njit(function, error_model="numpy", nogil=True)

    return Arithmetic("compiled", np.ascontiguousarray, compile_(encode), compile_(decode))


class LaneEncoder:
    """Rows and entries of one picture, sound ones, to a stream per lane."""

    def __init__(self, body: Arithmetic, tables: CodingTables, lanes: int):
        self._body, self._tables = body, tables
        self._bases = body.numbers(np.zeros(lanes, np.int64))
        self._sizes = body.numbers(np.full(lanes, _WHOLE))
        self._ends = body.numbers(np.zeros(lanes, np.int64))
        self._words: list[list[int]] = [[] for _ in range(lanes)]

    def encode(self, rows: np.ndarray, entries: np.ndarray) -> None:
        """Takes a step, int32 [n] each."""
        lookup, starts, _ = self._body.tables(self._tables)
        lanes, numbers = len(self._words), self._body.numbers
        rows, entries = fill_lanes(rows, lanes), fill_lanes(entries, lanes)
        for block in _blocks(rows.size):
            part = numbers(rows[block]), numbers(entries[block])
            words = numbers(np.zeros(len(part[0]), np.int64))
            self._body.encode(*part, starts, lookup, self._bases, self._sizes, words, self._ends)
            for lane, kept in enumerate(self._words):
                kept.extend(map(int, words[lane : self._ends[lane] : lanes]))

    def finish(self) -> tuple[bytes, ...]:
        """The streams; ends the encoder."""
        strip = len(self._words) == 1
        return tuple(
            _finish(words, int(base), int(size), strip)
            for words, base, size in zip(self._words, self._bases, self._sizes, strict=True)
        )


class LaneDecoder:
    """The reverse: entries of the rows of one picture from its streams."""

    def __init__(self, body: Arithmetic, tables: CodingTables, streams: tuple[bytes, ...]):
        # Whole words; the first two, which are always there, are the first offset.
        padded = [stream + bytes(max(4 - len(stream), len(stream) % 2)) for stream in streams]
        words = np.frombuffer(b"".join(padded), ">u2").astype(np.int64)
        ends = np.cumsum([len(stream) // 2 for stream in padded])
        starts = np.append(0, ends[:-1])
        self._body, self._tables, self._lanes = body, tables, len(streams)
        self._state = tuple(
            map(
                body.numbers,
                (
                    words[starts] << 16 | words[starts + 1],
                    np.full(len(streams), _WHOLE),
                    words,
                    starts + 2,
                    ends,
                ),
            )
        )

    def decode(self, rows: np.ndarray) -> np.ndarray:
        """The entries of a step, int32 [n], of rows int32 [n]."""
        lookup, starts, stops = self._body.tables(self._tables)
        count, rows = rows.size, fill_lanes(rows, self._lanes)
        found = np.empty(rows.size, np.int32)
        for block in _blocks(rows.size):
            entries = self._body.numbers(found[block])
            part = self._body.numbers(rows[block])
            self._body.decode(part, starts, stops, lookup, *self._state, entries)
            found[block] = entries
        return found[:count]


def fill_lanes(array: np.ndarray, lanes: int) -> np.ndarray:
    """A step [n] with zeros up to a whole number of symbols a lane: entry 0 of the certain row 0.

    It costs nothing, but is coded: an interval of 2^16, which a symbol of share 2^-16 can leave,
    grows with the next symbol of its lane.
    """
    return np.pad(array, (0, -array.size % lanes)) if lanes > 1 else array


def _blocks(size: int):
    return (slice(start, start + _BLOCK) for start in range(0, size, _BLOCK))


def _finish(words: list[int], base: int, size: int, strip: bool) -> bytes:
    """The stream: the words, and what ends it.

    Of the interval, the number with the fewest digits is taken: a multiple of 2^32, which is
    nothing or a carry, else of 2^24, else of 2^16. Zeros after a carry are left out; those of a
    single lane always.
    """
    carry, base = divmod(base, _WHOLE)
    for bits in (32, 24, 16):
        number = -(-base >> bits) << bits
        if number < base + size:
            break
    strip = strip or number == _WHOLE
    carry += number >> 32
    for place in range(len(words) - 1, -1, -1):
        carry += words[place]
        words[place] = carry & 0xFFFF
        carry >>= 16
    tail = (number % _WHOLE).to_bytes(4, "big").rstrip(b"\0")
    stream = np.array(words, ">u2").tobytes() + tail
    return stream.rstrip(b"\0") if strip else stream
