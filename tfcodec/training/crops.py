"""Which crop of which picture a step sees: planned of (seed, step) alone, cut, fetched ahead."""

import concurrent.futures
import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from tfcodec.layers import Tensor


def plan(
    step: int | Tensor,
    *,
    count: int,
    batch_size: int,
    num_rungs: int,
    seed: int,
    xp: ModuleType = np,
) -> dict[str, Tensor]:
    """What each example of a step is made of, as a dictionary of arrays [batch_size].

    index: which of `count` pictures, by a permutation per epoch; top, left: float32 in [0, 1),
    place of the crop; flip, turn: bool, mirrored and transposed; rung: float32, a whole number
    below `num_rungs`; key: uint32, seed of the example's noise. A resumed run needs to know nothing
    but the step, and an accelerator nothing of the host: all is hashed of seed and step.

    Args: xp: the module that computes it, numpy or jax.numpy, where `step` may be traced.
    """
    position = step * batch_size + xp.arange(batch_size)
    first = position[0] // count  # epoch of the first example; the batch may reach into others
    order = _kept_order if xp is np else _order
    orders = xp.stack(
        [order(seed, first + k, count, xp) for k in range(-(-batch_size // count) + 1)]
    )
    # One column of numbers an example, so that a split of the batch does not change them.
    bits = _hashed(xp, seed, _DRAWS, position, xp.arange(6)[:, None])
    top, left, flip, turn, offset = (bits[:5] >> np.uint32(8)).astype("float32") * 2.0**-24
    # Rungs are dealt out rather than drawn: every batch spans the ladder.
    offset = (offset[0] * num_rungs).astype("int32")
    return {
        "index": orders[position // count - first, position % count],
        "top": top,
        "left": left,
        "flip": flip < 0.5,
        "turn": turn < 0.25,
        "rung": ((position + offset) % num_rungs).astype("float32"),
        "key": bits[5],
    }


def _order(seed, epoch, count, xp):
    """The permutation of the pictures in an epoch, int32 [count]."""
    number = xp.arange(count)
    hashed = _hashed(xp, seed, _ORDER, epoch, number)
    return xp.lexsort([number, hashed]).astype("int32")  # equal ones in their own order


_kept_order = functools.lru_cache(maxsize=4)(_order)
_DRAWS, _ORDER = 1, 2  # tell the hashes of one number apart


def _hashed(xp, *words):
    """uint32 that depend on every bit of every word; words are whole numbers that broadcast."""
    h = xp.zeros([1], "uint32")
    for word in words:
        h = h * np.uint32(0x9E3779B9) + xp.asarray(word).astype("uint32") + np.uint32(1)
        # The 32-bit finaliser of MurmurHash3, as in `entropy.quantize`.
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
        h = h ^ (h >> np.uint32(16))
    return h


def cut(pictures: Sequence[np.ndarray], step_plan: dict[str, np.ndarray], size: int) -> np.ndarray:
    """The crops [B, size, size, 3] uint8 that a plan asks for."""
    batch = np.empty([len(step_plan["index"]), size, size, 3], np.uint8)
    for k, index in enumerate(step_plan["index"]):
        pixels = pictures[index]
        top = int(step_plan["top"][k] * (pixels.shape[0] - size + 1))
        left = int(step_plan["left"][k] * (pixels.shape[1] - size + 1))
        crop = pixels[top : top + size, left : left + size]
        crop = crop[:, ::-1] if step_plan["flip"][k] else crop
        batch[k] = crop.swapaxes(0, 1) if step_plan["turn"][k] else crop
    return batch


def prefetch(
    make: Callable[[int], Any], first: int, last: int, threads: int = 1
) -> Iterator[tuple[Any, float]]:
    """Yields (make(item), seconds waited for it) for first <= item < last, in order.

    `threads` items are being made in as many threads while earlier ones are used.
    """
    with contextlib.ExitStack() as stack:
        workers = stack.enter_context(concurrent.futures.ThreadPoolExecutor(threads))
        stack.callback(workers.shutdown, cancel_futures=True)
        ahead = [workers.submit(make, k) for k in range(first, min(first + threads, last))]
        for item in range(first, last):
            start = time.perf_counter()
            current = ahead.pop(0).result()
            waited = time.perf_counter() - start
            if item + threads < last:
                ahead.append(workers.submit(make, item + threads))
            yield current, waited
