"""What is done to one picture or file: the very bytes and sentences of the command line.

Knows nothing of Beam. A task pickles and holds no model: that is loaded where the work is done.
"""

import abc
import dataclasses
import io
import os
import threading

import numpy as np

from tfcodec import codec, pictures
from tfcodec.coding import container
from tfcodec.coding.format import DEFAULT_MAX_PIXELS
from tfcodec.errors import InputError, ModelError
from tfcodec.exports import installed
from tfcodec.exports.installed import ModelInfo
from tfcodec.naming import SUFFIX, compressed_name, decoded_name, is_decoded
from tfcodec.quality import bytes_of_bpp, check_wishes

_loading = threading.Lock()  # one load of a model, however many threads ask


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of one input.

    Args:
        data: the output's bytes; None where there is none.
        height, width: of the picture.
        size: bytes of the .tfcd file.
        model: name and fingerprint of its model, as far as it is known here.
        psnr: dB, if it was asked for.
    """

    data: bytes | None
    height: int
    width: int
    size: int
    model: str
    psnr: float | None = None


class Task(abc.ABC):
    """What is done to one input. A leaf names itself: `name`, a verb."""

    name: str

    @abc.abstractmethod
    def takes(self, name: str) -> bool:
        """Whether a file of that name, found in a folder, is one of its inputs."""

    @abc.abstractmethod
    def target(self, name: str) -> str:
        """The name of the output; where there is none, the input's own."""

    @property
    @abc.abstractmethod
    def settings(self) -> str:
        """What an output and its line in the manifest depend on, beside the input."""

    @abc.abstractmethod
    def start(self) -> None:
        """Loads what is needed, once a process, and warms it. Raises: ModelError."""

    @abc.abstractmethod
    def pixels(self, data: bytes, name: str) -> int:
        """How many the picture has, as its header claims. Raises: TfcodecError."""

    @abc.abstractmethod
    def work(self, data: bytes, name: str) -> Result:
        """Does it. `name` is what errors call the input. Raises: TfcodecError of one sentence."""


@dataclasses.dataclass(frozen=True)
class CompressTask(Task):
    """Pictures to .tfcd files; the fields as of `tfcodec.compress`.

    Args: measure: also decode, for the PSNR.
    """

    info: ModelInfo
    quality: float | None = None
    bpp: float | None = None
    target_bytes: int | None = None
    psnr: float | None = None
    keep_metadata: bool = False
    measure: bool = False
    max_pixels: int = DEFAULT_MAX_PIXELS
    name = "compress"

    def __post_init__(self):
        wishes = {wish: getattr(self, wish) for wish in _WISHES}
        check_wishes(**wishes)
        given = next((wish for wish, value in wishes.items() if value is not None), None)
        if given and self.info.qualities is None:
            raise InputError(f"the model {self.info.name} has one rate; it takes no {given}")
        self.info.ladder.byte(self.quality)

    def takes(self, name: str) -> bool:
        return name.lower().endswith(pictures.SUFFIXES) and not is_decoded(name)

    def target(self, name: str) -> str:
        return compressed_name(name)

    @property
    def settings(self) -> str:
        wishes = [f"{w}={getattr(self, w):g}" for w in _WISHES if getattr(self, w) is not None]
        flags = [flag for flag in ("keep_metadata", "measure") if getattr(self, flag)]
        return " ".join([self.info.fingerprint.hex(), *wishes, *flags])

    def start(self) -> None:
        small = pictures.from_array(np.zeros([64, 64, 3], np.uint8))
        self._codec().encode(small)

    def pixels(self, data: bytes, name: str) -> int:
        height, width = pictures.read_size(io.BytesIO(data), name)
        return height * width

    def work(self, data: bytes, name: str) -> Result:
        picture = pictures.read_bytes(data, name, self.max_pixels)
        most = self.target_bytes
        if self.bpp is not None:
            most = bytes_of_bpp(self.bpp, picture.height, picture.width)
        encoded = self._codec().encode(
            picture, self.quality, most, psnr=self.psnr, keep_metadata=self.keep_metadata
        )
        return Result(
            encoded.data,
            picture.height,
            picture.width,
            len(encoded.data),
            _described(self.info),
            encoded.psnr() if self.measure else None,
        )

    def _codec(self) -> codec.Codec:
        return _open(_here(self.info))


_WISHES = ("quality", "bpp", "target_bytes", "psnr")


@dataclasses.dataclass(frozen=True)
class DecompressTask(Task):
    """`.tfcd` files to pictures.

    Args:
        suffix: of the pictures, which names their format.
        info: the model that wrote the files; None to find each by its fingerprint.
    """

    suffix: str = ".png"
    info: ModelInfo | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    name = "decompress"

    def __post_init__(self):
        pictures.check_format(f"picture{self.suffix}", alpha=False)

    def takes(self, name: str) -> bool:
        return name.lower().endswith(SUFFIX)

    def target(self, name: str) -> str:
        return decoded_name(name, self.suffix)

    @property
    def settings(self) -> str:
        return self.suffix

    def start(self) -> None:
        codec.check_process()  # the models are those of the files

    def pixels(self, data: bytes, name: str) -> int:
        packed = container.unpack(data, name, self.max_pixels)
        return packed.height * packed.width

    def work(self, data: bytes, name: str) -> Result:
        packed = container.unpack(data, name, self.max_pixels)
        target = self.target(name)
        pictures.check_format(target, alpha=packed.alpha is not None)
        info = _of_file(packed, self.info, name)
        picture = _open(info).decode(packed, name)
        return Result(
            pictures.to_bytes(target, picture),
            packed.height,
            packed.width,
            len(data),
            _described(info),
        )


@dataclasses.dataclass(frozen=True)
class VerifyTask(Task):
    """Whether .tfcd files are sound, see `tfcodec verify`.

    Args: decode: compare the checksum of the symbols, too; needs the models.
    """

    decode: bool = False
    max_pixels: int = DEFAULT_MAX_PIXELS
    name = "verify"

    def takes(self, name: str) -> bool:
        return name.lower().endswith(SUFFIX)

    def target(self, name: str) -> str:
        return name

    @property
    def settings(self) -> str:
        return "decode" if self.decode else ""

    def start(self) -> None:
        pass

    def pixels(self, data: bytes, name: str) -> int:
        packed = container.unpack(data, name, self.max_pixels)
        return packed.height * packed.width if self.decode else 0

    def work(self, data: bytes, name: str) -> Result:
        packed = container.unpack(data, name, self.max_pixels)
        if packed.alpha is not None:
            pictures.alpha_from_png(packed.alpha, packed.height, packed.width, name)
        if packed.metadata is not None:
            pictures.metadata_from_bytes(packed.metadata, name)
        if self.decode:
            info = installed.find_fingerprint(packed.fingerprint, name)
            _open(info).decode(packed, name)
            model = _described(info)
        else:
            model = packed.fingerprint.hex()
        return Result(None, packed.height, packed.width, len(data), model)


def _described(info: ModelInfo) -> str:
    return f"{info.name} {info.fingerprint.hex()}"


def _open(info: ModelInfo) -> codec.Codec:
    with _loading:
        return codec.open_model(info)


def _here(info: ModelInfo) -> ModelInfo:
    """That model on this machine: in the folder it has elsewhere, or wherever its weights are."""
    if os.path.exists(info.path):
        same = installed.read_info(info.path)
        if same.fingerprint == info.fingerprint:
            return same
    return installed.find_fingerprint(info.fingerprint, f"the model {info.name}")


def _of_file(packed: container.Container, chosen: ModelInfo | None, name: str) -> ModelInfo:
    """The model to decode with, found to be the right one before it is loaded."""
    if chosen is None:
        return installed.find_fingerprint(packed.fingerprint, name)
    if chosen.fingerprint != packed.fingerprint:
        raise ModelError(
            f"{name}: was written by the model with fingerprint {packed.fingerprint.hex()}, "
            f"{chosen.name} has {chosen.fingerprint.hex()}"
        )
    return _here(chosen)
