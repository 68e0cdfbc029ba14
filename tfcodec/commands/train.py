"""A model trained: `tfcodec train --data photos/ --run_dir runs/first --export runs/first/export`.

On the TensorFlow or (KERAS_BACKEND=jax) the JAX backend of Keras. A recipe is a file of flags:
--flagfile mbt2018_mean-compact, or a path; flags after it win.
"""

import argparse
import dataclasses
import importlib.util
import json
import logging as standard_logging
import os
import pathlib
import sys
from typing import TYPE_CHECKING

from tfcodec import models, quiet
from tfcodec.commands import streams
from tfcodec.commands.arguments import Commands, add_command, parse_number
from tfcodec.commands.console import Console
from tfcodec.errors import InputError, ModelError, TfcodecError
from tfcodec.exports import runtimes
from tfcodec.exports.weights import WEIGHTS
from tfcodec.training.settings import Settings, read_lambdas

if TYPE_CHECKING:  # imported when it is needed
    from tfcodec.training.run import Run

_METAVARS = {int: "N", float: "X", str: "NAME=X[,..]"}
STRATEGIES = ("default", "mirrored", "multiworker")


def add(commands: Commands) -> None:
    parser = add_command(commands, "train", run, "Train a model, see docs/training.md.")
    for add_flags in (_add_model, _add_data, _add_start, _add_export, _add_devices):
        add_flags(parser)
    for field in dataclasses.fields(Settings):
        what, choices = field.metadata["help"], field.metadata["choices"]
        shown = f"{field.default:g}" if isinstance(field.default, float) else field.default
        parser.add_argument(
            f"--{field.name}",
            type=str if isinstance(field.default, str) else parse_number(type(field.default)),
            default=field.default,
            metavar="|".join(choices) if choices else _METAVARS[type(field.default)],
            help=f"{what} (default: {shown or repr(shown)})",
        )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--list", action="store_true", help="print 'MODEL: PRESET ..' and exit")
    parser.add_argument("--describe", action="store_true", help="print the model as JSON and exit")
    parser.add_argument(
        "--model",
        default="quad",
        help="a model of --list, or my_package.my_model for one of your own, on PYTHONPATH "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--preset",
        help="a preset of the model, see --list; small is the one of quad for a CPU "
        "(default: base of quad, compact of the others)",
    )
    parser.add_argument(
        "--lambda",
        dest="lmbda",
        metavar="L[,L..]",
        help="train for this Lagrangian weight, or a rising ladder of them for variable rate "
        "(default: the preset's)",
    )
    parser.add_argument(
        "--config",
        default="",
        metavar="FIELD=VALUE[,..]",
        help="replace fields of the preset's configuration, such as wavelet=5/3 (default: none)",
    )
    parser.add_argument(
        "--flagfile",
        action=_FlagFile,
        metavar="FILE",
        help="read flags from a file, one --FLAG=VALUE a line, # begins a comment; or from the "
        "recipe of that name, see docs/training.md",
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        metavar="SOURCE[,..]",
        help="folders, files or globs of pictures or TFRecords, @FILE for a list of them, one a "
        "line, or tfds:NAME[:SPLIT]; commas between",
    )
    parser.add_argument(
        "--validation",
        metavar="SOURCE[,..]",
        help="pictures held out of --data, named like it (default: none)",
    )
    parser.add_argument(
        "--run_dir",
        metavar="DIR",
        default="runs/default",
        help="checkpoints and logs; a run found there is continued (default: %(default)s)",
    )
    parser.add_argument(
        "--weights_dir",
        metavar="DIR",
        help="also write the averaged weights there, half as large, for --init_from "
        "(default: nowhere)",
    )


def _add_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--init_from",
        metavar="PATH",
        help="start from the weights of an export, a --weights_dir, or a checkpoint of another run "
        "(default: from nothing)",
    )
    parser.add_argument(
        "--init_weights",
        choices=("averaged", "last"),
        default="averaged",
        help="which weights of a checkpoint --init_from takes: the average lags after a short run "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--init_partly",
        action="store_true",
        help="--init_from may be another model: what has the name and shape of a variable is "
        "taken, the rest starts anew",
    )


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--export",
        metavar="DIR",
        help="write the trained codec there at the end (default: nowhere)",
    )
    parser.add_argument("--name", help="name of the export (default: the folder's)")
    parser.add_argument(
        "--export_precision",
        choices=tuple(models.PRECISIONS),
        default="float32",
        help="in which the exported transforms compute (default: %(default)s)",
    )
    parser.add_argument(
        "--export_weights",
        metavar="FORM",
        default="bfloat16",
        help=f"how the export stores large weights: {', '.join(WEIGHTS)}; int8 is smallest, "
        "float32 exact; ,int8:PATTERN behind it chooses kernels by their path "
        "(default: %(default)s)",
    )


def _add_devices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="default",
        help="one device, all GPUs of this machine, or all machines of the variable TF_CONFIG "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="the same bits in every run (TensorFlow; slower on GPUs)",
    )


class _FlagFile(argparse.Action):
    """Puts the flags of a file in the place of --flagfile: those after it win."""

    def __call__(self, parser, namespace, value, option_string=None):
        parser.parse_args(read_flags(value), namespace)


def read_flags(name: str) -> list[str]:
    """The flags in a file, or in the recipe of that name.

    Raises: InputError if there is neither, or a line is no --FLAG=VALUE.
    """
    path = pathlib.Path(name)
    if not path.exists() and (recipes() / f"{name}.flags").exists():
        path = recipes() / f"{name}.flags"
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise InputError(f"--flagfile {name!r} cannot be read ({reason})") from None
    flags = []
    for number, line in enumerate(lines, start=1):
        if line and not line.startswith("#"):
            if not line.startswith("--") or " " in line.partition("=")[0]:
                raise InputError(f"{name}, line {number}: expected --FLAG=VALUE, found {line!r}")
            if line.startswith("--flagfile"):
                raise InputError(f"{name}, line {number}: a file of flags names no other")
            flags.append(line)
    return flags


def recipes() -> pathlib.Path:
    """The folder of the recipes that come with the package."""
    package = pathlib.Path(__file__).parents[1]
    inside = package / "recipes"  # where setup.py installs what a checkout has beside the package
    return inside if inside.is_dir() else package.parent / "recipes"


def run(arguments: argparse.Namespace) -> int:
    console = Console(files=1, reports=arguments.list or arguments.describe)
    try:
        _check_installed()
        from tfcodec.training import run as training
        from tfcodec.training.outline import outline

        if arguments.list:
            for name in models.MODELS:
                console.result(f"{name}: {' '.join(outline(name))}")
            return console.status
        asked = ask(arguments)
        if arguments.describe:
            _import_keras()
            described = models.describe(asked.model, asked.preset, asked.configure())
            console.result(json.dumps(described, indent=1))
            return console.status
        training.check(asked)
        _print_log()
        collected = training.collect(asked)
        _import_keras()
        exported = training.train(asked, collected)
        if exported is not None:
            fingerprint = exported.fingerprint.hex()
            console.result(f"{exported.path}  {exported.name}  fingerprint {fingerprint}")
        return 0
    except TfcodecError as error:
        console.failure(error)
        return 1


def _check_installed() -> None:
    """Raises ModelError where the package is installed for coding alone."""
    if importlib.util.find_spec("absl") is None:
        cure = runtimes.CURES[runtimes.TENSORFLOW]
        raise ModelError(f"training needs Keras and its backend, not installed here: {cure}")


def _import_keras() -> None:
    """Keras on its backend, quietly, and in seconds that an interrupt ends without traceback."""
    with streams.leaving_at_once():
        quiet.import_keras()
        try:
            import keras  # noqa: F401
        except (ImportError, ValueError) as error:  # a ValueError names a backend that is none
            backend = os.environ.get("KERAS_BACKEND", "tensorflow")
            sentence = f"Keras and its backend {backend} cannot be imported ({error})"
            raise InputError(sentence) from error
        # Where it is installed, Keras' random seed reaches for it on every backend.
        quiet.import_tensorflow()


def ask(arguments: argparse.Namespace) -> "Run":
    """What the flags ask for.

    Raises: InputError for a value that cannot be read.
    """
    from tfcodec.training.run import Export, Run, Start

    fields = dataclasses.fields(Settings)
    start = export = None
    if arguments.init_from:
        averaged = arguments.init_weights == "averaged"
        start = Start(arguments.init_from, averaged, arguments.init_partly)
    if arguments.export:
        export = Export(
            arguments.export, arguments.name, arguments.export_precision, arguments.export_weights
        )
    return Run(
        model=arguments.model,
        preset=arguments.preset or ("base" if arguments.model == "quad" else "compact"),
        settings=Settings(**{field.name: getattr(arguments, field.name) for field in fields}),
        changes=arguments.config,
        lambdas=read_lambdas(arguments.lmbda),
        data=arguments.data,
        validation=arguments.validation,
        run_dir=arguments.run_dir,
        weights_dir=arguments.weights_dir,
        start=start,
        export=export,
        strategy=arguments.strategy,
        deterministic=arguments.deterministic,
    )


def _print_log() -> None:
    """Lines of the training's log as they are, and nobody else's, on stderr."""
    from absl import logging

    package = str(pathlib.Path(__file__).parents[1])
    handler = standard_logging.StreamHandler(sys.stderr)
    handler.setFormatter(standard_logging.Formatter("%(message)s"))
    handler.addFilter(lambda record: record.pathname.startswith(package))
    logger = standard_logging.getLogger("absl")
    logger.handlers[:], logger.propagate = [handler], False
    logging.set_verbosity(logging.INFO)
