"""Pictures a second of `tfcodec beam` with worker processes beside one process of `tfcodec encode`.

    python benchmarks/beam.py photos/ --count 2000

The pictures are crops of those in a folder, drawn with a seed; both commands take turns over the
same ones, --rounds times, start of the interpreter and of TensorFlow included, and the medians are
compared. The seconds of a picture are those of the work alone, from the manifest; the memory is the
peak of what was ever resident in each worker process.
"""

import argparse
import glob
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]


def main():
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("folder", help="of pictures, any depth")
    flags.add_argument("--count", type=int, default=2000)
    flags.add_argument("--side", type=int, nargs=2, default=(384, 512), help="height and width")
    flags.add_argument("--workers", type=int, default=2)
    flags.add_argument("--threads", type=int, help="of a worker; default: the command's")
    flags.add_argument("--rounds", type=int, default=1)
    flags.add_argument("--model", default="quad-base")
    args = flags.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        draw(args, folder / "crops")
        walls = {"encode": [], "beam": []}
        for turn in range(args.rounds):
            one, many = folder / f"one{turn}", folder / f"many{turn}"
            model = ["--model", args.model]
            wall, cpu, _ = timed(["encode", folder / "crops", "--output_dir", one, *model])
            walls["encode"].append(wall)
            print(f"encode: {wall:.1f} s, {cpu:.1f} s of CPU", flush=True)
            words = ["beam", "compress", "--input", folder / "crops", "--output", many, *model]
            words += ["--direct_num_workers", args.workers]
            words += ["--direct_running_mode", "multi_processing"]
            words += ["--threads", args.threads] if args.threads else []
            wall, cpu, peaks = timed(words)
            walls["beam"].append(wall)
            memory = ", ".join(f"{peak:.0f} MB" for peak in peaks.values())
            print(
                f"beam, {args.workers} workers: {wall:.1f} s, {cpu:.1f} s of CPU, peaks {memory}; "
                f"{same(one, many)} of {args.count} files equal",
                flush=True,
            )
            report(args, walls, many)


def draw(args, folder):
    """Crops of that size, of pictures that are large enough."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = sorted(glob.glob(os.path.join(args.folder, "**", "*.*"), recursive=True))
    height, width = args.side
    for k in range(args.count):
        while True:
            with Image.open(paths[rng.integers(len(paths))]) as image:
                if image.height < height or image.width < width:
                    continue
                x, y = (
                    rng.integers(image.width - width + 1),
                    rng.integers(image.height - height + 1),
                )
                crop = image.convert("RGB").crop((x, y, x + width, y + height))
            crop.save(folder / f"{k:06d}.png", compress_level=1)
            break


def timed(words):
    """(seconds, those of CPU, {process: peak of MB}) of a command and its worker processes."""
    command = [sys.executable, str(ROOT / "encode_decode.py"), *map(str, words)]
    start, used, peaks = time.perf_counter(), cpu_of_children(), {}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None:
        peaks |= workers_of(process.pid)
        time.sleep(0.25)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
    return time.perf_counter() - start, cpu_of_children() - used, peaks


def cpu_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def workers_of(session):
    """{process: peak of MB so far} of Beam's workers in a session."""
    found = {}
    for path in glob.glob("/proc/[0-9]*"):
        try:
            stat = pathlib.Path(path, "stat").read_text().rpartition(")")[2].split()
            words = pathlib.Path(path, "cmdline").read_bytes().split(b"\0")
            if int(stat[3]) == session and b"-m" in words and b"sh" not in words[0][-4:]:
                status = pathlib.Path(path, "status").read_text()
                found[path] = int(status.partition("VmHWM:")[2].split()[0]) / 1000
        except (OSError, ValueError, IndexError):
            continue  # it has ended
    return found


def same(one, many):
    """How many files of the two folders are equal."""
    return sum(path.read_bytes() == (many / path.name).read_bytes() for path in one.glob("*.tfcd"))


def report(args, walls, output):
    text = next((output / "manifest").glob("compress-*-of-*.jsonl")).read_text()
    work = [json.loads(line)["seconds"] for line in text.splitlines()]
    one, many = (statistics.median(walls[name]) for name in ("encode", "beam"))
    height, width = args.side
    print(
        f"{args.count} pictures of {width}x{height}, {args.model}: {one / many:.2f} times as fast; "
        f"median {statistics.median(work):.3f} s of work a picture",
        flush=True,
    )


if __name__ == "__main__":
    main()
