"""TensorFlow Compression's range coder in stock TensorFlow operations, for servers without its ops.

Coder 0 of the file once more, equal to `range_coder` bit for bit; everything here is traced into a
graph. What the C++ does symbol by symbol, this does lane by lane: one turn of a loop codes one
symbol of each of the S lanes. The state of a lane is two integers.

Decoding. `offset` is where the stream's value lies in the current interval of `size`:

    q     = (offset 2^16 + 2^16 - 1) // size     the entry is the one with low <= q < high
    a, b  = size low >> 16, size high >> 16      its part of the interval
    offset, size = offset - a, b - a             and if size <= 2^16: both 2^16 times, and the next
                                                 16-bit word of the lane comes in

`offset < size` holds for any bytes, so hostile streams end in some symbols, like all streams.

A symbol without a table for it is coded as entries of tables, in rounds whose number only the graph
finds: loops around the coder carry its `state` (`loop`).

Encoding keeps `base`, the interval's lower end. Its upper word leaves when the size shrinks; a
later carry out of 32 bits belongs to the words that have left. The loop only notes words and
carries; they are put in place and the carries carried on for all lanes together afterwards.
"""

import functools
import hashlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfcodec.coding.tables import PRECISION, TOTAL, CodingTables

_WORD = 16  # bits that enter or leave at a time
_MASK = (1 << 32) - 1
_WHOLE = 1 << 32  # size of the interval at the start


class StockTables(tf.Module):
    """Coding tables as tensors.

    An entry's number counts through all rows. Which entry holds q, two methods tell: a look-up in
    the inverse table, 256 KiB a row, filled when the model is loaded; or bisection, for rows that
    few symbols use (one density a channel) or that have few entries (binary decisions).

    Args:
        tables: of the model.
        bisected: rows that are bisected. Row 0, which pads, works both ways.
    """

    def __init__(self, tables: CodingTables, bisected: Sequence[int] = ()):
        super().__init__()
        bisected = np.array(sorted({0, *bisected}))
        inverted = np.setdiff1d(np.arange(1, tables.sizes.size), bisected)
        starts = np.cumsum(tables.sizes) - tables.sizes
        cdfs = [tables.cdf(row).astype(np.int64) for row in range(tables.sizes.size)]
        bounds = np.concatenate([cdf[:-1] << 32 | cdf[1:] for cdf in cdfs])
        places = np.zeros(tables.sizes.size, np.int64)
        places[inverted] = np.arange(1, inverted.size + 1) * TOTAL

        self.starts = _constant(starts.astype(np.int32))
        self.sizes = _constant(tables.sizes)
        self.offsets = _constant(tables.offsets)
        self.bounds = _constant(bounds)  # low << 32 | high
        self.places = _constant(places)  # of each row in the inverse table
        self.depth = int(tables.sizes[bisected].max() - 1).bit_length()
        rows = np.concatenate([[0], inverted])
        entries = np.concatenate([starts[row] + np.arange(tables.sizes[row]) for row in rows])
        marks = np.concatenate([places[row] + cdfs[row][:-1] for row in rows])
        self.entries = _constant(entries.astype(np.int32))  # of the inverse table, in order
        self.marks = _constant(marks)  # where each of them begins there
        self._inverse = _InverseTable(rows.size * TOTAL, self.entries, self.marks)

    @property
    def inverse(self) -> tf.Tensor:
        """int32 [rows * 2^16]: the entry that holds q at `places[row] + q`."""
        return self._inverse.read()

    def to_entries(self, indexes: tf.Tensor, symbols: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """As `CodingTables.to_entries`; for symbols within +-32767."""
        entries = symbols - tf.gather(self.offsets, indexes)
        escape = tf.gather(self.sizes, indexes) - 1
        escaped = (entries < 0) | (entries >= escape)
        return tf.where(escaped, escape, entries), escaped

    def from_entries(self, indexes: tf.Tensor, entries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """As `CodingTables.from_entries`."""
        escaped = tf.equal(entries, tf.gather(self.sizes, indexes) - 1)
        return entries + tf.gather(self.offsets, indexes), escaped


class _InverseTable(tf.saved_model.experimental.TrackableResource):
    """A variable that is not stored but filled when the model is loaded, by servers too.

    Args:
        size: elements.
        entries: variable int32 [n]; each is repeated up to where the next begins.
        marks: variable int64 [n], where they begin, ascending from 0.
    """

    def __init__(self, size, entries, marks):
        super().__init__(device="CPU")
        self.size, self.entries, self.marks = size, entries, marks
        # Several models in one process share a resource manager: name by content.
        digest = hashlib.sha256(entries.numpy().tobytes() + marks.numpy().tobytes())
        self._name = f"tfcodec_inverse_{digest.hexdigest()[:16]}"
        self._initialize()

    def _create_resource(self):
        return tf.raw_ops.VarHandleOp(dtype=tf.int32, shape=[self.size], shared_name=self._name)

    def _initialize(self):
        ones = tf.ones_like(self.entries)
        begun = tf.cumsum(tf.scatter_nd(self.marks[:, None], ones, [self.size]))
        value = tf.gather(self.entries, begun - 1)
        tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=value)

    def read(self):
        value = tf.raw_ops.ReadVariableOp(resource=self.resource_handle, dtype=tf.int32)
        return tf.ensure_shape(value, [self.size])


class _Coder:
    """What both directions share: `state`, the tensors that change as they code."""

    def loop(self, more, body, start):
        """`tf.while_loop(more, body, start)` with a body that codes; start: a tuple of tensors."""

        def turn(state, *given):
            self.state = state
            given = body(*given)
            return self.state, *given

        self.state, *found = tf.while_loop(
            lambda _, *given: more(*given), turn, (self.state, *start), parallel_iterations=1
        )
        return found

    def _to_lanes(self, flat):
        """[T, S] of [n], T >= 1, padded with zeros: row 0 is certain, as is its entry 0."""
        turns = -(-tf.maximum(tf.size(flat), 1) // self._lanes)
        if self._compiled:
            turns = _common_size(turns)
        padding = [[0, turns * self._lanes - tf.size(flat)]]
        return tf.reshape(tf.pad(flat, padding), [turns, self._lanes])


class StockDecoder(_Coder):
    """Decodes an image step by step inside a graph, as its encoder was fed.

    Args:
        tables: `StockTables`.
        payload: uint8 [n], the bytes of all lanes, one lane after the other.
        lengths: int64 [S], bytes of each lane; their sum is n. S is known when the graph runs.
        escapes: int32 [m], of the file.
        compiled: whether XLA compiles the loops, once for each shape of a few common ones.
    """

    def __init__(
        self,
        tables: StockTables,
        payload: tf.Tensor,
        lengths: tf.Tensor,
        escapes: tf.Tensor,
        compiled: bool = False,
    ):
        self._tables, self._compiled = tables, compiled
        self._lanes = tf.size(lengths)
        self._words, first, self._last = _words(payload, lengths)
        if compiled:
            fill = _common_size(tf.size(self._words)) - tf.size(self._words)
            self._words = tf.pad(self._words, [[0, fill]])
        # The first 32 bits; a pointer stays on the zero word that ends its lane.
        second = tf.minimum(first + 1, self._last)
        high, low = tf.gather(self._words, first), tf.gather(self._words, second)
        self.state = (
            high * (1 << _WORD) + low,
            tf.ones_like(high) * _WHOLE,
            tf.minimum(second + 1, self._last),
            tf.constant(0),  # escapes used
        )
        self._escapes = tf.concat([escapes, [0]], 0)

    def read(self, indexes: tf.Tensor, bisect: bool = False) -> tf.Tensor:
        """The symbols of the next step, int32 of the shape of `indexes`, which are int32 too.

        Indexes must be rows of the model, and `bisect` what `StockTables` was told of them. If the
        escapes run out, further ones are zero; `finish` tells.
        """
        loop = functools.partial(self._bisect, self._tables.depth) if bisect else self._look_up
        symbols, escaped = self._tables.from_entries(indexes, self._read(indexes, loop, bisect))
        return self._fill(symbols, escaped)

    def read_binary(self, indexes: tf.Tensor) -> tf.Tensor:
        """The next entries of rows of two entries, int32; the rows must be bisected ones."""
        return self._read(indexes, functools.partial(self._bisect, 1), bisect=True)

    def _read(self, indexes, loop, bisect):
        rows = self._to_lanes(tf.reshape(indexes, [-1]))
        if self._compiled:
            loop = tf.function(loop, autograph=False, jit_compile=True)
        tables = self._tables
        if bisect:
            method = (tf.gather(tables.starts, rows), tf.gather(tables.sizes, rows) - 1)
        else:
            method = (tf.gather(tables.places, rows), tables.inverse)
        *state, used = self.state
        bounds = tf.identity(tables.bounds)
        numbers, *state = loop(*state, self._words, self._last, bounds, *method)
        self.state = (*state, used)
        entries = tf.reshape(numbers - tf.gather(tables.starts, rows), [-1])
        return tf.reshape(entries[: tf.size(indexes)], tf.shape(indexes))

    def finish(self) -> tf.Tensor:
        """How many escapes the symbols used, int32; a sound file has as many."""
        return self.state[-1]

    def _fill(self, symbols, escaped):
        flat = tf.cast(tf.reshape(escaped, [-1]), tf.int32)
        *state, used = self.state
        numbers = used + tf.reshape(tf.cumsum(flat, exclusive=True), tf.shape(symbols))
        self.state = (*state, used + tf.reduce_sum(flat))
        values = tf.gather(self._escapes, tf.minimum(numbers, tf.size(self._escapes) - 1))
        return tf.where(escaped, values, symbols)

    def _look_up(self, offset, size, at, words, last, bounds, places, inverse):
        def find(q, place):
            return tf.gather(inverse, place + q)

        return _decode(find, offset, size, at, words, last, bounds, (places,))

    def _bisect(self, depth, offset, size, at, words, last, bounds, starts, reach):
        lows = tf.bitwise.right_shift(bounds, 32)

        def find(q, number, reach):
            end = number + reach
            for step in range(depth - 1, -1, -1):
                candidate = tf.minimum(number + (1 << step), end)
                number = tf.where(tf.gather(lows, candidate) <= q, candidate, number)
            return number

        return _decode(find, offset, size, at, words, last, bounds, (starts, reach))


def _decode(find, offset, size, at, words, last, bounds, given):
    """The loop of the decoder: (entries' numbers int32 [T, S], offset, size, at).

    Args:
        find: from q [S] and what is `given` of a turn to the numbers of the entries.
        offset, size: int64 [S], the state; at: int32 [S], each lane's next word; last: its end.
        words: int64 [w]; bounds: int64 [entries].
        given: tensors [T, S].
    """
    turns = tf.shape(given[0])[0]
    given = [tf.TensorArray(g.dtype, turns, element_shape=g.shape[1:]).unstack(g) for g in given]
    found = tf.TensorArray(tf.int32, turns, element_shape=offset.shape)

    def turn(t, offset, size, at, found):
        q = tf.truncatediv(offset * TOTAL + (TOTAL - 1), size)
        number = find(q, *(array.read(t) for array in given))
        bound = tf.gather(bounds, number)
        a = tf.bitwise.right_shift(size * tf.bitwise.right_shift(bound, 32), PRECISION)
        b = tf.bitwise.right_shift(size * tf.bitwise.bitwise_and(bound, _MASK), PRECISION)
        offset, size = offset - a, b - a
        need = tf.cast(size <= TOTAL, tf.int64)
        shift = need * _WORD
        offset = tf.bitwise.left_shift(offset, shift) + need * tf.gather(words, at)
        at = tf.minimum(at + tf.cast(need, tf.int32), last)
        return t + 1, offset, tf.bitwise.left_shift(size, shift), at, found.write(t, number)

    _, offset, size, at, found = tf.while_loop(
        lambda t, *_: t < turns, turn, (0, offset, size, at, found), parallel_iterations=1
    )
    return found.stack(), offset, size, at


def _words(payload, lengths):
    """The lanes' bytes as 16-bit words, each lane with zeros behind it, as the C++ reads them.

    Returns: words int64 [w]; of each lane the places of its first word and of a final zero, int32.
    """
    counts = (lengths + 1) // 2 + 1
    last = tf.cumsum(counts) - 1
    lane = tf.repeat(tf.range(tf.size(lengths)), counts)
    place = 2 * (tf.range(tf.size(lane, tf.int64)) - tf.gather(last + 1 - counts, lane))
    start = tf.gather(tf.cumsum(lengths, exclusive=True), lane)
    remaining = tf.gather(lengths, lane) - place
    padded = tf.pad(tf.cast(payload, tf.int64), [[0, 1]])
    end = tf.size(payload, tf.int64)
    high = tf.gather(padded, tf.where(remaining > 0, start + place, end))
    low = tf.gather(padded, tf.where(remaining > 1, start + place + 1, end))
    return high * 256 + low, tf.cast(last + 1 - counts, tf.int32), tf.cast(last, tf.int32)


class StockEncoder(_Coder):
    """Codes the symbols of an image step by step inside a graph, into one stream a lane.

    Args:
        tables: `StockTables`.
        lanes: int32 scalar, a power of two up to 1024; may be known only when the graph runs.
        compiled: whether XLA compiles the loop, once for each shape of a few common ones.
    """

    def __init__(self, tables: StockTables, lanes: int | tf.Tensor, compiled: bool = False):
        self._tables, self._lanes, self._compiled = tables, lanes, compiled
        self.state = tuple(  # bounds of the entries, flat, and escapes, of each call
            tf.TensorArray(dtype, 0, dynamic_size=True, infer_shape=False, element_shape=[None])
            for dtype in (tf.int64, tf.int32)
        )

    def write(self, indexes: tf.Tensor, symbols: tf.Tensor) -> None:
        """Takes the symbols of one step, int32 of any one shape, within +-32767."""
        indexes, symbols = tf.reshape(indexes, [-1]), tf.reshape(symbols, [-1])
        entries, escaped = self._tables.to_entries(indexes, symbols)
        self._write(indexes, entries, tf.boolean_mask(symbols, escaped))

    def write_binary(self, indexes: tf.Tensor, entries: tf.Tensor) -> None:
        """Takes entries of rows of two entries, int32 [n]."""
        self._write(indexes, entries, tf.zeros([0], tf.int32))

    def _write(self, indexes, entries, escapes):
        rows, entries = self._to_lanes(indexes), self._to_lanes(entries)
        numbers = tf.gather(self._tables.starts, rows) + entries
        bounds = tf.reshape(tf.gather(self._tables.bounds, numbers), [-1])
        self.state = tuple(
            array.write(array.size(), part)
            for array, part in zip(self.state, (bounds, escapes), strict=True)
        )

    def finish(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(payload uint8 [n], lengths int64 [S], escapes int32 [m]), as `StockDecoder` takes."""
        loop = _encode
        if self._compiled:
            loop = tf.function(loop, autograph=False, jit_compile=True)
        base = tf.zeros([self._lanes], tf.int64)
        bounds, escapes = (array.concat() for array in self.state)
        turns = tf.size(bounds) // self._lanes
        more = (_common_size(turns) if self._compiled else tf.maximum(turns, 1)) - turns
        nothing = tf.fill([more * self._lanes], tf.constant(TOTAL, tf.int64))  # the certain entry
        bounds = tf.reshape(tf.concat([nothing, bounds], 0), [-1, self._lanes])
        notes, base, size = loop(bounds, base)
        # The end: a value of the interval with few bytes, zeros being read past the end anyway. If
        # the interval reaches beyond 2^32 that is 2^32 itself, a carry and nothing else; if it
        # begins at 0, nothing at all; else one more byte if that suffices, or two.
        beyond = base + size > _WHOLE
        byte = tf.bitwise.right_shift(base + (1 << 24) - 1, 24)
        suffices = byte <= tf.bitwise.right_shift(base + size - 1, 24)
        word = tf.bitwise.right_shift(base + (1 << 16) - 1, 16)
        word = tf.where(suffices, byte * 256, word)
        more = ~beyond & (base > 0)
        final = word + tf.cast(more, tf.int64) * _LEFT + tf.cast(beyond, tf.int64) * _CARRY
        payload, lengths = _gather_words(tf.concat([notes, final[None]], 0), beyond, more)
        # The ops' scalar handle cuts zeros off the end; their handles of many lanes do not.
        end = tf.reduce_max(tf.where(payload > 0, tf.range(tf.size(payload)) + 1, 0))
        end = tf.where(tf.equal(self._lanes, 1), tf.maximum(end, 0), tf.size(payload))
        payload, lengths = payload[:end], tf.minimum(lengths, tf.cast(end, tf.int64))
        return payload, lengths, escapes


_LEFT, _CARRY = 1 << 16, 1 << 17  # beside a word of 16 bits: it left; a carry came before it


def _encode(bounds, base):
    """The loop of the encoder: bounds [T, S] and zeros [S] to notes int64 [T, S], base and size."""
    turns = tf.shape(bounds)[0]
    given = tf.TensorArray(tf.int64, turns, element_shape=bounds.shape[1:]).unstack(bounds)
    notes = tf.TensorArray(tf.int64, turns, element_shape=base.shape)

    def turn(t, base, size, notes):
        bound = given.read(t)
        a = tf.bitwise.right_shift(size * tf.bitwise.right_shift(bound, 32), PRECISION)
        b = tf.bitwise.right_shift(size * tf.bitwise.bitwise_and(bound, _MASK), PRECISION)
        base, size = base + a, b - a
        need = tf.cast(size <= TOTAL, tf.int64)
        # From the top: a carry out of 32 bits at 2^32, the word that may leave below.
        note = tf.bitwise.right_shift(base, 32) * _CARRY + need * _LEFT
        note += tf.bitwise.right_shift(tf.bitwise.bitwise_and(base, _MASK), _WORD)
        shift = need * _WORD
        base = tf.bitwise.bitwise_and(tf.bitwise.left_shift(base, shift), _MASK)
        return t + 1, base, tf.bitwise.left_shift(size, shift), notes.write(t, note)

    size = tf.ones_like(base) * _WHOLE
    _, base, size, notes = tf.while_loop(
        lambda t, *_: t < turns, turn, (0, base, size, notes), parallel_iterations=1
    )
    return notes.stack(), base, size


def _gather_words(notes, beyond, more):
    """The bytes that the notes [T + 1, S] amount to: (payload uint8 [n], lengths int64 [S]).

    beyond, more: bool [S], how each lane ended; see `StockEncoder.finish`.
    """
    lanes = tf.shape(notes)[1]
    # A word of zero after each lane stops every carry of the next; it is dropped again.
    notes = tf.concat([notes, tf.fill([1, lanes], tf.constant(_LEFT, tf.int64))], 0)
    flat = tf.reshape(tf.transpose(notes), [-1])
    left = tf.not_equal(tf.bitwise.bitwise_and(flat, _LEFT), 0)
    counts = tf.cast(left, tf.int32)
    before = tf.cumsum(counts, exclusive=True)  # words that left before each note, in all lanes
    values = tf.boolean_mask(tf.bitwise.bitwise_and(flat, _LEFT - 1), left)
    # Between two words there is at most one carry, hence values up to 2^16.
    carried = tf.boolean_mask(before, flat >= _CARRY) - 1
    values += tf.math.unsorted_segment_sum(
        tf.ones_like(carried, tf.int64), carried, tf.size(values)
    )
    # A carry into a word of ones goes on to the word before: each word takes the carry of the next
    # word that is not all ones.
    stops = tf.not_equal(values, TOTAL - 1)
    gives = tf.pad(tf.bitwise.right_shift(tf.boolean_mask(values, stops), PRECISION), [[0, 1]])
    values += tf.gather(gives, tf.cumsum(tf.cast(stops, tf.int32)))
    values = tf.bitwise.bitwise_and(values, TOTAL - 1)

    lane = tf.boolean_mask(tf.repeat(tf.range(lanes), tf.shape(notes)[0]), left)
    first = tf.searchsorted(lane, tf.range(lanes))
    number = tf.range(tf.size(values)) - tf.gather(first, lane)
    words = tf.math.segment_max(number, lane)  # without the final zero
    # After a final carry all words behind the one that took it are zero, and not written.
    used = tf.math.segment_max(tf.where(values > 0, number + 1, 0), lane)
    words = tf.where(beyond, used, words)
    final = tf.gather(values, first + tf.maximum(words - 1, 0))
    half = (beyond | more) & tf.equal(tf.bitwise.bitwise_and(final, 255), 0)
    lengths = 2 * words - tf.cast(half, tf.int32)

    pairs = tf.stack([tf.bitwise.right_shift(values, 8), tf.bitwise.bitwise_and(values, 255)], 1)
    places = 2 * number[:, None] + [[0, 1]]
    kept = places < tf.gather(lengths, lane)[:, None]
    return tf.cast(tf.boolean_mask(pairs, kept), tf.uint8), tf.cast(lengths, tf.int64)


def _common_size(n):
    """int32 n, at least 1, rounded up to one of four sizes an octave, so that few are compiled."""
    sizes = sorted({quarters << k >> 2 for k in range(29) for quarters in range(4, 8)})
    return tf.gather(sizes, tf.searchsorted(sizes, tf.maximum(n, 1)[None])[0])


def _constant(array):
    return tf.Variable(array, trainable=False)
