"""tfcodec: a learned image codec for TensorFlow and Keras 3.

Compress an image array to bytes and back with `compress` and `decompress`; `load` gives the codec
of one trained model. Importing this package imports neither TensorFlow nor Keras: they come with
the first use of a function that needs them.
"""

import pathlib

__all__ = ["__version__", "compress", "decompress", "load"]
__version__ = (pathlib.Path(__file__).parent / "version.txt").read_text().strip()


def compress(array, model=None, quality=None, target_bytes=None):
    """The bytes of a .tfcd file that holds a picture.

    Args:
        array: uint8 [H, W] or [H, W, 1] gray, [H, W, 2] gray and alpha, [H, W, 3] RGB or [H, W, 4]
            RGB and alpha; or a Pillow image of any mode. Alpha is kept without loss, unless it is
            255 everywhere.
        model: name of an installed model, or folder of an export; None for the bundled default.
        quality: from 1 (smallest) to 8, fractions allowed; None for the model's default. A model of
            one rate takes None.
        target_bytes: instead of a quality, the best one whose file has at most so many bytes.
    Raises: InputError for another array or quality, or if no file is as small; ModelError if there
        is no such model.
    Example:
        >>> import numpy as np, tfcodec
        >>> data = tfcodec.compress(np.zeros([40, 60, 3], np.uint8), quality=3)
        >>> tfcodec.decompress(data).shape
        (40, 60, 3)
    """
    from tfcodec import pictures

    made = pictures.from_pillow if hasattr(array, "getbands") else pictures.from_array
    return load(model).encode(made(array), quality, target_bytes).data


def decompress(data, max_pixels=None):
    """The picture in the bytes of a .tfcd file, as `compress` was given it: uint8 [H, W(, C)].

    Args:
        data: bytes.
        max_pixels: larger pictures are refused before anything is allocated; None for 2^27.
    Raises: ContainerError if the bytes are damaged or none of tfcodec's, ModelError if the model
        that wrote them is not installed, or computes otherwise on this machine.
    """
    from tfcodec import codec, pictures

    return pictures.to_array(codec.decode_file_bytes(bytes(data), max_pixels=max_pixels))


def load(name_or_dir=None):
    """The `tfcodec.codec.Codec` of an installed model or an export's folder, kept for next time.

    Raises: ModelError if there is no such model.
    """
    from tfcodec import codec

    return codec.load(name_or_dir)
