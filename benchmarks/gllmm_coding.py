"""Coding of mixtures, 300,000 symbols: what the binary decisions cost in bytes and in time.

Beside `MixturePrior` stand a cumulative table for each element, with TensorFlow Compression's
`range_encode`, and the same with the package `range-coder` symbol by symbol, which is how the
authors of GLLMM code; these two on a part of the symbols, their times scaled up. Sets differ in how
sure the model is. Symbols are drawn from the mixtures: the ideal is the mixtures' own entropy.

    python benchmarks/gllmm_coding.py
"""

import argparse
import os
import pathlib
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import range_coder
import tensorflow as tf
import tensorflow_compression_ops as tfc
from scipy import special

from tfcodec.coding import TFC, CodingTables, mixtures, open_decoder, open_encoder
from tfcodec.coding.mixtures import MixturePrior

SETS = {  # shares of elements whose scales lie in these ranges
    "A": ((0.72, 0.1, 0.5), (0.22, 0.5, 3.0), (0.06, 3.0, 20.0)),
    "B": ((0.90, 0.1, 0.3), (0.08, 0.5, 3.0), (0.02, 3.0, 20.0)),
}


def sample(rng, count, shares):
    """Means, scales and weights of mixtures, float64 [9, count], and a symbol drawn from each."""
    kind = rng.choice(len(shares), count, p=[share for share, _, _ in shares])
    low, high = (np.array([s[k] for s in shares])[kind] for k in (1, 2))
    scales = np.exp(rng.uniform(np.log(low), np.log(high), [9, count]))
    means = rng.normal(0, 2, count) + rng.normal(0, 1, [9, count]) * scales
    weights = rng.dirichlet(np.ones(9), count).T
    # Half of the light components lie anywhere, as those of a trained model may.
    stray = (weights < 0.05) & (rng.random([9, count]) < 0.5)
    means = np.where(stray, rng.uniform(-30, 30, [9, count]), means)
    component = (rng.random(count) < np.cumsum(weights, axis=0)).argmax(axis=0)
    at = component, np.arange(count)
    family = component // 3
    noise = np.where(
        family == 0,
        rng.normal(size=count),
        np.where(family == 1, rng.laplace(size=count), rng.logistic(size=count)),
    )
    return means, scales, weights, np.rint(noise * scales[at] + means[at]).astype(np.int32)


def cumulative(x, means, scales, weights):
    """Of each mixture at `x` [.., count], float64."""
    total = 0.0
    for k in range(9):
        t = (x - means[k]) / scales[k]
        laplacian = np.where(t < 0, 0.5 * np.exp(-abs(t)), 1 - 0.5 * np.exp(-abs(t)))
        total += weights[k] * (special.ndtr(t), laplacian, special.expit(t))[k // 3]
    return total


def integers(means, scales, weights):
    """As `gllmm.Mixture.indexes`, of numpy arrays; int32 [27, 1, 1, 1, count]."""
    weights = np.floor(weights * 2**mixtures.WEIGHT_BITS)
    at = weights.argmax(axis=0), np.arange(weights.shape[1])
    weights[at] += 2**mixtures.WEIGHT_BITS - weights.sum(axis=0)
    numbers = [
        np.rint(means * 2**mixtures.MEAN_BITS),
        np.rint(2**mixtures.INVERSE_BITS / scales),
        weights,
    ]
    return np.concatenate(numbers).astype(np.int32).reshape(27, 1, 1, 1, -1)


def full_cdfs(symbols, mixture):
    """A 16-bit cumulative over the symbols' range for each element, int32 [count, bins + 1]."""
    first, last = symbols.min(), symbols.max()
    edges = np.arange(first, last + 2) - 0.5
    share = cumulative(edges[:, None], *mixture)
    share[0], share[-1] = 0.0, 1.0
    bins = len(edges) - 1
    steps = np.floor(share * (2**16 - bins)) + np.arange(bins + 1)[:, None]
    return first, steps.T.astype(np.int32)


def medians_s(runs, *calls):
    """Median seconds of each call, in turns, after one round to warm up."""
    times = [[] for _ in calls]
    for turn in range(runs + 1):
        for call, of_call in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if turn:
                of_call.append(time.perf_counter() - start)
    return [statistics.median(of_call) for of_call in times]


def binary_decisions(tables, mixture, symbols, runs):
    """(bytes, seconds to encode, to decode)"""
    prior = MixturePrior(integers(*mixture), 1)
    shape = (1, 1, 1, symbols.size)

    def encode():
        encoder = open_encoder(TFC, tables)
        prior.encode(symbols.reshape(shape), encoder)
        return encoder.finish()[0]

    streams = encode()

    def decode():
        return prior.decode(shape, open_decoder(TFC, tables, streams)).ravel()

    assert np.array_equal(decode(), symbols)
    return len(streams[0]), *medians_s(runs, encode, decode)


def full_tables(mixture, symbols):
    """The same of a table for each element with `range_encode`; one run."""
    start = time.perf_counter()
    first, cdfs = full_cdfs(symbols, mixture)
    made = time.perf_counter()
    entries = tf.constant((symbols - first).astype(np.int16))
    stream = tfc.range_encode(entries, tf.constant(cdfs), precision=16, debug_level=1)
    coded = time.perf_counter()
    found = tfc.range_decode(stream, [symbols.size], tf.constant(cdfs), precision=16, debug_level=1)
    done = time.perf_counter()
    assert np.array_equal(found.numpy() + first, symbols)
    return len(stream.numpy()), coded - start, made - start + done - coded


def package(mixture, symbols):
    """The same with the package `range-coder`, a call for each symbol; one run."""
    start = time.perf_counter()
    first, cdfs = full_cdfs(symbols, mixture)
    cdfs = cdfs.tolist()
    made = time.perf_counter()
    entries = (symbols - first).tolist()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "stream")
        encoder = range_coder.RangeEncoder(str(path))
        for entry, cdf in zip(entries, cdfs, strict=True):
            encoder.encode([entry], cdf)
        encoder.close()
        coded = time.perf_counter()
        decoder = range_coder.RangeDecoder(str(path))
        found = [decoder.decode(1, cdf)[0] for cdf in cdfs]
        decoder.close()
        done = time.perf_counter()
        assert found == entries
        return path.stat().st_size, coded - start, made - start + done - coded


def main():
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("--symbols", type=int, default=300_000)
    flags.add_argument("--part", type=int, default=20_000, help="symbols of the other two")
    flags.add_argument("--runs", type=int, default=5)
    args = flags.parse_args()

    tables = CodingTables.build(mixtures.binary_rows())
    print("| set | scheme | symbols | bytes | over ideal | encode s | decode s |")
    print("|---|---|---|---|---|---|---|")
    for name, shares in SETS.items():
        *mixture, symbols = sample(np.random.default_rng(0), args.symbols, shares)
        mass = cumulative(symbols + 0.5, *mixture) - cumulative(symbols - 0.5, *mixture)
        bits = -np.log2(np.maximum(mass, 2.0**-60))
        part = [v[:, : args.part] for v in mixture], symbols[: args.part]
        scale = symbols.size / part[1].size
        rows = {
            "binary decisions": binary_decisions(tables, mixture, symbols, args.runs),
            "table each, range_encode": full_tables(*part),
            "table each, range-coder": package(*part),
        }
        for k, (scheme, (size, encode, decode)) in enumerate(rows.items()):
            count, factor = (symbols.size, 1) if k == 0 else (part[1].size, scale)
            ideal = bits[:count].sum() / 8
            print(
                f"| {name} | {scheme} | {count} | {size} | {100 * (size / ideal - 1):+.4f} % "
                f"| {encode * factor:.2f} | {decode * factor:.2f} |",
                flush=True,
            )
    print(f"Seconds are for {args.symbols} symbols, those of the tables scaled up from their part.")


if __name__ == "__main__":
    main()
