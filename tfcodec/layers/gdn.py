"""Generalized divisive normalization (Balle, Laparra, Simoncelli, ICLR 2016/2017)."""

from typing import Any

import keras
from keras import ops

from tfcodec.layers import Shape, Tensor
from tfcodec.layers.bound import lower_bound

PEDESTAL = 2.0**-36  # keeps the gradient of the square root alive at zero, as in TFC
BETA_MIN = 1e-6


@keras.saving.register_keras_serializable(package="tfcodec")
class GDN(keras.layers.Layer):
    """Divides each channel by a norm pooled over all channels of the same pixel.

    order 2:  y_i = x_i / sqrt(beta_i + sum_j gamma_ji x_j^2)     (the papers' form)
    order 1:  y_i = x_i / (beta_i + sum_j gamma_ji |x_j|)         (TFC's present default; faster)

    beta and gamma are stored as sqrt(value + 2^-36) and squared on use, which keeps them in range
    and slows them down near zero (TFC, CompressAI). Parameters: C^2 + C.

    Args:
        inverse: multiply instead of divide (IGDN, for synthesis).
        order: 1 or 2, see above.
    Input and output: [B, H, W, C], float.
    Raises: ValueError for another order.
    """

    def __init__(self, inverse: bool = False, order: int = 2, **kwargs: Any):
        super().__init__(**kwargs)
        if order not in (1, 2):
            raise ValueError(f"`order` must be 1 or 2. Received: order={order}")
        self.inverse, self.order = inverse, order

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]

        def beta_init(shape, dtype=None):
            return ops.cast(ops.sqrt(ops.ones(shape) + PEDESTAL), dtype)

        def gamma_init(shape, dtype=None):
            return ops.cast(ops.sqrt(0.1 * ops.eye(shape[0]) + PEDESTAL), dtype)

        self.beta = self.add_weight(name="beta", shape=(channels,), initializer=beta_init)
        self.gamma = self.add_weight(
            name="gamma", shape=(channels, channels), initializer=gamma_init
        )

    def call(self, x: Tensor) -> Tensor:
        # The squares are taken in the variables' precision; bfloat16 would lose the pedestal.
        beta = self._value(self.beta, BETA_MIN)
        gamma = self._value(self.gamma, 0.0)
        powers = ops.abs(x) if self.order == 1 else ops.square(x)
        norm = ops.matmul(powers, ops.cast(gamma, x.dtype)) + ops.cast(beta, x.dtype)
        if self.order == 2:
            return x * (ops.sqrt(norm) if self.inverse else ops.rsqrt(norm))
        return x * norm if self.inverse else x / norm

    @staticmethod
    def _value(stored, minimum):
        bound = (minimum + PEDESTAL) ** 0.5
        return ops.square(lower_bound(ops.cast(stored, "float32"), bound)) - PEDESTAL

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "inverse": self.inverse, "order": self.order}
