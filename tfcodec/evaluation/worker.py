"""One half of one codec in a process of its own, for `tfcodec evaluate`.

    python -m tfcodec.worker encode model saved_models/ms2020-compact
    python -m tfcodec.worker decode pillow jpeg

Requests come as lines of JSON on stdin, answers go as lines of JSON to stdout. Encoder and decoder
never share a process: so the peak memory is that of the one or the other, and what the decoder
shows can owe nothing to the encoder but the file.
"""

import dataclasses
import importlib
import io
import json
import os
import pathlib
import resource
import sys
import time
import zlib

import numpy as np
import PIL
from PIL import Image, features

from tfcodec import pictures
from tfcodec.errors import InputError, ModelError, TfcodecError
from tfcodec.quality import best_within


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
        """What the bytes hang on: Pillow, the library below it, and the settings."""
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


def main(argv: list[str]) -> int:
    side, kind, name = argv
    # Libraries that print shall not disturb the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    codec = _ModelCodec(name) if kind == "model" else _PillowCodec(PILLOW[name])
    work = {"encode": _encode, "decode": _decode}[side]
    for line in sys.stdin:
        try:
            answer = work(codec, json.loads(line))
        except TfcodecError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), file=answers, flush=True)
    return 0


def _encode(codec, request: dict) -> dict:
    """Writes the file `output` of `picture` at `quality`, or of at most `at_most` bytes."""
    picture = read(request["picture"], request["max_pixels"])
    quality = request["quality"]
    if request["at_most"] is not None and codec.qualities:
        limit = request["at_most"]
        found, _ = best_within(limit, codec.qualities, lambda q: codec.encode(picture, q)[0])
        quality = codec.qualities[0] if found is None else found
    (data, rest), figures = codec.measured(lambda: codec.encode(picture, quality))
    pathlib.Path(request["output"]).write_bytes(data)
    return {"quality": quality, "bytes": len(data), **figures, **codec.promises(rest)}


def _decode(codec, request: dict) -> dict:
    """Decodes the file `input` to uint8 [H, W, 3] in the .npy file `output`."""
    data = pathlib.Path(request["input"]).read_bytes()
    rgb, figures = codec.measured(lambda: codec.decode(data, request))
    np.save(request["output"], rgb)
    return figures


def read(path: str, max_pixels: int) -> pictures.Picture:
    """A picture as it is compared: without alpha, which only some of the codecs keep."""
    return dataclasses.replace(pictures.read(path, max_pixels), alpha=None)


def pixels_checksum(rgb: np.ndarray) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(rgb)):08x}"


class _Codec:
    """Abstract: `encode` and `decode`; this class measures them."""

    qualities = None  # ascending, all that a file can have; None for one rate

    def __init__(self):
        self._warm = False

    def measured(self, work):
        """(what `work` returns, its seconds and its peak memory)."""
        if not self._warm:  # the first call also loads and builds what later ones use
            work()
            self._warm = True
        _reset_peak()
        start = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - start
        return result, {"seconds": seconds, "peak_mib": _peak_mib()}

    def promises(self, encoded) -> dict:
        """What the encoder says of the file, to be compared with what the decoder shows."""
        return {"estimated_bytes": None, "shows": None}


class _ModelCodec(_Codec):
    def __init__(self, path):
        super().__init__()
        from tfcodec import codec

        self._codec = codec.load(path)
        self.qualities = None if self._codec.ladder.single else self._codec.ladder.steps()

    def encode(self, picture, quality):
        encoded = self._codec.encode(picture, quality)
        return encoded.data, encoded

    def decode(self, data, request):
        from tfcodec.coding import container

        name = request["input"]
        return self._codec.decode(container.unpack(data, name, request["max_pixels"]), name).rgb

    def promises(self, encoded):
        return {
            "estimated_bytes": encoded.estimated_bits / 8,
            "shows": pixels_checksum(encoded.reconstruction().rgb),
        }


class _PillowCodec(_Codec):
    def __init__(self, kind):
        super().__init__()
        if not kind.available():
            raise SystemExit(f"this Pillow does not write {kind.title}")
        self._kind, self.qualities = kind, kind.qualities

    def encode(self, picture, quality):
        buffer, kind = io.BytesIO(), self._kind
        try:
            Image.fromarray(pictures.to_array(picture)).save(
                buffer, kind.format, quality=quality, **kind.options
            )
        except (OSError, ValueError) as error:
            raise InputError(f"{kind.title} cannot hold the picture ({error})") from error
        return buffer.getvalue(), None

    def decode(self, data, request):
        try:
            with Image.open(io.BytesIO(data), formats=[self._kind.format]) as image:
                return np.asarray(image.convert("RGB"))
        except OSError as error:
            raise ModelError(f"{request['input']}: cannot be decoded ({error})") from error


def _reset_peak() -> None:
    """Starts a new peak of this process's memory, where the kernel can (Linux)."""
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # the peak is then that of the process so far


def _peak_mib() -> float:
    """Largest resident memory of this process since `_reset_peak`, in MiB, libraries included."""
    try:
        status = pathlib.Path("/proc/self/status").read_text()
        kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
        return int(kib) / 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 1024


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main(sys.argv[1:]))
