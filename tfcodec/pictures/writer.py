"""Pictures to files, the format by the suffix."""

import dataclasses
import io
import os
import struct

import numpy as np
from PIL import Image

from tfcodec.errors import InputError
from tfcodec.files import atomic_write
from tfcodec.pictures.metadata import Metadata, to_tags, with_directories
from tfcodec.pictures.picture import Picture, to_array
from tfcodec.pictures.tags import EXIF_PREFIX
from tfcodec.pictures.terms import pillow_on_our_terms

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
FORMATS_WITH_METADATA = ("PNG", "JPEG", "WEBP", "TIFF")
_JPEG_SEGMENT = 65_533  # most bytes of one
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"


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
    PNG, JPEG, WebP and TIFF take EXIF and XMP, see `lost_in_file`.

    Raises: InputError as in `check_format`, and for pictures larger than the format can hold.
    """
    check_format(path, alpha=picture.alpha is not None)
    kind, options = _format_of(path)
    buffer = io.BytesIO()
    metadata, _ = _storable_metadata(picture.metadata, kind)
    directories = {}
    try:
        image = Image.fromarray(_storable(picture, kind))
        with pillow_on_our_terms():  # broken EXIF makes warnings
            if kind == "TIFF" and metadata is not None:
                tags, directories = to_tags(metadata)
                image.save(buffer, kind, **options, exif=tags)
            else:
                image.save(buffer, kind, **options, **_metadata_options(metadata, kind))
    except (OSError, ValueError, struct.error) as error:
        raise InputError(
            f"{os.fspath(path)}: {kind} cannot hold a picture of "
            f"{picture.width}x{picture.height} ({error})"
        ) from error
    data = buffer.getvalue()
    return with_directories(data, directories) if directories else data


def lost_in_file(path: str | os.PathLike, picture: Picture) -> str | None:
    """Half a sentence on metadata that a file of that name cannot hold; None if it holds all."""
    kind, _ = _format_of(path)
    _, lost = _storable_metadata(picture.metadata, kind)
    return f"its {lost} metadata do not fit in a {kind} and are left out" if lost else None


def _storable_metadata(metadata, kind):
    """(what the format takes, what it does not), each a `Metadata` or None."""
    if metadata is None or kind not in FORMATS_WITH_METADATA:
        return None, metadata
    exif, xmp = metadata.exif, metadata.xmp
    if kind == "JPEG":  # each in one segment
        exif = exif if len(EXIF_PREFIX + exif) <= _JPEG_SEGMENT else b""
        xmp = xmp if len(_XMP_PREFIX + xmp) <= _JPEG_SEGMENT else b""
    lost = Metadata(exif=b"" if exif else metadata.exif, xmp=b"" if xmp else metadata.xmp)
    return Metadata(exif, xmp), lost if lost.exif or lost.xmp else None


def _metadata_options(metadata, kind):
    """What Pillow's `save` is told."""
    if metadata is None:
        return {}
    options = {"exif": EXIF_PREFIX + metadata.exif} if metadata.exif else {}
    if kind == "PNG" and metadata.xmp:
        from PIL import PngImagePlugin  # which Pillow itself imports with the first picture

        options["pnginfo"] = PngImagePlugin.PngInfo()
        text = metadata.xmp.decode("utf-8", "replace")
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", text)
    elif metadata.xmp:
        options["xmp"] = metadata.xmp
    return options


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
