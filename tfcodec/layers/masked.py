"""Masked convolution: a context of what precedes a position in raster order."""

from typing import Any

import keras
import numpy as np
from keras import ops

from tfcodec.layers import Shape, Tensor


class MaskedConv2D(keras.layers.Layer):
    """Convolution that sees two rows above and the positions to the left (type A: not its own).

    In raster order the taps that it may see are the first half of the kernel, so that a window of
    them times the same weights gives a single position (`at`), which is what a decoder needs. The
    masked taps are stored all the same, as in the papers' parameter counts.

    Args:
        filters: channels of the output.
        kernel_size: odd side of the kernel.
    Input:  [B, H, W, C].
    Output: [B, H, W, filters].
    """

    def __init__(self, filters: int, kernel_size: int = 5, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters, self.kernel_size = filters, kernel_size

    @property
    def taps(self) -> int:
        """Number of the taps that are seen."""
        return self.kernel_size**2 // 2

    def build(self, input_shape: Shape) -> None:
        shape = (self.kernel_size, self.kernel_size, input_shape[-1], self.filters)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        seen = np.arange(self.kernel_size**2) < self.taps
        mask = seen.astype(np.float32).reshape(self.kernel_size, self.kernel_size, 1, 1)
        kernel = ops.cast(self.kernel, x.dtype) * ops.cast(mask, x.dtype)
        return ops.conv(x, kernel, padding="same") + ops.cast(self.bias, x.dtype)

    def at(self, windows: Tensor) -> Tensor:
        """The output at single positions.

        Args: windows: [n, taps, C], what the seen taps lie on, zero outside of the input.
        Returns: [n, filters].
        """
        channels = self.kernel.shape[2]
        kernel = ops.reshape(self.kernel, (self.kernel_size**2, channels, self.filters))
        kernel = ops.reshape(kernel[: self.taps], (self.taps * channels, self.filters))
        flat = ops.reshape(windows, (-1, self.taps * channels))
        return ops.matmul(flat, kernel) + self.bias

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:3], self.filters)

    def get_config(self) -> dict[str, Any]:
        config = {"filters": self.filters, "kernel_size": self.kernel_size}
        return {**super().get_config(), **config}
