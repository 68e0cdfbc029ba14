"""What command lines share: flags and their types."""

import argparse
import math
from collections.abc import Callable
from typing import TypeAlias

from tfcodec.coding.format import DEFAULT_MAX_PIXELS
from tfcodec.quality import HIGHEST, LOWEST

Commands: TypeAlias = argparse._SubParsersAction  # of `add_subparsers`; it has no public name


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    passes_on: bool = False,
) -> argparse.ArgumentParser:
    """The parser of one command, to which its flags are added; `run` gets what they say.

    passes_on: flags that it does not know are for somebody else, and stand in `unknown`.
    """
    parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(command=run, parser=parser, passes_on=passes_on)
    return parser


def add_files(parser: argparse.ArgumentParser, inputs: str, output: str) -> None:
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="IN",
        help=f"{inputs}, folders of them, or - for stdin (then stdout is the default output)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "-o", "--output", metavar="OUT", help=f"output file, - for stdout (default: {output})"
    )
    where.add_argument(
        "--output_dir",
        metavar="DIR",
        help="directory of the outputs, where folders keep their tree (default: beside each input)",
    )
    exists = parser.add_mutually_exclusive_group()
    exists.add_argument("--overwrite", action="store_true", help="replace existing outputs")
    exists.add_argument(
        "--skip_existing",
        action="store_true",
        help="leave out inputs whose output is there, as after an interruption",
    )
    add_max_pixels(parser)
    add_verbose(parser)


def add_verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--verbose", action="store_true", help="also say what the model runs on: TensorFlow, LiteRT"
    )


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


def parse_number(kind: type) -> Callable[[str], float]:
    """For `type` of a flag: a number of that kind, or a sentence."""
    return lambda text: _number(kind, text)


def parse_positive(kind: type) -> Callable[[str], float]:
    def parse(text: str):
        value = _number(kind, text)
        if math.isinf(value):
            raise argparse.ArgumentTypeError(f"must be finite, received {text}")
        if not value > 0:
            raise argparse.ArgumentTypeError(f"must be more than 0, received {text}")
        return value

    return parse


def _number(kind: type, text: str) -> float:
    try:
        return kind(text)
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"must be {noun}, received {text!r}") from None


def names(text: str) -> list[str]:
    names = text.split(",")
    if not all(names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"must be names, each of them once, received {text!r}")
    return names


def refuse_unknown(parser: argparse.ArgumentParser, unknown: list[str]) -> None:
    """Ends with status 2: what the command does not know, and what may have been meant."""
    import difflib  # late, since every command would wait for it

    flags = [flag for action in parser._actions for flag in action.option_strings]
    wrong = next((word for word in unknown if word.startswith("-")), unknown[0]).partition("=")[0]
    near = [flag for flag in flags if flag.startswith(wrong)]
    near = near or difflib.get_close_matches(wrong, flags, 1)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
