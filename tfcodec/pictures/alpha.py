"""The lossless alpha channel as bytes inside a .tfcd, and back."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from tfcodec.errors import ContainerError
from tfcodec.pictures.terms import pillow_on_our_terms


def alpha_to_png(alpha: np.ndarray) -> bytes:
    """Alpha uint8 [H, W] as an 8-bit gray PNG of IHDR, IDAT and IEND chunks."""
    buffer = io.BytesIO()
    Image.fromarray(alpha).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def alpha_from_png(data: bytes, height: int, width: int, name: str = "input") -> np.ndarray:
    """Alpha uint8 [H, W] from the bytes of `alpha_to_png`, which may be hostile.

    The chunks are walked before Pillow sees them. Only IHDR, IDAT and IEND may occur: text and
    animation chunks can unfold to far more than their size, and alpha needs none of them.

    Raises: ContainerError, naming `name`, unless the bytes are one sound 8-bit gray PNG of exactly
        this size.
    """
    where = f"{name}: the alpha part"
    header = None
    for kind, body in _png_chunks(data, where):
        if (kind == b"IHDR") != (header is None) or kind not in (b"IHDR", b"IDAT", b"IEND"):
            raise ContainerError(f"{where} holds an unexpected chunk {kind!r}")
        header = header or body
    expected = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8-bit gray, not interlaced
    if header != expected:
        raise ContainerError(f"{where} is not an 8-bit gray PNG of {width}x{height}")
    try:
        with pillow_on_our_terms(), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            alpha = np.asarray(image)
    except Exception as error:  # whatever Pillow raises on hostile bytes, it is the file's fault
        raise ContainerError(f"{where} cannot be decoded ({error})") from error
    if alpha.shape != (height, width) or alpha.dtype != np.uint8:
        raise ContainerError(f"{where} is {alpha.dtype} {alpha.shape}, not uint8 {height, width}")
    return alpha


def _png_chunks(data: bytes, where: str):
    """Yields (kind, body) of each chunk, checksums verified; the file must end after IEND."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ContainerError(f"{where} is not a PNG")
    position, kind = 8, b""
    while kind != b"IEND":
        if len(data) - position < 12:
            raise ContainerError(f"{where} is truncated")
        (size,) = struct.unpack_from(">I", data, position)
        end = position + 12 + size
        if end > len(data):
            raise ContainerError(
                f"{where} is truncated: a chunk needs {size} bytes, "
                f"{len(data) - position - 12} remain"
            )
        kind, body = data[position + 4 : position + 8], data[position + 8 : end - 4]
        if zlib.crc32(data[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ContainerError(f"{where} is damaged: wrong checksum of chunk {kind!r}")
        yield kind, body
        position = end
    if position != len(data):
        raise ContainerError(f"{where} is followed by {len(data) - position} unexpected bytes")
