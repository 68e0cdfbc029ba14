"""Speed of the range coders, 300,000 symbols with 128 Gaussian tables.

Compares `RangeEncoder` and `RangeDecoder` (checks, table mapping, escapes, lanes) with the bare
ops of TensorFlow Compression on arrays prepared beforehand, and with the `range-coder` package.
The calls of a group take turns, so that a busy machine slows all of them alike; medians.

    python benchmarks/range_coding.py
"""

import math
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
import tensorflow_compression_ops as tfc

from tfcodec.coding import RANGE_CODER, TFC, CodingTables, open_decoder, open_encoder
from tfcodec.coding.container import Container, pack, part_sizes

SYMBOLS = 300_000
ROUNDS = 21


def gaussian_row(scale: float) -> tuple[np.ndarray, int]:
    """Bin masses of a Gaussian to 4 sigma, what is beyond as the escape; and the first value."""
    reach = math.ceil(4 * scale)
    edges = (np.arange(-reach, reach + 2) - 0.5) / scale
    cdf = np.array([0.5 * math.erfc(-edge / math.sqrt(2)) for edge in edges])
    return np.append(np.diff(cdf), 2 * cdf[0]), -reach


def sample(rng: np.random.Generator):
    """Tables, indexes and symbols as of a photograph: mostly small scales, a few escapes."""
    scales = np.geomspace(0.11, 60, 128)
    tables = CodingTables.build([gaussian_row(scale) for scale in scales])
    indexes = np.clip(rng.gamma(1.5, 18, SYMBOLS) + 1, 1, 128).astype(np.int32)
    symbols = np.rint(rng.normal(size=SYMBOLS) * scales[indexes - 1]).astype(np.int32)
    return tables, indexes, symbols


def bare_encode(tables, indexes, entries):
    handle = tfc.create_range_encoder([], tables.lookup)
    handle = tfc.entropy_encode_index(handle, indexes, entries)
    return tfc.entropy_encode_finalize(handle).numpy()


def bare_decode(tables, stream, indexes):
    handle = tfc.create_range_decoder(stream, tables.lookup)
    return tfc.entropy_decode_index(handle, indexes, indexes.shape, tf.int32)[1].numpy()


def encode(coder, tables, indexes, symbols, lanes=1):
    encoder = open_encoder(coder, tables, lanes)
    encoder.write(indexes, symbols)
    return encoder.finish()


def decode(coder, tables, coded, indexes):
    decoder = open_decoder(coder, tables, *coded)
    symbols = decoder.read(indexes)
    decoder.finish()
    return symbols


def medians_ms(*calls):
    """Median time of each call, in turns, after one round to warm up."""
    times = [[] for _ in calls]
    for turn in range(ROUNDS + 1):
        for call, of_call in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if turn:
                of_call.append(1000 * (time.perf_counter() - start))
    return [statistics.median(of_call) for of_call in times]


def file_size(coded) -> dict[str, int]:
    streams, escapes = coded
    container = Container(b"\0" * 4, 0, 0, 512, 768, False, TFC, streams, escapes, None, 0)
    return part_sizes(pack(container))


def main():
    tables, indexes, symbols = sample(np.random.default_rng(0))
    entries, escaped = tables.to_entries(indexes, symbols)
    stream = bare_encode(tables, indexes, entries)
    coded = encode(TFC, tables, indexes, symbols)
    assert coded[0] == (stream,)
    assert np.array_equal(decode(TFC, tables, coded, indexes), symbols)
    ideal = tables.ideal_bits(indexes, symbols).sum() / 8
    print(
        f"{SYMBOLS} symbols, {escaped.sum()} escapes, {len(stream)} bytes, "
        f"{100 * (len(stream) / ideal - 1):+.4f} % of the tables' ideal"
    )

    bare, ours = medians_ms(
        lambda: bare_encode(tables, indexes, entries),
        lambda: encode(TFC, tables, indexes, symbols),
    )
    print(f"encode: op {bare:.2f} ms, ours {ours:.2f} ms, {100 * bare / ours:.0f} % of its speed")
    bare, ours = medians_ms(
        lambda: bare_decode(tables, stream, indexes),
        lambda: decode(TFC, tables, coded, indexes),
    )
    print(f"decode: op {bare:.2f} ms, ours {ours:.2f} ms, {100 * bare / ours:.0f} % of its speed")

    second = encode(RANGE_CODER, tables, indexes, symbols)
    assert np.array_equal(decode(RANGE_CODER, tables, second, indexes), symbols)
    write, read = medians_ms(
        lambda: encode(RANGE_CODER, tables, indexes, symbols),
        lambda: decode(RANGE_CODER, tables, second, indexes),
    )
    print(f"range-coder: encode {write:.0f} ms, decode {read:.0f} ms, {len(second[0][0])} bytes")

    one = sum(file_size(coded).values())
    for lanes in (16, 64, 256, 1024):
        coded = encode(TFC, tables, indexes, symbols, lanes)
        assert np.array_equal(decode(TFC, tables, coded, indexes), symbols)
        write, read = medians_ms(
            lambda lanes=lanes: encode(TFC, tables, indexes, symbols, lanes),
            lambda coded=coded: decode(TFC, tables, coded, indexes),
        )
        more = sum(file_size(coded).values()) - one
        print(
            f"{lanes:4} lanes: {more:+5} bytes ({100 * more / one:+.2f} % of the file), "
            f"{more / lanes:.2f} a lane; encode {write:.2f} ms, decode {read:.2f} ms"
        )


if __name__ == "__main__":
    main()
