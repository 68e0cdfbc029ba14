"""Looking on while layers are called: to count, to measure, to start weights as data passes."""

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator

import keras

from tfcodec.layers import Tensor

_watchers = contextvars.ContextVar("watchers", default=())
_lock, _blocks, _call = threading.Lock(), 0, keras.layers.Layer.__call__


@contextlib.contextmanager
def watching(watch: Callable[[keras.layers.Layer, tuple, Tensor], Tensor | None]) -> Iterator[None]:
    """Inside the block every call of a layer, on this thread, is told to `watch`; innermost first.

    Blocks may be nested, and other threads do not notice.

    Args: watch: called as watch(layer, inputs, output), inputs a tuple; what it returns takes the
        output's place, unless it is None.
    """
    _count(1)
    token = _watchers.set((*_watchers.get(), watch))
    try:
        yield
    finally:
        _watchers.reset(token)
        _count(-1)


def _count(step):
    """Layers are called as Keras does where nobody watches."""
    global _blocks
    with _lock:
        _blocks += step
        keras.layers.Layer.__call__ = _watched if _blocks else _call


def _watched(layer, *args, **kwargs):
    output = _call(layer, *args, **kwargs)
    for watch in _watchers.get():
        changed = watch(layer, args, output)
        output = output if changed is None else changed
    return output
