"""What the package's face hands on: pictures and files in, files and pictures out.

    array, path or Pillow image ─► compress ─► bytes ─► decompress ─► array
    picture file ─► encode_file ─► .tfcd file ─► decode_file ─► picture file

The same bytes as the command line's, for the same wishes, and on the same runtime: decoding goes by
LiteRT where it can (`exports.runtimes`). Importing this imports neither that nor TensorFlow; they
come with the first picture, not with `info` or `installed_models`.
"""

import concurrent.futures
import dataclasses
import functools
import os
from collections.abc import Iterable
from typing import Any, TypedDict, Unpack

import numpy as np

from tfcodec import codec, pictures
from tfcodec.coding import container
from tfcodec.coding.format import CODER_NAMES, DEFAULT_MAX_PIXELS
from tfcodec.errors import InputError, ModelError
from tfcodec.exports import installed
from tfcodec.files import atomic_write, check_target, unreadable_named
from tfcodec.quality import bytes_of_bpp, check_wishes, of_byte

NO_LIMIT = 2**70  # pixels, where nothing is decoded
# Of `compress_batch`. On two cores, 12 pictures of 768x512 took half the time of one by one; with
# two threads 0.7 of it, with four no less than with three.
THREADS = 3

Path = str | os.PathLike
Data = bytes | bytearray | memoryview


class Options(TypedDict, total=False):
    """What `compress` takes beside the picture."""

    model: Path | None
    quality: float | None
    target_bytes: int | None
    bpp: float | None
    psnr: float | None
    keep_metadata: bool
    max_pixels: int | None


@dataclasses.dataclass(frozen=True)
class FileInfo:
    """What a .tfcd file says of itself.

    Args:
        width, height: of the picture, in pixels.
        gray, alpha: whether it decodes to one channel of colour, and has an alpha channel.
        model: name of the model that wrote it; None if that is not installed here.
        fingerprint: 4 bytes that name the model's weights, as `ModelInfo.fingerprint`.
        quality: from 1 to 8; None for a model of one rate.
        bytes: of the whole file.
        coder, lanes: entropy coder, and how many streams it wrote side by side.
        profile: number of the arithmetic between decoded symbols and their tables.
    """

    width: int
    height: int
    gray: bool
    alpha: bool
    model: str | None
    fingerprint: bytes
    quality: float | None
    bytes: int
    coder: str
    lanes: int
    profile: int

    @property
    def bpp(self) -> float:
        """Bits of the file per pixel."""
        return 8 * self.bytes / (self.width * self.height)


def compress(
    picture: pictures.PictureLike,
    model: Path | None = None,
    quality: float | None = None,
    target_bytes: int | None = None,
    *,
    bpp: float | None = None,
    psnr: float | None = None,
    keep_metadata: bool = False,
    max_pixels: int | None = None,
) -> bytes:
    """The bytes of a .tfcd file that holds a picture.

    Args:
        picture: uint8 [H, W] or [H, W, 1] gray, [H, W, 2] gray and alpha, [H, W, 3] RGB or
            [H, W, 4] RGB and alpha; or the path of a picture file; or a Pillow image. Alpha is kept
            without loss.
        model: name of an installed model, or folder of an export; None for the bundled default.
        quality: from 1 (smallest) to 8, fractions allowed; None for the model's default. A model of
            one rate takes neither a quality nor one of the following, of which one is taken.
        target_bytes: the best quality whose file has at most so many bytes.
        bpp: the best quality of at most so many bits per pixel.
        psnr: the smallest quality whose picture has at least so many dB, over pixels that are not
            wholly transparent. Found by bisection, with 8 encodes and decodes.
        keep_metadata: carry the picture's EXIF and XMP, up to 512 KiB.
        max_pixels: files of larger pictures are refused; None for 2^27.
    Raises: InputError for what is no picture, another quality, or a size or PSNR that no file of
        this picture has; ModelError if there is no such model.
    Example:
        >>> import numpy as np, tfcodec
        >>> data = tfcodec.compress(np.zeros([40, 60, 3], np.uint8), quality=3)
        >>> tfcodec.decompress(data).shape
        (40, 60, 3)
    """
    check_wishes(quality=quality, target_bytes=target_bytes, bpp=bpp, psnr=psnr)
    picture = pictures.as_picture(picture, max_pixels)
    chosen = load(model)
    if bpp is not None:
        target_bytes = bytes_of_bpp(bpp, picture.height, picture.width)
    encoded = chosen.encode(picture, quality, target_bytes, psnr=psnr, keep_metadata=keep_metadata)
    return encoded.data


def compress_batch(
    many: Iterable[pictures.PictureLike], *, threads: int = THREADS, **options: Unpack[Options]
) -> list[bytes]:
    """The bytes of `compress` for each of many pictures, in their order.

    Pictures are coded in threads, so that one's entropy coding and files go on beside another's
    networks. The networks see one picture at a time: in batches their last bits could differ, and
    with them the file.

    Args:
        many: pictures of any sizes, each as `compress` takes it; paths are read one by one. One
            array holds pictures of one size, [N, H, W, C] or gray [N, H, W].
        threads: how many pictures are in memory at a time.
        options: those of `compress`.
    Returns: list of bytes.
    Raises: as `compress`, for the first picture that cannot be coded; InputError for one picture
        in place of several.
    """
    _check_many(many, threads)
    load(options.get("model"))  # once, before the threads ask for it
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(functools.partial(compress, **options), many))


def _check_many(many, threads):
    """Raises InputError for what `compress_batch` would misread, or fail on in other words."""
    if isinstance(many, (str, os.PathLike)):
        raise InputError(f"compress_batch takes several pictures, received the one {many!r}")
    shape = getattr(many, "shape", None)
    if shape is not None and (len(shape) < 3 or len(shape) == 3 and shape[2] <= 4):
        raise InputError(
            f"compress_batch takes several pictures, received one array of shape {tuple(shape)}"
        )
    if not isinstance(many, Iterable) or isinstance(many, bytes):
        raise InputError(f"compress_batch takes several pictures, received {_described(many)}")
    if not isinstance(threads, int) or threads < 1:
        raise InputError(f"threads is a whole number of 1 or more, received {threads!r}")


def decompress(data: Data | Path, max_pixels: int | None = None) -> np.ndarray:
    """The picture in a .tfcd file, as `compress` was given it: uint8 [H, W(, C)].

    Args:
        data: the file's bytes, or its path.
        max_pixels: larger pictures are refused before anything is allocated; None for 2^27.
    Raises: ContainerError if the bytes are damaged or none of tfcodec's, ModelError if the model
        that wrote them is not installed, or computes otherwise on this machine; InputError if there
        is no such file, or `data` is something else.
    """
    name, data = _read(data, max_pixels)
    return pictures.to_array(codec.decode_file_bytes(data, name, max_pixels))


def encode_file(
    source: pictures.PictureLike,
    target: Path,
    *,
    overwrite: bool = False,
    **options: Unpack[Options],
) -> FileInfo:
    """Compresses a picture to a .tfcd file, which appears complete or not at all.

    Args:
        source: path of a picture, or what else `compress` takes.
        target: path of the .tfcd file; one that exists is refused unless `overwrite`, and always
            one that is named as a picture.
        options: those of `compress`.
    Returns: what `info` says of the file.
    Raises: as `compress`, and InputError if the file cannot be written.
    """
    _check_new(target, overwrite, source)
    if os.fspath(target).lower().endswith(pictures.SUFFIXES):
        raise InputError(f"{os.fspath(target)}: is named as a picture; name a .tfcd file")
    data = compress(source, **options)
    atomic_write(target, data)
    return info(data)


def decode_file(
    source: Path | Data, target: Path, *, overwrite: bool = False, max_pixels: int | None = None
) -> FileInfo:
    """Decompresses a .tfcd file to a picture file, which appears complete or not at all.

    Args:
        source: path of the .tfcd file, or its bytes.
        target: path of the picture, whose suffix chooses the format; one that exists is refused
            unless `overwrite`.
        max_pixels: larger pictures are refused; None for 2^27.
    Returns: what `info` says of the .tfcd file.
    Raises: as `decompress`, and InputError if the picture cannot be written.
    """
    _check_new(target, overwrite, source)
    pictures.check_format(target, alpha=False)
    name, data = _read(source, max_pixels)
    packed = container.unpack(data, name, max_pixels)
    pictures.check_format(target, alpha=packed.alpha is not None)  # before the model is loaded
    pictures.write(target, codec.decode_container(packed, name))
    return info(data)


def info(source: Data | Path) -> FileInfo:
    """What a .tfcd file says of itself; nothing is decoded, and TensorFlow is not imported.

    Args: source: the file's bytes, or its path. A picture of any size may be looked at.
    Raises: ContainerError if it is damaged or none of tfcodec's, InputError if there is none.
    """
    name, data = _read(source, None)
    packed = container.unpack(data, name, NO_LIMIT)
    try:
        model = installed.find_fingerprint(packed.fingerprint, name)
    except ModelError:
        model = None
    return FileInfo(
        width=packed.width,
        height=packed.height,
        gray=packed.gray,
        alpha=packed.alpha is not None,
        model=model and model.name,
        fingerprint=packed.fingerprint,
        quality=None if model and model.qualities is None else of_byte(packed.quality),
        bytes=len(data),
        coder=CODER_NAMES[packed.coder],
        lanes=len(packed.streams),
        profile=packed.profile,
    )


def installed_models() -> list[installed.ModelInfo]:
    """The `ModelInfo` of each installed model, bundled ones first; TensorFlow is not imported."""
    return installed.models()


def load(name_or_dir: Path | None = None) -> codec.Codec:
    """The `tfcodec.codec.Codec` of an installed model or an export's folder, kept for next time.

    Raises: ModelError if there is no such model; InputError for what can be no name.
    """
    return codec.load(name_or_dir)


def _check_new(target, overwrite, source):
    """Raises InputError unless `target` can be written and replaces nothing unasked."""
    if not isinstance(target, (str, os.PathLike)):
        raise InputError(f"the target is the path of a file, received {_described(target)}")
    check_target(target)
    if not os.path.exists(target):
        return
    if not overwrite:
        raise InputError(f"{os.fspath(target)}: exists already; overwrite=True replaces it")
    if isinstance(source, (str, os.PathLike)) and os.path.realpath(source) == os.path.realpath(
        target
    ):
        raise InputError(f"{os.fspath(target)}: is the source, too; name another target")


def _read(source, max_pixels) -> tuple[str, bytes]:
    """(what errors call it, the bytes of a .tfcd file) from its bytes or its path."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "input", bytes(source)
    if not isinstance(source, (str, os.PathLike)):
        raise InputError(
            f"a .tfcd file is given as its bytes or its path, received {_described(source)}"
        )
    name = os.fspath(source)
    with unreadable_named(name, "file"), open(source, "rb") as file:
        limit = DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels
        return name, container.read(file, name, limit)


def _described(value: Any) -> str:
    """What was received, short enough for a sentence."""
    text, kind = repr(value), type(value).__name__
    return f"{text} ({kind})" if len(text) <= 40 else f"a value of type {kind}"
