"""Streams of the range coder, sound and mutated: its bodies must agree to the byte.

    python tests/streams.py --cases 1000 --count 1000000

A case is a model's random tables, a few steps of random entries and a number of lanes. Every body
must write the same streams, and read back what was written; then mutated streams, with mutated
escapes, must come to the same symbols, or to the same sentence, in all of them. No crash, no hang.

`tests/coding/test_bodies.py` takes its laws from here.
"""

import argparse
import collections
import faulthandler
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from tfcodec.coding import range_coder
from tfcodec.coding.tables import CodingTables
from tfcodec.errors import ContainerError

SECONDS = 60  # after which a decoder that hangs is killed with a traceback


def with_body(body, coder, *arguments):
    """A coder that runs on the named body."""
    before = os.environ.get(range_coder.BODY_VARIABLE)
    os.environ[range_coder.BODY_VARIABLE] = body
    try:
        return coder(*arguments)
    finally:
        del os.environ[range_coder.BODY_VARIABLE]
        if before is not None:
            os.environ[range_coder.BODY_VARIABLE] = before


def random_tables(random):
    """One to five rows: flat, steep, all but certain or geometric, of 1 to 3000 entries."""

    def row():
        size = random.choice([1, 2, 3, 10, 300, 3000])
        pmf = (
            np.ones(size),
            random.random_sample(size) ** 8,
            np.where(np.arange(size) == random.randint(size), 1, 1e-9),
            np.exp(-np.arange(size)),
        )[random.randint(4)]
        return pmf + 1e-300, -random.randint(size + 1)

    return CodingTables.build([row() for _ in range(random.randint(1, 6))])


def random_steps(random, tables, lanes, most=1000):
    """Up to four steps of (indexes, symbols): any entries, the first and last, or the likeliest."""
    steps = []
    for _ in range(random.randint(5)):
        size = random.choice([size for size in (0, 1, 2, 3, 7, 50, 1000) if size <= most])
        size *= lanes if random.randint(4) == 0 else 1
        indexes = random.randint(1, tables.sizes.size, size).astype(np.int32)
        last = tables.sizes[indexes] - 1
        likeliest = np.array([np.argmax(np.diff(tables.cdf(row))) for row in indexes], int)
        entries = (
            np.int32(random.random_sample(size) * (last + 1)),
            last * random.randint(2, size=size),
            likeliest,
        )[random.randint(3)]
        symbols, escaped = tables.from_entries(indexes, entries.astype(np.int32))
        symbols[escaped] = random.choice([-32767, 32767], np.count_nonzero(escaped))
        steps.append((indexes, symbols))
    return steps


def encode(body, tables, lanes, steps):
    encoder = with_body(body, range_coder.RangeEncoder, tables, lanes)
    for indexes, symbols in steps:
        encoder.write(indexes, symbols)
    return encoder.finish()


def verdict(body, tables, coded, steps):
    """The symbols that were read, and the sentence that ended it, if one did."""
    decoder = with_body(body, range_coder.RangeDecoder, tables, *coded, "k.tfcd")
    read = []
    try:
        for indexes, _ in steps:
            read.append(decoder.read(indexes).tolist())
        decoder.finish()
    except ContainerError as error:
        return read, str(error)
    return read, None


def check_case(random, bodies, most=1000, most_lanes=1024):
    """A random case; returns (tables, streams and escapes, steps).

    Args: most: symbols a step, or a step and lane; most_lanes: a power of two.

    Raises: AssertionError if the bodies disagree, or read other symbols than were written.
    """
    tables = random_tables(random)
    lanes = 2 ** random.randint(most_lanes.bit_length()) if random.randint(2) else 1
    steps = random_steps(random, tables, lanes, most)
    coded = encode(bodies[0], tables, lanes, steps)
    for body in bodies[1:]:
        assert encode(body, tables, lanes, steps) == coded, f"{body} writes other bytes"
    written = [symbols.tolist() for _, symbols in steps]
    for body in bodies:
        assert verdict(body, tables, coded, steps) == (written, None), f"{body} reads otherwise"
    return tables, coded, steps


def damage(random, stream):
    """A stream cut, longer, with flipped bits, a burst of noise, zeros or ones, or all noise."""
    data, size = bytearray(stream), len(stream)
    at, length = random.randint(size + 1), random.randint(1, 40)
    kind = random.randint(6)
    if kind == 0:
        return bytes(data[:at])
    if kind == 1:
        return bytes(data) + random.bytes(length)
    if kind == 2:
        return random.bytes(random.randint(2 * size + 4))
    burst = random.bytes(length) if kind == 3 else bytes([random.choice([0, 255])]) * length
    if kind < 5:
        data[at : at + length] = burst
    else:
        for place in random.randint(0, 8 * max(size, 1), min(size, 8)):
            data[place // 8] ^= 1 << place % 8
    return bytes(data)


def check_mutations(random, bodies, case, count):
    """So many mutations of a case; returns how they ended.

    Raises: AssertionError if the bodies disagree.
    """
    tables, (streams, escapes), steps = case
    ends = collections.Counter()
    for _ in range(count):
        lane = random.randint(len(streams))
        changed = tuple(
            damage(random, stream) if k == lane or random.randint(8) == 0 else stream
            for k, stream in enumerate(streams)
        )
        spare = (escapes, (), escapes + (7,), (5, -300) * 200)[random.randint(4)]
        read, sentence = verdict(bodies[0], tables, (changed, spare), steps)
        for body in bodies[1:]:
            other = verdict(body, tables, (changed, spare), steps)
            assert other == (read, sentence), f"{body} judges otherwise"
        ends["symbols" if sentence is None else "a sentence"] += 1
    return ends


def main():
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("--cases", type=int, default=1000)
    flags.add_argument("--count", type=int, default=1_000_000, help="mutated streams")
    flags.add_argument("--seed", type=int, default=0)
    args = flags.parse_args()
    bodies, random = range_coder.bodies(), np.random.RandomState(args.seed)
    print("bodies:", ", ".join(bodies), flush=True)
    start, ends, done = time.perf_counter(), collections.Counter(), 0
    for number in range(1, args.cases + 1):
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        check_case(random, bodies)
        small = check_case(random, bodies, most=7, most_lanes=8)
        while done < args.count * number // args.cases:
            some = min(100, args.count * number // args.cases - done)
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            ends += check_mutations(random, bodies, small, some)
            done += some
        if number % 50 == 0 or number == args.cases:
            seconds = time.perf_counter() - start
            print(
                f"{2 * number} cases, {done} mutations, {seconds:.0f} s: {dict(ends)}", flush=True
            )
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
