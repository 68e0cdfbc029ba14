"""Many pictures, on this machine or a cluster: `tfcodec beam compress --input photos/ --output o/`.

What these flags do not name is an option of Beam's pipeline, such as --runner.
"""

import argparse
import json
import logging
import os

from tfcodec import pictures
from tfcodec.commands.arguments import (
    Commands,
    add_command,
    add_max_pixels,
    parse_positive,
    refuse_unknown,
)
from tfcodec.commands.console import Console
from tfcodec.commands.encode import add_rate
from tfcodec.errors import InputError, TfcodecError

SHOWN = 10  # sentences of dead letters
LOCAL = "DirectRunner"


def add(commands: Commands) -> None:
    text = "Compress, decompress or verify many pictures with Apache Beam, see docs/beam.md."
    parser = commands.add_parser("beam", help=text, description=text, allow_abbrev=False)
    parser.set_defaults(parser=parser, passes_on=False)
    tasks = parser.add_subparsers(required=True, metavar="compress | decompress | verify")
    _add_compress(tasks)
    _add_decompress(tasks)
    _add_verify(tasks)


def _add_task(tasks: Commands, name: str, text: str) -> argparse.ArgumentParser:
    options = " Other flags are options of Beam's pipeline, such as --runner."
    parser = add_command(tasks, name, run, text + options, passes_on=True)
    parser.set_defaults(task=name, to="files")
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        metavar="PATTERN",
        help="files, folders or quoted patterns, on any of Beam's filesystems; TFRecord files and "
        "tars, too",
    )
    parser.add_argument(
        "--output", required=True, metavar="FOLDER", help="gets the outputs and manifest/"
    )
    parser.add_argument(
        "--shards",
        type=parse_positive(int),
        default=1,
        metavar="N",
        help="files of the manifest, and of what --to names (default: %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=parse_positive(int),
        metavar="N",
        help="of the networks in a worker process (default: cores / workers on this machine, else "
        "1)",
    )
    add_max_pixels(parser)
    return parser


def _add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to",
        choices=("files", "tar", "tfrecord"),
        default="files",
        help="what holds the outputs: files, WebDataset tars or TFRecord files "
        "(default: %(default)s)",
    )


def _add_compress(tasks: Commands) -> None:
    parser = _add_task(tasks, "compress", "Compress pictures to .tfcd files.")
    add_rate(parser)
    _add_to(parser)
    parser.add_argument("--keep_metadata", action="store_true", help="carry EXIF and XMP")
    parser.add_argument(
        "--measure", action="store_true", help="also decode, for the PSNR in the manifest"
    )


def _add_decompress(tasks: Commands) -> None:
    parser = _add_task(tasks, "decompress", "Decompress .tfcd files to pictures.")
    _add_to(parser)
    parser.add_argument(
        "--format",
        choices=[suffix.removeprefix(".") for suffix in pictures.WRITE_FORMATS],
        default="png",
        metavar="FORMAT",
        help="of the pictures: %(choices)s (default: %(default)s)",
    )
    parser.add_argument(
        "--model",
        metavar="NAME_OR_DIR",
        help="the model that wrote the files (default: the one that their fingerprint names)",
    )


def _add_verify(tasks: Commands) -> None:
    parser = _add_task(tasks, "verify", "Check .tfcd files, as `tfcodec verify`.")
    parser.add_argument(
        "--decode", action="store_true", help="decode, too; needs the models of the files"
    )


def run(arguments: argparse.Namespace) -> int:
    console = Console(1, reports=True)
    try:
        room = _import_room()
        options = _options(arguments)
        transform = _transform(room, arguments, _threads(arguments, options))
        files = room.OverFiles(
            transform, arguments.input, arguments.output, to=arguments.to, shards=arguments.shards
        )
    except TfcodecError as error:
        console.failure(error)
        return console.status
    console.result(_summary(arguments, _run(files, options)))
    for sentence in _dead_letters(arguments):
        console.failure(InputError(sentence))
    return console.status


def _import_room():
    """`tfcodec.beam`. Raises: InputError that says what to install."""
    logging.getLogger().setLevel(logging.ERROR)  # Beam warns of what nobody asked for
    try:
        import tfcodec.beam as room
    except ImportError as error:
        raise InputError(str(error)) from None
    return room


def _options(arguments: argparse.Namespace):
    """Beam's options; ends the process with status 2 for a flag that is none of them."""
    from apache_beam.options.pipeline_options import (
        PipelineOptions,
        StandardOptions,
        TypeOptions,
        WorkerOptions,
    )

    words = arguments.unknown
    options = PipelineOptions(words)
    names = set(options.get_all_options(retain_unknown_options=True))
    unknown = names - set(options.get_all_options())
    wrong = [word for word in words if word.lstrip("-").partition("=")[0] in unknown]
    if wrong or (words and not words[0].startswith("-")):
        refuse_unknown(arguments.parser, wrong or words)
    standard = options.view_as(StandardOptions)
    standard.runner = standard.runner or LOCAL
    if standard.runner == LOCAL:
        worker = options.view_as(WorkerOptions)
        worker.default_sdk_harness_log_level = worker.default_sdk_harness_log_level or "ERROR"
        # There are no triggers here. But DirectRunner, as long as there might be no unsafe ones,
        # first tries to download another runner, which has its workers in one process.
        options.view_as(TypeOptions).allow_unsafe_triggers = True
    return options


def _threads(arguments: argparse.Namespace, options) -> int | None:
    """Of the networks in each worker process."""
    from apache_beam.options.pipeline_options import DirectOptions, StandardOptions

    if arguments.threads is not None:
        return arguments.threads
    if options.view_as(StandardOptions).runner != LOCAL:
        return 1  # as clusters have a worker a core
    direct, cores = options.view_as(DirectOptions), len(os.sched_getaffinity(0))
    if direct.direct_running_mode != "multi_processing":
        return None
    return max(1, cores // (direct.direct_num_workers or cores))


def _transform(room, arguments: argparse.Namespace, threads: int | None):
    """What is applied to each input. Raises: TfcodecError."""
    common = {"max_pixels": arguments.max_pixels, "threads": threads}
    if arguments.task == "verify":
        return room.Verify(decode=arguments.decode, **common)
    if arguments.task == "decompress":
        return room.Decompress(f".{arguments.format}", model=arguments.model, **common)
    return room.Compress(
        arguments.model,
        measure=arguments.measure,
        quality=arguments.quality,
        bpp=arguments.bpp,
        target_bytes=arguments.target_bytes,
        psnr=arguments.psnr,
        keep_metadata=arguments.keep_metadata,
        **common,
    )


def _run(files, options) -> dict[str, int]:
    """Runs the pipeline to its end; returns the counters, as far as the runner tells them."""
    import apache_beam as beam

    from tfcodec.beam.limits import RUNNER

    os.environ[RUNNER] = str(os.getpid())  # which worker processes on this machine get to know
    pipeline = beam.Pipeline(options=options)
    _ = pipeline | files
    result = pipeline.run()
    result.wait_until_finish()
    counters = result.metrics().query()["counters"]
    return {
        counter.key.metric.name: counter.result
        for counter in counters
        if counter.key.metric.namespace == "tfcodec"
    }


def _summary(arguments: argparse.Namespace, counters: dict[str, int]) -> str:
    fields = [
        f"{counters.get('done', 0)} done",
        f"{counters.get('skipped', 0)} there already",
        f"{counters.get('dead_letters', 0)} dead letters",
    ]
    if counters.get("pixels"):
        compressed = "input" if arguments.task == "decompress" else "output"
        if arguments.task != "verify":
            bits = 8 * counters[f"{compressed}_bytes"] / counters["pixels"]
            fields.append(f"{bits:.3f} bpp")
        fields.append(f"{counters['milliseconds'] / 1000:.2f} s of work")
    return "  ".join([arguments.output, *fields])


def _dead_letters(arguments: argparse.Namespace) -> list[str]:
    """The sentences of inputs that failed, the first of them and how many more there are."""
    from tfcodec.beam.manifest import Folder
    from tfcodec.beam.storage import Place

    path = Folder(arguments.output, arguments.task).dead_letters
    lines = Place(path).read().splitlines()
    sentences = [json.loads(line)["sentence"] for line in lines[:SHOWN]]
    more = len(lines) - len(sentences)
    return sentences + [f"{path}: holds {more} more"] * bool(more)
