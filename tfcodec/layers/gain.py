"""Variable rate by gains (Cui et al., "Asymmetric Gained Deep Image Compression", CVPR 2021)."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfcodec.layers import Shape, Tensor


class Gain(keras.layers.Layer):
    """Scales each channel of the latent by a factor that depends on the quality.

    One vector of gains per rung of a ladder of lambdas; between two rungs the gains are
    interpolated geometrically (Eq. 8 there), so that quality is continuous. The inverse gains of
    the decoder are an instance of their own, started at the reciprocals and learned freely.

    Args:
        initial: start value of each rung's gain, all channels alike; its length is the ladder's.
    Input:  (latent [B, H, W, C], rung [B] in [0, len(initial) - 1], fractions allowed), float32.
    Output: [B, H, W, C].
    """

    def __init__(self, initial: Sequence[float], **kwargs: Any):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.initial = tuple(float(v) for v in initial)

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        start = np.log(np.tile(np.float32(self.initial)[:, None], [1, channels]))
        self.log_gain = self.add_weight(
            name="log_gain",
            shape=start.shape,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(start, dtype=dtype),
        )

    def call(self, latent: Tensor, rung: Tensor) -> Tensor:
        # Hat weights instead of a gather: the same formula interpolates and has a dense gradient.
        rungs = ops.arange(len(self.initial), dtype="float32")
        weight = ops.maximum(1.0 - ops.abs(rung[:, None] - rungs[None, :]), 0.0)  # [B, rungs]
        gain = ops.exp(ops.matmul(weight, self.log_gain))  # [B, C]
        return latent * gain[:, None, None, :]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "initial": self.initial}
