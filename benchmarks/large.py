"""Peak memory and seconds per megapixel of large pictures, encode and decode, each in a process.

    python benchmarks/large.py examples/kodim23.png

The pictures are the photograph, mirrored side by side until they are large enough. A process reads
the picture, codes it and writes the file, as the command line does; its peak is all that was ever
resident, TensorFlow, picture and all. The seconds are those of coding alone. "first" is the first
picture of that size, after a tiny one that loads the libraries: it pays for memory that the process
has never touched. "again" is the second (of the smallest size, which is short, the median of six
more). CPU seconds are those of all threads, of "again".
With `--untiled` the tiled result is compared with the untiled one instead, on 2000x1500 pixels.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

SIZES = ((768, 512), (3000, 2000), (6000, 4000), (10000, 10000))


def main():
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("image")
    flags.add_argument("--model", help="name or folder; default: the bundled one")
    flags.add_argument("--quality", type=float)
    flags.add_argument("--largest", type=float, default=100, help="megapixels to go up to")
    flags.add_argument("--untiled", action="store_true")
    flags.add_argument("--process", nargs=3, help=argparse.SUPPRESS)  # encode or decode, from, to
    args = flags.parse_args()
    if args.process:
        return process(args, *args.process)
    if args.untiled:
        return compare(args)

    from PIL import Image

    columns = "  first s/MP  again  CPU s/MP  peak MB"
    print(f"picture        MP   file MB  encode:{columns}  decode:{columns}")
    with tempfile.TemporaryDirectory() as folder:
        picture, file, back = (os.path.join(folder, n) for n in ("p.png", "p.tfcd", "back.png"))
        for width, height in SIZES:
            megapixels = width * height / 1e6
            if megapixels > args.largest:
                break
            rgb = mosaic(args.image, height, width)
            Image.fromarray(rgb).save(picture, compress_level=1)
            del rgb
            line = f"{width}x{height}".ljust(11) + f"{megapixels:6.1f}"
            columns = []
            for task, source, target in (("encode", picture, file), ("decode", file, back)):
                command = [sys.executable, __file__, args.image, "--process", task, source, target]
                command += ["--model", args.model] if args.model else []
                command += ["--quality", str(args.quality)] if args.quality else []
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
                found = json.loads(done.stdout.splitlines()[-1])
                first, again, cpu = (found[k] / megapixels for k in ("first", "again", "cpu"))
                columns.append(f"{first:19.3f} {again:6.3f} {cpu:9.3f} {found['peak']:8.0f}")
            size = os.path.getsize(file) / 1e6
            print(f"{line} {size:8.2f}  {columns[0]}  {columns[1]}", flush=True)


def mosaic(path, height, width):
    """uint8 [height, width, 3]: the photograph and its mirror images, without seams."""
    from tfcodec.pictures import read

    rgb = read(path).rgb
    rgb = np.concatenate([rgb, rgb[:, ::-1]], axis=1)
    rgb = np.concatenate([rgb, rgb[::-1]], axis=0)
    repeats = [-(-side // have) for side, have in zip((height, width), rgb.shape, strict=False)]
    return np.ascontiguousarray(np.tile(rgb, (*repeats, 1))[:height, :width])


def process(args, task, source, target):
    """One task; the last line that it prints is its seconds and its peak of memory in MB, JSON."""
    import tfcodec
    from tfcodec.coding import container
    from tfcodec.pictures import from_array, read
    from tfcodec.pictures import write as pictures_write

    codec = tfcodec.load(args.model)
    small = from_array(np.zeros([64, 64, 3], np.uint8))
    codec.decode(container.unpack(codec.encode(small, args.quality).data))
    times, cpu = [], []

    def timed(function):
        start, used = time.perf_counter(), time.process_time()
        result = function()
        times.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
        return result

    if task == "encode":
        picture = read(source)
        short = picture.height * picture.width < 1e6
        for _ in range(7 if short else 2):
            data = timed(lambda: codec.encode(picture, args.quality).data)
        pathlib.Path(target).write_bytes(data)
    else:
        packed = container.unpack(pathlib.Path(source).read_bytes())
        short = packed.height * packed.width < 1e6
        for _ in range(7 if short else 2):
            picture = timed(lambda: codec.decode(packed))
        pictures_write(target, picture)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    again, used = statistics.median(times[1:]), statistics.median(cpu[1:])
    print(json.dumps({"first": times[0], "again": again, "cpu": used, "peak": peak}))


def compare(args):
    """What tiles change, before and after rounding."""
    import tfcodec
    from tfcodec.entropy.walk import StepEncoder, walk
    from tfcodec.exports import tiles
    from tfcodec.pictures import from_array

    codec = tfcodec.load(args.model)
    exported = codec.exported
    pictures = {
        "enlarged": np.asarray(_enlarged(args.image, 2000, 1500)),
        "mosaic": mosaic(args.image, 1500, 2000),
    }

    def coded(rgb, rung, pixels):
        tiles.ACTIVATION_BYTES = pixels * exported.tiling["bytes_per_pixel"]
        latents = exported.analysis(rgb, rung)
        visitor = StepEncoder(latents, _Nowhere())
        y_hat = walk(exported, visitor)
        return latents, visitor.symbols, y_hat

    class _Nowhere:
        def write(self, indexes, symbols):
            pass

    for name, rgb in pictures.items():
        for quality in (1, 4, 8) if codec.qualities else (None,):
            data = codec.encode(from_array(rgb), quality)
            latents, symbols, y_hat = coded(rgb, data.rung, 2**40)
            whole = exported.synthesis(y_hat, data.rung, *rgb.shape[:2])
            for pixels in (2**18, 2**20, 2**21):
                ours = coded(rgb, data.rung, pixels)
                shown = exported.synthesis(y_hat, data.rung, *rgb.shape[:2])
                count = len(exported._grid(*exported.padded(*rgb.shape[:2]), "analysis"))
                error = max(np.abs(a - b).max() for a, b in zip(latents, ours[0], strict=True))
                wrong = sum(np.sum(a != b) for a, b in zip(symbols, ours[1], strict=True))
                levels = np.abs(whole.astype(int) - shown)
                print(
                    f"{name}, quality {quality}, {count} tiles: latents differ by at most "
                    f"{error:.2g}, {wrong} of {sum(s.size for s in symbols)} symbols and "
                    f"{np.count_nonzero(levels)} of {levels.size} samples of the picture (by at "
                    f"most {levels.max()}) after rounding",
                    flush=True,
                )


def _enlarged(path, width, height):
    from PIL import Image

    return Image.open(path).convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
