"""`.tfcd` files to pictures: `tfcodec decode k.tfcd -o k.png`."""

import argparse
import time

from tfcodec import pictures
from tfcodec.coding import container
from tfcodec.commands import streams
from tfcodec.commands.arguments import Commands, add_command, add_files
from tfcodec.commands.console import Console, Job, load_codec, result_line
from tfcodec.commands.jobs import Kind, plan, ready
from tfcodec.errors import ModelError
from tfcodec.exports import installed
from tfcodec.files import unreadable_named
from tfcodec.naming import SUFFIX, decoded_name

FILES = Kind("tfcodec files", (SUFFIX,))


def add(commands: Commands) -> None:
    parser = add_command(commands, "decode", run, "Decompress .tfcd files to pictures.")
    add_files(parser, ".tfcd files", "NAME.tfcd.png; with -o the suffix chooses the format")
    parser.add_argument(
        "--format",
        choices=[suffix.removeprefix(".") for suffix in pictures.WRITE_FORMATS],
        metavar="FORMAT",
        help="of outputs without a name of their own, stdout included: %(choices)s (default: png)",
    )
    parser.add_argument(
        "--model",
        metavar="NAME_OR_DIR",
        help="the model that wrote the files, such as one that is not installed "
        "(default: the installed one that their fingerprint names)",
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.format and arguments.output not in (None, streams.STANDARD):
        arguments.parser.error("-o names the format by its suffix; --format is for other outputs")
    suffix = f".{arguments.format or 'png'}"
    kind = Kind(FILES.noun, FILES.suffixes, target=lambda name: decoded_name(name, suffix))
    console = Console(verbose=arguments.verbose)
    jobs = plan(arguments, kind, lambda source, out: Job(source, picture=out), console)
    chosen = None
    if arguments.model is not None:
        try:
            chosen = installed.find(arguments.model)
        except ModelError as error:
            console.failure(error)
            return 1

    def work(job: Job) -> str:
        data = read_file(job.source, arguments.max_pixels)
        packed = container.unpack(data, job.name, arguments.max_pixels)
        target = f"stdout{suffix}" if job.to_stdout else job.picture
        pictures.check_format(target, alpha=packed.alpha is not None)
        info = _model(packed, chosen, job.name)
        model = load_codec(info, console, decoding=True, once=len(jobs) == 1)
        start = time.perf_counter()
        picture = model.decode(packed, job.name, console.tile)
        seconds = time.perf_counter() - start
        if lost := pictures.lost_in_file(target, picture):
            console.notice(f"{target}: {lost}")
        if job.to_stdout:
            streams.write(pictures.to_bytes(target, picture))
        else:
            pictures.write(target, picture)
        return result_line(job.name, packed, len(data), seconds)

    return console.for_each(ready(jobs, arguments, kind, console), work)


def _model(packed: container.Container, chosen: installed.ModelInfo | None, name: str):
    """The `ModelInfo` to decode with, found to be the right one before it is loaded."""
    if chosen is None:
        return installed.find_fingerprint(packed.fingerprint, name)
    if chosen.fingerprint != packed.fingerprint:
        raise ModelError(
            f"{name}: was written by the model with fingerprint {packed.fingerprint.hex()}, "
            f"{chosen.name} has {chosen.fingerprint.hex()}"
        )
    return chosen


def read_file(path: str, max_pixels: int) -> bytes:
    """The bytes of a .tfcd file, `-` for stdin, and never many more than a file of that many pixels
    can have."""
    name = Job(path).name
    with unreadable_named(name, "file"), streams.reading(path) as file:
        return container.read(file, name, max_pixels)
