"""Seconds of a model: encode and decode warm, by part, and cold on the command line.

    python benchmarks/speed.py examples/kodim23.png --runs 9
    python benchmarks/speed.py examples/kodim23.png --untrained octave-n256 --runs 3

Parts: the transforms (analysis, synthesis), the networks that give the priors' parameters (step,
finish), and the coding of the symbols under them. What a total holds beside them is the container.
An untrained model is started at crops of the picture, so that its latents have a spread.

Cold encodes and decodes are whole processes, paired with `python -c "import tensorflow"` in the
same run: machines differ and wander, so read the ratio. The first decode finds no cache and proves
a frozen model; the others remember that this machine has proven it.
"""

import argparse
import contextlib
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
ROOT = pathlib.Path(__file__).parent.parent


def main():
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("image")
    flags.add_argument("--model", help="name or folder; default: the bundled one")
    flags.add_argument("--untrained", metavar="MODEL-PRESET", help="random weights instead")
    flags.add_argument("--quality", type=float)
    flags.add_argument("--runs", type=int, default=9)
    args = flags.parse_args()

    import tfcodec
    from tfcodec import pictures

    picture = pictures.read(args.image)
    if args.untrained:
        with tempfile.TemporaryDirectory() as folder:
            codec = tfcodec.load(_untrained(args.untrained, picture, os.path.join(folder, "model")))
            _measure(args, codec, picture)
        return
    codec = tfcodec.load(args.model)
    _cold(args, _measure(args, codec, picture))


def _untrained(name, picture, directory):
    """Folder of the export of a preset with random weights, started at crops of the picture."""
    import keras
    import numpy as np

    from tfcodec import models
    from tfcodec.exports import write

    keras.utils.set_random_seed(0)
    model_name, preset = name.split("-", 1)
    config = models.config(model_name, preset)
    model = models.build_with_weights(model_name, config)
    side, rng = 2 * model.stride, np.random.default_rng(0)
    corners = rng.integers(0, np.array(picture.rgb.shape[:2]) - side, [16, 2])
    crops = [picture.rgb[top : top + side, left : left + side] for top, left in corners]
    model.prepare(np.float32(crops) / 255)
    return write.write(model, directory, model_name, preset, config).path


def _measure(args, codec, picture):
    """Prints seconds by part, warm; returns the file's bytes."""
    from tfcodec.coding import container
    from tfcodec.entropy import walk as slices

    data = codec.encode(picture, args.quality).data
    codec.decode(container.unpack(data))
    size = f"{picture.width}x{picture.height}"
    print(f"{codec.name}, {size}, {len(data)} bytes, median of {args.runs} (minimum)")

    exported, parts = codec.exported, {}

    @contextlib.contextmanager
    def timed(name):
        start = time.perf_counter()
        yield
        parts.setdefault(name, []).append(time.perf_counter() - start)

    def watched(name, function):
        def call(*arguments):
            with timed(name):
                return function(*arguments)

        return call

    for name in ("analysis", "step", "finish", "synthesis"):
        setattr(exported, name, watched(name, getattr(exported, name)))
    for visitor in (slices.StepEncoder, slices.StepDecoder):
        visitor.__call__ = watched("coding", visitor.__call__)
    for _ in range(args.runs):
        with timed("encode"):
            codec.encode(picture, args.quality)
    _table("encode", parts, args.runs)
    parts.clear()
    for _ in range(args.runs):
        with timed("decode"):
            codec.decode(container.unpack(data))
    _table("decode", parts, args.runs)
    return data


def _cold(args, data):
    """Prints seconds of whole processes, and how many times those of `import tensorflow`."""
    with tempfile.TemporaryDirectory() as folder:
        file, target = os.path.join(folder, "k.tfcd"), os.path.join(folder, "k.png")
        pathlib.Path(file).write_bytes(data)
        script = [sys.executable, str(ROOT / "encode_decode.py")]
        decode = [*script, "decode", file, "-o", target, "--overwrite"]
        encode = [
            *script,
            "encode",
            args.image,
            "-o",
            os.path.join(folder, "e.tfcd"),
            "--overwrite",
        ]
        encode += ["--model", args.model] if args.model else []
        cache, none = os.path.join(folder, "cache"), ""
        commands = {
            "import tensorflow": ([sys.executable, "-c", "import tensorflow"], none),
            "first decode": (decode, none),
            "cold decode": (decode, cache),
            "cold encode": (encode, cache),
        }
        times = {name: [] for name in commands}
        _seconds(decode, cache)  # proves
        for _ in range(max(3, args.runs // 2)):
            for name, command in commands.items():
                times[name].append(_seconds(*command))
        plain = times["import tensorflow"]
        for name, values in times.items():
            ratio = statistics.median(b / a for a, b in zip(plain, values, strict=True))
            seconds = f"{statistics.median(values):6.2f} s ({min(values):.2f})"
            print(f"  {name:18} {seconds}  {ratio:.2f} times import tensorflow")


def _seconds(command, cache):
    """Of a process, with that folder as tfcodec's cache."""
    start = time.perf_counter()
    environment = {**os.environ, "TFCODEC_CACHE": cache}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def _table(total, parts, runs):
    for name, values in parts.items():
        # A part is called once or several times a run: sum them up by run.
        calls = len(values) // runs
        sums = [sum(values[k * calls : (k + 1) * calls]) for k in range(runs)]
        label = name if name == total else f"  {name}"
        print(f"  {label:18} {statistics.median(sums):6.3f} s ({min(sums):.3f})")


if __name__ == "__main__":
    main()
