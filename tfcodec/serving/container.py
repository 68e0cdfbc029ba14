"""The `.tfcd` file read and written inside a graph: docs/FORMAT.md in stock TensorFlow operations.

The twin of container.py for servers, for files of coder 0. Nothing here raises, whatever the bytes:
a reader that found a fault goes on with zeros, and tells the first fault in the words of
container.py. What follows the fault is computed from clamped places and thrown away.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfcodec.coding.format import (
    CHECKSUM_MIX,
    MAGIC,
    MAX_BYTES_PER_PIXEL,
    MAX_LANES,
    MAX_METADATA,
    MAX_QUOTIENT,
    MAX_RICE,
    MAX_SYMBOL,
    PADDED_SIDE,
    SMALL_PIXELS,
    SPARE_BYTES,
    TFC,
    VERSION,
)
from tfcodec.serving.faults import Faults

_LANES = 10  # log2 of the bytes that the CRC takes at a time
_BYTES = np.array([bytes([value]) for value in range(256)], object)


def within(height: tf.Tensor, width: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Whether `container.exceeds` has no objection; tensors of int64, at most 35 bits each."""
    height, width = (tf.minimum(tf.cast(side, tf.int64), 2**31) for side in (height, width))
    sound = height * width <= max_pixels
    return sound & (_padded(height, width) <= max(max_pixels, SMALL_PIXELS))


def _padded(height, width):
    """`container._padded` of tensors of int64."""
    return tf.maximum(height, PADDED_SIDE) * tf.maximum(width, PADDED_SIDE)


def unpack(
    data: tf.Tensor, max_pixels: int, max_bytes: int
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """The fields of a file.

    Args:
        data: string scalar, all bytes of the file.
        max_pixels, max_bytes: larger pictures and files are refused; integers.
    Returns: (fields, error): a dictionary of tensors with the names of `Container`, except that
        `payload` (uint8 [n], without the table of lanes) and `lengths` (int64 [S]) stand for its
        streams, that no alpha is empty, and that metadata are passed over; and a string scalar,
        empty if the file is sound.
    """
    size = tf.strings.length(data)
    small = size <= max_bytes
    reader = _Reader(tf.io.decode_raw(tf.where(small, data, ""), tf.uint8))
    reader.check(small, "the file has ", size, f" bytes, at most {max_bytes} are taken")
    reader.check(size > 0, "the file is empty")
    head = _read_head(reader, size)
    fingerprint, profile, quality, flags, coding = head[5:9], head[9], head[10], head[11], head[12]
    reader.check(flags < 16, "has the flags ", flags, ", this release knows those up to 15")
    gray, *has = (tf.not_equal(tf.bitwise.bitwise_and(flags, flag), 0) for flag in (1, 4, 2, 8))
    height, width = reader.varint("height"), reader.varint("width")
    parts = dict(zip(("payload", "escapes", "alpha", "metadata"), (True, *has), strict=True))
    sizes = {part: reader.varint(f"{part} length", there) for part, there in parts.items()}
    payload, escapes = (reader.take(part, sizes[part]) for part in ("payload", "escapes"))
    alpha_at = reader.at
    for part in ("alpha", "metadata"):
        reader.take(part, sizes[part])
    crc_at = reader.at + 4
    tail = reader.take("checksums", 8)
    reader.finish("the file")
    # Only bytes whose lengths fit are worth the work.
    sound = tf.equal(reader.error, "")
    actual = crc32(reader.data[: tf.where(sound, crc_at, 0)])
    reader.check(_little_endian(tail[4:]) == actual, "damaged, its CRC-32 does not match")

    _check_claims(reader, size, height, width, max_pixels)
    payload, lengths = _read_lanes(reader, coding, payload)
    escapes = _unpack_escapes(escapes, parts["escapes"], reader)
    metadata, most = sizes["metadata"], f"metadata have at most {MAX_METADATA} bytes, got "
    reader.check(metadata <= MAX_METADATA, most, metadata)
    failed, zero = tf.not_equal(reader.error, ""), tf.constant(0, tf.int64)
    alpha_at, alpha_size = (tf.where(failed, zero, n) for n in (alpha_at, sizes["alpha"]))
    fields = {
        "fingerprint": fingerprint,
        "profile": profile,
        "quality": quality,
        "gray": gray,
        "height": tf.cast(tf.where(failed, zero, height), tf.int32),
        "width": tf.cast(tf.where(failed, zero, width), tf.int32),
        "payload": payload,
        "lengths": lengths,
        "escapes": escapes,
        "alpha": tf.strings.substr(data, alpha_at, alpha_size),
        "checksum": _little_endian(tail[:4]),
    }
    return fields, reader.error


def _read_head(reader, size):
    """The 13 bytes before the first length, uint8."""
    magic = np.frombuffer(MAGIC, np.uint8)
    head = reader.window(0, 5)
    same = tf.reduce_all((head[:4] == magic) | (tf.range(4) >= size))
    reader.check(same, "not a tfcodec file")
    version = head[4]
    other = ("has format version ", version, f", this release reads version {VERSION}")
    reader.check((version == VERSION) | (size < 5), *other)
    return reader.take("header", 13)


def _check_claims(reader, size, height, width, max_pixels):
    """Whether a file of `size` bytes may claim a picture of that size."""
    sides = (width, "x", height, " pixels")
    limit = f", at most {max_pixels} are taken"
    reader.check(within(height, width, max_pixels), "claims ", *sides, limit)
    most = MAX_BYTES_PER_PIXEL * _padded(height, width) + SPARE_BYTES
    sound = tf.cast(size, tf.int64) <= most
    reader.check(sound, "has ", size, " bytes, more than any sound file of ", *sides)
    reader.check((height > 0) & (width > 0), "a picture of ", *sides, " does not exist")


def _read_lanes(reader, coding, payload):
    """(payload without the table of lanes, length of each lane)."""
    coder = tf.bitwise.right_shift(coding, 4)
    reader.check(coder == TFC, "has the coder ", coder, ", this server decodes the coder 0 (tfc)")
    log2_lanes = tf.bitwise.bitwise_and(coding, 15)
    most = MAX_LANES.bit_length() - 1
    reader.check(log2_lanes <= most, "found more lanes than ", str(MAX_LANES))
    lanes = tf.bitwise.left_shift(1, tf.cast(tf.minimum(log2_lanes, most), tf.int32))
    payload, lengths, reader.error = tf.cond(
        lanes > 1,
        lambda: _unpack_lanes(payload, lanes, reader.error),
        lambda: (payload, tf.size(payload, tf.int64)[None], reader.error),
    )
    return payload, lengths


def pack(fields: dict[str, Any]) -> tf.Tensor:
    """The bytes of a file of coder 0 without metadata, a string scalar; those of container.py.

    Args: fields, as `unpack` returns them; fingerprint, profile, quality may be numpy integers.
    """
    lengths, escapes = fields["lengths"], fields["escapes"]
    lanes = tf.size(lengths)
    table = tf.cond(lanes > 1, lambda: _pack_lengths(lengths), lambda: tf.zeros([0], tf.int64))
    payload = tf.concat([table, tf.cast(fields["payload"], tf.int64)], 0)
    any_escapes = tf.size(escapes) > 0
    coded = tf.cast(escapes, tf.int64)
    coded = tf.where(coded < 0, -2 * coded - 1, 2 * coded)
    coded = _varints(tf.concat([tf.size(coded, tf.int64)[None], coded], 0))
    coded = coded[: tf.where(any_escapes, tf.size(coded), 0)]
    alpha = tf.cast(tf.io.decode_raw(fields["alpha"], tf.uint8), tf.int64)
    any_alpha = tf.size(alpha) > 0
    flags = (
        1 * tf.cast(fields["gray"], tf.int64)
        + 2 * tf.cast(any_alpha, tf.int64)
        + 4 * tf.cast(any_escapes, tf.int64)
    )
    log2_lanes = tf.searchsorted([1 << k for k in range(11)], lanes[None])[0]
    sizes = [tf.cast(fields["height"], tf.int64), tf.cast(fields["width"], tf.int64)]
    sizes = _varints(tf.stack([*sizes, tf.size(payload, tf.int64)]))
    optional = []
    for part, present in ((coded, any_escapes), (alpha, any_alpha)):
        size = _varints(tf.size(part, tf.int64)[None])
        optional.append(size[: tf.where(present, tf.size(size), 0)])
    body = tf.concat(
        [
            np.int64([*MAGIC, VERSION]),
            tf.cast(fields["fingerprint"], tf.int64),
            tf.cast(fields["profile"], tf.int64)[None],
            tf.cast(fields["quality"], tf.int64)[None],
            flags[None],
            tf.cast(log2_lanes, tf.int64)[None],
            sizes,
            *optional,
            payload,
            coded,
            alpha,
            _to_little_endian(fields["checksum"]),
        ],
        0,
    )
    body = tf.concat([body, _to_little_endian(crc32(tf.cast(body, tf.uint8)))], 0)
    return tf.strings.reduce_join(tf.gather(tf.constant(_BYTES), body))


def symbols_checksum(arrays: Sequence[tf.Tensor]) -> tf.Tensor:
    """As `container.symbols_checksum`, int64."""
    symbols = tf.concat([tf.reshape(array, [-1]) for array in arrays], 0)
    x = tf.range(tf.size(symbols, tf.int64)) * CHECKSUM_MIX[0] % 2**32
    x = _xor_shifted(x, 15) * CHECKSUM_MIX[1] % 2**32
    weights = tf.bitwise.bitwise_or(_xor_shifted(x, 13), 1)
    terms = (tf.cast(symbols, tf.int64) + 2**15) * weights % 2**32
    return tf.reduce_sum(terms) % 2**32


def _xor_shifted(x, bits):
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, bits))


def crc32(data: tf.Tensor) -> tf.Tensor:
    """CRC-32 of uint8 [n], n >= 4, as int64.

    The CRC is linear over GF(2): that of a string is the sum of those of its bytes, each advanced
    by the zeros behind it. So many lanes run at once, each over every 2^10th byte, and are joined
    in pairs afterwards.
    """
    lanes = 1 << _LANES
    # Zeros in front change nothing once the register's start, all ones, is on the first 4 bytes.
    flip = tf.cast(tf.range(tf.size(data)) < 4, tf.uint8) * 255
    data = tf.pad(tf.bitwise.bitwise_xor(data, flip), [[-tf.size(data) % lanes, 0]])
    data = tf.reshape(data, [-1, lanes])
    of_bytes, advances = _crc_tables()
    of_bytes, step = tf.constant(of_bytes), [tf.constant(part) for part in advances[_LANES]]

    def advanced(crc, tables):
        parts = [tf.bitwise.bitwise_and(tf.bitwise.right_shift(crc, 8 * k), 255) for k in range(4)]
        parts = [tf.gather(table, part) for table, part in zip(tables, parts, strict=True)]
        return functools.reduce(tf.bitwise.bitwise_xor, parts)

    def turn(t, crc):
        more = tf.gather(of_bytes, tf.cast(data[t], tf.int32))
        return t + 1, tf.bitwise.bitwise_xor(advanced(crc, step), more)

    start = (0, tf.zeros([lanes], tf.int64))
    turns = tf.shape(data)[0]
    _, crc = tf.while_loop(lambda t, _: t < turns, turn, start, parallel_iterations=1)
    for level in range(_LANES):
        crc = tf.reshape(crc, [-1, 2])
        crc = tf.bitwise.bitwise_xor(advanced(crc[:, 0], advances[level]), crc[:, 1])
    return tf.bitwise.bitwise_xor(crc[0], 2**32 - 1)


@functools.lru_cache(maxsize=1)
def _crc_tables():
    """The CRC of each byte [256], and its advance by 2^level zeros, [level, byte's place, byte]."""
    register = np.arange(256, dtype=np.int64)
    for _ in range(8):
        register = (register >> 1) ^ np.where(register & 1, 0xEDB88320, 0)
    of_bytes = register
    spread = np.arange(256, dtype=np.int64) << np.int64([[0], [8], [16], [24]])
    advances = [(spread >> 8) ^ of_bytes[spread & 255]]
    for _ in range(_LANES):
        half = advances[-1]
        advances.append(
            functools.reduce(np.bitwise_xor, (half[k][half >> 8 * k & 255] for k in range(4)))
        )
    return of_bytes, np.stack(advances)


class _Reader(Faults):
    """Takes bytes from the front of uint8 [n]."""

    def __init__(self, data, error=""):
        super().__init__(error)
        self.data, self.size = data, tf.size(data, tf.int64)
        self.at = tf.constant(0, tf.int64)

    def window(self, at, size):
        """`size` (an integer) bytes from a place, int64; zeros past the end."""
        part = tf.cast(self.data[at : at + size], tf.int64)
        return tf.ensure_shape(tf.pad(part, [[0, size - tf.size(part)]]), [size])

    def take(self, part, size):
        """The next `size` bytes: int64 with zeros for an integer, else uint8 of what is there."""
        remain = self.size - self.at
        verb = "need" if part.endswith("s") else "needs"
        needed = (f"{part} {verb} ", tf.convert_to_tensor(size), " bytes, ")
        self.check(remain >= size, *needed, remain, " remain; is the file truncated?")
        at = self.at
        self.at = tf.minimum(at + size, self.size)
        return self.window(at, size) if isinstance(size, int) else self.data[at : self.at]

    def varint(self, part, present=True):
        """int64; 0 if not `present`."""
        remain = self.size - self.at
        window = self.window(self.at, 5)
        length = tf.argmax(window < 128, output_type=tf.int64) + 1  # of bytes; 1 if there is none
        ended = tf.reduce_any(window < 128)
        length = tf.where(ended, length, 5)
        kept = tf.where(tf.range(5, dtype=tf.int64) < length, window % 128, 0)
        last = tf.gather(window, length - 1)
        present = tf.convert_to_tensor(present)
        self.check(
            ~present | (length <= remain), f"{part} needs 1 bytes, 0 remain; is the file truncated?"
        )
        self.check(~present | ended, f"{part} is longer than 5 bytes; damaged?")
        self.check(
            ~present | (length == 1) | (last > 0), f"{part} is not in its shortest form; damaged?"
        )
        self.at = tf.where(present, tf.minimum(self.at + length, self.size), self.at)
        value = tf.reduce_sum(tf.bitwise.left_shift(kept, np.int64([0, 7, 14, 21, 28])))
        return tf.where(present, value, 0)

    def finish(self, part):
        more = (f"expected the end of {part}, found more bytes: ", self.size - self.at)
        self.check(self.at >= self.size, *more, "; was something appended?")


def _unpack_escapes(data, present, reader):
    """int32 [m]; faults go to the reader of the file."""
    data = tf.cast(data, tf.int64)
    ends = data < 128
    number = tf.cumsum(tf.cast(ends, tf.int32), exclusive=True)  # of the varint of each byte
    count = tf.reduce_sum(tf.cast(ends, tf.int32))
    places = tf.range(tf.size(data))
    starts = tf.concat([[0], tf.boolean_mask(places, ends) + 1], 0)
    within = tf.cast(places - tf.gather(starts, number), tf.int64)
    values = tf.math.unsorted_segment_sum(
        tf.bitwise.left_shift(data % 128, 7 * tf.minimum(within, 4)), number, count + 1
    )
    padded = tf.pad(data, [[1, 1]])  # so that an empty part has a last byte, too
    whole = tf.reduce_all(within < 5) & (padded[-2] < 128) & (count > 0)
    whole &= ~tf.reduce_any((data == 0) & (within > 0))
    reader.check(~present | whole, "an escape is not a varint in its shortest form; damaged?")
    claimed = values[0]
    right = (claimed >= 1) & (claimed == tf.cast(count, tf.int64) - 1)
    wrong = ("claims ", claimed, " escapes in ", tf.size(data), " bytes; damaged?")
    reader.check(~present | right, *wrong)
    values = values[1:count]
    half = tf.bitwise.right_shift(values, 1)
    values = tf.where(values % 2 > 0, -half - 1, half)
    reader.check(
        tf.reduce_all(tf.abs(values) <= MAX_SYMBOL), f"escapes must be within +-{MAX_SYMBOL}"
    )
    return tf.cast(tf.clip_by_value(values, -MAX_SYMBOL, MAX_SYMBOL), tf.int32)


def _unpack_lanes(payload, lanes, error):
    """(bytes of the lanes uint8 [n], lengths int64 [S], error) of a payload with its table."""
    reader = _Reader(payload, error)
    k = reader.take("lane lengths", 1)[0]
    reader.check(k <= MAX_RICE, "found the Rice parameter ", k, f", at most {MAX_RICE}")
    k = tf.minimum(k, MAX_RICE)
    mean = reader.varint("mean length of the lanes")
    # No code is longer than this, and one byte more, so that no lane reads past the end.
    longest = tf.cast(lanes, tf.int64) * (MAX_QUOTIENT + 1 + k)
    table = tf.cast(payload[reader.at : reader.at + (longest + 7) // 8], tf.int64)
    bits = tf.bitwise.right_shift(table[:, None], np.int64(range(7, -1, -1)))
    bits = tf.reshape(bits, [-1]) % 2
    size = tf.size(bits, tf.int64)
    # The next zero at or after each place: zeros before it count how many are to be passed over.
    zeros = tf.concat([tf.boolean_mask(tf.range(size), bits == 0), size[None]], 0)
    passed = tf.cumsum(1 - bits, exclusive=True)
    passed = tf.concat([passed, (tf.size(zeros, tf.int64) - 1)[None]], 0)

    def lane(t, at, sound, found):
        zero = tf.gather(zeros, tf.gather(passed, at))
        end = zero + 1 + k
        sound &= (zero - at <= MAX_QUOTIENT) & (end <= size)
        return t + 1, tf.minimum(end, size), sound, found.write(t, tf.stack([at, zero]))

    found = tf.TensorArray(tf.int64, lanes, element_shape=[2])
    _, at, sound, found = tf.while_loop(
        lambda t, *_: t < lanes,
        lane,
        (0, tf.constant(0, tf.int64), tf.constant(True), found),
        parallel_iterations=1,
    )
    reader.check(sound, "the lengths of its ", lanes, " lanes are malformed")
    begins, stops = tf.unstack(found.stack(), axis=1)
    places = stops[:, None] + 1 + tf.range(MAX_RICE, dtype=tf.int64)
    low = tf.gather(tf.pad(bits, [[0, 1]]), tf.minimum(places, size))  # [S, 31], k of them count
    shift = k - 1 - tf.range(MAX_RICE, dtype=tf.int64)
    low = tf.where(shift >= 0, tf.bitwise.left_shift(low, tf.maximum(shift, 0)), 0)
    codes = tf.bitwise.left_shift(tf.minimum(stops - begins, MAX_QUOTIENT), k)
    codes += tf.reduce_sum(low, 1)
    half = tf.bitwise.right_shift(codes, 1)
    lengths = mean + tf.where(codes % 2 > 0, -half - 1, half)
    table_bytes = (at + 7) // 8
    ended = ~tf.reduce_any(bits[at : 8 * table_bytes] > 0)
    reader.check(ended, "the lengths of its ", lanes, " lanes do not end in zero bits")
    reader.take("lane lengths", table_bytes)
    streams = payload[reader.at :]
    claimed, there = tf.reduce_sum(lengths), tf.size(streams, tf.int64)
    whole = tf.reduce_all(lengths >= 0) & (claimed == there)
    reader.check(whole, "its ", lanes, " lanes claim ", claimed, " bytes, ", there, " are there")
    sound = tf.equal(reader.error, "")
    return streams, tf.where(sound, lengths, 0), reader.error


def _pack_lengths(lengths):
    """The table of lanes, int64 [n] of bytes, with the writer's choices of container.py."""
    mean = tf.cast(tf.round(tf.reduce_mean(tf.cast(lengths, tf.float64))), tf.int64)
    codes = lengths - mean
    codes = tf.where(codes < 0, -2 * codes - 1, 2 * codes)
    quotients = tf.bitwise.right_shift(codes[:, None], np.arange(MAX_RICE + 1))  # [S, 32]
    costs = tf.reduce_sum(quotients + np.arange(1, MAX_RICE + 2), 0)
    feasible = tf.reduce_max(quotients, 0) <= MAX_QUOTIENT
    k = tf.argmin(tf.where(feasible, costs, costs.dtype.max))
    quotients = tf.gather(quotients, k, axis=1)
    sizes = quotients + 1 + k
    lane = tf.repeat(tf.range(tf.size(lengths)), sizes)
    place = tf.range(tf.size(lane, tf.int64)) - tf.gather(tf.cumsum(sizes, exclusive=True), lane)
    place -= tf.gather(quotients, lane)  # negative in the ones, 0 at the zero, then the low bits
    low = tf.bitwise.right_shift(tf.gather(codes, lane), tf.maximum(k - place, 0)) % 2
    bits = tf.where(place > 0, low, tf.cast(place < 0, tf.int64))
    bits = tf.reshape(tf.pad(bits, [[0, -tf.size(bits) % 8]]), [-1, 8])
    table = tf.reduce_sum(bits * np.int64([128, 64, 32, 16, 8, 4, 2, 1]), 1)
    return tf.concat([k[None], _varints(mean[None]), table], 0)


def _varints(values):
    """int64 [n] below 2^35 to the bytes of all, int64 [m]."""
    digits = tf.bitwise.right_shift(values[:, None], np.int64([0, 7, 14, 21, 28]))
    sizes = tf.maximum(tf.reduce_sum(tf.cast(digits > 0, tf.int32), 1, keepdims=True), 1)
    places = tf.range(5)
    more = tf.cast(places < sizes - 1, tf.int64)
    return tf.boolean_mask(digits % 128 + 128 * more, places < sizes)


def _little_endian(four):
    return tf.reduce_sum(tf.bitwise.left_shift(four, np.int64([0, 8, 16, 24])))


def _to_little_endian(value):
    return tf.bitwise.right_shift(value, np.int64([0, 8, 16, 24])) % 256
