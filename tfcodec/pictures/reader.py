"""Pictures in files and arrays: the only place that knows image formats.

    file ─► read ──────► Picture ─► write ────► file
    array ─► from_array ─►  │  ─► to_array ─► array
                            └─ alpha ─► alpha_to_png ─► bytes inside a .tfcd ─► alpha_from_png

A `Picture` is what the codec codes: 8-bit sRGB, upright, with a lossless alpha beside it. `read`
brings every supported file to that form and says in `notices` where it had to give something up.
"""

import contextlib
import dataclasses
import io
import logging
import os
import secrets
import stat
import struct
import threading
import warnings
import zlib

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from tfcodec.coding.container import DEFAULT_MAX_PIXELS, exceeds
from tfcodec.errors import ContainerError, InputError

# Pillow logs some faults before it raises them; the exception is enough.
logging.getLogger("PIL").addHandler(logging.NullHandler())

# Formats are named one by one: Pillow would otherwise try some 40 parsers on hostile bytes, one of
# which (EPS) starts a PostScript interpreter.
READ_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF")

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


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """An upright 8-bit sRGB picture.

    Args:
        rgb: uint8 [H, W, 3]; three equal channels if `gray`.
        gray: decode and write this picture as grayscale.
        alpha: uint8 [H, W], 255 is opaque; None if the picture has no alpha channel.
        notices: what was given up on the way in, half a sentence each ("16-bit samples ...").
    """

    rgb: np.ndarray
    gray: bool = False
    alpha: np.ndarray | None = None
    notices: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        return self.rgb.shape[0]

    @property
    def width(self) -> int:
        return self.rgb.shape[1]


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
        with open(path, "rb") as file, _pillow_on_our_terms():
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


def from_array(array: np.ndarray) -> Picture:
    """A picture from uint8 [H, W] or [H, W, 1] (gray), [H, W, 2] (gray and alpha), [H, W, 3] (RGB)
    or [H, W, 4] (RGB and alpha).

    Raises: InputError for another dtype, rank or number of channels, or an empty array.
    """
    array = np.asarray(array)
    if array.dtype != np.uint8:
        raise InputError(f"the array must be uint8, received {array.dtype}")
    if array.ndim not in (2, 3):
        raise InputError(f"the array must have shape [H, W] or [H, W, C], received {array.shape}")
    if array.ndim == 2:
        array = array[..., None]
    channels = array.shape[2]
    if channels not in (1, 2, 3, 4):
        raise InputError(f"the array must have 1 to 4 channels, received {channels}")
    if array.size == 0:
        raise InputError(f"the array is empty: shape {array.shape}")
    gray = channels < 3
    rgb = np.repeat(array[..., :1], 3, axis=2) if gray else array[..., :3]
    alpha = array[..., -1] if channels in (2, 4) else None
    return Picture(
        # A copy, so that the picture does not change when its maker reuses the array.
        rgb=np.array(rgb, order="C"),
        gray=gray,
        alpha=None if alpha is None else np.array(alpha, order="C"),
    )


def to_array(picture: Picture) -> np.ndarray:
    """The inverse of `from_array`: uint8 [H, W], [H, W, 2], [H, W, 3] or [H, W, 4]."""
    color = picture.rgb[..., :1] if picture.gray else picture.rgb
    if picture.alpha is not None:
        return np.concatenate([color, picture.alpha[..., None]], axis=2)
    return color[..., 0] if picture.gray else color


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

    PNG, WebP (lossless), TIFF, BMP and PPM keep every pixel; JPEG is written at quality 95, 4:4:4.

    Raises: InputError as in `check_format` and `atomic_write`, and for pictures larger than the
        format can hold.
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
    atomic_write(path, buffer.getvalue())


def check_target(path: str | os.PathLike) -> None:
    """Whether `atomic_write` may put a file here; ask before the work.

    Raises: InputError if the directory is missing or not writable, or the target exists and is not
        a regular file.
    """
    name = os.fspath(path)
    target = os.path.realpath(path)  # writing through a link keeps the link
    directory = os.path.dirname(target)
    if not os.path.isdir(directory):
        raise InputError(f"{name}: the directory {directory} does not exist")
    if not os.access(directory, os.W_OK):
        raise InputError(f"{name}: the directory {directory} is not writable")
    if os.path.isdir(target):
        raise InputError(f"{name}: this is a directory; name a file")
    # Renaming over a device or a pipe would replace it: /dev/null must stay what it is.
    if os.path.exists(target) and not os.path.isfile(target):
        raise InputError(f"{name}: this is not a regular file")


def atomic_write(path: str | os.PathLike, data: bytes) -> None:
    """Writes `data` beside the target and renames it, so that nobody ever sees half a file.

    Raises: InputError as in `check_target`, and if the directory cannot be written.
    """
    check_target(path)
    target = os.path.realpath(path)
    # Opened by hand rather than by `tempfile`, which would make the file private (mode 0600).
    partial = os.path.join(os.path.dirname(target), f".tfcodec-{secrets.token_hex(6)}.part")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
            os.replace(partial, target)
        except BaseException:  # KeyboardInterrupt too
            with contextlib.suppress(OSError):
                os.unlink(partial)
            raise
    except OSError as error:
        raise InputError(
            f"{os.fspath(path)}: cannot be written ({error.strerror or error})"
        ) from error


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
        with _pillow_on_our_terms(), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
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


_PILLOW_LOCK = threading.Lock()


@contextlib.contextmanager
def _pillow_on_our_terms():
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
                f"{max_pixels}; raise it with --max_pixels"
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
