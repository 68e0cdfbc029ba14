"""Plugin for Pillow: `Image.open` and `Image.save` learn the format .tfcd by importing this module.

    import tfcodec.pillow
    image.save("x.tfcd", quality=5)
    Image.open("x.tfcd").show()

Opening reads the container alone; TensorFlow and the model are loaded with the first pixels. Errors
are Pillow's: `UnidentifiedImageError` when opening a damaged file, `OSError` when its model is
missing or its pixels cannot be had, `ValueError` for a quality that the model does not have.
"""

import io
import numbers

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from tfcodec import codec, pictures
from tfcodec.coding import container
from tfcodec.coding.format import MAGIC
from tfcodec.errors import ContainerError, InputError, TfcodecError
from tfcodec.exports import installed
from tfcodec.pictures import reader

FORMAT = "TFCD"
MODES = ("L", "LA", "RGB", "RGBA")
NO_LIMIT = 2**70  # Pillow has a limit of its own, Image.MAX_IMAGE_PIXELS


class TfcdImageFile(ImageFile.ImageFile):
    """A .tfcd file as Pillow opens it; `info["fingerprint"]` names the model that wrote it."""

    format = FORMAT
    format_description = "tfcodec"

    def _open(self):
        try:
            self._container = container.unpack(self.fp.read(), self._name(), NO_LIMIT)
        except ContainerError as error:
            # Not SyntaxError, for which Pillow would hide the sentence and try other formats.
            raise UnidentifiedImageError(str(error)) from error
        self._size = (self._container.width, self._container.height)
        color = "L" if self._container.gray else "RGB"
        self._mode = color if self._container.alpha is None else color + "A"
        self.info["fingerprint"] = self._container.fingerprint.hex()

    def load(self):
        """Decodes the picture. Raises OSError if its model is missing or the file is damaged."""
        if self._container is not None:
            name = self._name()
            try:
                info = installed.find_fingerprint(self._container.fingerprint, name)
                picture = codec.load(info.path).decode(self._container, name)
            except TfcodecError as error:
                raise OSError(str(error)) from error
            self._container = None
            if self.fp and self._exclusive_fp:
                self.fp.close()
            # Pillow takes the pixels from here as if they had been in the file.
            self.fp = io.BytesIO(pictures.to_array(picture).tobytes())
            self.tile = [("raw", (0, 0, *self.size), 0, self.mode)]
        return super().load()

    def _name(self):
        return str(self.filename or "the file")


def _accept(prefix):
    return prefix.startswith(MAGIC)


def _save(image, file, filename):
    """`quality` (1 to 8) and `model` as in `tfcodec.compress`; colours are converted to sRGB.

    Raises: OSError for a mode that the format cannot hold, or a missing model; ValueError for a
        quality that the model does not have.
    """
    if image.mode not in MODES:
        raise OSError(f"cannot write mode {image.mode} as {FORMAT}; convert it to {MODES}")
    quality = image.encoderinfo.get("quality")
    if quality is not None and not isinstance(quality, numbers.Real):
        raise ValueError(f"quality must be a number, received {quality!r}")
    array = np.asarray(image)
    profile = image.encoderinfo.get("icc_profile", image.info.get("icc_profile"))
    if profile:
        color = image.convert(image.mode.rstrip("A"))
        array = np.asarray(reader.to_srgb(color, profile, []))
        if image.mode.endswith("A"):
            array = np.dstack([array, np.asarray(image.getchannel("A"))])
    try:
        chosen = codec.load(image.encoderinfo.get("model"))
        data = chosen.encode(pictures.from_array(array), quality).data
    except InputError as error:
        raise ValueError(str(error)) from error
    except TfcodecError as error:
        raise OSError(str(error)) from error
    file.write(data)


Image.register_open(FORMAT, TfcdImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, ".tfcd")
