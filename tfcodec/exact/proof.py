"""What a frozen model proves of itself on every machine that loads it.

`exports.remembered` knows when a machine need not do so again.
"""

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfcodec.coding.format import MAX_SYMBOL
from tfcodec.exact import specification


def frozen_convolutions(
    config: dict, weights: Mapping[str, np.ndarray]
) -> list[specification.Conv]:
    """The `specification.Conv`s of a frozen export, from its config.json and its stored weights by
    name; none of another."""
    convs = []
    for described in config.get("exact", {}).get("convolutions", ()):
        conv = specification.Conv.read(described, {})
        arrays = {name: weights[f"{conv.name}/exact/{name}"] for name in conv.shapes()}
        convs.append(dataclasses.replace(conv, arrays=arrays))
    return convs


def integers_hash(convs: Sequence[specification.Conv]) -> str:
    """SHA-256 of frozen convolutions, hexadecimal."""
    digest = hashlib.sha256()
    for conv in convs:
        digest.update(json.dumps(conv.describe()).encode())
        for name, array in sorted(conv.arrays.items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def known_answer(model: Any) -> str:
    """CRC-32 of what a model's steps say to given symbols, ordinary ones and extreme ones.

    model: of `walk.walk`, as `Exported` is, with `shapes`.
    """
    crc = 0
    for extreme in (False, True):
        state, symbols = {}, None
        for k, shape in enumerate(model.shapes(2 * model.stride, 3 * model.stride)):
            state, prior = model.step(k, state, symbols)
            means = np.rint(np.float64(prior.mu) * 2**specification.MEAN_BITS).astype(np.int64)
            for numbers in (means, np.int64(prior.indexes)):
                crc = zlib.crc32(numbers.astype("<i8").tobytes(), crc) if k else crc
            mixed = (np.arange(np.prod(shape), dtype=np.uint64) + k + 1) * 2654435761 % 2**32
            symbols = (mixed.reshape(shape) >> 27).astype(np.int32) - 16
            if extreme:
                symbols = np.where(symbols < 0, -MAX_SYMBOL, MAX_SYMBOL).astype(np.int32)
    return f"{crc:08x}"
