"""Speed of the range coder in each of its bodies, and of the package `range-coder`.

300,000 symbols with 128 Gaussian tables, as of a picture of 768x512; with `--pixels 24e6`, as many
as of 24 megapixels. Times are those of `RangeEncoder` and `RangeDecoder` (checks, table mapping,
escapes, lanes); where TensorFlow Compression's ops load, the other bodies stand in relation to
them. The calls of a group take turns, so that a busy machine slows all of them alike; medians.

    python benchmarks/range_coding.py
    python benchmarks/range_coding.py --cold    # what the first coder of a process takes
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from tfcodec import quiet
from tfcodec.coding import RANGE_CODER, TFC, CodingTables, open_decoder, open_encoder, range_coder
from tfcodec.coding.container import Container, pack, part_sizes

SYMBOLS, PIXELS = 300_000, 768 * 512
ROUNDS = 11


def gaussian_row(scale: float) -> tuple[np.ndarray, int]:
    """Bin masses of a Gaussian to 4 sigma, what is beyond as the escape; and the first value."""
    reach = math.ceil(4 * scale)
    edges = (np.arange(-reach, reach + 2) - 0.5) / scale
    cdf = np.array([0.5 * math.erfc(-edge / math.sqrt(2)) for edge in edges])
    return np.append(np.diff(cdf), 2 * cdf[0]), -reach


def sample(rng: np.random.Generator, count: int):
    """Tables, indexes and symbols as of a photograph: mostly small scales, a few escapes."""
    scales = np.geomspace(0.11, 60, 128)
    tables = CodingTables.build([gaussian_row(scale) for scale in scales])
    indexes = np.clip(rng.gamma(1.5, 18, count) + 1, 1, 128).astype(np.int32)
    symbols = np.rint(rng.normal(size=count) * scales[indexes - 1]).astype(np.int32)
    return tables, indexes, symbols


class Coded:
    """A picture's symbols, coded and decoded by a body, or by coder 1 if that is None."""

    def __init__(self, body, tables, indexes, symbols, lanes=1):
        self._body, self._coder = body, RANGE_CODER if body is None else TFC
        self._tables, self._indexes, self._symbols = tables, indexes, symbols
        self._lanes, self.coded = lanes, None
        self.encode()
        assert np.array_equal(self.decode(), symbols)

    def encode(self):
        self._choose()
        encoder = open_encoder(self._coder, self._tables, self._lanes)
        encoder.write(self._indexes, self._symbols)
        self.coded = encoder.finish()

    def decode(self):
        self._choose()
        decoder = open_decoder(self._coder, self._tables, *self.coded)
        symbols = decoder.read(self._indexes)
        decoder.finish()
        return symbols

    def _choose(self):
        os.environ[range_coder.BODY_VARIABLE] = self._body or ""

    def file_size(self):
        """Bytes of a file that holds it."""
        streams, escapes = self.coded
        return sum(
            part_sizes(
                pack(Container(b"\0" * 4, 0, 0, 512, 768, False, TFC, streams, escapes, None, 0))
            ).values()
        )


def medians_ms(calls, rounds):
    """Median time of each call, in turns, after the round that made them warm."""
    times = [[] for _ in calls]
    for _ in range(rounds):
        for call, of_call in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            of_call.append(1000 * (time.perf_counter() - start))
    return [statistics.median(of_call) for of_call in times]


def compare(names, coded, rounds):
    """Prints a line for each of `coded`, in relation to the first one."""
    write = medians_ms([each.encode for each in coded], rounds)
    read = medians_ms([each.decode for each in coded], rounds)
    for name, encode, decode in zip(names, write, read, strict=True):
        more, ratio = encode + decode - write[0] - read[0], (encode + decode) / (write[0] + read[0])
        print(
            f"{name:12} encode {encode:8.2f} ms, decode {decode:8.2f} ms; both {ratio:6.2f} of "
            f"{names[0]}, {more:+.1f} ms"
        )


COLD = """
import sys, time
from tfcodec import quiet
quiet.import_tensorflow() if sys.argv[1] == "tfc" else None
import numpy as np
from tfcodec.coding import CodingTables, open_decoder, open_encoder
tables, ones = CodingTables.build([([0.5, 0.5], 0)]), np.ones(9, np.int32)
start = time.perf_counter()
encoder = open_encoder(0, tables)
encoder.write(ones, 0 * ones)
open_decoder(0, tables, *encoder.finish()).read(ones)
print(f"{sys.argv[1]:12} {1000 * (time.perf_counter() - start):6.0f} ms")
"""


def cold():
    """Prints what each body takes before it is warm, each in processes of its own."""
    print("first coder of a process, after TensorFlow's import:")
    for body in range_coder.bodies():
        environment = {**os.environ, range_coder.BODY_VARIABLE: body}
        for _ in range(3):
            subprocess.run([sys.executable, "-c", COLD, body], env=environment, check=True)


def main():
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("--pixels", type=float, default=PIXELS)
    flags.add_argument("--cold", action="store_true")
    args = flags.parse_args()
    bodies = range_coder.bodies()
    if args.cold:
        return cold()
    quiet.import_tensorflow()
    count = round(SYMBOLS * args.pixels / PIXELS)
    large = count > 10 * SYMBOLS
    if large and len(bodies) > 1:
        bodies.remove("plain")
    picture = sample(np.random.default_rng(0), count)
    coded = [Coded(body, *picture) for body in bodies]
    assert len({each.coded for each in coded}) == 1
    size, ideal = len(coded[0].coded[0][0]), picture[0].ideal_bits(*picture[1:]).sum() / 8
    print(f"{count} symbols, {size} bytes, {100 * (size / ideal - 1):+.4f} % of the tables' ideal")
    compare(bodies, coded, 3 if large else ROUNDS)
    if large:
        return
    reference = Coded(None, *picture)
    compare([bodies[0], "range-coder"], [coded[0], reference], 3)
    one = coded[0].file_size()
    for lanes in (16, 64, 256, 1024):
        coded = [Coded(body, *picture, lanes) for body in bodies]
        more = coded[0].file_size() - one
        print(f"{lanes} lanes: {more:+} bytes ({100 * more / one:+.2f} %), {more / lanes:.2f} each")
        compare(bodies, coded, 3)


if __name__ == "__main__":
    main()
