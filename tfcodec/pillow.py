"""Plugin for Pillow: `Image.open` and `Image.save` learn the format .tfcd by importing this module.

    import tfcodec.pillow
    image.save("x.tfcd", quality=5)
    Image.open("x.tfcd").show()

Opening reads the container alone; TensorFlow and the model are loaded with the first pixels. Saving
does what `tfcodec encode` does: transparency of every kind is kept unless all is opaque, colour
profile and orientation are applied, deeper samples become 8-bit. Errors are Pillow's:
`UnidentifiedImageError` when opening a damaged file, `OSError` when a model is missing or pixels
cannot be had or held, `ValueError` for a quality that the model does not have.
"""

import dataclasses
import io
import numbers
from typing import Any

from PIL import Image, ImageFile, UnidentifiedImageError

from tfcodec import codec, pictures
from tfcodec.coding import container
from tfcodec.coding.format import MAGIC
from tfcodec.errors import ContainerError, InputError, TfcodecError
from tfcodec.exports import installed

FORMAT, MIME = "TFCD", "image/x-tfcd"
NO_LIMIT = 2**70  # Pillow has a limit of its own, Image.MAX_IMAGE_PIXELS


class TfcdImageFile(ImageFile.ImageFile):
    """A .tfcd file as Pillow opens it; `info["fingerprint"]` names the model that wrote it, "exif"
    and "xmp" are there if the file carries them."""

    format = FORMAT
    format_description = "tfcodec"

    def _open(self):
        try:
            self._container = container.unpack(self.fp.read(), self._name(), NO_LIMIT)
            self._take_metadata()
        except ContainerError as error:
            # Not SyntaxError, for which Pillow would hide the sentence and try other formats.
            raise UnidentifiedImageError(str(error)) from error
        self._size = (self._container.width, self._container.height)
        color = "L" if self._container.gray else "RGB"
        self._mode = color if self._container.alpha is None else color + "A"
        self.info["fingerprint"] = self._container.fingerprint.hex()

    def _take_metadata(self):
        if self._container.metadata is None:
            return
        metadata = pictures.metadata_from_bytes(self._container.metadata, self._name())
        for key in ("exif", "xmp"):
            if getattr(metadata, key):
                self.info[key] = getattr(metadata, key)

    def load(self) -> Any:
        """Decodes the picture; returns what Pillow's `load` returns, a class without public name.

        Raises: OSError if its model is missing or the file is damaged.
        """
        if self._container is not None:
            name = self._name()
            try:
                info = installed.find_fingerprint(self._container.fingerprint, name)
                picture = codec.open_decoder_of(info).decode(self._container, name)
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
    """`quality` (1 to 8) and `model` as in `tfcodec.compress`; `icc_profile` and `exif` in place of
    the image's own, as in Pillow's formats. EXIF and XMP are kept if `exif` or `xmp` is given.

    Raises: OSError for samples that the format cannot hold, or a missing model; ValueError for a
        quality that the model does not have.
    """
    options = image.encoderinfo
    quality = options.get("quality")
    if quality is not None and not isinstance(quality, numbers.Real):
        raise ValueError(f"quality must be a number, received {quality!r}")
    try:
        picture = pictures.from_pillow(
            image, profile=options.get("icc_profile"), exif=_bytes(options.get("exif"))
        )
    except InputError as error:
        raise OSError(f"cannot write mode {image.mode} as {FORMAT}: {error}") from error
    given = {key: _bytes(options.get(key)) or b"" for key in ("exif", "xmp")}
    metadata, _ = pictures.metadata_of_file(**given)
    picture = dataclasses.replace(picture, metadata=metadata)
    try:
        data = codec.load(options.get("model")).encode(picture, quality, keep_metadata=True).data
    except InputError as error:
        hint = "; the scale is tfcodec's, not JPEG's" if (quality or 0) > 8 else ""
        raise ValueError(f"{error}{hint}") from error
    except TfcodecError as error:
        raise OSError(str(error)) from error
    file.write(data)


def _bytes(given):
    """What `save` was given for EXIF or XMP: bytes, text or Pillow's Exif."""
    if isinstance(given, str):
        return given.encode()
    return given.tobytes() if isinstance(given, Image.Exif) else given


def _save_all(image, file, filename):
    """As `_save`, of an image of one frame. Raises: ValueError for several."""
    frames = getattr(image, "n_frames", 1) + len(list(image.encoderinfo.get("append_images", ())))
    if frames > 1:
        raise ValueError(f"a .tfcd file holds one picture, not {frames} frames; save them alone")
    _save(image, file, filename)


Image.register_open(FORMAT, TfcdImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_save_all(FORMAT, _save_all)
Image.register_mime(FORMAT, MIME)
Image.register_extension(FORMAT, ".tfcd")
