"""Image files made by hand, for what Pillow does not write."""

import io
import struct
import zlib

import numpy as np
from PIL import ExifTags, Image, ImageCms

HEIGHT, WIDTH = 19, 31


def saved(path, array, *, mode=None, **options):
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def as_png(array, **options):
    """The bytes of a PNG of an array or a Pillow image."""
    buffer = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_file(*chunks):
    """A PNG of (kind, body) pairs and the closing IEND, sound or not."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in (*chunks, (b"IEND", b"")))


def png_header(width, height, depth, color_type):
    return struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)


def png(samples, depth, color_type, *chunks):
    """A PNG by hand, for what Pillow does not write; `samples` [H, W, C] have `depth` bits."""
    height, width, _ = samples.shape
    pixels = zlib.compress(b"".join(b"\0" + row for row in packed_rows(samples, depth, ">")))
    header = png_header(width, height, depth, color_type)
    return png_file((b"IHDR", header), *chunks, (b"IDAT", pixels))


def packed_rows(samples, depth, order):
    """The bytes of each row of samples [H, W, C]; small samples are packed from the top bit."""
    rows = samples.reshape(samples.shape[0], -1)
    if depth in (8, 16, 32):
        kind = "f" if samples.dtype.kind == "f" else "u"
        return [row.astype(f"{order}{kind}{depth // 8}").tobytes() for row in rows]
    bits = rows[..., None] >> np.arange(depth - 1, -1, -1) & 1
    return [np.packbits(row.astype(np.uint8)).tobytes() for row in bits]


_COMPRESS = {
    1: bytes,
    8: zlib.compress,
    32773: lambda data: b"".join(
        bytes([len(data[k : k + 128]) - 1]) + data[k : k + 128] for k in range(0, len(data), 128)
    ),  # PackBits, literal runs alone
}


def tiff(samples, depth, photometric, *, order="<", planar=1, compression=1, tile=None, tags=()):
    """A TIFF by hand, for what Pillow does not write.

    Args: samples: [H, W, C] of `depth` bits; tile: (rows, columns), else strips of 7 rows;
        tags: {tag: whole numbers, text that ends in 0, or bytes; None for no such tag}, in place
            of those that follow from the rest.
    """
    height, width, channels = samples.shape
    planes = np.split(samples, channels, axis=2) if planar == 2 else [samples]
    rows, columns = tile or (7, width)
    blocks = []
    for plane in planes:
        plane = np.pad(plane, [(0, -height % rows if tile else 0), (0, -width % columns), (0, 0)])
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                block = plane[top : top + rows, left : left + columns]
                blocks.append(_COMPRESS[compression](b"".join(packed_rows(block, depth, order))))
    offsets = [8 + sum(map(len, blocks[:k])) for k in range(len(blocks))]
    found = {256: [width], 257: [height], 258: [depth] * channels, 259: [compression]}
    found |= {262: [photometric], 277: [channels], 284: [planar]}
    if tile:
        found |= {322: [columns], 323: [rows], 324: offsets, 325: list(map(len, blocks))}
    else:
        found |= {273: offsets, 278: [rows], 279: list(map(len, blocks))}
    return _with_directory(b"".join(blocks), found | dict(tags), order)


def _with_directory(body, tags, order):
    tags = {tag: values for tag, values in tags.items() if values is not None}
    start = 8 + len(body)
    entries, spare = b"", b""
    after = start + 2 + 12 * len(tags) + 4
    for tag in sorted(tags):
        values = tags[tag]
        raw = isinstance(values, bytes)
        kind = (2 if values.endswith(b"\0") else 7) if raw else 4
        data = values if raw else struct.pack(f"{order}{len(values)}I", *values)
        place = data.ljust(4, b"\0")
        if len(data) > 4:
            place, spare = struct.pack(f"{order}I", after + len(spare)), spare + data
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + place
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(f"{order}I", start)
    return head + body + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + spare


def profile_of_swapped_channels():
    """A profile that calls blue red: sRGB with two entries of its tag table swapped."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ", 128), profile.index(b"bXYZ", 128)
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


def exif(**tags):
    """EXIF of the named tags, such as Orientation=6, without the prefix of JPEG."""
    found = Image.Exif()
    for name, value in tags.items():
        found[ExifTags.Base[name]] = value
    return found.tobytes().removeprefix(b"Exif\0\0")
