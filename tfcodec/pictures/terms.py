"""Pillow on our terms: quiet, and without a limit of its own. For any number of threads at once."""

import contextlib
import logging
import os
import threading
import warnings
from collections.abc import Callable

from PIL import Image

# Pillow logs some faults before it raises them; the exception is enough.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class _Shared:
    """A setting of the whole process: made by the first that enters, undone by the last to leave.

    Args: setting: makes a context manager.
    """

    def __init__(self, setting: Callable):
        self._setting, self._lock = setting, threading.Lock()
        self._inside, self._exit = 0, None

    @contextlib.contextmanager
    def __call__(self):
        with self._lock:
            if self._inside == 0:
                self._exit = contextlib.ExitStack()
                self._exit.enter_context(self._setting())
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._exit.close()


@contextlib.contextmanager
def _no_limit_nor_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextlib.contextmanager
def _no_stderr():
    try:
        stderr = os.dup(2)
    except OSError:  # closed: nothing to silence
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


# Silences Pillow's warnings and lifts its own pixel limit, since `read` has one already.
pillow_on_our_terms = _Shared(_no_limit_nor_warnings)
# libtiff prints its complaints on descriptor 2 itself; our one sentence shall stand alone.
libtiff_silenced = _Shared(_no_stderr)
