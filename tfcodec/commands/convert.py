"""A model of a published checkpoint: `tfcodec convert FILE --from weconvene -o DIR`."""

import argparse

from tfcodec.commands.arguments import Commands, add_command, parse_positive
from tfcodec.commands.console import Console, import_tensorflow
from tfcodec.convert import SOURCES, convert
from tfcodec.errors import TfcodecError
from tfcodec.exports import weights
from tfcodec.models import PRECISIONS


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "convert", run, "Make a model of a checkpoint that a paper's authors published."
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="file that torch.save wrote")
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        choices=SOURCES,
        help="whose code wrote it: WeConvene (ECCV 2024), LIC-TCM (CVPR 2023) or ICWEM",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="folder of the export; replaced"
    )
    parser.add_argument(
        "--lambda",
        dest="lmbda",
        type=parse_positive(float),
        default=0.013,
        metavar="L",
        help="Lagrangian weight it was trained for, for the record (default: %(default)s)",
    )
    parser.add_argument(
        "--weights",
        choices=weights.WEIGHTS,
        default="float32",
        help="how weights are stored: exactly, in half the bytes, or the largest kernels in a "
        "quarter (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="in which the transforms compute; bfloat16 is faster where the processor has it "
        "(default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    console = Console(files=1)
    try:
        import_tensorflow()
        info = convert(
            arguments.source,
            arguments.checkpoint,
            arguments.output,
            lmbda=arguments.lmbda,
            weights=arguments.weights,
            precision=arguments.precision,
        )
    except TfcodecError as error:
        console.failure(error)
        return 1
    count = info.config["parameters"]
    console.result(f"{info.path}  {info.name}  {count / 1e6:.2f} M parameters")
    return 0
