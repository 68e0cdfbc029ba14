"""Files that go wrong, or are made to: mutations, what they must come to, and a run over many.

    python tests/mutations.py --count 1000000 --model quad-small
    python tests/mutations.py --count 200000 --model quad-small --beside litert

A run decodes mutated files of small pictures in one process, every second one with a right CRC-32,
so that what lies behind it is reached: mutated bytes and mutated parts in turn. Whatever the bytes,
decoding must give one sentence, or the picture of the size that the file claims; and where nothing
that a file claims has changed, the very picture that the original gives. No crash, no hang, no
growth of memory. With `--beside litert` the model is frozen, and LiteRT decodes every file, too: to
the same sentence, or the same picture within one level.

`tests/test_robustness.py` takes its laws from here.
"""

import argparse
import collections
import dataclasses
import faulthandler
import importlib.util
import os
import re
import struct
import sys
import tempfile
import time
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from tfcodec import codec, pictures
from tfcodec.coding import range_coder
from tfcodec.coding.container import pack, unpack
from tfcodec.errors import TfcodecError

NAME = "k.tfcd"
MAX_PIXELS = 64 * 64
SECONDS = 60  # after which a decoder that hangs is killed with a traceback
WATCHED = 100  # mutations between two looks at the clock and the memory
# The rates of the tiny models; of quad so far apart that the best one has escapes.
LADDERS = (0.001, 0.2), (0.0001, 20.0)
GROWTH = 64  # MiB that the allocators may keep for themselves


def originals(folder, model="mbt2018_mean-compact", portable=False):
    """A tiny codec of a preset, and its files of 32x32 pictures.

    Args: portable: it is frozen, with a form for LiteRT.
    The files are gray, RGB, with alpha, with escapes, of several lanes, of coder 1, with metadata.
    """
    import drawn
    import tiny_exports

    name, preset = model.split("-")
    make = tiny_exports.lite_export if portable else tiny_exports.tiny_export
    info = make(os.path.join(folder, "tiny"), name, preset, lambdas=LADDERS[name == "quad"])
    tiny = codec.Codec(info, "tensorflow")
    random = np.random.RandomState(0)
    smooth = np.uint8(np.add.outer(np.arange(32), np.arange(32)) * 3)
    noisy = random.randint(0, 256, [32, 32, 4]).astype(np.uint8)
    told = dataclasses.replace(
        pictures.from_array(smooth),
        metadata=pictures.Metadata(drawn.exif(Make="Maker", Orientation=1), b"<x:xmpmeta/>" * 20),
    )
    files = [
        tiny.encode(pictures.from_array(smooth), 1).data,
        tiny.encode(told, 1, keep_metadata=True).data,
        tiny.encode(pictures.from_array(noisy[..., :3]), 8).data,
        tiny.encode(pictures.from_array(noisy), 4).data,
        tiny.encode(pictures.from_array(noisy), 8, lanes=4).data,
    ]
    if importlib.util.find_spec("range_coder"):  # not for every Python
        files.append(tiny.encode(pictures.from_array(noisy[..., :3]), 6, coder="range-coder").data)
    assert any(unpack(data).escapes for data in files)
    return tiny, files


def mutate(random, data):
    """One of the ways in which files go wrong, or are made to."""
    data = bytearray(data)
    kind = random.randint(8)
    if kind == 0:
        del data[random.randint(len(data)) :]
    elif kind == 1:
        data += random.bytes(random.randint(1, 40))
    elif kind == 2:
        for _ in range(random.randint(1, 8)):
            data[random.randint(len(data))] ^= 1 << random.randint(8)
    elif kind == 3:
        start = random.randint(len(data))
        length = min(random.randint(1, 64), len(data) - start)
        data[start : start + length] = random.bytes(length)
    elif kind == 4:
        start = random.randint(len(data))
        length = min(random.randint(1, 64), len(data) - start)
        data[start : start + length] = bytes([random.choice([0, 255])]) * length
    elif kind == 5:
        start = random.randint(len(data))
        del data[start : start + random.randint(1, 16)]
    elif kind == 6:  # the header, where the claims are made
        data[random.randint(4, min(24, len(data)))] = random.randint(256)
    else:
        start = random.randint(len(data))
        data[start:start] = random.bytes(random.randint(1, 16))
    return bytes(data)


def with_valid_checksum(data):
    """The CRC made right again, so that what lies behind it is reached."""
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4])) if len(data) > 4 else data


def forge(random, data):
    """A sound file that says something else in one of its parts, so that the coder is reached."""
    container = unpack(data)
    kind = random.randint(5)
    if kind == 0:
        changes = {"escapes": _changed(random, container.escapes)}
    elif kind == 1 and container.alpha is not None:
        changes = {"alpha": mutate(random, container.alpha)}
    elif kind == 4 and container.metadata is not None:
        changes = {"metadata": _forged(random, container.metadata)}
    elif kind == 2:
        field, most = (("quality", 256), ("height", 65), ("width", 65), ("gray", 2))[
            random.randint(4)
        ]
        changes = {field: max(random.randint(most), field in ("height", "width"))}
    else:
        streams = list(container.streams)
        lane = random.randint(len(streams))
        streams[lane] = mutate(random, streams[lane] or b"\0" * 24)
        changes = {"streams": tuple(streams)}
    return pack(dataclasses.replace(container, **changes))


def _forged(random, metadata):
    """The part with other bytes, or with other contents in a sound stream."""
    if random.randint(2):
        return mutate(random, metadata)
    return zlib.compress(mutate(random, zlib.decompress(metadata)))


def _changed(random, escapes):
    """The tuple with an escape more, less or another."""
    at = random.randint(len(escapes) + 1)
    some = (random.randint(-32767, 32768),) * random.randint(2)
    return escapes[:at] + some + escapes[at + random.randint(2) :]


def claims(container):
    """What a file says of its picture: whoever changes this asks for another picture."""
    return (
        (container.height, container.width, container.quality),
        (container.gray, container.alpha, container.checksum, container.metadata),
    )


def survive(codec_, data):
    """Decodes; returns (claims, picture), or the error's sentence."""
    try:
        container = unpack(data, NAME, MAX_PIXELS)
        picture = codec_.decode(container, NAME)
    except TfcodecError as error:
        sentence = str(error)
        assert sentence.startswith(f"{NAME}: ") and "\n" not in sentence, sentence
        return sentence
    assert picture.rgb.shape == (container.height, container.width, 3)
    assert picture.gray == container.gray
    assert (picture.alpha is None) == (container.alpha is None)
    assert (picture.metadata is None) == (container.metadata is None)
    return claims(container), picture


def check_alike(outcome, other):
    """Raises AssertionError unless two codecs came to the same of a file, as `survive` says it."""
    if isinstance(outcome, str) or isinstance(other, str):
        assert outcome == other, f"one codec says {outcome!r}, the other {other!r}"
        return
    assert outcome[0] == other[0]
    difference = outcome[1].rgb.astype(int) - other[1].rgb
    assert np.abs(difference).max() <= 1, "pictures differ by more than a level"


class Run:
    """A run of mutations over the files of a codec; counts what came of them.

    Args:
        codec_, files: what `originals` returns; seed: of the mutations.
        beside: another codec of the same model, which must come to the same of every file.
    """

    def __init__(self, codec_, files, seed, beside=None):
        self._codec, self._files, self._beside = codec_, files, beside
        self._random = np.random.RandomState(seed)
        self.outcomes = collections.Counter()  # of sentences without their numbers, and pictures
        self.count = self.reached = self.grown = 0
        self._right = {}
        for data in files:  # warms up, too: what TensorFlow allocates once is not growth
            said, picture = survive(codec_, data)
            self._right[said] = picture
        self._resident = None

    def mutations(self, count):
        """Decodes so many more. Raises AssertionError for a wrong picture, an error that is no
        sentence, or growing memory; a hang or a crash ends the process."""
        try:
            for _ in range(count):
                if self.count % WATCHED == 0:
                    faulthandler.dump_traceback_later(SECONDS, exit=True)
                    self._look_at_memory()
                data = self._files[self._random.randint(len(self._files))]
                kind = self.count % 4
                if kind == 3:
                    data = forge(self._random, data)
                else:
                    data = mutate(self._random, data)
                    data = with_valid_checksum(data) if kind == 1 else data
                self._one(data, sealed=kind % 2 == 1)
                self.count += 1
        finally:  # the watch would end whatever runs after a failure
            faulthandler.cancel_dump_traceback_later()
        self._look_at_memory()

    def _one(self, data, sealed):
        outcome = survive(self._codec, data)
        if self._beside is not None:
            check_alike(outcome, survive(self._beside, data))
        if isinstance(outcome, str):
            self.reached += "CRC" not in outcome
            self.outcomes[re.sub(r"b'.*'|\b[0-9a-fx]{3,}\b|\d+", "#", outcome)] += 1
            return
        said, picture = outcome
        self.reached += 1
        original = self._right.get(said)
        # Without a CRC made right again, a file that decodes is a file that did not change.
        assert sealed or original is not None, "a damaged file decoded without an error"
        if original is None:
            self.outcomes["a picture, of other claims"] += 1
            return
        np.testing.assert_array_equal(picture.rgb, original.rgb, "a wrong picture without an error")
        self.outcomes["the picture"] += 1

    def _look_at_memory(self):
        resident = _resident()
        # Growth counts from a warm start: the allocators take some thousand files to settle.
        if self._resident is None and self.count >= 2000:
            self._resident = resident
        if self._resident is not None:
            self.grown = resident - self._resident
            assert self.grown < GROWTH, f"memory grew by {self.grown:.0f} MiB"


def _resident():
    """MiB of this process that are in memory now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main():
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("--count", type=int, default=1_000_000)
    flags.add_argument("--seed", type=int, default=0)
    flags.add_argument("--model", metavar="NAME-PRESET", default="mbt2018_mean-compact")
    flags.add_argument("--beside", choices=["litert"], help="decode on this runtime, too")
    args = flags.parse_args()
    # One body throughout: the compiled one, loaded on the way, takes some 100 MiB once.
    os.environ.setdefault(range_coder.BODY_VARIABLE, "plain")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tiny, files = originals(folder, args.model, portable=args.beside is not None)
        beside = codec.Codec(tiny.info, args.beside) if args.beside else None
        run = Run(tiny, files, args.seed, beside)
        while run.count < args.count:
            run.mutations(min(10_000, args.count - run.count))
            seconds = time.perf_counter() - start
            print(
                f"{run.count} mutations, {seconds:.0f} s, {run.reached} beyond the CRC, "
                f"{run.outcomes['the picture']} right pictures, memory {run.grown:+.0f} MiB",
                flush=True,
            )
    for outcome, number in run.outcomes.most_common():
        print(f"{number:9}  {outcome}")


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    main()
