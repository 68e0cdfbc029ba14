"""LiteRT against TensorFlow: the same latents, the pictures, and what a cold process takes.

    python benchmarks/lite.py photographs/*.png
    python benchmarks/lite.py examples/kodim23.png --processes --lite lite_venv/bin/python

The first codes each photograph at three qualities on both runtimes and decodes each file on both.
The second starts whole processes of the command line in turn: the environment of this process on
TensorFlow, and that of `--lite`, best one in which the package is installed alone, on LiteRT; wall
time is the median, memory the peak of what was resident.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from tfcodec import codec, pictures
from tfcodec.coding import container, open_decoder
from tfcodec.entropy.walk import StepDecoder, walk
from tfcodec.exports import installed
from tfcodec.exports.runtimes import LITERT, RUNTIME_VARIABLE, RUNTIMES, TENSORFLOW

# Runs a command line and says the peak of its process, in KiB on Linux.
PROCESS = """
import resource, sys
from tfcodec.commands.main import main
status = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""


def main():
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("images", nargs="+")
    flags.add_argument("--model", help="name or folder; default: the bundled one")
    flags.add_argument("--qualities", default="1,4.5,8")
    flags.add_argument("--processes", action="store_true")
    flags.add_argument("--lite", default=sys.executable, metavar="PYTHON")
    flags.add_argument("--times", type=int, default=7)
    args = flags.parse_args()
    if args.processes:
        return processes(args)
    compare(args)


def compare(args):
    codecs = {road: codec.Codec(installed.find(args.model), road) for road in RUNTIMES}
    for quality in map(float, args.qualities.split(",")):
        worst, differ, sizes, count = 0, [], [], 0
        for path in args.images:
            picture = pictures.read(path)
            files = {road: codecs[road].encode(picture, quality).data for road in RUNTIMES}
            sizes.append(len(files[LITERT]) / len(files[TENSORFLOW]))
            for writer, data in files.items():
                decoded = [decode(codecs[road], data) for road in RUNTIMES]
                np.testing.assert_array_equal(decoded[0][0], decoded[1][0], f"{path} {writer}")
                difference = np.abs(decoded[0][1].astype(int) - decoded[1][1])
                worst, count = max(worst, difference.max()), count + 1
                differ.append((difference > 0).mean())
        print(
            f"quality {quality:g}: {count} files, latents equal; pictures differ by {worst} at "
            f"most, in {np.mean(differ):.2g} of the samples; LiteRT's files are "
            f"{min(sizes):.4f} to {max(sizes):.4f} of TensorFlow's"
        )


def decode(model, data):
    """(latents, picture uint8 [H, W, 3]) of a file, whose checksum was right."""
    packed, exported = container.unpack(data), model.exported
    decoder = open_decoder(packed.coder, exported.tables, packed.streams, packed.escapes)
    visitor = StepDecoder(exported.shapes(packed.height, packed.width), decoder)
    y_hat = walk(exported, visitor)
    decoder.finish()
    assert container.symbols_checksum(visitor.symbols) == packed.checksum
    rung = model.ladder.rung(packed.quality)
    return np.asarray(y_hat), exported.synthesis(y_hat, rung, packed.height, packed.width)


def processes(args):
    image = os.path.abspath(args.images[0])
    pythons = {TENSORFLOW: sys.executable, LITERT: args.lite}
    with tempfile.TemporaryDirectory() as folder:
        file, shown = (os.path.join(folder, name) for name in ("k.tfcd", "k.png"))
        for words in (["encode", image, "-o", file], ["decode", file, "-o", shown]):
            words += ["--overwrite", *(["--model", args.model] if args.model else [])]
            seen = {road: [] for road in RUNTIMES}
            for _ in range(args.times + 1):  # the first proves the model, and is left out
                for road, python in pythons.items():
                    seen[road].append(run(python, road, words))
            results = {
                road: [statistics.median(each) for each in zip(*runs[1:], strict=True)]
                for road, runs in seen.items()
            }
            shares = [a / b for a, b in zip(results[LITERT], results[TENSORFLOW], strict=True)]
            for road, (seconds, megabytes) in results.items():
                print(f"{words[0]} on {road}: {seconds:.2f} s, {megabytes:.0f} MB")
            print(
                f"{words[0]}: LiteRT takes {shares[0]:.2f} of the time, {shares[1]:.2f} of memory"
            )


def run(python, road, words):
    """(seconds, MB at the peak) of a process."""
    start = time.perf_counter()
    done = subprocess.run(
        [python, "-c", PROCESS, *words],
        env={**os.environ, RUNTIME_VARIABLE: road},
        capture_output=True,
        text=True,
        cwd=pathlib.Path(__file__).parent.parent,
    )
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    return seconds, int(done.stderr.split()[-1]) * 1024 / 1e6


if __name__ == "__main__":
    sys.exit(main())
