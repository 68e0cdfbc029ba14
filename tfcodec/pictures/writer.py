"""Pictures to files, the format by the suffix."""

import dataclasses
import io
import os
import struct

import numpy as np
from PIL import Image

from tfcodec.errors import InputError
from tfcodec.files import atomic_write
from tfcodec.pictures.picture import Picture, to_array

# What a suffix means and how it is written. The decoded picture must survive its container: formats
# that can be lossless are, and JPEG keeps full chroma at a quality that costs it little.
WRITE_FORMATS = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),  # exact: keep RGB where alpha is 0
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".bmp": ("BMP", {}),
    ".ppm": ("PPM", {}),
}
FORMATS_WITH_ALPHA = ("PNG", "WEBP", "TIFF")


def check_format(path: str | os.PathLike, alpha: bool) -> None:
    """Whether a picture can be written under this name; ask before the work, not after.

    Raises: InputError if the suffix names no known format, or one that would lose the alpha.
    """
    kind, _ = _format_of(path)
    if alpha and kind not in FORMATS_WITH_ALPHA:
        raise InputError(
            f"{os.fspath(path)}: {kind} cannot hold the picture's alpha channel; "
            "choose .png, .webp or .tif"
        )


def write(path: str | os.PathLike, picture: Picture) -> None:
    """Writes an image file, its format chosen by the suffix; the target appears complete or not at
    all.

    Raises: InputError as in `to_bytes` and `atomic_write`.
    """
    atomic_write(path, to_bytes(path, picture))


def to_bytes(path: str | os.PathLike, picture: Picture) -> bytes:
    """The bytes of an image file of that name, its format chosen by the suffix.

    PNG, WebP (lossless), TIFF, BMP and PPM keep every pixel; JPEG is written at quality 95, 4:4:4.

    Raises: InputError as in `check_format`, and for pictures larger than the format can hold.
    """
    check_format(path, alpha=picture.alpha is not None)
    kind, options = _format_of(path)
    buffer = io.BytesIO()
    try:
        Image.fromarray(_storable(picture, kind)).save(buffer, kind, **options)
    except (OSError, ValueError, struct.error) as error:
        raise InputError(
            f"{os.fspath(path)}: {kind} cannot hold a picture of "
            f"{picture.width}x{picture.height} ({error})"
        ) from error
    return buffer.getvalue()


def _format_of(path: str | os.PathLike) -> tuple[str, dict]:
    suffix = os.path.splitext(os.fspath(path))[1]
    if suffix.lower() not in WRITE_FORMATS:
        raise InputError(
            f"{os.fspath(path)}: cannot write the format {suffix or '(no suffix)'!r}; "
            f"choose one of {', '.join(WRITE_FORMATS)}"
        )
    return WRITE_FORMATS[suffix.lower()]


def _storable(picture: Picture, kind: str) -> np.ndarray:
    """`to_array`, except that WebP knows no gray."""
    if kind == "WEBP" and picture.gray:
        picture = dataclasses.replace(picture, gray=False)
    return to_array(picture)
