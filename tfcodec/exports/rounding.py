"""Kernels that an export stores in int8, rounded for pictures."""

from typing import TYPE_CHECKING

import keras
import numpy as np

from tfcodec.exact.freezing import Met
from tfcodec.exact.rounding import Compensation
from tfcodec.exports.weights import INT8_MAX, is_small, quantised
from tfcodec.layers.watch import watching

if TYPE_CHECKING:
    from tfcodec.models.base import CodecModel


def rounded(model: "CodecModel", x: np.ndarray, weights: str) -> dict[str, np.ndarray]:
    """Kernels by path, float32, of which `weights.quantised` changes nothing.

    Those of ordinary convolutions that `weights` stores in int8; others (transposed, depthwise,
    dense ones) are not among them.

    Args:
        model: built, with its weights; its calls must be eager.
        x: float32 [B, H, W, 3] in [0, 1], sides multiples of the model's stride; a dozen crops of
            pictures or more, coded at rungs over the whole ladder.
        weights: as `weights.stored_arrays` takes it.
    """
    met: dict[str, Met | None] = {}

    def listen(layer, inputs, output):
        if not isinstance(layer, keras.layers.Conv2D) or layer.groups != 1:
            return
        path = layer.kernel.path
        if is_small(path, layer.kernel.shape, weights):
            if path not in met:
                met[path] = Met.of(layer)
            if met[path]:
                met[path].add(inputs[0])

    rungs = np.linspace(0, len(model.lambdas) - 1, len(x), dtype=np.float32)
    with watching(listen):
        for picture, rung in zip(x, rungs, strict=True):
            model(picture[None], rung[None])
    return {path: compensated(one.kernel, one.moments.second()) for path, one in met.items() if one}


def compensated(kernel: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """A kernel [k, k, in, out] on the grid of `weights.quantised`, near in what it computes.

    Args: gram: see `Compensation`.
    """
    matrix = np.float64(kernel.reshape(len(gram), -1))
    scale = np.float64(quantised(kernel)[1])
    # The largest of each output keeps its integer, the greatest, and with it the scale.
    largest = np.abs(matrix) == np.abs(matrix).max(axis=0)
    steps = np.where(scale > 0, scale, 1.0)
    integers = Compensation(gram).round(matrix, steps, INT8_MAX, kept=largest)
    return np.float32(integers * scale).reshape(kernel.shape)
