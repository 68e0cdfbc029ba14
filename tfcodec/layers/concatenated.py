"""Concatenated residual modules and simplified attention (Fu et al., IEEE TIP 2023, Fig. 3, 4)."""

from typing import Any

import keras
from keras import ops

from tfcodec.layers import Shape, Tensor


class ConcatenatedResidualBlock(keras.layers.Layer):
    """Two residual blocks in a row, and a shortcut around both.

        t ─┬─┬► conv3 ► act ► conv3 ► act ─(+)─┬► conv3 ► act ► conv3 ► act ─(+)─(+)─► out
           │ └─────────────────────────────┘   └─────────────────────────────┘   │
           └─────────────────────────────────────────────────────────────────────┘

    The activation comes before each sum and none after: the path of the input has a gain of 2.

    Args: slope: of the leaky ReLUs.
    Input and output: [B, H, W, C].
    """

    def __init__(self, slope: float = 0.2, **kwargs: Any):
        super().__init__(**kwargs)
        self.slope = slope

    def build(self, input_shape: Shape) -> None:
        self.convs = [
            keras.layers.Conv2D(
                input_shape[-1], 3, padding="same", dtype=self.dtype_policy, name=f"conv{k}"
            )
            for k in range(4)
        ]
        for conv in self.convs:
            conv.build(input_shape)

    def call(self, x: Tensor) -> Tensor:
        inner = x
        for first, second in (self.convs[:2], self.convs[2:]):
            y = ops.leaky_relu(first(inner), self.slope)
            inner = inner + ops.leaky_relu(second(y), self.slope)
        return x + inner

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "slope": self.slope}


class ResidualUnit(keras.layers.Layer):
    """conv1 to half the channels - ReLU - conv3 - ReLU - conv1 back, added to the input.

    Input and output: [B, H, W, C].
    """

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        options = dict(padding="same", dtype=self.dtype_policy)
        half = (*input_shape[:3], channels // 2)
        self.conv1 = keras.layers.Conv2D(channels // 2, 1, name="conv1", **options)
        self.conv2 = keras.layers.Conv2D(channels // 2, 3, name="conv2", **options)
        self.conv3 = keras.layers.Conv2D(channels, 1, name="conv3", **options)
        for conv, shape in ((self.conv1, input_shape), (self.conv2, half), (self.conv3, half)):
            conv.build(shape)

    def call(self, x: Tensor) -> Tensor:
        y = ops.relu(self.conv2(ops.relu(self.conv1(x))))
        return x + self.conv3(y)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


class SimplifiedAttention(keras.layers.Layer):
    """x + sigmoid(mask(x)) trunk(x), each three residual units; nothing non-local.

    Input and output: [B, H, W, C].
    """

    def build(self, input_shape: Shape) -> None:
        policy = self.dtype_policy
        self.trunk = [ResidualUnit(dtype=policy, name=f"trunk{k}") for k in range(3)]
        self.mask = [ResidualUnit(dtype=policy, name=f"mask{k}") for k in range(3)]
        self.gate = keras.layers.Conv2D(input_shape[-1], 1, dtype=policy, name="gate")
        for layer in (*self.trunk, *self.mask, self.gate):
            layer.build(input_shape)

    def call(self, x: Tensor) -> Tensor:
        trunk = mask = x
        for of_trunk, of_mask in zip(self.trunk, self.mask, strict=True):
            trunk, mask = of_trunk(trunk), of_mask(mask)
        return x + ops.sigmoid(self.gate(mask)) * trunk

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape
