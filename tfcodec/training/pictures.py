"""Training pictures: which crop of which picture a step sees follows from (seed, step) alone."""

import concurrent.futures
import contextlib
import functools
import glob
import io
import itertools
import os
import threading
import time

import numpy as np
from absl import logging
from PIL import Image

from tfcodec.errors import InputError
from tfcodec.training import records

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
NOTICES = 20  # pictures that cannot be decoded are named one by one up to this many


def find(patterns):
    """The pictures that folders (searched through), files, globs and data sets name, sorted.

    Among the files, those called *.tfrecord stand for the pictures in them; `tfds:NAME[:SPLIT]` is
    a data set of TensorFlow Datasets. See `records`.

    Args: patterns: one string with commas between, or a list of strings.
    Returns: a list of paths and `records.Record`s.
    Raises: InputError if a pattern names no picture.
    """
    paths, found = set(), set()
    for pattern in patterns.split(",") if isinstance(patterns, str) else patterns:
        if pattern.startswith("tfds:"):
            found.update(records.dataset(pattern))
            continue
        if os.path.isdir(pattern):
            pattern = os.path.join(pattern, "**", "*")
        names = glob.glob(pattern, recursive=True)
        shards = [name for name in names if records.FILES.search(name)]
        pictures = [name for name in names if name.lower().endswith(SUFFIXES)]
        if not pictures and not shards:
            raise InputError(f"{pattern}: no picture found there")
        paths.update(pictures)
        for shard in shards:
            found.update(records.index(shard))
    return sorted(paths) + sorted(found)


class Pictures:
    """Decoded pictures, kept in memory up to a budget, as uint8 [H, W, 3] arrays.

    A picture that turns out to be damaged, or a record too small, is left out with a notice and
    counted in `failed`; the next one stands in for it, wherever and whenever it is wanted, so that
    a plan means the same crops in every process.

    Args:
        sources: paths of picture files and `records.Record`s, as `find` returns them.
        min_side: pictures with a shorter side are left out. Those of files are known by their
            header, before the plan is made, and are listed in `skipped`.
        budget: bytes of decoded pictures to keep; the rest is decoded again when it is wanted.
    Raises: InputError if no picture is left.
    """

    def __init__(self, sources, min_side, budget=4 << 30):
        self.sources, self.skipped, self.failed = [], [], set()
        for source in sources:
            fits = True  # of a record, until it is read
            if not isinstance(source, records.Record):
                try:
                    with Image.open(source) as image:  # reads the header only
                        fits = min(image.size) >= min_side
                except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                    fits = False
            (self.sources if fits else self.skipped).append(source)
        if not self.sources:
            raise InputError(
                f"no picture of at least {min_side} pixels a side among {len(sources)}"
            )
        self._min_side, self._kept, self._budget = min_side, {}, budget
        self._lock = threading.Lock()

    def __len__(self):
        return len(self.sources)

    def __getitem__(self, index):
        """Pixels of a picture, or of the next one that can be decoded."""
        for k in itertools.islice(itertools.cycle(range(len(self))), index, index + len(self)):
            if k in self._kept:
                return self._kept[k]
            if k not in self.failed:
                try:
                    return self._decode(k)
                except Exception as error:  # whatever Pillow raises on damaged bytes
                    self._fail(k, error)
        raise InputError(f"none of the {len(self)} pictures can be decoded")

    def _decode(self, index):
        source = self.sources[index]
        if isinstance(source, records.Record):
            source = io.BytesIO(source.picture())
        with Image.open(source) as image:
            pixels = np.asarray(image.convert("RGB"))
        if min(pixels.shape[:2]) < self._min_side:
            raise ValueError(f"{pixels.shape[1]}x{pixels.shape[0]}, smaller than a crop")
        with self._lock:
            if pixels.nbytes <= self._budget and index not in self._kept:
                self._budget -= pixels.nbytes
                self._kept[index] = pixels
        return pixels

    def _fail(self, index, error):
        with self._lock:
            if index in self.failed:  # by another thread
                return
            self.failed.add(index)
            count = len(self.failed)
        if count <= NOTICES:
            logging.warning("left out %s: %s", self.sources[index], error)
        if count == NOTICES:
            logging.warning("more pictures that cannot be decoded are only counted")


def plan(step, *, count, batch_size, num_rungs, seed, xp=np):
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


def crops(pictures, step_plan, size):
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


def prefetch(make, first, last, threads=1):
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
