"""A model made portable: `tfcodec freeze MODEL -o DIR --calibrate IMAGE ...`."""

import argparse

from tfcodec import pictures
from tfcodec.commands.arguments import Commands, add_command, add_max_pixels
from tfcodec.commands.console import Console, Job, import_tensorflow
from tfcodec.exact import specification
from tfcodec.exports import installed


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "freeze",
        run,
        "Make a model portable: its files decode alike everywhere, docs/portable.md.",
    )
    parser.add_argument("model", metavar="MODEL", help="installed model or folder of an export")
    parser.add_argument(
        "-o", "--output", metavar="DIR", required=True, help="folder of the new export; replaced"
    )
    parser.add_argument(
        "--calibrate",
        nargs="+",
        required=True,
        metavar="IMAGE",
        help="some ten photographs, from which the ranges of all channels are taken",
    )
    parser.add_argument(
        "--profile",
        choices=tuple(specification.PROFILES),
        default=specification.DEFAULT_PROFILE,
        help="bits of weights and activations (default: %(default)s)",
    )
    add_max_pixels(parser)


def run(arguments: argparse.Namespace) -> int:
    def work(job: Job) -> str:
        info = installed.find(job.source)
        shown = [pictures.read(path, arguments.max_pixels).rgb for path in arguments.calibrate]
        import_tensorflow()
        from tfcodec.freeze import freeze

        frozen = freeze(info, arguments.output, shown, arguments.profile, progress=console.step)
        count = len(frozen.config["exact"]["convolutions"])
        return (
            f"{frozen.path}  {frozen.name}  fingerprint {frozen.fingerprint.hex()}  portable: yes  "
            f"{arguments.profile}, {count} convolutions"
        )

    console = Console(files=1)
    return console.for_each([Job(arguments.model)], work)
