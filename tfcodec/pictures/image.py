"""Pictures from Pillow's images, read as a file with the same pixels would be."""

import io

from PIL import Image

from tfcodec.coding.format import DEFAULT_MAX_PIXELS
from tfcodec.errors import InputError
from tfcodec.pictures.picture import Picture
from tfcodec.pictures.reader import decode, pillow_on_our_terms


def from_pillow(image: Image.Image) -> Picture:
    """A picture from a Pillow image of any mode, with the transparency, colour profile and
    orientation that its `info` holds.

    Raises: InputError for an image that is empty, or of samples that have no reading.
    """
    if image.width == 0 or image.height == 0:
        raise InputError(f"the image is empty, {image.width}x{image.height}")
    file = io.BytesIO()
    kind = "TIFF" if image.mode in ("CMYK", "F", "La", "RGBa", "HSV", "LAB", "YCbCr") else "PNG"
    try:
        profile = image.info.get("icc_profile")
        image.save(file, kind, icc_profile=profile, exif=image.getexif(), compress_level=1)
    except (OSError, ValueError) as error:
        raise InputError(f"an image of mode {image.mode} cannot be read ({error})") from error
    file.seek(0)
    with pillow_on_our_terms():
        return decode(file, "the image", max(DEFAULT_MAX_PIXELS, image.width * image.height))
