"""The standard streams and signals of a process: `-` as a file; streams that are closed, full or a
terminal; interrupts while libraries are imported.

Imports next to nothing, so that `run` can put things right before anything else happens.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import BinaryIO, TextIO

from tfcodec.errors import InputError, TfcodecError
from tfcodec.files import reason

STANDARD = "-"  # in place of a file: standard input or output


class OutputError(TfcodecError):
    """What a command had to say could not be written to standard output."""


def repair() -> None:
    """Gives a process whose streams were closed (`>&-`) some that fail or swallow: its first act.

    Otherwise the next file that is opened would take their place, and get what is meant for them. A
    closed stdout fails on writing, as a full one does; a closed stderr swallows.
    """
    for descriptor, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, mode)  # the lowest free one, which is this
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)  # by the workers of `evaluate`
    for name, descriptor in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            stream = open(descriptor, "r" if descriptor == 0 else "w", closefd=False)
            setattr(sys, name, stream)
    # Names of files need not be valid UTF-8.
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def leaving_at_once() -> Iterator[None]:
    """While libraries are imported, Ctrl-C and SIGTERM end the process there and then.

    As exceptions they would come out of the libraries as tracebacks, or as other errors. Nothing is
    half-written meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda which, _: os._exit(128 + which)) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def say(line: str) -> None:
    """A line on stdout. Raises OutputError if that cannot be written, BrokenPipeError if its reader
    has left; later lines are swallowed then."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        abandon(sys.stdout)
        raise OutputError(_cannot_be_written(error)) from error


def warn(line: str) -> None:
    """A line on stderr, which may be lost: nobody could be told."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        abandon(sys.stderr)


def abandon(stream: TextIO) -> None:
    """Lets a stream that failed swallow what it still holds, and all to come."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextlib.contextmanager
def reading(path: str) -> Iterator[BinaryIO]:
    """A file to read from; `-` is standard input.

    Raises: OSError as `open`; InputError if standard input is a terminal.
    """
    if path != STANDARD:
        with open(path, "rb") as file:
            yield file
    elif sys.stdin.isatty():
        raise InputError("stdin: this is a terminal; give it a file or a pipe")
    else:
        yield sys.stdin.buffer


def check_output() -> None:
    """Raises InputError where binary data must not go to standard output."""
    if sys.stdout.isatty():
        raise InputError("stdout: this is a terminal; name a file with -o, or use > or a pipe")


def write(data: bytes) -> None:
    """Binary data to standard output. Raises InputError if it cannot be written; a reader that has
    left is a BrokenPipeError."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        abandon(sys.stdout)
        raise InputError(_cannot_be_written(error)) from error


def _cannot_be_written(error: OSError) -> str:
    return f"stdout: cannot be written ({reason(error)})"
