"""Pictures from whatever holds one in Python: an array, a path, an image of Pillow."""

import os

import numpy as np
from PIL import Image

from tfcodec.coding.format import DEFAULT_MAX_PIXELS
from tfcodec.errors import InputError
from tfcodec.pictures.image import from_pillow
from tfcodec.pictures.picture import Picture, from_array
from tfcodec.pictures.reader import read

PictureLike = np.ndarray | str | os.PathLike | Image.Image | Picture


def as_picture(value: PictureLike, max_pixels: int | None = None) -> Picture:
    """The picture of an array (as `from_array` takes it), of a path or of an image of Pillow; a
    `Picture` is itself.

    Args: max_pixels: files of larger pictures are refused; None for 2^27.
    Raises: InputError for anything else, and where the three functions do.
    """
    if isinstance(value, Picture):
        return value
    if isinstance(value, Image.Image):
        return from_pillow(value)
    if isinstance(value, (str, os.PathLike)):
        return read(value, DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels)
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise InputError(
            "a picture is an array, a path or a Pillow image, received bytes; open those of a "
            "picture file by PIL.Image.open(io.BytesIO(data))"
        )
    if hasattr(value, "__array__"):
        return from_array(value)
    raise InputError(
        f"a picture is an array, a path or a Pillow image, received a {type(value).__name__}"
    )
