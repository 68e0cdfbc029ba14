"""`pictures` inside a graph: PNG and JPEG to pixels, and the alpha that a file carries."""

import numpy as np
import tensorflow as tf

from tfcodec.serving import container
from tfcodec.serving.faults import Faults

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IHDR_END = 33
_ADOBE_MARKER = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"  # APP14; no transform of its colours
_IDAT, _IEND, _TRNS = (int.from_bytes(kind, "big") for kind in (b"IDAT", b"IEND", b"tRNS"))


def _or_nothing(function, data, nothing):
    """`function(data)`, or `nothing` where its operation raises.

    A graph cannot catch, but a data set can skip what fails.
    """
    results = tf.data.Dataset.from_tensors(data).map(function).ignore_errors()
    return results.concatenate(tf.data.Dataset.from_tensors(nothing)).take(1).get_single_element()


def read_picture(data: tf.Tensor, max_pixels: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """A PNG or JPEG as pixels uint8 [H, W, C], whether one channel means colour, and error.

    C is 1 or 3, and one more for alpha that is not opaque everywhere.
    """
    faults = Faults()
    head = tf.io.decode_raw(tf.strings.substr(tf.strings.join([data, bytes(33)]), 0, 33), tf.uint8)
    head = tf.cast(tf.ensure_shape(head, [33]), tf.int64)
    png = tf.reduce_all(head[:16] == list(PNG_SIGNATURE + b"\0\0\0\rIHDR"))
    jpeg = tf.reduce_all(head[:3] == [0xFF, 0xD8, 0xFF])
    faults.check(png | jpeg, "not a PNG or JPEG")
    nothing = tf.zeros([3], tf.int32)
    shape = tf.cond(
        jpeg,
        lambda: tf.cast(_or_nothing(tf.image.extract_jpeg_shape, data, nothing), tf.int64),
        lambda: tf.stack([_big_endian(head[20:24]), _big_endian(head[16:20]), 1]),
    )
    height, width, depth, kind = shape[0], shape[1], head[24], head[25]
    faults.check((height > 0) & (width > 0), "the picture is damaged or truncated")
    large = ("the picture has ", width, "x", height, f" pixels, at most {max_pixels} are taken")
    faults.check(container.within(height, width, max_pixels), *large)
    faults.check(~png | (depth <= 8), "the PNG has 16-bit samples; convert it to 8 bits")
    # Of gray and RGB, the decoder would drop a transparent colour without a word.
    octets = tf.io.decode_raw(data, tf.uint8)
    _, kinds = _walk_png(octets, tf.size(octets), until=_IDAT, most=1000)
    keyed = png & (kind != 3) & tf.reduce_any(kinds == _TRNS)
    faults.check(~keyed, "the PNG has a transparent colour; convert it to an alpha channel")
    one_bit = png & (depth == 1) & (kind == 0)
    adobes = tf.cond(jpeg & (shape[2] == 4), lambda: _as_adobes(data), lambda: data)

    def decode():
        nothing = tf.zeros([0, 0, 0], tf.uint8)
        return tf.cond(
            png,
            lambda: _or_nothing(tf.io.decode_png, data, nothing),
            lambda: _or_nothing(_decode_jpeg, adobes, nothing),
        )

    sound = tf.equal(faults.error, "")
    pixels = tf.cond(sound, decode, lambda: tf.zeros([0, 0, 0], tf.uint8))
    faults.check(tf.size(pixels) > 0, "the picture is damaged or truncated")
    return _without_opaque_alpha(pixels), one_bit, faults.error


def _as_adobes(data):
    """A CMYK JPEG as one of Adobe's, whose samples are negatives of the inks.

    TensorFlow takes samples for the inks where Adobe's marker is missing; Pillow, Chromium and
    Firefox do not, since CMYK in JPEG is Adobe's practice. A marker that is there comes later, and
    counts.
    """
    rest = tf.strings.substr(data, 2, tf.strings.length(data))
    return tf.strings.join([tf.strings.substr(data, 0, 2), _ADOBE_MARKER, rest])


def _decode_jpeg(data):
    return tf.io.decode_jpeg(data, dct_method="INTEGER_ACCURATE")


def _without_opaque_alpha(pixels):
    """pixels uint8 [H, W, C]; of 2 or 4 channels, the last goes if it hides nothing."""
    opaque = tf.equal(tf.shape(pixels)[2] % 2, 0) & tf.reduce_all(pixels[..., -1:] == 255)
    return tf.cond(opaque, lambda: pixels[..., :-1], lambda: pixels)


def read_alpha(data: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`pictures.alpha_from_png` in a graph: alpha uint8 [H, W, 1] and error."""
    faults = Faults()
    octets = tf.io.decode_raw(data, tf.uint8)
    size = tf.size(octets)
    sides = [
        tf.bitwise.right_shift(tf.cast(side, tf.int64), [24, 16, 8, 0]) % 256
        for side in (width, height)
    ]
    head = tf.concat(
        [list(PNG_SIGNATURE + b"\0\0\0\rIHDR"), *sides, [8, 0, 0, 0, 0]], 0
    )  # 8-bit gray, not interlaced
    same = tf.reduce_all(tf.cast(tf.pad(octets[:29], [[0, 29]])[:29], tf.int64) == head)
    faults.check(same, "the alpha part is not an 8-bit gray PNG of ", width, "x", height)
    # Other chunks may unfold to more than their size: they must not reach the decoder.
    end, kinds = _walk_png(octets, size, until=_IEND, most=64 + size // 1024)
    faults.check(
        (end == size) & ~tf.reduce_any((kinds != _IDAT) & (kinds != _IEND)),
        "the alpha part is truncated or holds unexpected chunks",
    )
    nothing = tf.zeros([0, 0, 0], tf.uint8)
    alpha = tf.cond(
        tf.equal(faults.error, ""),
        lambda: _or_nothing(lambda png: tf.io.decode_png(png, channels=1), data, nothing),
        lambda: nothing,
    )
    faults.check(tf.size(alpha) == height * width, "the alpha part cannot be decoded")
    return alpha, faults.error


def _walk_png(octets, size, until, most):
    """Walks the chunks after the first, at most so many, up to one of a kind.

    Returns: where that chunk ends, int32, or -1 if there is none; kinds of the chunks, int64 [n].
    """

    def chunk(k, at, kinds):
        part = tf.cast(tf.ensure_shape(octets[at : at + 8], [8]), tf.int64)
        end = tf.cast(at, tf.int64) + 12 + _big_endian(part[:4])
        end = tf.where(end <= tf.cast(size, tf.int64), tf.cast(end, tf.int32), -1)
        return k + 1, end, kinds.write(k, _big_endian(part[4:]))

    def more(k, at, kinds):
        last = kinds.read(tf.maximum(k - 1, 0))
        return (at >= 0) & (at + 12 <= size) & (k < most) & (last != until)

    kinds = tf.TensorArray(tf.int64, most, element_shape=[])
    k, at, kinds = tf.while_loop(
        more, chunk, (0, tf.constant(_IHDR_END), kinds), parallel_iterations=1
    )
    kinds = kinds.stack()[:k]
    return tf.where(tf.reduce_any(kinds == until), at, -1), kinds


def _big_endian(four):
    return tf.reduce_sum(tf.bitwise.left_shift(four, np.int64([24, 16, 8, 0])))
