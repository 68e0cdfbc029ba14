"""PNG by its chunks: what describes the colours, and a view of the file with the pixels alone.

Pillow refuses a file for what its text or profile inflates to. Here texts are passed over unless
they are EXIF or XMP, and nothing inflates beyond a bound.
"""

import bisect
import dataclasses
import io
import itertools
import struct
import zlib
from typing import BinaryIO

from tfcodec.coding.format import MAX_METADATA
from tfcodec.pictures.color import Encoding, from_code_points, from_gamma
from tfcodec.pictures.decoded import Unreadable
from tfcodec.pictures.tags import EXIF_PREFIX

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_COLORS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")  # the first that is there holds
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_MOST_PROFILE = 2**24  # bytes inflated; the largest in use, of printing presses, have some 2^22
_MOST_BODY = 2**24
_XMP = b"XML:com.adobe.xmp"
_RAW = b"Raw profile type "  # ImageMagick's texts of hexadecimal digits
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"


@dataclasses.dataclass
class Chunks:
    """What the chunks say.

    Args:
        pixels: a file of the chunks that hold the pixels.
        profile, exif, xmp: bytes, empty if there are none.
        encoding: what the samples mean where there is no profile.
        animated: whether there are several frames.
        notices: what could not be taken.
    """

    pixels: io.BufferedReader | None = None
    profile: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    encoding: Encoding = Encoding()
    animated: bool = False
    notices: list[str] = dataclasses.field(default_factory=list)


def read_chunks(file: BinaryIO) -> Chunks:
    """Walks over a seekable PNG file.

    Raises: Unreadable for a critical chunk that is none of PNG's.
    """
    found, spans, colors = Chunks(), [(0, len(SIGNATURE))], {}
    at, end = len(SIGNATURE), file.seek(0, io.SEEK_END)
    kind = b""
    while kind != b"IEND" and end - at >= 8:
        file.seek(at)
        size, kind = struct.unpack(">I4s", file.read(8))
        after = min(at + 12 + size, end)
        if kind in _PIXELS:
            _add(spans, at, after)
        elif not kind[0] & 32 and kind.isalpha():
            raise Unreadable(
                f"has the critical chunk {kind.decode()}, which is none of PNG's; save it anew"
            )
        elif kind in (*_COLORS, *_TEXTS, b"eXIf", b"acTL") and after == at + 12 + size:
            _take(file, kind, size, found, colors)
        at = after
    # What does not end as a PNG does is for the decoder to judge.
    if kind != b"IEND":
        _add(spans, at, end)
    found.pixels = io.BufferedReader(_Spans(file, spans))
    _choose(colors, found)
    return found


def _add(spans, start, end):
    """A span more, or a longer last one if they touch."""
    if spans[-1][1] == start:
        start, _ = spans.pop()
    spans.append((start, end))


def _take(file, kind, size, found, colors):
    """A chunk that says something beside the pixels; one of a wrong CRC says nothing."""
    if kind in _TEXTS:
        keyword = file.read(min(size, 80)).partition(b"\0")[0]
        if keyword != _XMP and not keyword.startswith(_RAW):
            return
        file.seek(-min(size, 80), io.SEEK_CUR)
    if size > _MOST_BODY:
        if kind == b"iCCP":
            colors[kind] = b""
        return
    body = file.read(size)
    sound = file.read(4) == struct.pack(">I", zlib.crc32(kind + body))
    if kind in _COLORS:
        colors.setdefault(kind, body if sound else b"")
    elif not sound:
        return
    elif kind == b"eXIf":
        found.exif = found.exif or body
    elif kind == b"acTL":
        found.animated = len(body) == 8 and body[:4] > b"\0\0\0\1"
    else:
        _take_text(kind, body, found)


def _take_text(kind, body, found):
    keyword, _, text = body.partition(b"\0")
    if kind == b"zTXt":
        text = _inflated(text[1:], 2 * MAX_METADATA + 2**16)
    elif kind == b"iTXt":
        squeezed, text = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
        text = _inflated(text, 2 * MAX_METADATA + 2**16) if squeezed else text
    if keyword == _XMP:
        found.xmp = found.xmp or text
        return
    try:
        raw = bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return
    if raw.startswith(EXIF_PREFIX):
        found.exif = found.exif or raw
    elif keyword == _RAW + b"xmp" or raw.startswith(_XMP_PREFIX):
        found.xmp = found.xmp or raw.removeprefix(_XMP_PREFIX)


def _inflated(data, most):
    """As much of a zlib stream as there is, up to a little more than `most` bytes."""
    try:
        return zlib.decompressobj().decompress(data, most + 1)
    except zlib.error:
        return b""


def _choose(colors, found):
    """The description of the colours that holds (PNG, third edition, 4.3): one of them alone."""
    notices = found.notices
    if len(colors.get(b"cICP", b"")) == 4:
        found.encoding = from_code_points(colors[b"cICP"], notices)
        return
    if b"iCCP" in colors:
        found.profile = _profile(colors[b"iCCP"])
        if found.profile:
            return
        notices.append("its colour profile is broken, or larger than 16 MiB, and is ignored")
    if b"sRGB" in colors:
        return
    gamma, primaries = colors.get(b"gAMA", b""), colors.get(b"cHRM", b"")
    points = (
        [value / 100_000 for value in struct.unpack(">8I", primaries)]
        if (len(primaries) == 32)
        else []
    )
    found.encoding = from_gamma(
        int.from_bytes(gamma, "big") / 100_000 if len(gamma) == 4 else None,
        tuple(zip(points[::2], points[1::2], strict=True)) or None,
    )


def _profile(body):
    """The ICC profile of an iCCP chunk; empty if it is broken or too large."""
    _, _, stream = body.partition(b"\0")
    profile = _inflated(stream[1:], _MOST_PROFILE)
    return profile if len(profile) <= _MOST_PROFILE else b""


class _Spans(io.RawIOBase):
    """Parts of a file as one file.

    Args: file: seekable; spans: (start, end) of each part, in order.
    """

    def __init__(self, file, spans):
        self._file, self._spans, self._at = file, spans, 0
        # Where each part begins in the whole, and the size of that.
        self._begins = list(itertools.accumulate((e - s for s, e in spans), initial=0))
        self._size = self._begins[-1]

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=io.SEEK_SET):
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer):
        if self._at >= self._size:
            return 0
        part = bisect.bisect_right(self._begins, self._at) - 1
        start, end = self._spans[part]
        start += self._at - self._begins[part]
        self._file.seek(start)
        data = self._file.read(min(len(buffer), end - start))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
