"""tfcodec without TensorFlow: on LiteRT, numpy and Pillow.

    data = lite.compress("photo.jpg", quality=4)
    array = lite.decompress(data)

The codec is `tfcodec.codec.Codec`, with its walk, its files and its errors; only the networks are
computed elsewhere. `tfcodec.compress`, `tfcodec.decompress` and the command line take this way by
themselves where they can; this is for who wants it even where TensorFlow is installed. Portable
models only; files go both ways, pictures are within one level of TensorFlow's.

    export      a model's networks for LiteRT, with TensorFlow

Rules. May import: what is below. Importing it imports neither TensorFlow nor Keras; `export` does.
"""

import os

import numpy as np

from tfcodec import codec, pictures
from tfcodec.coding.container import unpack
from tfcodec.exports import installed
from tfcodec.exports.runtimes import LITERT


def compress(
    picture: pictures.PictureLike,
    model: str | os.PathLike | None = None,
    quality: float | None = None,
    max_pixels: int | None = None,
) -> bytes:
    """The bytes of a .tfcd file that holds a picture, as `tfcodec.compress` gives them.

    Args and Raises: as there; and ModelError if LiteRT is not installed, or the model has no form
        for it.
    """
    picture = pictures.as_picture(picture, max_pixels)
    return codec.load(model, LITERT).encode(picture, quality).data


def decompress(data: bytes, max_pixels: int | None = None) -> np.ndarray:
    """The picture in the bytes of a .tfcd file: uint8 [H, W(, C)].

    Args and Raises: as `tfcodec.decompress`; and ModelError if LiteRT is not installed, or the
        model has no form for it.
    """
    container = unpack(bytes(data), "input", max_pixels)
    info = installed.find_fingerprint(container.fingerprint)
    return pictures.to_array(codec.open_model(info, LITERT).decode(container))
