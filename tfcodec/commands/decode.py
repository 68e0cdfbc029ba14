"""`.tfcd` files to pictures: `tfcodec decode k.tfcd -o k.png`."""

import argparse
import time

from tfcodec import pictures
from tfcodec.coding import container
from tfcodec.coding.format import (
    MAGIC,
    MAX_BYTES_PER_PIXEL,
    SPARE_BYTES,
)
from tfcodec.commands.arguments import add_command, add_files, plan, ready
from tfcodec.commands.console import Console, Job, load_codec, result_line
from tfcodec.errors import ContainerError, InputError
from tfcodec.exports import installed


def add(commands) -> None:
    parser = add_command(commands, "decode", run, "Decompress .tfcd files to pictures.")
    add_files(parser, ".tfcd files", "STEM.png; with -o the suffix chooses the format")


def run(arguments: argparse.Namespace) -> int:
    jobs = plan(arguments, ".png", lambda source, out: Job(source, picture=out))
    console = Console(len(jobs))

    def work(job: Job) -> str:
        data = read_file(job.source, arguments.max_pixels)
        packed = container.unpack(data, job.source, arguments.max_pixels)
        pictures.check_format(job.picture, alpha=packed.alpha is not None)
        info = installed.find_fingerprint(packed.fingerprint, job.source)
        model = load_codec(info)
        start = time.perf_counter()
        picture = model.decode(packed, job.source, console.tile)
        seconds = time.perf_counter() - start
        if lost := pictures.write(job.picture, picture):
            console.notice(f"{job.picture}: {lost}")
        return result_line(job.source, packed, len(data), seconds)

    return console.for_each(ready(jobs, arguments, console), work)


def read_file(path: str, max_pixels: int) -> bytes:
    """The bytes of a .tfcd file, and never many more than a file of that many pixels can have."""
    limit = MAX_BYTES_PER_PIXEL * max_pixels + SPARE_BYTES
    try:
        with open(path, "rb") as file:
            start = file.read(len(MAGIC))
            if start != MAGIC:
                return start  # enough to be refused: whatever it is, it can be large
            data = start + file.read(limit)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: this is a directory, not a file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > limit:
        raise ContainerError(f"{path}: is larger than any sound file of {max_pixels} pixels")
    return data
