"""TensorFlow, and Keras on it, without chatter.

From 2.18 on it prints a few lines while it is imported, whatever TF_CPP_MIN_LOG_LEVEL says, and
straight from C++. Whoever wants them sets that variable to 0 or 1.
"""

import contextlib
import importlib
import logging
import os
import re
import sys
import tempfile

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# How lines of its log begin: with the time or the date, in old and new manner; and what goes on.
_CHATTER = re.compile(
    rb"\d{4}-\d\d-\d\d [\d:.]+: [IWE] |[IWE]\d{4} \d\d:\d\d:|WARNING: All log messages before absl"
    rb"|To enable the following instructions"
)


def import_tensorflow() -> None:
    """Imports TensorFlow, if it is installed and not there yet, and keeps it quiet from then on."""
    _import("tensorflow")


def import_keras() -> None:
    """Imports Keras and its backend, which KERAS_BACKEND chooses, as quietly."""
    _import("keras")


def _import(name: str) -> None:
    if name in sys.modules:
        return
    if os.environ.setdefault(LEVEL, "3") in ("0", "1"):
        return
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with _without_chatter(), contextlib.suppress(ImportError):
        importlib.import_module(name)


@contextlib.contextmanager
def _without_chatter():
    """What anybody else writes to the file behind stderr comes late, not never."""
    try:
        before = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    with os.fdopen(before, "wb", 0) as stderr, tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            said.seek(0)
            stderr.writelines(line for line in said if not _CHATTER.match(line))
