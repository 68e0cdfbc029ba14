"""Pictures to bytes and back: the one place where networks meet the coder."""

import dataclasses
import functools
import math
import os

import numpy as np

from tfcodec import export, images, quiet
from tfcodec.coding import container as box
from tfcodec.coding import open_decoder, open_encoder, serving_lanes
from tfcodec.entropy.slices import SliceDecoder, SliceEncoder, walk
from tfcodec.errors import InputError, ModelError


@dataclasses.dataclass
class Encoded:
    """A compressed picture: `data`, the bytes of the file, and what the encoder knows besides.

    `rung` is the place on the model's ladder of lambdas, as `export.Exported` takes it.
    """

    data: bytes
    rung: float
    _codec: "Codec"
    _picture: images.Picture
    _y_hat: object

    def reconstruction(self):
        """The `Picture` that decoding `data` gives."""
        return self._codec.synthesize(
            self._y_hat,
            self.rung,
            self._picture.height,
            self._picture.width,
            self._picture.gray,
            self._picture.alpha,
        )

    @functools.cached_property
    def estimated_bits(self):
        """Bits of the latents by the model's own densities: neither header nor tables."""
        return sum(self._codec.exported.estimate(self._picture.rgb, self.rung).values())


class Codec:
    """Compresses and decompresses with one exported model.

    Args: info: its `export.ModelInfo`.
    Raises: ModelError if the export is incomplete, or in a process that forked from one in which
        there was a codec; so do `encode` and `decode`.
    """

    def __init__(self, info):
        check_process()
        quiet.import_tensorflow()
        self.info = info
        self.exported = export.Exported(info)

    @property
    def name(self):
        return self.info.name

    @property
    def on_tile(self):
        """Called, if set, after each tile of a large picture, with tiles done and their number."""
        return self.exported.on_tile

    @on_tile.setter
    def on_tile(self, function):
        self.exported.on_tile = function

    @property
    def qualities(self):
        """(lowest, highest) quality, or None for a model of one rate."""
        return self.info.qualities

    def encode(self, picture, quality=None, coder="tfc", lanes=1):
        """Compresses an `images.Picture`; returns an `Encoded`.

        Args:
            quality: from 1 (smallest) to 8, rounded to 1/32; None for the model's default.
            coder: "tfc" or "range-coder".
            lanes: streams, a power of two, or "serving": as many as let an unmodified TF Serving
                decode fast.
        Raises: InputError for a quality that the model does not have, or a coder that is none.
        """
        check_process()
        byte = self._quality_byte(quality)
        rung = self.rung(byte)
        if coder not in box.CODER_NAMES:
            raise InputError(f"there is no coder {coder!r}; coders: {', '.join(box.CODER_NAMES)}")
        shapes = self.exported.shapes(picture.height, picture.width)
        symbols = sum(math.prod(shape) for shape in shapes)
        if lanes == "serving":
            lanes = serving_lanes(symbols)
        encoder = open_encoder(box.CODER_NAMES.index(coder), self.exported.tables, lanes, symbols)
        visitor = SliceEncoder(self.exported.analysis(picture.rgb, rung), encoder)
        y_hat = walk(self.exported, visitor)
        streams, escapes = encoder.finish()
        data = box.pack(
            box.Container(
                fingerprint=self.info.fingerprint,
                profile=self.info.config["profile"],
                quality=byte,
                height=picture.height,
                width=picture.width,
                gray=picture.gray,
                coder=box.CODER_NAMES.index(coder),
                streams=streams,
                escapes=escapes,
                alpha=None if picture.alpha is None else images.alpha_to_png(picture.alpha),
                checksum=box.symbols_checksum(visitor.symbols),
            )
        )
        return Encoded(data, rung, self, picture, y_hat)

    def decode(self, container, name="input"):
        """Decompresses an unpacked `Container` to a `Picture`.

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
        height, width, alpha = container.height, container.width, None
        if container.alpha is not None:
            alpha = images.alpha_from_png(container.alpha, height, width, name)
        shapes = self.exported.shapes(height, width)
        decoder = open_decoder(
            container.coder,
            self.exported.tables,
            container.streams,
            container.escapes,
            name,
            sum(math.prod(shape) for shape in shapes),
        )
        visitor = SliceDecoder(shapes, decoder)
        y_hat = walk(self.exported, visitor)
        decoder.finish()
        if box.symbols_checksum(visitor.symbols) != container.checksum:
            raise ModelError(
                f"{name}: the decoded symbols differ from the encoder's; the file is damaged, or "
                f"{self.name} computes otherwise here (another processor or TensorFlow)"
            )
        rung = self.rung(container.quality)
        return self.synthesize(y_hat, rung, height, width, container.gray, alpha)

    def synthesize(self, y_hat, rung, height, width, gray, alpha):
        """The `Picture` of decoded latents."""
        rgb = self.exported.synthesis(y_hat, rung, height, width)
        if gray:
            # The three channels estimate one value; integers, so that every machine agrees.
            mean = (rgb.sum(axis=2, dtype=np.uint16) + 1) // 3
            rgb[:] = mean[..., None]
        return images.Picture(rgb=np.ascontiguousarray(rgb), gray=gray, alpha=alpha)

    def _quality_byte(self, quality):
        if self.qualities is None:
            if quality is not None:
                raise InputError(f"{self.name} has one rate; it takes no quality")
            return 0
        if quality is None:
            quality = self.info.config["default_quality"]
        lowest, highest = self.qualities
        if not lowest <= quality <= highest:
            raise InputError(f"quality is from {lowest} to {highest}, not {quality:g}")
        return round((quality - 1) * box.QUALITY_STEPS)

    def rung(self, byte):
        """Place on the ladder of lambdas for a file's quality byte; beyond its end, the end."""
        if self.qualities is None:
            return 0.0
        rungs = len(self.info.config["lambdas"]) - 1
        share = byte / box.QUALITY_STEPS / (self.qualities[1] - self.qualities[0])
        return min(share, 1.0) * rungs


_process = None  # the one in which there is a codec


def check_process():
    """Raises ModelError in a process that forked from one in which there was a codec: the threads
    of TensorFlow stay behind, and it would wait for them for ever."""
    global _process
    if _process not in (None, os.getpid()):
        raise ModelError(
            "tfcodec was used before this process forked, and TensorFlow hangs after a fork; start "
            'processes by multiprocessing.get_context("spawn"), or use tfcodec in them alone'
        )
    _process = os.getpid()


@functools.lru_cache(maxsize=4)
def _open(path):
    return Codec(export.read_info(path))


def load(name_or_dir=None):
    """The `Codec` of an installed model or of an export's folder, loaded once a process.

    Args: name_or_dir: None for the bundled default.
    Raises: ModelError if there is no such model.
    """
    return _open(export.find(name_or_dir).path)


def decode_file_bytes(data, name="input", max_pixels=None):
    """The `Picture` in a whole .tfcd file, by the installed model that wrote it.

    Args:
        data: the file's bytes.
        name: what to call it in an error.
        max_pixels: larger pictures are refused; None for `container.DEFAULT_MAX_PIXELS`.
    Raises: ContainerError, ModelError.
    """
    container = box.unpack(data, name, max_pixels)
    return _open(export.find_fingerprint(container.fingerprint, name).path).decode(container, name)
