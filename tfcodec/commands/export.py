"""A model for TF Serving, `tfcodec export MODEL -o DIR`, or for LiteRT, with `--litert`."""

import argparse
import pathlib

from tfcodec.commands.arguments import Commands, add_command, parse_positive
from tfcodec.commands.console import Console, Job, import_tensorflow
from tfcodec.exports import installed


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "export",
        run,
        "Write a model for TF Serving, see docs/serving.md, or for LiteRT, see docs/lite.md.",
    )
    parser.add_argument("model", metavar="MODEL", help="installed model or folder of an export")
    parser.add_argument("-o", "--output", metavar="DIR", help="new folder")
    parser.add_argument(
        "--litert",
        action="store_true",
        help="write networks for LiteRT; without -o into the model's own folder, where tfcodec "
        "finds them",
    )
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
    if arguments.output is None and not arguments.litert:
        arguments.parser.error("the following arguments are required: -o/--output")

    def work(job: Job) -> str:
        info = installed.find(job.source)
        import_tensorflow()
        if arguments.litert:
            return _litert(info, arguments.output, console)
        from tfcodec.serving.export import export

        limits = arguments.max_pixels, arguments.max_turns
        served = export(info, arguments.output, *limits, arguments.xla, console.step)
        return _line(served.path, info, "signatures decode, encode")

    console = Console(files=1)
    return console.for_each([Job(arguments.model)], work)


def _litert(info: installed.ModelInfo, output: str | None, console: Console) -> str:
    from tfcodec.lite import export

    if output is None:
        return _line(export.bundle(info, console.step), info, "for LiteRT")
    return _line(export.export(info, output, console.step).path, info, "for LiteRT")


def _line(path: str, info: installed.ModelInfo, what: str) -> str:
    """A result: what was written."""
    files = [pathlib.Path(path), *pathlib.Path(path).rglob("*")]
    size = sum(file.stat().st_size for file in files if file.is_file())
    return f"{path}  {info.name}  {size / 2**20:.1f} MiB  {what}"
