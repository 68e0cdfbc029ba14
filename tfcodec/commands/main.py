"""The command `tfcodec`: encode, decode, info, models, train, evaluate, compare, convert, freeze,
export.

    tfcodec encode kodim23.png -o k.tfcd --quality 4
    tfcodec decode k.tfcd -o k.png

One line a file on stdout; notices, failures (one sentence each) and progress on stderr. A failed
file does not stop the others. Exit status: 0, or 1 if a file failed, 2 for a wrong command line,
130 when interrupted. Output files appear complete or not at all.

`info`, `models` and `compare` never import TensorFlow, `encode` and `decode` only once a file has
proved to be sound.
"""

import argparse
import os
import signal
import sys

from tfcodec import __version__
from tfcodec.commands import (
    compare,
    convert,
    decode,
    encode,
    evaluate,
    export,
    freeze,
    inspect,
    train,
)
from tfcodec.commands.console import Console
from tfcodec.errors import TfcodecError

COMMANDS = (encode, decode, inspect, train, export, freeze, convert, evaluate, compare)


def run(*words: str) -> None:
    """The console entry: `main` as a process, well-behaved towards pipes and signals.

    words: stand before those of the command line.
    """
    sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be valid UTF-8
    # As an exception, so that unfinished files are cleaned up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        status = main([*words, *sys.argv[1:]])
        sys.stdout.flush()
    except BrokenPipeError:  # such as `tfcodec models | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 128 + signal.SIGPIPE
    sys.exit(status)


def main(argv: list[str] | None = None) -> int:
    """Runs one command line (default: that of this process); returns the exit status."""
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
        return arguments.command(arguments)
    except TfcodecError as error:  # of what is read while flags are parsed
        Console(files=1).failure(error)
        return 1
    except SystemExit as stop:  # argparse has printed the help or what is wrong
        return stop.code or 0
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tfcodec", description="A learned image codec.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"tfcodec {__version__}")
    commands = parser.add_subparsers(required=True, metavar="encode | decode | ...")
    for command in COMMANDS:
        command.add(commands)
    return parser
