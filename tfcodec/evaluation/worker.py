"""One half of one codec in a process of its own, for `tfcodec evaluate`.

    python -m tfcodec.evaluation.worker encode model saved_models/quad-base
    python -m tfcodec.evaluation.worker decode pillow jpeg

Requests come as lines of JSON on stdin, answers go as lines of JSON to stdout. Encoder and decoder
never share a process: so the peak memory is that of the one or the other, and what the decoder
shows can owe nothing to the encoder but the file.
"""

import io
import json
import os
import pathlib
import resource
import sys
import time

import numpy as np
from PIL import Image

from tfcodec import pictures
from tfcodec.errors import InputError, ModelError, TfcodecError
from tfcodec.evaluation.contenders import PILLOW, pixels_checksum, read
from tfcodec.quality import best_within


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
    (data, rest), figures = codec.measure(lambda: codec.encode(picture, quality))
    pathlib.Path(request["output"]).write_bytes(data)
    return {"quality": quality, "bytes": len(data), **figures, **codec.describe(rest)}


def _decode(codec, request: dict) -> dict:
    """Decodes the file `input` to uint8 [H, W, 3] in the .npy file `output`."""
    data = pathlib.Path(request["input"]).read_bytes()
    rgb, figures = codec.measure(lambda: codec.decode(data, request))
    np.save(request["output"], rgb)
    return figures


class _Codec:
    """Abstract: `encode` and `decode`; this class measures them."""

    qualities = None  # ascending, all that a file can have; None for one rate

    def __init__(self):
        self._warm = False

    def measure(self, work):
        """(what `work` returns, its seconds and its peak memory)."""
        if not self._warm:  # the first call also loads and builds what later ones use
            work()
            self._warm = True
        _reset_peak()
        start = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - start
        return result, {"seconds": seconds, "peak_mib": _peak_mib()}

    def describe(self, encoded) -> dict:
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

    def describe(self, encoded):
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
