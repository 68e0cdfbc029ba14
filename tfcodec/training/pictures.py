"""Training pictures: found by folder, file, glob or data set, decoded when they are wanted."""

import glob
import io
import itertools
import os
import threading

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
