"""Training pictures: found by folder, file, list, glob or data set, decoded when they are wanted.

Files and records are read as `encode` reads them, by `tfcodec.pictures`: 16 bits become 8, colour
profiles sRGB, turned pictures upright; alpha is left out.
"""

import glob
import itertools
import os
import threading

import numpy as np
from absl import logging

from tfcodec import pictures
from tfcodec.coding.format import DEFAULT_MAX_PIXELS
from tfcodec.errors import InputError
from tfcodec.training import records

NOTICES = 20  # pictures that cannot be decoded are named one by one up to this many
LIST = "@"  # before the name of a file of paths
MOST_COMMAS = 20  # in the name of a file


def find(sources: str | list[str], flag: str = "") -> list:
    """The pictures that folders (searched through), files, lists, globs and data sets name, sorted.

    `@FILE` is a list: a text file with a folder, file, glob or data set a line, relative to the
    file's folder; empty lines, and those that begin with #, say nothing. Files called *.tfrecord
    stand for the pictures in them; `tfds:NAME[:SPLIT]` is a data set of TensorFlow Datasets, see
    `records`. What exists wins: over the comma between two sources, a glob's brackets, and @.

    Args:
        sources: one string with commas between, or a list of strings.
        flag: the command line's name for them, for errors.
    Returns: a list of paths and `records.Record`s.
    Raises: InputError if a source is not there or names no picture.
    """
    where = f"{flag} " if flag else ""
    items = _split(sources) if isinstance(sources, str) else sources
    if not all(items):
        raise InputError(f"{where}{sources}: there is nothing between two commas")
    paths, found = set(), set()
    for item in items:
        for source in _lines(item, where) if _is_list(item) else [item]:
            if source.startswith("tfds:") and not os.path.exists(source):
                found.update(records.dataset(source))
                continue
            names = _files(source, where)
            shards = [name for name in names if records.FILES.search(name)]
            named = [name for name in names if name.lower().endswith(pictures.SUFFIXES)]
            if not named and not shards:
                raise InputError(f"{where}{source}: no picture found there{_hint(source)}")
            paths.update(named)
            for shard in shards:
                found.update(records.index(shard))
    return sorted(paths) + sorted(found)


def _split(text):
    """Sources with commas between, of which an existing path may have some in its name."""
    words, items = text.split(","), []
    while words:
        joined = [",".join(words[:k]) for k in range(min(len(words), MOST_COMMAS + 1), 1, -1)]
        paths = [name for name in joined if os.path.exists(name.removeprefix(LIST))]
        items.append(paths[0] if paths else words[0])
        words = words[items[-1].count(",") + 1 :]
    return items


def _is_list(item):
    return item.startswith(LIST) and not os.path.exists(item)


def _lines(item, where):
    """The sources that a list names."""
    path = item.removeprefix(LIST)
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise InputError(f"{where}{item}: the list cannot be read ({reason})") from None
    sources = [line for line in lines if line and not line.startswith("#")]
    if not sources:
        raise InputError(f"{where}{item}: the list is empty")
    folder = os.path.dirname(path)
    return [
        s if s.startswith("tfds:") else os.path.normpath(os.path.join(folder, s)) for s in sources
    ]


def _files(source, where):
    """The files of a folder, of a file's name, or of a glob."""
    if os.path.isdir(source):
        names = glob.glob(os.path.join(glob.escape(source), "**", "*"), recursive=True)
    elif os.path.exists(source):
        names = [source]
    else:
        names = glob.glob(source, recursive=True)
        if not names:
            raise InputError(f"{where}{source}: there is no such file, folder or glob")
    return names


def _hint(source):
    if os.path.isfile(source):
        return f", by its name; a list of pictures is given as {LIST}{source}"
    return ""


def without(sources: list, held_out: list) -> list:
    """Those sources of `find` that are not among others, under whatever names."""
    withheld = {_identity(source) for source in held_out}
    return [source for source in sources if _identity(source) not in withheld]


def _identity(source):
    if isinstance(source, records.Record):
        return os.path.realpath(source.path), source.offset
    return os.path.realpath(source)


class Pictures:
    """Decoded pictures, kept in memory up to a budget, as uint8 [H, W, 3] arrays.

    A picture that turns out to be damaged, or a record too small, is left out with a notice and
    counted in `failed`; the next one stands in for it, wherever and whenever it is wanted, so that
    a plan means the same crops in every process. What a picture gives up on the way in, such as
    samples of 16 bits, is told of the first one.

    Args:
        sources: paths of picture files and `records.Record`s, as `find` returns them.
        min_side: pictures with a shorter side are left out. Those of files are known by their
            header, before the plan is made, and are listed in `skipped`.
        budget: bytes of decoded pictures to keep; the rest is decoded again when it is wanted.
    Raises: InputError if no picture is left.
    """

    def __init__(self, sources: list, min_side: int, budget: int = 4 << 30):
        self.sources, self.skipped, self.failed = [], [], set()
        for source in sources:
            # That of a record is known when it is read.
            fits = isinstance(source, records.Record) or _fits(source, min_side)
            (self.sources if fits else self.skipped).append(source)
        if not self.sources:
            raise InputError(
                f"no picture of at least {min_side} pixels a side among {len(sources)}"
            )
        self._min_side, self._kept, self._budget = min_side, {}, budget
        self._told = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> np.ndarray:
        """Pixels of a picture, or of the next one that can be decoded."""
        for k in itertools.islice(itertools.cycle(range(len(self))), index, index + len(self)):
            if k in self._kept:
                return self._kept[k]
            if k not in self.failed:
                try:
                    return self._decode(k)
                except (InputError, ValueError, OSError) as error:
                    self._fail(k, error)
        raise InputError(f"none of the {len(self)} pictures can be decoded")

    def _decode(self, index):
        source = self.sources[index]
        if isinstance(source, records.Record):
            picture = pictures.read_bytes(source.picture(), str(source))
        else:
            picture = pictures.read(source)
        pixels = picture.rgb
        if min(pixels.shape[:2]) < self._min_side:
            name = f"{source}: {picture.width}x{picture.height}"
            raise InputError(f"{name}, smaller than a crop of {self._min_side}")
        with self._lock:
            for notice in set(picture.notices) - self._told:
                self._told.add(notice)
                logging.info("%s: %s; others like it are not named", source, notice)
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
            sentence, name = str(error), str(self.sources[index])
            logging.warning("left out %s", sentence if name in sentence else f"{name}: {sentence}")
        if count == NOTICES:
            logging.warning("more pictures that cannot be decoded are only counted")


def _fits(path, min_side):
    """Whether a picture file is large enough for a crop, and no larger than is read."""
    try:
        height, width = pictures.read_size(path)
    except InputError:
        return False
    return min(width, height) >= min_side and width * height <= DEFAULT_MAX_PIXELS
