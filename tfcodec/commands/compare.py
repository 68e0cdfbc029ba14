"""Tables and figure of an evaluation: `tfcodec compare runs/kodak/evaluation.json`."""

import argparse
import importlib.util

from tfcodec.commands.arguments import Commands, add_command, names
from tfcodec.commands.console import Console
from tfcodec.errors import InputError, TfcodecError
from tfcodec.evaluation import comparison, curves
from tfcodec.files import atomic_write


def add(commands: Commands) -> None:
    parser = add_command(commands, "compare", run, "Make tables and figure of an evaluation.json.")
    parser.add_argument("evaluation", metavar="EVALUATION", help="an evaluation.json")
    parser.add_argument(
        "--against",
        type=names,
        metavar="NAME,NAME",
        help="codecs of the evaluation, published curves or files of curves (default: all codecs)",
    )
    parser.add_argument("--table", metavar="FILE.md", help="write the tables (default: print them)")
    parser.add_argument("--figure", type=_png, metavar="FILE.png", help="write the curves")


def _png(path: str) -> str:
    if not path.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"the figure is a PNG, name it FILE.png, received {path}")
    return path


def run(arguments: argparse.Namespace) -> int:
    console = Console(1, reports=True)
    try:
        need_extra_eval()
        evaluation = comparison.read(arguments.evaluation)
        own = curves.from_evaluation(evaluation)
        against = arguments.against or [curve.id for curve in own if curve.kind != "model"]
        comparison.check_names(against, [curve.id for curve in own])
        compared = comparison.compare(evaluation, own, against, console.notice)
        if arguments.figure:
            figure = comparison.figure(compared, title(compared))
            atomic_write(arguments.figure, figure)
        if arguments.table:
            atomic_write(arguments.table, compared.markdown().encode())
        else:
            console.result(compared.markdown().rstrip("\n"))
    except TfcodecError as error:
        console.failure(error)
    return console.status


def title(compared: comparison.Comparison) -> str:
    pictures = compared.evaluation["pictures"]
    kodak = compared.evaluation["kodak_pictures"]
    what = "Kodak, 24 pictures" if kodak == comparison.KODAK_PICTURES else None
    return what or f"{len(pictures)} pictures" + (" of Kodak" if kodak else "")


def need_extra_eval() -> None:
    missing = [n for n in ("matplotlib", "scipy") if importlib.util.find_spec(n) is None]
    if missing:
        needed = " and ".join(missing)
        raise InputError(f"evaluation needs {needed}: pip install 'tfcodec[eval]'")
