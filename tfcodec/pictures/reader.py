"""Pictures from files of every supported kind, brought to the one form that the codec codes."""

import contextlib
import io
import os
import stat
import struct

import numpy as np
from PIL import Image

from tfcodec.coding.container import exceeds
from tfcodec.coding.format import DEFAULT_MAX_PIXELS, MAX_BYTES_PER_PIXEL, SPARE_BYTES
from tfcodec.errors import InputError
from tfcodec.files import unreadable_named
from tfcodec.pictures.color import decode_encoding, from_code_points, to_srgb
from tfcodec.pictures.decoded import Decoded, Unreadable
from tfcodec.pictures.formats import HEAD, avif_bits, identify, jxl_size, prepare, refuse_rare_jpeg
from tfcodec.pictures.hidden import without_hidden
from tfcodec.pictures.metadata import metadata_of_file
from tfcodec.pictures.picture import Picture
from tfcodec.pictures.png import read_chunks
from tfcodec.pictures.samples import separate
from tfcodec.pictures.tags import Directory
from tfcodec.pictures.terms import libtiff_silenced, pillow_on_our_terms
from tfcodec.pictures.tiff import decode_tiff, describe_tiff, read_layout, tiff_size

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED_BY_FORMAT = ("AVIF", "HEIF", "JXL")  # by the file's own means; XMP has no say


def read(
    source: str | os.PathLike | io.IOBase,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    name: str | None = None,
) -> Picture:
    """Reads an image file.

    Grayscale stays grayscale and alpha is kept unless it is opaque; palettes, 1-bit and CMYK become
    RGB; deeper samples become 8-bit; colours become sRGB; the orientation is applied; of an
    animation the first frame is taken. docs/pictures.md has the table.

    Args:
        source: a path, or a binary file that is open at its start.
        max_pixels: larger pictures are refused, judged from their header.
        name: what to call the source in an error; None for its path, or "the file".
    Raises: InputError if the file is missing, empty, of no known format, truncated or damaged, too
        large, or of a kind that is not read; in one sentence that says which.
    """
    if not isinstance(source, (str, os.PathLike)):
        return _read(source, name or "the file", max_pixels)
    name = name or os.fspath(source)
    with unreadable_named(name, "picture"), open(source, "rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode) and status.st_size == 0:
            raise InputError(f"{name}: the file is empty")
        return _read(file, name, max_pixels)


def read_bytes(data: bytes, name: str, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """As `read`, of the bytes of an image file; `name` is what errors call it."""
    return _read(io.BytesIO(data), name, max_pixels)


def read_size(source: str | os.PathLike | io.IOBase, name: str | None = None) -> tuple[int, int]:
    """Height and width of a picture file, as its header claims them and before it is turned.

    Args: source, name: as of `read`.
    Raises: InputError as `read`, as far as the header tells.
    """
    opened = isinstance(source, (str, os.PathLike))
    name = name or (os.fspath(source) if opened else "the file")
    try:
        with contextlib.ExitStack() as scopes:
            file = scopes.enter_context(open(source, "rb")) if opened else source
            scopes.enter_context(pillow_on_our_terms())
            return _size(file)
    except Unreadable as reason:
        raise InputError(f"{name}: {reason}") from None
    except Exception as error:  # of Pillow, which raises almost anything, or of opening
        raise InputError(f"{name}: {_DAMAGED} ({_one_line(error)})") from error


def _size(file):
    head = file.read(HEAD)
    kind = identify(head)
    prepare(kind)
    if kind == "PNG":  # whose texts Pillow would refuse
        width, height = struct.unpack(">II", head[16:24])
        return height, width
    if kind == "TIFF":
        return tiff_size(Directory(file))
    if kind == "JXL" and (size := jxl_size(file)):
        return size
    file.seek(0)
    with Image.open(file, formats=[kind]) as image:
        return image.height, image.width


def _read(file, name, max_pixels):
    """An open file to a Picture; every fault becomes an InputError that begins with the name."""
    if not file.seekable():
        limit = MAX_BYTES_PER_PIXEL * max_pixels + SPARE_BYTES
        file = io.BytesIO(file.read(limit + 1))
        if len(file.getbuffer()) > limit:
            raise InputError(f"{name}: is larger than any sound file of {max_pixels} pixels")
    with pillow_on_our_terms():
        try:
            return to_picture(_decode(file, max_pixels))
        except Unreadable as reason:
            raise InputError(f"{name}: {reason}") from None
        except MemoryError:
            raise InputError(f"{name}: the picture does not fit in memory") from None
        # Pillow and the libraries under it raise almost anything on damaged bytes (OSError,
        # ValueError, SyntaxError, struct.error, IndexError, zlib.error ...).
        except Exception as error:
            words = "is of a kind that is not read" if "upported" in str(error) else _DAMAGED
            raise InputError(f"{name}: {words} ({_one_line(error)})") from error


_DAMAGED = "the picture is damaged or truncated"


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__


def _decode(file, max_pixels) -> Decoded:
    head = file.read(HEAD)
    if not head:
        raise Unreadable("the file is empty")
    kind = identify(head)
    prepare(kind)
    if kind == "TIFF":
        return _decode_tiff(file, max_pixels)
    if kind == "PNG":
        chunks = read_chunks(file)
        decoded = _decode_by_pillow(chunks.pixels, kind, max_pixels)
        decoded.profile, decoded.encoding = chunks.profile, chunks.encoding
        decoded.exif, decoded.xmp = chunks.exif, chunks.xmp
        decoded.notices += [*chunks.notices, *[_ANIMATED] * chunks.animated]
        return decoded
    if kind == "JPEG":
        refuse_rare_jpeg(file)
    if kind == "AVIF" and (bits := avif_bits(file)) > 8:
        decoded = _decode_by_pillow(file, kind, max_pixels)
        decoded.notices.insert(0, f"its {bits}-bit samples are reduced to 8 bits")
        return decoded
    if kind == "JXL" and (size := jxl_size(file)):
        _check_size(*size, max_pixels)
    return _decode_by_pillow(file, kind, max_pixels)


_ANIMATED = "it is animated; only the first frame is taken"
_PAGES = "it holds several pages; only the first one is taken"


def _decode_tiff(file, max_pixels):
    directory = Directory(file)
    _check_size(*tiff_size(directory), max_pixels)
    layout = read_layout(directory)
    if layout is None:
        with libtiff_silenced():
            decoded = _decode_by_pillow(file, "TIFF", max_pixels)
        decoded.notices.clear()  # `describe_tiff` says it
        decoded.orientation = 1  # Pillow turns TIFFs, and no others
    else:
        decoded = decode_tiff(directory, layout)
    describe_tiff(directory, file, decoded)
    return decoded


def _check_size(height, width, max_pixels):
    if width * height > max_pixels:
        raise Unreadable(
            f"{width}x{height} is {width * height} pixels, more than the limit of {max_pixels}; "
            "raise it with max_pixels"
        )
    if excess := exceeds(height, width, max_pixels):
        raise Unreadable(f"has {excess}")


def _decode_by_pillow(file, kind, max_pixels) -> Decoded:
    file.seek(0)
    try:
        image = Image.open(file, formats=[kind])
    except Image.UnidentifiedImageError:
        raise Unreadable(f"{_DAMAGED} (the header of its {kind} makes no sense)") from None
    with image:
        _check_size(image.height, image.width, max_pixels)
        return decode_image(image)


def decode_image(image: Image.Image) -> Decoded:
    """The pixels of a Pillow image, opened or made, and what it says of them.

    Raises: Unreadable for samples that have no reading; whatever Pillow raises on damaged files.
    """
    notices: list[str] = []
    color, alpha = separate(image, notices)
    if getattr(image, "is_animated", False):
        notices.append(_PAGES if image.format in ("TIFF", "MPO") else _ANIMATED)
    bits = image.info.get("bit_depth", 8)  # what the HEIF plugin tells
    if isinstance(bits, int) and bits > 8 and not notices:
        notices.append(f"its {bits}-bit samples are reduced to 8 bits")
    exif, xmp = (image.info.get(key) or b"" for key in ("exif", "xmp"))
    decoded = Decoded(
        color,
        alpha,
        profile=image.info.get("icc_profile") or b"",
        exif=exif if isinstance(exif, bytes) else b"",
        xmp=xmp if isinstance(xmp, bytes) else b"",
        notices=notices,
    )
    if nclx := image.info.get("nclx_profile"):  # from the HEIF plugin, which undoes the matrix
        points = [nclx.get(key, 2) for key in ("color_primaries", "transfer_characteristics")]
        decoded.encoding = from_code_points([*points, 0, 1], notices)
    if image.format in _TURNED_BY_FORMAT:
        # A JPEG inside a JPEG XL is as it was.
        exif = b"" if image.format == "JXL" and not getattr(image, "jpeg", False) else decoded.exif
        decoded.orientation = metadata_of_file(exif, b"")[1]
    return decoded


def to_picture(decoded: Decoded) -> Picture:
    """Colours to sRGB, turned upright, and what is hidden made cheap."""
    color, alpha, notices = decoded.color, decoded.alpha, decoded.notices
    if decoded.profile:
        color = to_srgb(color, decoded.profile, notices)
    elif color.mode != "CMYK":
        color = decode_encoding(color, decoded.encoding, notices)
    kept, orientation = metadata_of_file(decoded.exif, decoded.xmp)
    turn = _UPRIGHT.get(decoded.orientation or orientation)
    if turn is not None:
        color, alpha = color.transpose(turn), alpha and alpha.transpose(turn)
    gray = color.mode == "L"
    rgb = np.asarray(color if color.mode == "RGB" else color.convert("RGB"))
    rgb, alpha = without_hidden(rgb, None if alpha is None else np.asarray(alpha))
    return Picture(rgb, gray, alpha, tuple(dict.fromkeys(notices)), kept)
