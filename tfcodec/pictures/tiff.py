"""TIFF by its tags (TIFF 6.0): what Pillow misreads in silence or does not know is read here.

Whole samples of 1 to 16 bits, gray, RGB, palette or CMYK, in strips or tiles, chunky or planar,
of either byte order, in BigTIFF as well. The compressions that squeeze pictures rather than bytes
(JPEG, fax) are Pillow's; the other kinds are refused, by what they are.
"""

import dataclasses
import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image

from tfcodec.pictures.decoded import Decoded, Unreadable
from tfcodec.pictures.metadata import from_tags
from tfcodec.pictures.tags import ORIENTATION, Directory
from tfcodec.pictures.terms import libtiff_silenced

_WIDTH, _HEIGHT, BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_OFFSETS, _SAMPLES, _ROWS, _COUNTS, PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_COLOR_MAP, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 320, 322, 323, 324, 325
_INK_SET, _EXTRA, FORMAT, _SUBSAMPLING, _XMP, _PROFILE = 332, 338, 339, 530, 700, 34675

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_COLORS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}
_PHOTOMETRICS = {9: "ICC L*a*b*", 10: "ITU L*a*b*", 32803: "a camera's raw samples"}
_PHOTOMETRICS |= {32844: "LogL", 32845: "LogLuv", 34892: "a camera's linear samples", 4: "a mask"}

_NONE, _DEFLATE, _JPEG = 1, (8, 32946), 7
_OF_BYTES = (_NONE, *_DEFLATE, 5, 32773, 34925, 50000)  # ... LZW, PackBits, LZMA, Zstandard
_FAX, _OF_PICTURES = (2, 3, 4), (6, _JPEG)  # CCITT; old and new
_COMPRESSIONS = {34661: "JBIG", 34712: "JPEG 2000", 33003: "JPEG 2000", 33005: "JPEG 2000"}
_COMPRESSIONS |= {
    34887: "LERC",
    50001: "WebP",
    50002: "JPEG XL",
    32809: "ThunderScan",
    32766: "NeXT",
}
_COMPRESSIONS |= {34676: "SGI LogLuv", 34677: "SGI LogLuv", 34892: "lossy DNG", 6: "old JPEG"}
_COMPRESSIONS |= {32766: "NeXT", _JPEG: "JPEG"}

_MOST_SAMPLES, _MOST_PROFILE, _MOST_XMP = 8, 2**24, 2**24
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the samples lie in the file; the words are the tags'."""

    height: int
    width: int
    bits: int
    samples: int
    photometric: int
    extra: tuple[int, ...]
    separate: bool
    compression: int
    predictor: int
    reversed_bits: bool
    tile: tuple[int, int] | None
    rows: int

    @property
    def colors(self) -> int:
        return _COLORS[self.photometric]

    @property
    def block(self) -> tuple[int, int]:
        """Height and width of a strip or tile."""
        return self.tile or (min(self.rows, self.height), self.width)


def tiff_size(directory: Directory) -> tuple[int, int]:
    """Height and width as they lie in the file."""
    height, width = directory.integer(_HEIGHT, 0), directory.integer(_WIDTH, 0)
    if height < 1 or width < 1:
        raise ValueError(f"it claims {width}x{height} pixels")
    return height, width


def read_layout(directory: Directory) -> Layout | None:
    """The layout of a TIFF that is read here; None for one that Pillow reads.

    Raises: Unreadable for one that nobody reads right; ValueError for tags that contradict.
    """
    height, width = tiff_size(directory)
    samples = directory.integer(_SAMPLES, 1)
    if not 1 <= samples <= _MOST_SAMPLES:
        raise Unreadable(f"has {samples} samples a pixel; at most {_MOST_SAMPLES} are read")
    bits = directory.integers(BITS) or (1,)
    if len(set(bits)) > 1:
        raise Unreadable(f"has samples of {', '.join(map(str, bits))} bits; they must be equal")
    check_format(directory.integer(FORMAT, 1), bits[0])
    compression = directory.integer(_COMPRESSION, _NONE)
    photometric = directory.integer(_PHOTOMETRIC, -1)
    if photometric < 0:  # as libtiff guesses
        photometric = _RGB if samples >= 3 else _BLACK_IS_ZERO
        photometric = _WHITE_IS_ZERO if compression in _FAX else photometric
    if _is_pillows(directory, compression, photometric, bits[0]):
        return None
    colors = _COLORS[photometric]
    extra = directory.integers(_EXTRA)
    if samples < colors:
        raise ValueError(f"it has {samples} samples a pixel, its colours need {colors}")
    if photometric == _CMYK and directory.integer(_INK_SET, 1) != 1:
        raise Unreadable("has inks other than CMYK")
    tile = None
    if _TILE_OFFSETS in directory:
        tile = directory.integer(_TILE_HEIGHT, 0), directory.integer(_TILE_WIDTH, 0)
    return Layout(
        height=height,
        width=width,
        bits=bits[0],
        samples=samples,
        photometric=photometric,
        # An unnamed fourth sample of RGB is alpha, as in every reader.
        extra=extra or (2,) * (samples - colors == 1),
        separate=directory.integer(PLANAR, 1) == 2 and samples > 1,
        compression=compression,
        predictor=directory.integer(_PREDICTOR, 1) if compression != _NONE else 1,
        reversed_bits=directory.integer(_FILL_ORDER, 1) == 2,
        tile=tile,
        rows=directory.integer(_ROWS, height),
    )


def check_format(kind: int, bits: int) -> None:
    """Raises: Unreadable for samples that are no levels, by their format (tag 339) and size."""
    if kind == 3:
        raise Unreadable(f"has floating-point samples of {bits} bits; {_CONVERT}")
    if kind == 2:
        raise Unreadable(f"has signed samples of {bits} bits, whose black is not said; {_CONVERT}")
    if kind not in (1, 4) or bits > 16 or bits < 1:
        words = "complex samples" if kind in (5, 6) else f"samples of {bits} bits"
        raise Unreadable(f"has {words}; {_CONVERT}")


_CONVERT = "convert it to unsigned 8 or 16 bits first"


def _is_pillows(directory, compression, photometric, bits):
    """Whether Pillow reads it, and reads it right. Raises: Unreadable if nobody does."""
    if photometric == _LAB and bits == 8 and compression in (*_OF_BYTES, _JPEG):
        return directory.integer(PLANAR, 1) == 1 and directory.integer(_SAMPLES, 1) == 3
    if photometric not in _COLORS:
        name = _PHOTOMETRICS.get(photometric, "none that is known")
        raise Unreadable(f"has colours of the kind {photometric} ({name}); convert it to RGB first")
    if compression in _OF_BYTES:
        if photometric != _YCBCR or directory.integers(_SUBSAMPLING) == (1, 1):
            return False
        if compression == _NONE:
            raise Unreadable("has uncompressed YCbCr of fewer colours; convert it to RGB first")
        return True
    if bits == (1 if compression in _FAX else 8) and compression in (*_FAX, *_OF_PICTURES):
        return True
    name = _COMPRESSIONS.get(compression, "not known")
    raise Unreadable(
        f"has the TIFF compression {compression} ({name}) of {bits}-bit samples, which is not read"
    )


def describe_tiff(directory: Directory, file: BinaryIO, decoded: Decoded) -> None:
    """Fills in profile, metadata and orientation, and says whether there are more pages."""
    decoded.profile = directory.data(_PROFILE, _MOST_PROFILE)
    decoded.xmp = directory.data(_XMP, _MOST_XMP)
    decoded.exif = _exif(directory, file)
    if decoded.orientation is None:
        orientation = directory.integer(ORIENTATION, 1)
        decoded.orientation = orientation if 1 <= orientation <= 8 else 1
    if directory.next:
        decoded.notices.append("it holds several pages; only the first one is taken")


def _exif(directory, file):
    """Those of the file's own tags that describe the picture, as EXIF."""
    tags = Image.Exif()
    try:
        tags.endian, tags.bigtiff = directory.order, directory.big
        tags.load_from_fp(file, directory.at)
        return from_tags(tags)
    except Exception:  # broken metadata are no reason to refuse sound pixels
        return b""


def decode_tiff(directory: Directory, layout: Layout) -> Decoded:
    """The pixels. Raises: ValueError if they are damaged or truncated."""
    height, width = layout.height, layout.width
    channels = 3 if layout.photometric == _PALETTE else layout.colors
    color = np.empty([height, width, channels], np.uint8)
    kinds = [kind for kind in layout.extra[:1] if kind in (1, 2)]  # associated, unassociated
    alpha = np.empty([height, width], np.uint8) if kinds else None
    palette = _palette(directory, layout) if layout.photometric == _PALETTE else None
    for top, left, block in _blocks(directory, layout):
        place = np.s_[top : top + block.shape[0], left : left + block.shape[1]]
        if alpha is not None:
            alpha[place] = _to_8_bits(block[..., layout.colors], layout.bits)
            if kinds == [1]:
                block = _unassociated(block, layout)
        if palette is not None:
            color[place] = palette[block[..., 0]]
        else:
            color[place] = _to_8_bits(block[..., : layout.colors], layout.bits)
    if layout.photometric == _WHITE_IS_ZERO:
        color = 255 - color
    decoded = Decoded(_image(color, layout), None if alpha is None else Image.fromarray(alpha))
    if layout.bits > 8 and palette is None:
        decoded.notices.append(f"its {layout.bits}-bit samples are reduced to 8 bits")
    if layout.samples - layout.colors > len(kinds):
        decoded.notices.append("its channels beside colour and alpha are dropped")
    return decoded


def _image(color, layout):
    """uint8 [H, W, C] to mode L, RGB or CMYK."""
    if layout.colors == 1 and color.shape[2] == 1:
        image = Image.fromarray(color[..., 0])
        return image.convert("RGB") if layout.bits == 1 else image
    mode = {_CMYK: "CMYK", _YCBCR: "YCbCr"}.get(layout.photometric, "RGB")
    image = Image.frombytes(mode, (layout.width, layout.height), color.tobytes())
    return image.convert("RGB") if mode == "YCbCr" else image


def _to_8_bits(samples, bits):
    if bits == 8:
        return samples
    peak = 2**bits - 1
    return ((samples.astype(np.uint32) * 255 + peak // 2) // peak).astype(np.uint8)


def _unassociated(block, layout):
    """Colours that were multiplied by alpha, divided by it."""
    peak = np.uint32(2**layout.bits - 1)
    alpha = np.maximum(block[..., layout.colors, None].astype(np.uint32), 1)
    color = block[..., : layout.colors].astype(np.uint32)
    color = np.minimum((color * peak + alpha // 2) // alpha, peak).astype(block.dtype)
    return np.concatenate([color, block[..., layout.colors :]], axis=2)


def _palette(directory, layout):
    """uint8 [2^bits, 3]."""
    count = 3 << layout.bits
    levels = directory.integers(_COLOR_MAP, most=count)
    if len(levels) != count:
        raise ValueError(f"its palette has {len(levels)} levels, not {count}")
    levels = np.array(levels, np.uint16).reshape(3, -1).T
    # Levels have 16 bits; some writers give 8.
    return (levels if levels.max() < 256 else levels >> 8).astype(np.uint8)


def _blocks(directory: Directory, layout: Layout) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yields (top, left, samples [h, w, S] of uint8 or uint16) of each strip or tile, cut to size.

    Raises: ValueError if one is damaged or missing.
    """
    rows, columns = layout.block
    if rows < 1 or columns < 1:
        raise ValueError(f"it has tiles or strips of {columns}x{rows}")
    down, across = -(-layout.height // rows), -(-layout.width // columns)
    area = layout.height * layout.width
    if down * rows * across * columns > max(4 * area, 2**26):
        raise ValueError(f"it has tiles of {columns}x{rows} for {layout.width}x{layout.height}")
    planes = layout.samples if layout.separate else 1
    tags = (_TILE_OFFSETS, _TILE_COUNTS) if layout.tile else (_OFFSETS, _COUNTS)
    count = down * across * planes
    offsets, counts = (directory.integers(tag, most=2**31) for tag in tags)
    if len(offsets) < count or 0 < len(counts) < count:
        raise ValueError(f"it has {len(offsets)} strips or tiles, {count} are needed")
    for place in range(down * across):
        top, left = place // across * rows, place % across * columns
        inside = rows if layout.tile else min(rows, layout.height - top)
        parts = []
        for plane in range(planes):
            k = place + plane * down * across
            known = counts[k] if counts else 2**62
            parts.append(_block(directory, layout, (offsets[k], known), inside))
        block = np.concatenate(parts, axis=2) if planes > 1 else parts[0]
        yield top, left, block[: layout.height - top, : layout.width - left]


def _block(directory, layout, span, rows):
    """Samples [rows, w, S] of a strip or tile whose bytes are at (offset, count)."""
    channels = 1 if layout.separate else layout.samples
    row_samples = layout.block[1] * channels
    row_bytes = -(-row_samples * layout.bits // 8)
    whole = rows * row_bytes
    at, known = span
    # Compression may fail, but not by more than that: what one block can ask for is bounded. And
    # what is not compressed has the size that it must have, whatever the tag says.
    most = whole if layout.compression == _NONE else min(known, 2 * whole + 2**16)
    data = directory.read_most(at, most)
    if layout.reversed_bits:
        data = data.translate(_REVERSED)
    if layout.compression in _DEFLATE:
        data = zlib.decompressobj().decompress(data, whole)
    elif layout.compression != _NONE:
        data = _through_libtiff(data, layout.compression, rows, row_bytes)
    if len(data) < whole:
        raise ValueError(f"a strip or tile has {len(data)} of {whole} bytes")
    octets = np.frombuffer(data, np.uint8, whole).reshape(rows, row_bytes)
    samples = _samples(octets, row_samples, layout.bits, directory.order)
    samples = samples.reshape(rows, layout.block[1], channels)
    if layout.predictor == 2 and layout.bits in (8, 16):
        return np.cumsum(samples, axis=1, dtype=samples.dtype)
    if layout.predictor != 1:
        raise Unreadable(f"has the predictor {layout.predictor} of {layout.bits}-bit samples")
    return samples


def _samples(octets, count, bits, order):
    """`count` samples of each row, uint8 or uint16 [rows, count]."""
    if bits == 8:
        return octets
    if bits == 16:
        return octets.view(f"{order}u2").astype(np.uint16)
    # Other sizes are packed from the top bit, whatever the byte order.
    unpacked = np.unpackbits(octets, axis=1, count=count * bits).reshape(-1, count, bits)
    samples = np.zeros(unpacked.shape[:2], np.uint8 if bits < 8 else np.uint16)
    for k in range(bits):
        samples = samples << 1 | unpacked[..., k]
    return samples


def _through_libtiff(data, compression, rows, row_bytes):
    """Bytes decompressed by libtiff, which is told that they are gray levels."""
    tags = ((_WIDTH, row_bytes), (_HEIGHT, rows), (BITS, 8), (_COMPRESSION, compression))
    tags += ((_PHOTOMETRIC, 1), (_OFFSETS, 8), (_SAMPLES, 1), (_ROWS, rows), (_COUNTS, len(data)))
    padding = bytes(len(data) % 2)
    head = struct.pack("<4sI", b"II*\0", 8 + len(data) + len(padding))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    file = head + data + padding + struct.pack("<H", len(tags)) + entries + bytes(4)
    with libtiff_silenced(), Image.open(io.BytesIO(file), formats=["TIFF"]) as image:
        return image.tobytes()
