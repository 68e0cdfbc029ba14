"""What command lines share: flags, their types, and the jobs that they mean."""

import argparse
import math
import os
from collections.abc import Callable

from tfcodec import pictures
from tfcodec.coding.format import (
    DEFAULT_MAX_PIXELS,
)
from tfcodec.commands.console import Console, Job
from tfcodec.errors import InputError
from tfcodec.files import check_target
from tfcodec.quality import HIGHEST, LOWEST


def add_command(commands, name: str, run: Callable, text: str) -> argparse.ArgumentParser:
    """The parser of one command, to which its flags are added; `run` gets what they say."""
    parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(command=run, parser=parser)
    return parser


def add_files(parser: argparse.ArgumentParser, inputs: str, output: str) -> None:
    parser.add_argument("inputs", nargs="+", metavar="IN", help=inputs)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-o", "--output", metavar="OUT", help=f"output file (default: {output})")
    where.add_argument(
        "--output_dir", metavar="DIR", help="directory of the outputs (default: beside each input)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing outputs")
    add_max_pixels(parser)


def add_max_pixels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max_pixels",
        type=parse_positive(int),
        default=DEFAULT_MAX_PIXELS,
        metavar="N",
        help="refuse larger pictures (default: %(default)s)",
    )


def parse_quality(text: str) -> float:
    low, high = LOWEST, HIGHEST
    value = _number(float, text)
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(
            f"must be from {low:g} (smallest file) to {high:g} (best), received {text}"
        )
    return value


def parse_positive(kind: type) -> Callable[[str], float]:
    def parse(text: str):
        value = _number(kind, text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"must be more than 0, received {text}")
        return value

    return parse


def _number(kind: type, text: str) -> float:
    try:
        return kind(text)
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"must be {noun}, received {text!r}") from None


def plan(arguments: argparse.Namespace, suffix: str, job: Callable[[str, str], Job]) -> list[Job]:
    """The jobs of a command line; one that cannot be meant so ends here, with status 2.

    Args:
        suffix: of outputs that are not named.
        job: makes one from the paths of its input and output.
    """
    refuse = arguments.parser.error
    if arguments.output is not None and len(arguments.inputs) > 1:
        refuse(f"-o takes one input, received {len(arguments.inputs)}; use --output_dir")
    jobs = []
    for source in arguments.inputs:
        folder, name = os.path.split(source)
        folder = folder if arguments.output_dir is None else arguments.output_dir
        target = os.path.join(folder, os.path.splitext(name)[0] + suffix)
        jobs.append(job(source, arguments.output or target))
    taken = {os.path.realpath(source): "is an input" for source in arguments.inputs}
    for each in jobs:
        for output in each.outputs:
            path = os.path.realpath(output)
            if path in taken:
                refuse(f"{output}, an output of {each.source}, {taken[path]}, too")
            taken[path] = f"is an output of {each.source}"
    return jobs


def ready(jobs: list[Job], arguments: argparse.Namespace, console: Console) -> list[Job]:
    """The jobs whose outputs can be written; the others fail now, before any work."""
    if arguments.output_dir is not None:
        try:
            os.makedirs(arguments.output_dir, exist_ok=True)
        except OSError as error:
            reason = f"is not a directory that can be used ({error.strerror})"
            console.failure(InputError(f"{arguments.output_dir}: {reason}"))
            return []
    ready = []
    for job in jobs:
        try:
            for output in job.outputs:
                check_target(output)
                if os.path.exists(output) and not arguments.overwrite:
                    raise InputError(f"{output}: exists already; --overwrite replaces it")
            if job.picture is not None:
                pictures.check_format(job.picture, alpha=False)
        except InputError as error:
            console.failure(error, job)
        else:
            ready.append(job)
    return ready


def names(text: str) -> list[str]:
    names = text.split(",")
    if not all(names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"must be names, each of them once, received {text!r}")
    return names
