"""Who takes part: installed models, and the formats that Pillow writes, with careful settings."""

import dataclasses
import importlib
import zlib
from collections.abc import Iterable

import numpy as np
import PIL
from PIL import Image, features

from tfcodec import pictures
from tfcodec.errors import InputError
from tfcodec.exports import installed


@dataclasses.dataclass(frozen=True)
class PillowFormat:
    """A format of Pillow, with the settings that a careful user would choose.

    `ladder`: qualities over the range that photographs use. `library`: its name in PIL.features.
    `plugin`: module that adds the format to Pillow, where Pillow itself has none.
    """

    title: str
    format: str
    suffix: str
    ladder: tuple[int, ...]
    options: dict
    library: str | None = None
    plugin: str | None = None
    qualities: range = range(1, 101)

    def available(self) -> bool:
        """Whether this Pillow writes the format; loads its plugin."""
        if self.plugin:
            try:
                importlib.import_module(self.plugin)
            except ImportError:
                return False
        Image.init()
        return self.format in Image.SAVE

    def version(self) -> str:
        """What the bytes depend on: Pillow, the library below it, and the settings."""
        library = self.library and f"{self.library} {features.version(self.library)}"
        settings = " ".join(f"{key}={value}" for key, value in self.options.items())
        return ", ".join(filter(None, [f"Pillow {PIL.__version__}", library, settings]))


PILLOW = {
    "jpeg": PillowFormat(
        "JPEG",
        "JPEG",
        ".jpg",
        (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95),
        {"optimize": True, "subsampling": "4:2:0"},
        library="libjpeg_turbo",
        qualities=range(1, 96),  # beyond 95 Pillow advises against
    ),
    "webp": PillowFormat(
        "WebP",
        "WEBP",
        ".webp",
        (0, 5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95),
        {"method": 6},
        library="webp",
        qualities=range(0, 101),
    ),
    "avif": PillowFormat(
        "AVIF",
        "AVIF",
        ".avif",
        (10, 20, 30, 40, 50, 60, 70, 80, 90),
        {"speed": 6, "subsampling": "4:2:0"},
        library="avif",
        qualities=range(0, 101),
    ),
    "jxl": PillowFormat(
        "JPEG XL",
        "JXL",
        ".jxl",
        (10, 20, 30, 40, 50, 60, 70, 80, 90, 95),
        {"effort": 7},
        plugin="pillow_jxl",
        qualities=range(1, 100),  # 100 is lossless
    ),
}


def read(path: str, max_pixels: int) -> pictures.Picture:
    """A picture as it is compared: without alpha, which only some of the codecs keep."""
    return dataclasses.replace(pictures.read(path, max_pixels), alpha=None)


def pixels_checksum(rgb: np.ndarray) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(rgb)):08x}"


DEFAULT_QUALITIES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Contender:
    """A codec of the run. `argument`: folder of the export, or key of `PILLOW`."""

    name: str
    title: str
    kind: str
    argument: str
    version: str
    suffix: str
    ladder: tuple[float | None, ...]
    info: installed.ModelInfo | None = None


def model(info: installed.ModelInfo, qualities: Iterable[float] = DEFAULT_QUALITIES) -> Contender:
    """An installed model at those qualities; one of a single rate has but that."""
    ladder = (None,)
    if info.qualities:
        low, high = info.qualities
        ladder = tuple(sorted(set(qualities)))
        wrong = [q for q in ladder if not low <= q <= high]
        if wrong:
            raise InputError(f"{info.name} has qualities {low:g} to {high:g}, not {wrong[0]:g}")
    version = info.fingerprint.hex()
    return Contender(info.name, info.name, "model", info.path, version, ".tfcd", ladder, info)


def pillow(name: str) -> Contender | None:
    """One of `PILLOW` on its ladder; None if the Pillow at hand does not write it."""
    kind = PILLOW[name]
    if not kind.available():
        return None
    return Contender(name, kind.title, "pillow", name, kind.version(), kind.suffix, kind.ladder)
