"""TensorFlow, and Keras on it, without chatter and, for a command, without what it does not need.

From 2.18 on it prints a few lines while it is imported, whatever TF_CPP_MIN_LOG_LEVEL says, and
straight from C++. Whoever needs them sets that variable to 0 or 1.
"""

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# What TensorFlow imports where it is installed, and goes without where it is not: Keras (and with
# it matplotlib), for optimizers in a SavedModel, and JAX, to convert its models for LiteRT.
UNUSED = ("jax", "keras", "tf_keras")
# How lines of its log begin: with the time or the date, in old and new manner; and what goes on.
_CHATTER = re.compile(
    rb"\d{4}-\d\d-\d\d [\d:.]+: [IWE] |[IWE]\d{4} \d\d:\d\d:|WARNING: All log messages before absl"
    rb"|To enable the following instructions|INFO: Created TensorFlow Lite XNNPACK delegate"
)


def import_tensorflow(lean: bool = False) -> None:
    """Imports TensorFlow, if it is installed and not there yet, and keeps it quiet from then on.

    Args:
        lean: without `UNUSED`, which takes a third less time. They can be imported later, and so
            can `tf.keras`; LiteRT's converter stays without JAX. For a process of our own.
    """
    _import("tensorflow", UNUSED if lean else ())


def import_keras() -> None:
    """Imports Keras and its backend, which KERAS_BACKEND chooses, as quietly."""
    _import("keras", ())


def _import(name: str, without: tuple[str, ...]) -> None:
    if name in sys.modules:
        return
    chatter = os.environ.setdefault(LEVEL, "3") in ("0", "1")
    if chatter and not without:
        return
    with contextlib.ExitStack() as scopes:
        if not chatter:
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
            scopes.enter_context(without_chatter())
        scopes.enter_context(_without(without))
        # Whoever needs it imports it again, and hears why it cannot be.
        with contextlib.suppress(ImportError, ValueError):  # ValueError: of no backend of Keras
            importlib.import_module(name)


@contextlib.contextmanager
def _without(packages: tuple[str, ...]):
    """Within it these packages, unless they are there already, are found but fail to import."""
    finder = _Without(packages)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Without(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    # TensorFlow asks where Keras lies even where it does not import it, so they must be found.

    def __init__(self, packages):
        self._packages = packages

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in self._packages:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None:
            spec.loader = self
        return spec

    def create_module(self, spec):
        raise ImportError(f"{spec.name} is not imported by this command", name=spec.name)

    def exec_module(self, module):
        pass  # never reached, but a loader has it


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Within it TensorFlow and LiteRT are silent; what anybody else writes to the file behind
    stderr comes late, not never."""
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
