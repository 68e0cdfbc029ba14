"""A model for TF Serving: `tfcodec export MODEL -o DIR`."""

import argparse
import pathlib

from tfcodec.commands.arguments import Commands, add_command, parse_positive
from tfcodec.commands.console import Console, Job, import_tensorflow
from tfcodec.exports import installed


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "export", run, "Write a model for TF Serving, see docs/serving.md."
    )
    parser.add_argument("model", metavar="MODEL", help="installed model or folder of an export")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="new folder")
    parser.add_argument(
        "--max_pixels",
        type=parse_positive(int),
        default=2**23,
        metavar="N",
        help="the server refuses larger pictures (default: %(default)s)",
    )
    parser.add_argument(
        "--max_turns",
        type=parse_positive(int),
        default=2**19,
        metavar="N",
        help="the server refuses files of more symbols a lane, which take it about 20 microseconds "
        "each (default: %(default)s)",
    )
    parser.add_argument(
        "--xla",
        action="store_true",
        help="compile the coder by XLA; for servers that run with --xla_cpu_compilation_enabled",
    )


def run(arguments: argparse.Namespace) -> int:
    def work(job: Job) -> str:
        info = installed.find(job.source)
        import_tensorflow()
        from tfcodec.serving.export import export

        limits = arguments.max_pixels, arguments.max_turns
        served = export(info, arguments.output, *limits, arguments.xla, console.step)
        size = sum(f.stat().st_size for f in pathlib.Path(served.path).rglob("*") if f.is_file())
        return f"{served.path}  {info.name}  {size / 2**20:.1f} MiB  signatures decode, encode"

    console = Console(files=1)
    return console.for_each([Job(arguments.model)], work)
