"""Pictures to bytes and back: the one place where networks meet the coder."""

import contextlib
import dataclasses
import functools
import math
import os

import numpy as np

from tfcodec import metrics, pictures
from tfcodec.coding import open_decoder, open_encoder, serving_lanes
from tfcodec.coding.container import Container, pack, symbols_checksum, unpack
from tfcodec.coding.format import CODER_NAMES
from tfcodec.entropy.walk import StepDecoder, StepEncoder, walk
from tfcodec.errors import InputError, ModelError
from tfcodec.exports import installed, loaded, runtimes
from tfcodec.exports.installed import ModelInfo
from tfcodec.exports.tiles import Progress
from tfcodec.layers import Tensors
from tfcodec.quality import best_within, check_wishes, smallest_of_psnr


@dataclasses.dataclass
class Encoded:
    """A compressed picture: `data`, the bytes of the file, and what the encoder knows besides.

    `rung` is the place on the model's ladder of lambdas, as `loaded.Exported` takes it.
    """

    data: bytes = dataclasses.field(repr=False)
    rung: float
    _codec: "Codec" = dataclasses.field(repr=False)
    _picture: pictures.Picture = dataclasses.field(repr=False)
    _y_hat: Tensors = dataclasses.field(repr=False)

    def reconstruction(self, progress: Progress | None = None) -> pictures.Picture:
        """The `Picture` that decoding `data` gives; `progress` as in `Codec.encode`."""
        picture = self._picture
        shown = self._codec.synthesize(self._y_hat, self.rung, picture, picture.alpha, progress)
        return dataclasses.replace(shown, metadata=picture.metadata)

    def psnr(self, progress: Progress | None = None) -> float:
        """dB of the reconstruction, over pixels that are not wholly transparent."""
        picture = self._picture
        return metrics.psnr(picture.rgb, self.reconstruction(progress).rgb, picture.alpha)

    @functools.cached_property
    def estimated_bits(self) -> float:
        """Bits of the latents by the model's own densities: neither header nor tables."""
        return sum(self._codec.exported.estimate(self._picture.rgb, self.rung).values())


class Codec:
    """Compresses and decompresses with one exported model; has no state but the model.

    Pickles by that model's name, folder and fingerprint: the other process loads it from its disk.

    Args:
        info: its `ModelInfo`.
        runtime: what computes it, "tensorflow" or "litert"; None for what encodes here.
    Raises: ModelError if the export is incomplete, its runtime is not installed, or in a process
        that forked from one in which there was a codec; so do `encode` and `decode`.
    """

    def __init__(self, info: ModelInfo, runtime: str | None = None):
        check_process()
        self.info, self.ladder = info, info.ladder
        self.exported = loaded.Exported(info, runtime or runtimes.choose(info))

    def __reduce__(self):
        return _reopen, (self.name, self.info.path, self.info.fingerprint)

    @property
    def runtime(self) -> str:
        """What computes it, "tensorflow" or "litert"."""
        return self.exported.runtime

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def qualities(self) -> tuple[float, float] | None:
        """(lowest, highest) quality, or None for a model of one rate."""
        return self.info.qualities

    def encode(
        self,
        picture: pictures.PictureLike,
        quality: float | None = None,
        at_most: int | None = None,
        *,
        psnr: float | None = None,
        coder: str = "tfc",
        lanes: int | str = 1,
        progress: Progress | None = None,
        keep_metadata: bool = False,
    ) -> Encoded:
        """Compresses a picture; returns an `Encoded`.

        Args:
            picture: a `pictures.Picture`, or what `tfcodec.compress` takes.
            quality: from 1 to 8, fractions allowed; None for the model's default.
            at_most: bytes, instead of a quality: the best one whose file has no more.
            psnr: dB, instead of a quality: the smallest one whose reconstruction has no less, over
                pixels that are not wholly transparent.
            coder: "tfc" or "range-coder".
            lanes: streams, a power of two, or "serving": as many as let an unmodified TF Serving
                decode fast.
            progress: called after each tile of a large picture with tiles done and their number.
            keep_metadata: carry the picture's EXIF and XMP, up to 512 KiB.
        Raises: InputError for a quality that the model does not have, a coder that is none, or a
            size or PSNR that no file can have.
        """
        check_process()
        check_wishes(quality=quality, at_most=at_most, psnr=psnr)
        picture = pictures.as_picture(picture)
        if not keep_metadata:
            picture = dataclasses.replace(picture, metadata=None)
        encode = functools.partial(
            self._encode, picture, coder=coder, lanes=lanes, progress=progress
        )
        if at_most is None and psnr is None:
            return encode(quality)
        if self.ladder.single:
            wish = "size" if psnr is None else "PSNR"
            raise InputError(f"{self.name} has one rate; it takes no {wish}")
        if at_most is not None:
            return self._within(at_most, encode)
        return self._reaching(psnr, encode, progress)

    def _within(self, at_most, encode):
        best, encoded = best_within(  # 8 encodes at most
            at_most, self.ladder.steps(), encode, size=lambda encoded: len(encoded.data)
        )
        if best is None:
            raise InputError(
                f"the smallest possible file has {len(encoded.data)} bytes, more than {at_most}"
            )
        return encoded

    def _reaching(self, psnr, encode, progress):
        best, encoded = smallest_of_psnr(  # 8 encodes and decodes at most
            psnr, self.ladder.steps(), encode, lambda encoded: encoded.psnr(progress)
        )
        if best is None:
            raise InputError(
                f"the best possible file has {encoded.psnr(progress):.2f} dB, less than {psnr:g}"
            )
        return encoded

    def _encode(self, picture, quality, coder, lanes, progress):
        byte = self.ladder.byte(quality)
        rung = self.ladder.rung(byte)
        if coder not in CODER_NAMES:
            raise InputError(f"there is no coder {coder!r}; coders: {', '.join(CODER_NAMES)}")
        shapes = self.exported.shapes(picture.height, picture.width)
        symbols = sum(math.prod(shape) for shape in shapes)
        if lanes == "serving":
            lanes = serving_lanes(symbols)
        encoder = open_encoder(CODER_NAMES.index(coder), self.exported.tables, lanes, symbols)
        visitor = StepEncoder(self.exported.analysis(picture.rgb, rung, progress), encoder)
        y_hat = walk(self.exported, visitor)
        streams, escapes = encoder.finish()
        data = pack(
            Container(
                fingerprint=self.info.fingerprint,
                profile=self.info.config["profile"],
                quality=byte,
                height=picture.height,
                width=picture.width,
                gray=picture.gray,
                coder=CODER_NAMES.index(coder),
                streams=streams,
                escapes=escapes,
                alpha=None if picture.alpha is None else pictures.alpha_to_png(picture.alpha),
                checksum=symbols_checksum(visitor.symbols),
                metadata=pictures.metadata_to_bytes(picture.metadata),
            )
        )
        return Encoded(data, rung, self, picture, y_hat)

    def decode(
        self, container: Container, name: str = "input", progress: Progress | None = None
    ) -> pictures.Picture:
        """Decompresses an unpacked `Container` to a `Picture`; `progress` as in `encode`.

        Raises: ModelError for a file of another model, or whose symbols come out other than they
            went in; ContainerError for one whose parts do not fit together.
        """
        check_process()
        if container.fingerprint != self.info.fingerprint:
            raise ModelError(
                f"{name}: was written by the model with fingerprint {container.fingerprint.hex()}, "
                f"{self.name} has {self.info.fingerprint.hex()}"
            )
        if container.profile != self.info.config["profile"]:
            raise ModelError(
                f"{name}: needs arithmetic profile {container.profile}, "
                f"{self.name} has {self.info.config['profile']}"
            )
        height, width, alpha, metadata = container.height, container.width, None, None
        if container.alpha is not None:
            alpha = pictures.alpha_from_png(container.alpha, height, width, name)
        if container.metadata is not None:
            metadata = pictures.metadata_from_bytes(container.metadata, name)
        shapes = self.exported.shapes(height, width)
        decoder = open_decoder(
            container.coder,
            self.exported.tables,
            container.streams,
            container.escapes,
            name,
            sum(math.prod(shape) for shape in shapes),
        )
        visitor = StepDecoder(shapes, decoder)
        y_hat = walk(self.exported, visitor)
        decoder.finish()
        if symbols_checksum(visitor.symbols) != container.checksum:
            raise ModelError(
                f"{name}: the decoded symbols differ from the encoder's; the file is damaged, or "
                f"{self.name} computes otherwise here (another processor or TensorFlow)"
            )
        rung = self.ladder.rung(container.quality)
        picture = self.synthesize(y_hat, rung, container, alpha, progress)
        return dataclasses.replace(picture, metadata=metadata)

    def synthesize(
        self,
        y_hat: Tensors,
        rung: float,
        size: pictures.Picture | Container,
        alpha: np.ndarray | None,
        progress: Progress | None = None,
    ) -> pictures.Picture:
        """The `Picture` of decoded latents.

        Args: size: what has the picture's height and width, and says whether it is gray.
        """
        rgb = self.exported.synthesis(y_hat, rung, size.height, size.width, progress)
        if size.gray:
            # The three channels estimate one value; integers, so that every machine agrees.
            mean = (rgb.sum(axis=2, dtype=np.uint16) + 1) // 3
            rgb[:] = mean[..., None]
        return pictures.Picture(rgb=np.ascontiguousarray(rgb), gray=size.gray, alpha=alpha)


_process = None  # the one in which there is a codec


def check_process() -> None:
    """Raises ModelError in a process that forked from one in which there was a codec: the threads
    of its networks stay behind, and TensorFlow would wait for them for ever."""
    global _process
    if _process not in (None, os.getpid()):
        raise ModelError(
            "tfcodec was used before this process forked, and the threads of its networks stayed "
            'behind; start processes by multiprocessing.get_context("spawn"), or use tfcodec in '
            "them alone"
        )
    _process = os.getpid()


@functools.lru_cache(maxsize=4)
def _open(path, fingerprint, runtime):
    """The codec of those very weights: an export that was replaced meanwhile is loaded anew."""
    return Codec(installed.read_info(path), runtime)


def load(name_or_dir: str | os.PathLike | None = None, runtime: str | None = None) -> Codec:
    """The `Codec` of an installed model or of an export's folder, loaded once a process.

    Args: name_or_dir: None for the bundled default; runtime: as `Codec` takes it.
    Raises: ModelError if there is no such model; InputError for what can be no name.
    """
    if name_or_dir is not None and not isinstance(name_or_dir, (str, os.PathLike)):
        hint = "; a quality is given as quality=" if isinstance(name_or_dir, (int, float)) else ""
        received = f"{repr(name_or_dir):.40} ({type(name_or_dir).__name__})"
        raise InputError(f"a model is given by its name or folder, received {received}{hint}")
    return open_model(installed.find(name_or_dir), runtime)


def open_model(info: ModelInfo, runtime: str | None = None) -> Codec:
    """As `load`, of a `ModelInfo`."""
    return _open(info.path, info.fingerprint, runtime or runtimes.choose(info))


def open_decoder_of(info: ModelInfo) -> Codec:
    """As `open_model`, on the runtime that decodes here: LiteRT, where it can."""
    return open_model(info, runtimes.choose(info, decoding=True))


def _reopen(name, path, fingerprint):
    """The codec of another process: of that folder, or of whatever model has the same weights.

    Raises: ModelError if there is none here.
    """
    with contextlib.suppress(ModelError):
        info = installed.read_info(path)
        if info.fingerprint == fingerprint:
            return open_model(info)
    return open_model(installed.find_fingerprint(fingerprint, f"the codec {name}"))


def decode_file_bytes(
    data: bytes, name: str = "input", max_pixels: int | None = None
) -> pictures.Picture:
    """The `Picture` in a whole .tfcd file, by the installed model that wrote it.

    Args:
        data: the file's bytes.
        name: what to call it in an error.
        max_pixels: larger pictures are refused; None for `container.DEFAULT_MAX_PIXELS`.
    Raises: ContainerError, ModelError.
    """
    return decode_container(unpack(data, name, max_pixels), name)


def decode_container(container: Container, name: str = "input") -> pictures.Picture:
    """As `decode_file_bytes`, of what `container.unpack` made of them."""
    info = installed.find_fingerprint(container.fingerprint, name)
    return open_decoder_of(info).decode(container, name)
