"""The command `tfcodec`: encode, decode, info, verify, models, train, evaluate, compare, convert,
freeze, export, beam.

    tfcodec encode kodim23.png -o k.tfcd --quality 4
    tfcodec decode k.tfcd -o k.png

One line a file on stdout; notices, failures (one sentence each) and progress on stderr. A failed
file does not stop the others. Exit status: 0, or 1 if a file failed, 2 for a wrong command line,
130 when interrupted. Output files appear complete or not at all.

`info`, `verify`, `models` and `compare` never import TensorFlow, `encode` and `decode` only where
they need it and a file has proved to be sound.
"""

import argparse
import importlib
import os
import signal
import sys

from tfcodec import __version__
from tfcodec.commands import streams
from tfcodec.errors import TfcodecError

COMMANDS = "encode decode inspect verify train export freeze convert evaluate compare beam".split()


def run(*words: str) -> None:
    """The console entry: `main` as a process, well-behaved towards pipes and signals.

    words: stand before those of the command line.
    """
    streams.repair()
    # As an exception, so that unfinished files are cleaned up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        status = main([*words, *sys.argv[1:]])
    except BrokenPipeError:  # such as `tfcodec models | head -1`
        streams.abandon(sys.stdout)
        status = 128 + signal.SIGPIPE
    except KeyboardInterrupt:  # on the way out
        status = 128 + signal.SIGINT
    sys.exit(status)


def main(argv: list[str] | None = None) -> int:
    """Runs one command line (default: that of this process); returns the exit status."""
    try:
        parser = _parser()
        arguments, unknown = parser.parse_known_args(argv)
        if unknown and not arguments.passes_on:
            from tfcodec.commands.arguments import refuse_unknown  # late, as the commands are

            refuse_unknown(arguments.parser, unknown)
        arguments.unknown = unknown
        return arguments.command(arguments)
    except TfcodecError as error:  # of what is read while flags are parsed
        streams.warn(f"tfcodec: {error}")
        return 1
    except BrokenPipeError:
        raise
    except OSError as error:  # such as a disk that is full
        where = f"{error.filename}: " if error.filename else ""
        streams.warn(f"tfcodec: {where}cannot be used ({error.strerror or error})")
        return 1
    except SystemExit as stop:  # argparse has printed the help or what is wrong
        if stop.code == 2:
            _tell_dashes(sys.argv[1:] if argv is None else argv)
        return stop.code or 0
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _tell_dashes(words: list[str]) -> None:
    """The cure for files whose names were taken for flags."""
    from tfcodec.commands.console import shown  # late, when streams and signals are in order

    for word in words:
        if word.startswith("-") and word not in ("-", "--") and os.path.lexists(word):
            name = shown(word)
            streams.warn(f"tfcodec: there is a file {name}: give it as ./{name}, or behind --")


class _Parser(argparse.ArgumentParser):
    """Says so where help cannot be written, of which argparse is silent."""

    def _print_message(self, message, file=None):
        if file is sys.stdout:
            streams.say(message.removesuffix("\n"))
        else:
            super()._print_message(message, file)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="tfcodec", description="A learned image codec.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"tfcodec {__version__}")
    commands = parser.add_subparsers(required=True, metavar="encode | decode | ...")
    with streams.leaving_at_once():
        for name in COMMANDS:
            importlib.import_module(f"tfcodec.commands.{name}").add(commands)
    return parser
