"""A model trained: `tfcodec train --data photos/ --run_dir runs/first --export runs/first/export`.

On the TensorFlow or (KERAS_BACKEND=jax) the JAX backend of Keras. A recipe is a file of flags:
--flagfile mbt2018_mean-compact, or a path; flags after it win.
"""

import argparse
import dataclasses
import json
import logging as standard_logging
import pathlib

from tfcodec import models
from tfcodec.commands.arguments import add_command
from tfcodec.commands.console import Console
from tfcodec.errors import InputError, TfcodecError
from tfcodec.exports.weights import WEIGHTS
from tfcodec.training.settings import Settings

STRATEGIES = ("default", "mirrored", "multiworker")


def add(commands) -> None:
    parser = add_command(commands, "train", run, "Train a model, see docs/training.md.")
    for add_flags in (_add_model, _add_data, _add_start, _add_export, _add_devices):
        add_flags(parser)
    for field in dataclasses.fields(Settings):
        parser.add_argument(
            f"--{field.name}",
            type=type(field.default),
            default=field.default,
            help=f"{field.metadata['help']}; default {field.default or repr(field.default)}",
        )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--list", action="store_true", help="print 'MODEL: PRESET ..' and exit")
    parser.add_argument("--describe", action="store_true", help="print the model as JSON and exit")
    parser.add_argument("--model", default="mbt2018_mean", help="name of a model, see --list")
    parser.add_argument("--preset", default="compact", help="preset of the model, see --list")
    parser.add_argument(
        "--lambda",
        dest="lmbda",
        type=_lambdas,
        metavar="L[,L..]",
        help="train for this Lagrangian weight, or a ladder of them (variable rate)",
    )
    parser.add_argument(
        "--config",
        default="",
        metavar="FIELD=VALUE[,..]",
        help="replace fields of the preset's configuration, such as wavelet=5/3",
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
        help="folders, files or globs of pictures or TFRecords, or tfds:NAME[:SPLIT]; "
        "commas between",
    )
    parser.add_argument("--validation", help="pictures held out of --data, named like it")
    parser.add_argument(
        "--run_dir",
        default="runs/default",
        help="checkpoints and logs; a run found there is continued",
    )
    parser.add_argument(
        "--weights_dir",
        metavar="DIR",
        help="also write the averaged weights there, half as large, for --init_from",
    )


def _add_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--init_from",
        metavar="PATH",
        help="start from the weights of an export, a --weights_dir, or a checkpoint of another run",
    )
    parser.add_argument(
        "--init_weights",
        choices=("averaged", "last"),
        default="averaged",
        help="which weights of a checkpoint --init_from takes: the average lags after a short run",
    )
    parser.add_argument(
        "--init_partly",
        action="store_true",
        help="--init_from may be another model: what has the name and shape of a variable is "
        "taken, the rest starts anew",
    )


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--export", metavar="DIR", help="write the trained codec there at the end")
    parser.add_argument("--name", help="name of the export; default: the folder's")
    parser.add_argument(
        "--export_precision",
        choices=tuple(models.PRECISIONS),
        default="float32",
        help="in which the exported transforms compute; default float32",
    )
    parser.add_argument(
        "--export_weights",
        metavar="FORM",
        default="bfloat16",
        help=f"how the export stores large weights: {', '.join(WEIGHTS)}; int8 is smallest, "
        "float32 exact; ,int8:PATTERN behind it chooses kernels by their path; default bfloat16",
    )


def _add_devices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="default",
        help="one device, all GPUs of this machine, or all machines of the variable TF_CONFIG",
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
        raise InputError(f"--flagfile {name!r} cannot be read ({error})") from None
    flags = []
    for number, line in enumerate(lines, start=1):
        if line and not line.startswith("#"):
            if not line.startswith("--") or " " in line.partition("=")[0]:
                raise InputError(f"{name}, line {number}: expected --FLAG=VALUE, found {line!r}")
            flags.append(line)
    return flags


def recipes() -> pathlib.Path:
    """The folder of the recipes that come with the package."""
    package = pathlib.Path(__file__).parents[1]
    inside = package / "recipes"  # where setup.py installs what a checkout has beside the package
    return inside if inside.is_dir() else package.parent / "recipes"


def _lambdas(text: str) -> tuple[float, ...]:
    return tuple(float(value) for value in text.split(","))


def run(arguments: argparse.Namespace) -> int:
    from absl import logging

    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().setFormatter(standard_logging.Formatter("%(message)s"))
    try:
        if arguments.list:
            for name in models.MODELS:
                print(f"{name}: {' '.join(models.module(name).PRESETS)}")
            return 0
        asked = ask(arguments)
        if arguments.describe:
            described = models.describe(asked.model, asked.preset, asked.config)
            print(json.dumps(described, indent=1))
            return 0
        from tfcodec.training.run import train

        train(asked)
        return 0
    except TfcodecError as error:
        Console(files=1).failure(error)
        return 1


def ask(arguments: argparse.Namespace):
    """The `Run` that the flags ask for.

    Raises: InputError for a combination that cannot be trained.
    """
    from tfcodec.training.run import Export, Run, Start, configure
    from tfcodec.training.settings import check

    fields = dataclasses.fields(Settings)
    settings = Settings(**{field.name: getattr(arguments, field.name) for field in fields})
    check(settings)
    if settings.distortion == "ms_ssim" and arguments.lmbda is None:
        raise InputError(
            "--distortion=ms_ssim needs --lambda: it multiplies 1 - MS-SSIM, from about 2 to 100"
        )
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
        preset=arguments.preset,
        config=configure(arguments.model, arguments.preset, arguments.config, arguments.lmbda),
        settings=settings,
        data=arguments.data,
        validation=arguments.validation,
        run_dir=arguments.run_dir,
        weights_dir=arguments.weights_dir,
        start=start,
        export=export,
        strategy=arguments.strategy,
        deterministic=arguments.deterministic,
    )
