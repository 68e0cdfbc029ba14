"""Which format a file has, by its first bytes, and who reads it."""

import importlib
from typing import BinaryIO

from PIL import Image

from tfcodec.pictures.decoded import Unreadable

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
    "HEIF": (".heic", ".heif", ".hif"),
    "JXL": (".jxl",),
}
SUFFIXES = tuple(suffix for suffixes in READ_FORMATS.values() for suffix in suffixes)
HEAD = 32  # bytes that tell a format

# Pillow's plugins: (module, function that registers it, package on PyPI, what people call it).
_PLUGINS = {
    "AVIF": ("PIL.AvifImagePlugin", None, "Pillow 11.3 or newer", "an AVIF picture"),
    "HEIF": ("pillow_heif", "register_heif_opener", "pillow-heif", "a HEIC (HEIF) picture"),
    "JXL": ("pillow_jxl", None, "pillow-jxl-plugin", "a JPEG XL picture"),
}
_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    (b"\xff\x0a", "JXL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JXL"),
)
# Major brands of ISO base media files.
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"}
_BRANDS |= dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIF"
)
_STRANGERS = (
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop file"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"v/1\x01", "an OpenEXR picture"),
    (b"#?RADIANCE", "a Radiance HDR picture"),
    (b"\0\0\1\0", "an icon"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML file, perhaps a drawing"),
    (b"P7\n", "a PAM picture"),
    (b"PF\n", "a PFM picture of floating-point samples"),
    (b"Pf\n", "a PFM picture of floating-point samples"),
    (b"qoif", "a QOI picture"),
    (b"farbfeld", "a farbfeld picture"),
    (b"FUJIFILMCCD-RAW", "a camera's raw file"),
    (b"IIRO", "a camera's raw file"),
    (b"IIU\0", "a camera's raw file"),
    (b"tfcd", "a .tfcd file: `tfcodec decode` reads it"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip file"),
)


def identify(head: bytes) -> str:
    """One of READ_FORMATS.

    Args: head: the first HEAD bytes.
    Raises: Unreadable for what is none of them, by its name if it is known.
    """
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if (
        head[:1] == b"P"
        and head[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6")
        and (head[2:3].isspace())
    ):
        return "PPM"
    if head[4:8] == b"ftyp":
        # An AVIF may have a brand that HEIF has, too.
        brands = [head[8:12], *(head[k : k + 4] for k in range(16, len(head) - 3, 4))]
        kinds = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        if kinds:
            return "AVIF" if "AVIF" in kinds else kinds[0]
    for start, words in _STRANGERS:
        if head.lstrip(b"\xef\xbb\xbf").startswith(start):
            raise Unreadable(f"is {words}, not a picture in a known format ({_known()})")
    raise Unreadable(f"is not a picture in a known format ({_known()})")


def _known():
    return ", ".join(READ_FORMATS)


def prepare(kind: str) -> None:
    """Sees to it that Pillow opens files of that format.

    Raises: Unreadable, naming the plugin to install, if it cannot.
    """
    Image.init()
    if kind in Image.OPEN:
        return
    module, register, package, words = _PLUGINS.get(kind, (None, None, "Pillow", kind))
    try:
        plugin = importlib.import_module(module)
        if register:
            getattr(plugin, register)()
    except (ImportError, OSError) as error:
        raise Unreadable(f"is {words}; install {package} to read it") from error
    if kind not in Image.OPEN:
        raise Unreadable(f"is {words}, which this {package} does not read")


def refuse_rare_jpeg(file: BinaryIO) -> None:
    """Raises: Unreadable for a JPEG that libjpeg does not decode to 8 bits, by what it is."""
    if words := _rare_jpeg(file):
        raise Unreadable(words)


def _rare_jpeg(file):
    at = 2
    while True:
        file.seek(at)
        head = file.read(5)
        if len(head) < 5 or head[0] != 0xFF:
            return None
        marker, size = head[1], int.from_bytes(head[2:4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            break
        at += 2 + size
    channels = file.read(5)[4:5]
    if head[4] != 8:
        return f"is a JPEG of {head[4]}-bit samples; convert it to 8 bits first"
    if marker in (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF):
        return "is a lossless or hierarchical JPEG, which is not read"
    if channels and channels[0] not in (1, 3, 4):
        return f"is a JPEG of {channels[0]} channels, which is not read"
    return None


def avif_bits(file: BinaryIO) -> int:
    """Bits of the samples of an AVIF, by its configuration box (av1C); 8 if there is none.

    Pillow's decoder does not tell that it reduces them.
    """
    file.seek(0)
    head = file.read(_AVIF_HEAD)
    flags = head[head.find(b"av1C") + 6 :][:1] if b"av1C" in head else b""
    if not flags or not flags[0] & 0x40:
        return 8
    return 12 if flags[0] & 0x20 else 10


_AVIF_HEAD = 2**16  # the boxes of properties stand first


def jxl_size(file: BinaryIO) -> tuple[int, int] | None:
    """Height and width that a JPEG XL claims (ISO/IEC 18181-1, D.1); None if there is no telling.

    Its plugin decodes as it opens, so that a limit must be applied here.
    """
    at, end = 0, file.seek(0, 2)
    file.seek(0)
    if file.read(2) != b"\xff\x0a":
        at = _jxl_codestream(file, end)
    if at is None:
        return None
    file.seek(at)
    head = file.read(2 + 10)
    if head[:2] != b"\xff\x0a":
        return None
    bits = _Bits(head[2:])
    small = bits.take(1)

    def side():
        return 8 * bits.take(5) + 8 if small else 1 + bits.take((9, 13, 18, 30)[bits.take(2)])

    height = side()
    ratio = bits.take(3)
    wide, high = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
    return height, height * wide // high if ratio else side()


def _jxl_codestream(file, end):
    """Where the codestream begins among the boxes, or None."""
    at = 0
    while at + 16 <= end:
        file.seek(at)
        head = file.read(16)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        start = 16 if size == 1 else 8
        if size == 1:
            size = int.from_bytes(head[8:], "big")
        if kind in (b"jxlc", b"jxlp"):
            return at + start + 4 * (kind == b"jxlp")
        if size < start:
            return None
        at += size
    return None


class _Bits:
    """Numbers from the lowest bit of bytes on; zeros past their end."""

    def __init__(self, data):
        self._value = int.from_bytes(data, "little")

    def take(self, count):
        value = self._value & (1 << count) - 1
        self._value >>= count
        return value
