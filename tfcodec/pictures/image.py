"""Pictures from Pillow's images, read as a file with the same pixels would be."""

from PIL import Image, ImageFile

from tfcodec.coding.format import DEFAULT_MAX_PIXELS
from tfcodec.errors import InputError
from tfcodec.pictures.color import Encoding, from_gamma
from tfcodec.pictures.decoded import Unreadable
from tfcodec.pictures.metadata import from_tags
from tfcodec.pictures.picture import Picture
from tfcodec.pictures.reader import decode_image, read, to_picture
from tfcodec.pictures.tags import EXIF_PREFIX
from tfcodec.pictures.terms import pillow_on_our_terms
from tfcodec.pictures.tiff import BITS, FORMAT, PLANAR, check_format


def from_pillow(
    image: Image.Image, *, profile: bytes | None = None, exif: bytes | None = None
) -> Picture:
    """A picture from a Pillow image of any mode, with what its `info` says.

    An image that was opened and not yet loaded is read from its file, by `read`: all that Pillow
    would lose on the way is there. Of others the pixels count, and transparency, colour profile,
    gamma, EXIF and XMP as `info` has them. Like a file, an image is turned by its EXIF orientation.

    Args:
        profile: an ICC profile in place of the image's own; empty for sRGB.
        exif: in place of the image's own; empty for none.
    Raises: InputError for an image that is empty, damaged, or of samples that have no reading.
    """
    name = getattr(image, "filename", "") or "the image"
    file = _unread_file(image) if profile is None and exif is None else None
    if file is not None:
        place = file.tell()
        try:
            file.seek(0)
            return read(file, DEFAULT_MAX_PIXELS, str(name))
        finally:
            file.seek(place)
    if image.width == 0 or image.height == 0:
        raise InputError(f"{name}: the image is empty, {image.width}x{image.height}")
    try:
        _check_tiff(image)
        with pillow_on_our_terms():
            decoded = decode_image(image)
            if profile is not None:
                decoded.profile, decoded.encoding = profile, Encoding()
            elif not decoded.profile:
                decoded.encoding = _encoding(image)
            decoded.exif = (decoded.exif or _exif(image)) if exif is None else exif
            return to_picture(decoded)
    except Unreadable as reason:
        raise InputError(f"{name}: {reason}") from None
    except Exception as error:  # an image is loaded here, and Pillow raises almost anything
        raise InputError(f"{name}: the picture is damaged or truncated ({error})") from error


def _unread_file(image):
    """The file of an image of which Pillow has read the header alone; else None."""
    if not isinstance(image, ImageFile.ImageFile) or image.format in (None, "TFCD"):
        return None
    file, untouched = getattr(image, "fp", None), bool(image.tile)  # which loading empties
    # A draft asks for a smaller picture than the file's, a seek for another frame.
    whole = not getattr(image, "decoderconfig", ()) and image.tell() == 0
    seekable = hasattr(file, "seekable") and not file.closed and file.seekable()
    return file if untouched and whole and seekable else None


def _check_tiff(image):
    """Raises: Unreadable for the pixels of a TIFF that Pillow has misread, or has no levels of."""
    if image.format != "TIFF" or not hasattr(image, "tag_v2"):
        return
    bits = image.tag_v2.get(BITS, (1,))
    check_format(image.tag_v2.get(FORMAT, (1,))[0], bits[0])
    if image.tag_v2.get(PLANAR) == 2 and max(bits) > 8:
        raise Unreadable("has planes of deep samples, which Pillow misreads; give the file's path")


def _encoding(image):
    """By gamma and primaries of a PNG, as Pillow hands them on."""
    info = image.info
    if "srgb" in info or not {"gamma", "chromaticity"} & set(info):
        return Encoding()
    points = info.get("chromaticity")
    if points is not None:
        points = tuple(zip(points[::2], points[1::2], strict=True))
    return from_gamma(info.get("gamma"), points)


def _exif(image):
    """What `getexif` holds and `info` does not: it was set there, or comes from a TIFF's tags."""
    try:
        exif = image.getexif()
        if image.format == "TIFF":
            return from_tags(exif)
        return exif.tobytes().removeprefix(EXIF_PREFIX) if len(exif) else b""
    except Exception:  # broken metadata are no reason to refuse sound pixels
        return b""
