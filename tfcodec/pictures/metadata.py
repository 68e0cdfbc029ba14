"""EXIF and XMP: what a picture file says beside its pixels, carried in a .tfcd on demand."""

import dataclasses
import io
import re
import struct
import zlib

from PIL import Image, TiffImagePlugin

from tfcodec.coding.format import MAX_METADATA
from tfcodec.errors import ContainerError
from tfcodec.pictures.tags import EXIF_PREFIX, ORIENTATION, Directory

_DIRECTORIES = {0x8769, 0x8825}  # EXIF's own and GPS
_INTEROPERABILITY = 0xA005  # one within EXIF's own
# Tags of a TIFF that describe the picture and not its layout. Those of the second line are what
# every tool writes: worth keeping, not worth a notice.
_MAKER = {271, 272, 306, 315, 33432, *_DIRECTORIES, *range(0x9C9B, 0x9CA0)}
_CAPTION = {269, 270, 305, 316, 282, 283, 296, ORIENTATION}
_XMP_TAG = 700
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)([1-8])")


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What a file says beside its pixels.

    Args:
        exif: a TIFF structure that calls the picture upright, as this codec stores it; or empty.
        xmp: an XMP packet that does so, too; or empty.
    """

    exif: bytes = b""
    xmp: bytes = b""

    def __str__(self):
        return " and ".join(name for name in ("EXIF", "XMP") if getattr(self, name.lower()))

    def sizes(self) -> str:
        """Such as "EXIF 812 bytes, XMP 3000 bytes"."""
        sizes = {"EXIF": len(self.exif), "XMP": len(self.xmp)}
        return ", ".join(f"{name} {size} bytes" for name, size in sizes.items() if size)


def metadata_of_file(exif: bytes, xmp: bytes) -> tuple[Metadata | None, int]:
    """Metadata, turned upright, and the orientation 1 to 8 in which the pixels lie.

    An orientation alone is no metadata, since the pixels are turned. Of two orientations EXIF's
    holds. What cannot be read as EXIF is kept as it is, orientation 1: broken metadata are no
    reason to refuse sound pixels.
    """
    exif, orientation = _upright(exif.removeprefix(EXIF_PREFIX))
    match = _XMP_ORIENTATION.search(xmp)
    if match and orientation is None:
        orientation = int(match[2])
    metadata = Metadata(exif, _XMP_ORIENTATION.sub(rb"\g<1>1", xmp))
    return metadata if metadata.exif or metadata.xmp else None, orientation or 1


def _upright(exif):
    """(the structure with orientation 1, empty if it says nothing else; orientation or None)"""
    try:
        directory = Directory(io.BytesIO(exif))
        orientation = 0
        if place := directory.place(ORIENTATION):
            at, size = place
            order = "little" if directory.order == "<" else "big"
            orientation = int.from_bytes(exif[at : at + size], order)
            exif = exif[:at] + (1).to_bytes(size, order) + exif[at + size :]
        if set(directory) <= {ORIENTATION}:
            exif = b""
    except ValueError:
        return exif, None
    return exif, orientation if 1 <= orientation <= 8 else None


def from_tags(tags: Image.Exif) -> bytes:
    """EXIF of those tags of a TIFF that describe the picture; empty if nobody would miss them."""
    if not _MAKER & set(tags):
        return b""
    return _descriptive(tags).tobytes().removeprefix(EXIF_PREFIX)


def to_tags(metadata: Metadata) -> tuple[Image.Exif, dict[int, dict]]:
    """Tags for a TIFF, nothing of which contradicts its layout, and the directories within EXIF by
    their tags, for `with_directories`; none of EXIF that is broken."""
    tags, directories = Image.Exif(), {}
    try:
        tags.load(metadata.exif)
        directories = {tag: dict(tags.get_ifd(tag)) for tag in _DIRECTORIES & set(tags)}
        for tag, content in directories.items():
            if _INTEROPERABILITY in content:
                content[_INTEROPERABILITY] = tags.get_ifd(_INTEROPERABILITY)
            _directory(tag, content, b"II*\0", 8)  # fails here, if it does
        tags = _descriptive(tags)
        for tag in directories:
            del tags[tag]
    except Exception:  # Pillow raises almost anything
        tags, directories = Image.Exif(), {}
    if metadata.xmp:
        tags[_XMP_TAG] = metadata.xmp
    return tags, directories


def with_directories(tiff: bytes, directories: dict[int, dict]) -> bytes:
    """A classic TIFF of one page with directories within EXIF, put behind what it has: libtiff,
    through which Pillow writes what is compressed, takes none from it."""
    order = "<" if tiff[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, at)
    entries = [tiff[at + 2 + 12 * k :][:12] for k in range(count)]
    parts, end = [], len(tiff)
    for tag, content in directories.items():
        parts.append(bytes(end % 2))  # directories begin at even places
        start = end + len(parts[-1])
        parts.append(_directory(tag, content, tiff[:4], start))
        entries.append(struct.pack(f"{order}HHII", tag, 4, 1, start))
        end = start + len(parts[-1])
    parts.append(bytes(end % 2))
    head = tiff[:4] + struct.pack(f"{order}I", end + end % 2)
    entries.sort(key=lambda entry: struct.unpack_from(f"{order}H", entry))
    first = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    return b"".join([head, tiff[8:], *parts, first])


def _directory(tag, content, magic, start):
    """The bytes of a directory that lies at `start` of a TIFF that begins with `magic`."""
    found = TiffImagePlugin.ImageFileDirectory_v2(magic + bytes(4), group=tag)
    for key, value in content.items():
        found[key] = value
    return found.tobytes(start)


def _descriptive(tags):
    found = Image.Exif()
    for tag in sorted((_MAKER | _CAPTION) & set(tags)):
        found[tag] = tags.get_ifd(tag) if tag in _DIRECTORIES else tags[tag]
    return found


def metadata_to_bytes(metadata: Metadata | None) -> bytes | None:
    """The part of a .tfcd (docs/FORMAT.md); None for no metadata, or for more than a file carries.

    See `lost_metadata`.
    """
    if metadata is None:
        return None
    content = struct.pack("<I", len(metadata.exif)) + metadata.exif + metadata.xmp
    part = zlib.compress(content, 9)
    return part if max(len(content), len(part)) <= MAX_METADATA else None


def lost_metadata(metadata: Metadata | None, keep: bool) -> str | None:
    """What a file of a picture goes without, as half a sentence; None if it is nothing.

    Args: keep: whether they are asked for.
    """
    if metadata is None:
        return None
    if not keep:
        return f"its {metadata} metadata are left out; --keep_metadata keeps them"
    if metadata_to_bytes(metadata) is None:
        return f"its metadata ({metadata.sizes()}) are too large and left out"
    return None


def metadata_from_bytes(data: bytes, name: str = "input") -> Metadata:
    """The inverse of `metadata_to_bytes`, of bytes that may be hostile.

    Raises: ContainerError, naming `name`, unless they are one whole zlib stream of at most
        MAX_METADATA bytes with an EXIF length that fits.
    """
    where = f"{name}: the metadata part"
    inflate = zlib.decompressobj()
    try:
        content = inflate.decompress(data, MAX_METADATA + 1)
    except zlib.error as error:
        raise ContainerError(f"{where} does not inflate ({error})") from error
    if len(content) > MAX_METADATA:
        raise ContainerError(f"{where} inflates to more than {MAX_METADATA} bytes")
    if not inflate.eof or inflate.unused_data:
        raise ContainerError(f"{where} is truncated, or followed by unexpected bytes")
    size = int.from_bytes(content[:4], "little")
    if len(content) <= 4 or size > len(content) - 4:
        raise ContainerError(f"{where} claims {size} bytes of EXIF in {len(content)}")
    return Metadata(content[4 : 4 + size], content[4 + size :])
