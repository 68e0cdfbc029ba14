"""Training pictures: which crop of which picture a step sees follows from (seed, step) alone."""

import concurrent.futures
import glob
import os

import numpy as np
from PIL import Image

from tfcodec.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def find(patterns):
    """Sorted paths of the pictures that folders (searched through), files and globs name.

    Args: patterns: one string with commas between, or a list of strings.
    Raises: InputError if a pattern names no picture.
    """
    found = []
    for pattern in patterns.split(",") if isinstance(patterns, str) else patterns:
        if os.path.isdir(pattern):
            pattern = os.path.join(pattern, "**", "*")
        paths = [p for p in glob.glob(pattern, recursive=True) if p.lower().endswith(SUFFIXES)]
        if not paths:
            raise InputError(f"{pattern}: no picture found there")
        found += paths
    return sorted(set(found))


class Pictures:
    """Decoded pictures, kept in memory up to a budget, as uint8 [H, W, 3] arrays.

    Args:
        paths: of picture files.
        min_side: pictures with a shorter side are left out, and counted in `skipped`.
        budget: bytes of decoded pictures to keep; the rest is decoded again when it is wanted.
    Raises: InputError if no picture is left.
    """

    def __init__(self, paths, min_side, budget=4 << 30):
        self.paths, self.skipped = [], []
        for path in paths:
            try:
                with Image.open(path) as image:  # reads the header only
                    fits = min(image.size) >= min_side
            except OSError:
                fits = False
            (self.paths if fits else self.skipped).append(path)
        if not self.paths:
            raise InputError(f"no picture of at least {min_side} pixels a side among {len(paths)}")
        self._kept, self._budget = {}, budget

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        if index in self._kept:
            return self._kept[index]
        with Image.open(self.paths[index]) as image:
            pixels = np.asarray(image.convert("RGB"))
        if pixels.nbytes <= self._budget:
            self._budget -= pixels.nbytes
            self._kept[index] = pixels
        return pixels


def plan(step, *, count, batch_size, num_rungs, seed):
    """What each example of a step is made of, as a dictionary of arrays [batch_size].

    index: which of `count` pictures, by a permutation per epoch; top, left: float32 in [0, 1),
    place of the crop; flip: bool; rung: float32, a whole number below `num_rungs`; key: uint32,
    seed of the example's noise. A resumed run needs to know nothing but the step.
    """
    position = step * batch_size + np.arange(batch_size)
    order = {
        epoch: np.random.Generator(np.random.Philox(key=[seed, 2 * epoch])).permutation(count)
        for epoch in set(position // count)
    }
    draw = np.random.Generator(np.random.Philox(key=[seed, 2 * step + 1]))
    # One row of numbers an example, so that a split of the batch does not change them.
    uniform = draw.random([batch_size, 4], dtype=np.float32)
    return {
        "index": np.int32([order[p // count][p % count] for p in position]),
        "top": uniform[:, 0],
        "left": uniform[:, 1],
        "flip": uniform[:, 2] < 0.5,
        # Rungs are dealt out rather than drawn: every batch spans the ladder.
        "rung": np.float32((position + np.int64(uniform[0, 3] * num_rungs)) % num_rungs),
        "key": draw.integers(0, 2**32, [batch_size], dtype=np.uint32),
    }


def crops(pictures, step_plan, size):
    """The crops [B, size, size, 3] uint8 that a plan asks for."""
    batch = np.empty([len(step_plan["index"]), size, size, 3], np.uint8)
    for k, index in enumerate(step_plan["index"]):
        pixels = pictures[index]
        top = int(step_plan["top"][k] * (pixels.shape[0] - size + 1))
        left = int(step_plan["left"][k] * (pixels.shape[1] - size + 1))
        crop = pixels[top : top + size, left : left + size]
        batch[k] = crop[:, ::-1] if step_plan["flip"][k] else crop
    return batch


def prefetch(make, first, last):
    """Yields make(first), .., make(last - 1), each made in a thread while its elder is used."""
    with concurrent.futures.ThreadPoolExecutor(1) as worker:
        ahead = worker.submit(make, first) if first < last else None
        for item in range(first, last):
            current = ahead.result()
            ahead = worker.submit(make, item + 1) if item + 1 < last else None
            yield current
