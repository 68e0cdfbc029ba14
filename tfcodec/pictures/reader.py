"""Pictures from files of every supported kind, brought to the one form that the codec codes."""

import contextlib
import io
import logging
import os
import stat
import threading
import warnings

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from tfcodec.coding.container import exceeds
from tfcodec.coding.format import DEFAULT_MAX_PIXELS
from tfcodec.errors import InputError
from tfcodec.pictures.picture import Picture

# Pillow logs some faults before it raises them; the exception is enough.
logging.getLogger("PIL").addHandler(logging.NullHandler())

# Formats are named one by one: Pillow would otherwise try some 40 parsers on hostile bytes, one of
# which (EPS) starts a PostScript interpreter. Each with the suffixes that name it in a folder.
READ_FORMATS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
}
SUFFIXES = tuple(suffix for suffixes in READ_FORMATS.values() for suffix in suffixes)

EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read(path: str | os.PathLike, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Reads an image file.

    Grayscale stays grayscale and alpha is kept; palettes, 1-bit and CMYK become RGB; 16-bit samples
    become 8-bit; an embedded colour profile is converted to sRGB; EXIF orientation is applied; of
    an animation the first frame is taken.

    Raises: InputError if the file is missing, empty, not an image of a known format, truncated or
        damaged, or has more than `max_pixels` pixels (judged from its header, before decoding).
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file, pillow_on_our_terms():
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_size == 0:
                raise InputError(f"{name}: the file is empty")
            return _decode(file, name, max_pixels)
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{name}: this is a directory, not a picture") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error})") from error


def read_bytes(data: bytes, name: str, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """As `read`, of the bytes of an image file; `name` is what errors call it."""
    if not data:
        raise InputError(f"{name}: the file is empty")
    with pillow_on_our_terms():
        return _decode(io.BytesIO(data), name, max_pixels)


_PILLOW_LOCK = threading.Lock()


@contextlib.contextmanager
def pillow_on_our_terms():
    """Silences Pillow's warnings and lifts its own pixel limit, since `read` has one already.

    Both are settings of the whole process, hence the lock and the care to put them back.
    """
    with _PILLOW_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextlib.contextmanager
def _libtiff_silenced():
    """libtiff prints its complaints on descriptor 2 itself; our one sentence shall stand alone."""
    try:
        stderr = os.dup(2)
    except OSError:  # closed: nothing to silence
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _decode(file, name: str, max_pixels: int) -> Picture:
    """An open file to a Picture, each conversion once and in this order: depth, alpha, colour
    profile, orientation."""
    Image.init()
    formats = [kind for kind in READ_FORMATS if kind in Image.OPEN]  # AVIF came with Pillow 11.3
    notices: list[str] = []
    # Pillow and the libraries under it raise almost anything on damaged bytes (OSError, ValueError,
    # SyntaxError, struct.error, IndexError, zlib.error ...): here every one means a faulty file.
    try:
        image = Image.open(file, formats=formats)
    except UnidentifiedImageError:
        raise InputError(
            f"{name}: not a picture in a known format ({', '.join(formats)})"
        ) from None
    except Exception as error:
        raise InputError(f"{name}: the picture is damaged or truncated ({error})") from error
    with image:
        width, height = image.size
        if width * height > max_pixels:
            raise InputError(
                f"{name}: {width}x{height} is {width * height} pixels, more than the limit of "
                f"{max_pixels}; raise it with max_pixels"
            )
        if excess := exceeds(height, width, max_pixels):
            raise InputError(f"{name}: has {excess}")
        raw = _raw_samples(image)  # Pillow forgets it while loading
        try:
            with _libtiff_silenced() if image.format == "TIFF" else contextlib.nullcontext():
                image.load()
            color, alpha = _separate(image, raw, name, notices)
            profile = image.info.get("icc_profile")
            if profile:
                color = to_srgb(color, profile, notices)
            turn = UPRIGHT.get(_orientation(image))
            if turn is not None:
                color = color.transpose(turn)
                alpha = alpha and alpha.transpose(turn)
            gray = color.mode == "L"
            rgb = np.asarray(color if color.mode == "RGB" else color.convert("RGB"))
            if getattr(image, "is_animated", False):
                pages = image.format in ("TIFF", "MPO")
                notices.append(
                    "it holds several pages; only the first one is taken"
                    if pages
                    else "it is animated; only the first frame is taken"
                )
        except InputError:
            raise
        except MemoryError:
            raise InputError(f"{name}: {width}x{height} does not fit in memory") from None
        except Exception as error:
            raise InputError(f"{name}: the picture is damaged or truncated ({error})") from error
    return Picture(rgb, gray, None if alpha is None else np.asarray(alpha), tuple(notices))


def _raw_samples(image: Image.Image) -> tuple[str, int]:
    """Layout and largest value of the samples in the file, such as ("RGB;16B", 65535)."""
    args = image.tile[0].args if image.tile else ""
    args = args if isinstance(args, tuple) else (args,)
    layout = str(args[0]) if args else ""
    if image.format == "PPM":  # Pillow scales its deep samples to 16 bits; args end in the peak
        deep = image.mode == "I" or (isinstance(args[-1], int) and args[-1] > 255)
        return layout, 65535 if deep else 255
    if image.format not in ("PNG", "TIFF"):
        return layout, 255  # no others are deep; the 16 of a BMP's "BGR;16" is a whole pixel
    bits = "".join(filter(str.isdigit, layout.partition(";")[2])) or 8
    return layout, 2 ** int(bits) - 1


def _separate(
    image: Image.Image, raw: tuple[str, int], name: str, notices: list[str]
) -> tuple[Image.Image, Image.Image | None]:
    """A loaded image to 8-bit colour (mode L, RGB or CMYK) and alpha (mode L) or None."""
    layout, peak = raw
    key = image.info.get("transparency")
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise InputError(f"{name}: its samples have 32 bits; convert it to 8 or 16 bits first")
    if peak > 255:
        notices.append("its 16-bit samples are reduced to 8 bits")
    alpha = None
    if image.mode.startswith("I"):  # 12- or 16-bit gray: scaled here, since convert("L") clips
        samples = np.asarray(image).astype(np.uint32)
        if isinstance(key, int):
            alpha = _opaque_unless(samples == key)
        if image.format == "TIFF" and image.tag_v2.get(262) == 0:  # WhiteIsZero
            samples = peak - np.minimum(samples, peak)
        return Image.fromarray(((samples * 255 + peak // 2) // peak).astype(np.uint8)), alpha
    if image.mode in ("1", "L", "RGB") and key is not None:
        # A transparent colour. Pillow gives it at the depth of the file and the pixels in 8 bits.
        key = np.array(key, np.int64)
        if image.mode == "1":
            key = np.where(key > 0, 255, 0)
        elif peak != 255:
            key = key * 255 // peak
        pixels = np.asarray(image.convert("L") if image.mode == "1" else image)
        alpha = _opaque_unless(np.all(np.atleast_3d(pixels) == key, axis=2))
        image.info.pop("transparency")  # so that convert() does not apply it a second time
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert(image.mode.upper())
    if image.mode in ("LA", "RGBA"):
        alpha = image.getchannel("A")
        # Pillow reads a PNG of 16-bit gray with alpha as RGBA.
        gray = image.mode == "LA" or layout.startswith("LA")
        return image.convert("RGB").getchannel("G") if gray else image.convert("RGB"), alpha
    return image if image.mode in ("L", "CMYK") else image.convert("RGB"), alpha


def _opaque_unless(transparent: np.ndarray) -> Image.Image:
    """Boolean [H, W] to alpha of mode L."""
    return Image.fromarray(np.where(transparent, 0, 255).astype(np.uint8))


def to_srgb(color: Image.Image, profile: bytes, notices: list[str]) -> Image.Image:
    """Colour of mode L, RGB or CMYK through its ICC profile; gray stays gray."""
    gray = color.mode == "L"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if gray and source.profile.xcolor_space.strip() == "RGB":
            color = color.convert("RGB")  # tools often leave an RGB profile on a gray picture
        transform = ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), color.mode, "RGB"
        )
        if color.mode == "RGB" and _changes_nothing(transform):
            return color.getchannel("G") if gray else color
        color = ImageCms.applyTransform(color, transform)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        notices.append("its colour profile is broken or does not fit and is ignored")
        return color.getchannel("G") if gray and color.mode == "RGB" else color
    return color.getchannel("G") if gray else color


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether an RGB transform moves no colour by more than 2 levels.

    Most profiles in the wild are one of many spellings of sRGB: rounding must not touch the pixels.
    """
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    moved = np.asarray(ImageCms.applyTransform(Image.fromarray(cube), transform))
    return int(np.abs(moved.astype(int) - cube).max()) <= 2


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8 of a loaded image; 1 (upright) if absent or unreadable."""
    try:
        return image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # broken metadata is no reason to refuse sound pixels
        return 1
