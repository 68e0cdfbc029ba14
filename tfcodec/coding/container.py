"""The `.tfcd` file: fields and bytes, described byte by byte in docs/FORMAT.md.

    magic  version  fingerprint  profile  quality  flags  coder+lanes       13 bytes
    height  width  payload length  [lengths of the optional parts]          varints
    payload  [escapes]  [alpha]  [metadata]
    checksum of the symbols  CRC-32 of everything before it                 8 bytes

Files are read as if they were hostile: lengths are compared with the bytes at hand, the CRC comes
before any meaning, and nothing is allocated for a size that is only claimed. This module knows
neither networks nor coders and needs no TensorFlow.
"""

import dataclasses
import functools
import struct
import zlib
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

from tfcodec.coding.format import (
    CHECKSUM_MIX,
    DEFAULT_MAX_PIXELS,
    MAGIC,
    MAX_BYTES_PER_PIXEL,
    MAX_LANES,
    MAX_METADATA,
    MAX_QUOTIENT,
    MAX_RICE,
    MAX_SYMBOL,
    PADDED_SIDE,
    RANGE_CODER,
    SMALL_PIXELS,
    SPARE_BYTES,
    TFC,
    VERSION,
)
from tfcodec.errors import ContainerError

_GRAY, _ALPHA, _ESCAPES, _METADATA = 1, 2, 4, 8  # flags
_PARTS = {"escapes": _ESCAPES, "alpha": _ALPHA, "metadata": _METADATA}  # in their order
_HEAD = struct.Struct("<4sB4sBBBB")
_TAIL = struct.Struct("<II")
_VARINT_BYTES = 5
_MAX_VARINT = 2 ** (7 * _VARINT_BYTES) - 1
_BLOCK = 2**16  # symbols whose checksum stays in the cache


@dataclasses.dataclass(frozen=True)
class Container:
    """Everything a file says.

    Args:
        fingerprint: 4 bytes, names the weights that wrote the file.
        profile: arithmetic profile of the model, 0 to 255.
        quality: 0 to 255.
        height, width: of the picture, in pixels.
        gray: the picture decodes to one channel.
        coder: TFC or RANGE_CODER.
        streams: one byte string per lane; their number is a power of two up to 1024.
        escapes: symbol values that the tables do not hold, in coding order, within +-32767.
        alpha: the coded alpha channel, opaque here, or None.
        checksum: `symbols_checksum` of all symbols, 32 bits.
        metadata: EXIF and XMP, opaque here, or None.
    Raises: ValueError if a field is out of its range.
    """

    fingerprint: bytes
    profile: int
    quality: int
    height: int
    width: int
    gray: bool
    coder: int
    streams: tuple[bytes, ...]
    escapes: tuple[int, ...]
    alpha: bytes | None
    checksum: int
    metadata: bytes | None = None

    def __post_init__(self):
        lanes = len(self.streams)
        if len(self.fingerprint) != 4:
            raise ValueError(f"a fingerprint has 4 bytes, got {len(self.fingerprint)}")
        if not 0 <= self.profile <= 255 or not 0 <= self.quality <= 255:
            raise ValueError(
                f"profile and quality are from 0 to 255, got {self.profile} and {self.quality}"
            )
        if not 1 <= self.height <= _MAX_VARINT or not 1 <= self.width <= _MAX_VARINT:
            raise ValueError(f"a picture of {self.width}x{self.height} pixels does not exist")
        if self.coder not in (TFC, RANGE_CODER):
            raise ValueError(f"this release knows the coders 0 and 1, got coder {self.coder}")
        if not 1 <= lanes <= MAX_LANES or lanes & (lanes - 1):
            raise ValueError(f"lanes must be a power of two from 1 to {MAX_LANES}, got {lanes}")
        if self.coder == RANGE_CODER and lanes != 1:
            raise ValueError(f"the coder range-coder has one lane, got {lanes}")
        if self.escapes and not -MAX_SYMBOL <= min(self.escapes) <= max(self.escapes) <= MAX_SYMBOL:
            raise ValueError(
                f"escapes must be within +-{MAX_SYMBOL}, "
                f"got {min(self.escapes)} to {max(self.escapes)}"
            )
        if not 0 <= self.checksum < 2**32:
            raise ValueError(f"a checksum has 32 bits, got {self.checksum}")
        if self.metadata is not None and len(self.metadata) > MAX_METADATA:
            raise ValueError(
                f"metadata have at most {MAX_METADATA} bytes, got {len(self.metadata)}"
            )


def exceeds(height: int, width: int, max_pixels: int) -> str:
    """Why a picture of that size is beyond the limit: half a sentence, empty if it is not."""
    if height * width > max_pixels:
        return f"{width}x{height} pixels, max_pixels allows {max_pixels}"
    if _padded(height, width) > max(max_pixels, SMALL_PIXELS):
        return (
            f"{width}x{height} pixels, where a side takes as much work as {PADDED_SIDE}; "
            f"max_pixels allows {max_pixels}"
        )
    return ""


def _padded(height: int, width: int) -> int:
    """Pixels that a model may have to see."""
    return max(height, PADDED_SIDE) * max(width, PADDED_SIDE)


def pack(container: Container) -> bytes:
    """The bytes of the file."""
    lanes = len(container.streams)
    payload = b"".join(container.streams)
    if lanes > 1:
        payload = _pack_lengths([len(stream) for stream in container.streams]) + payload
    escapes = _pack_escapes(container.escapes) if container.escapes else None
    parts = {"escapes": escapes, "alpha": container.alpha, "metadata": container.metadata}
    parts = {name: part for name, part in parts.items() if part is not None}
    flags = sum(_PARTS[name] for name in parts) | _GRAY * bool(container.gray)
    head = _HEAD.pack(
        MAGIC,
        VERSION,
        container.fingerprint,
        container.profile,
        container.quality,
        flags,
        container.coder << 4 | lanes.bit_length() - 1,
    )
    sizes = [container.height, container.width, len(payload), *map(len, parts.values())]
    body = b"".join([head, *map(_varint, sizes), payload, *parts.values()])
    body += struct.pack("<I", container.checksum)
    return body + struct.pack("<I", zlib.crc32(body))


def read(file: BinaryIO, name: str, max_pixels: int) -> bytes:
    """The bytes of an open .tfcd file, and never many more than one of that many pixels can have.

    Of what does not begin as such a file does, the first bytes: enough for `unpack` to refuse it.

    Raises: ContainerError for a longer file.
    """
    start, limit = file.read(len(MAGIC)), MAX_BYTES_PER_PIXEL * max_pixels + SPARE_BYTES
    if start != MAGIC:
        return start
    data = start + file.read(limit)
    if len(data) > limit:
        raise ContainerError(f"{name}: is larger than any sound file of {max_pixels} pixels")
    return data


def unpack(data: bytes, name: str = "input", max_pixels: int | None = None) -> Container:
    """The fields of a file.

    Args:
        data: all bytes of the file.
        name: what to call it in an error.
        max_pixels: largest picture to accept, DEFAULT_MAX_PIXELS if None.
    Raises: ContainerError, and nothing else, if the bytes are not a sound file.
    """
    layout = _read_layout(data, name)
    height, width = layout.height, layout.width
    max_pixels = DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels
    excess = exceeds(height, width, max_pixels)
    if excess:
        raise ContainerError(f"{name}: claims {excess}")
    if len(data) > MAX_BYTES_PER_PIXEL * _padded(height, width) + SPARE_BYTES:
        raise ContainerError(
            f"{name}: has {len(data)} bytes, more than any sound file of {width}x{height} pixels"
        )
    lanes = 1 << layout.log2_lanes
    if lanes > MAX_LANES:
        raise ContainerError(f"{name}: found {lanes} lanes, expected at most {MAX_LANES}")
    payload = layout.parts["payload"]
    escapes = layout.parts.get("escapes")
    try:
        return Container(
            fingerprint=layout.fingerprint,
            profile=layout.profile,
            quality=layout.quality,
            height=height,
            width=width,
            gray=bool(layout.flags & _GRAY),
            coder=layout.coder,
            streams=(payload,) if lanes == 1 else _unpack_lanes(payload, lanes, name),
            escapes=() if escapes is None else _unpack_escapes(escapes, name),
            alpha=layout.parts.get("alpha"),
            checksum=layout.checksum,
            metadata=layout.parts.get("metadata"),
        )
    except ValueError as error:  # a sound CRC around a field that means nothing
        raise ContainerError(f"{name}: {error}") from error


def part_sizes(data: bytes, name: str = "input") -> dict[str, int]:
    """Bytes of each part of a file: header, payload, optional parts if any, checksums.

    Raises: ContainerError, as `unpack`, but takes a picture of any size.
    """
    sizes = {part: len(content) for part, content in _read_layout(data, name).parts.items()}
    header = len(data) - sum(sizes.values()) - _TAIL.size
    return {"header": header, **sizes, "checksums": _TAIL.size}


def symbols_checksum(arrays: Iterable[np.ndarray]) -> int:
    """Sum of (symbol + 2^15) * w(i) mod 2^32 over all symbols, the i-th in coding order.

    The weights are 32 bits that look like chance, so that the symbols of a small picture reach all
    2^32 sums; and odd, so that one wrong symbol always shows.

    Args: arrays, int32 of any shapes, in coding order.
    """
    total, start = 0, 0
    for array in arrays:
        flat = array.reshape(-1)
        for at in range(0, flat.size, _BLOCK):
            symbols = flat[at : at + _BLOCK].astype(np.uint32) + np.uint32(2**15)
            weights = _checksum_weights(start, symbols.size)
            total += int(np.sum(symbols * weights, dtype=np.uint32))  # wraps, as it should
            start += symbols.size
    return total % 2**32


@functools.lru_cache(maxsize=16)
def _checksum_weights(start, count):
    """w(start), w(start + 1), ...: uint32 [count]."""
    x = np.arange(start, start + count).astype(np.uint32) * np.uint32(CHECKSUM_MIX[0])
    x = (x ^ x >> np.uint32(15)) * np.uint32(CHECKSUM_MIX[1])
    return x ^ x >> np.uint32(13) | np.uint32(1)


@dataclasses.dataclass(frozen=True)
class _Layout:
    """A file cut into its parts, CRC checked, contents not yet looked at."""

    fingerprint: bytes
    profile: int
    quality: int
    flags: int
    coder: int
    log2_lanes: int
    height: int
    width: int
    parts: dict[str, bytes]
    checksum: int


def _read_layout(data: bytes, name: str) -> _Layout:
    """Checks in the order that gives the clearest sentence: what it is, lengths, CRC."""
    data = bytes(data)
    reader = _Reader(data, name)
    if not data:
        raise ContainerError(f"{name}: the file is empty")
    if data[:4] != MAGIC[: len(data)]:
        raise ContainerError(
            f"{name}: not a tfcodec file, it begins with {data[:4]!r}, expected {MAGIC!r}"
        )
    if len(data) > 4 and data[4] != VERSION:
        raise ContainerError(
            f"{name}: has format version {data[4]}, this release reads version {VERSION}"
        )
    _, _, fingerprint, profile, quality, flags, coder_lanes = _HEAD.unpack(
        reader.take("header", _HEAD.size)
    )
    if flags & ~(_GRAY | sum(_PARTS.values())):
        raise ContainerError(
            f"{name}: has the flags {flags:#04x}, this release knows those up to 0x0f; "
            "damaged, or written by a newer release?"
        )
    height, width = reader.varint("height"), reader.varint("width")
    names = ["payload", *(part for part, flag in _PARTS.items() if flags & flag)]
    lengths = {part: reader.varint(f"{part} length") for part in names}
    parts = {part: reader.take(part, length) for part, length in lengths.items()}
    checksum, crc = _TAIL.unpack(reader.take("checksums", _TAIL.size))
    reader.finish()
    actual = zlib.crc32(memoryview(data)[:-4])
    if crc != actual:
        raise ContainerError(f"{name}: damaged, its CRC-32 is {actual:08x} and should be {crc:08x}")
    return _Layout(
        fingerprint, profile, quality, flags, coder_lanes >> 4, coder_lanes & 15,
        height, width, parts, checksum,
    )  # fmt: skip


class _Reader:
    """Takes bytes from the front and names the part that is missing."""

    def __init__(self, data: bytes, name: str):
        self._data, self._name, self._at = data, name, 0

    @property
    def remaining(self) -> int:
        return len(self._data) - self._at

    def take(self, part: str, size: int) -> bytes:
        if size > self.remaining:
            verb = "need" if part.endswith("s") else "needs"
            raise ContainerError(
                f"{self._name}: {part} {verb} {size} bytes, {self.remaining} remain; "
                "is the file truncated?"
            )
        self._at += size
        return self._data[self._at - size : self._at]

    def varint(self, part: str) -> int:
        """LEB128: 7 bits a byte, lowest first, top bit set on all but the last."""
        value = 0
        for k in range(_VARINT_BYTES):
            byte = self.take(part, 1)[0]
            value |= (byte & 127) << 7 * k
            if byte < 128:
                if byte == 0 and k > 0:
                    raise ContainerError(
                        f"{self._name}: {part} is not in its shortest form; damaged?"
                    )
                return value
        raise ContainerError(f"{self._name}: {part} is longer than {_VARINT_BYTES} bytes; damaged?")

    def finish(self, part: str = "the file") -> None:
        if self.remaining:
            raise ContainerError(
                f"{self._name}: expected the end of {part}, found more bytes: {self.remaining}; "
                "was something appended?"
            )


def _varint(value: int) -> bytes:
    if not 0 <= value <= _MAX_VARINT:
        raise ValueError(f"a varint holds 0 to {_MAX_VARINT}, got {value}")
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _zigzag(value: int) -> int:
    """0, -1, 1, -2, ... to 0, 1, 2, 3, ..."""
    return -2 * value - 1 if value < 0 else 2 * value


def _unzigzag(code: int) -> int:
    return -(code >> 1) - 1 if code & 1 else code >> 1


def _pack_escapes(escapes: tuple[int, ...]) -> bytes:
    """Their number, then each; all varints, the values by zigzag."""
    return b"".join([_varint(len(escapes)), *(_varint(_zigzag(value)) for value in escapes)])


def _unpack_escapes(data: bytes, name: str) -> tuple[int, ...]:
    reader = _Reader(data, name)
    count = reader.varint("number of escapes")
    if not 1 <= count <= reader.remaining:  # each takes a byte or more
        raise ContainerError(
            f"{name}: claims {count} escapes in {reader.remaining} bytes; damaged?"
        )
    escapes = tuple(_unzigzag(reader.varint("an escape")) for _ in range(count))
    reader.finish("the escapes")
    return escapes


def _pack_lengths(lengths: list[int]) -> bytes:
    """Lane lengths by their distance from the mean, which balanced lanes make small.

    Rice parameter k (1 byte), mean (varint), then for each lane the zigzagged distance v as v >> k
    ones, a zero and the k low bits of v; bits from the top, the last byte filled up with zeros.
    """
    mean = round(sum(lengths) / len(lengths))
    codes = [_zigzag(length - mean) for length in lengths]
    feasible = [k for k in range(MAX_RICE + 1) if max(codes) >> k <= MAX_QUOTIENT]
    k = min(feasible, key=lambda k: sum((v >> k) + 1 + k for v in codes))
    bits = "".join("1" * (v >> k) + "0" + (f"{v & (1 << k) - 1:0{k}b}" if k else "") for v in codes)
    bits += "0" * (-len(bits) % 8)
    return bytes([k]) + _varint(mean) + int(bits, 2).to_bytes(len(bits) // 8)


def _unpack_lanes(payload: bytes, lanes: int, name: str) -> tuple[bytes, ...]:
    reader = _Reader(payload, name)
    k = reader.take("lane lengths", 1)[0]
    if k > MAX_RICE:
        raise ContainerError(f"{name}: found the Rice parameter {k}, expected at most {MAX_RICE}")
    mean = reader.varint("mean length of the lanes")

    longest = lanes * (MAX_QUOTIENT + 1 + k)  # bits; looks no further into the payload
    table = payload[len(payload) - reader.remaining :][: -(-longest // 8)]
    bits = "".join(f"{byte:08b}" for byte in table)
    lengths, at = [], 0
    for _ in range(lanes):
        zero = bits.find("0", at, at + MAX_QUOTIENT + 1)
        if zero < 0 or zero + 1 + k > len(bits):
            raise ContainerError(f"{name}: the lengths of its {lanes} lanes are malformed")
        low = int(bits[zero + 1 : zero + 1 + k] or "0", 2)
        lengths.append(mean + _unzigzag(zero - at << k | low))
        at = zero + 1 + k
    table_bytes = -(-at // 8)
    if "1" in bits[at : 8 * table_bytes]:
        raise ContainerError(f"{name}: the lengths of its {lanes} lanes do not end in zero bits")
    reader.take("lane lengths", table_bytes)
    if min(lengths) < 0 or sum(lengths) != reader.remaining:
        raise ContainerError(
            f"{name}: its {lanes} lanes claim {sum(lengths)} bytes, {reader.remaining} are there"
        )
    return tuple(reader.take("lane", length) for length in lengths)
