"""Feature enhancement at full resolution (Xie et al., ACM MM 2021; "Feature Attention" in ICWEM's
figure, though nothing in it attends)."""

from typing import Any

import keras
from keras import ops

from tfcodec.layers import Shape, Tensor

SLOPE = 0.2
RESIDUAL = 0.2  # share of the block's output that is added to the picture


class DenseBlock(keras.layers.Layer):
    """Five 3x3 convolutions, each of which sees the input and all outputs before it.

    Args:
        filters: channels of the output; the last convolution is linear and starts at zero.
        growth: channels that each of the four others adds.
    Input:  [B, H, W, C].
    Output: [B, H, W, filters].
    """

    def __init__(self, filters: int, growth: int = 32, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters, self.growth = filters, growth
        # Xavier normal times 0.1 is a variance scaling of 0.01.
        starts = [
            keras.initializers.VarianceScaling(0.01, "fan_avg", "untruncated_normal", seed=k)
            for k in range(4)
        ]
        self.convs = [
            keras.layers.Conv2D(
                growth if k < 4 else filters,
                3,
                padding="same",
                kernel_initializer=starts[k] if k < 4 else "zeros",
                dtype=self.dtype_policy,
                name=f"conv{k}",
            )
            for k in range(5)
        ]

    def build(self, input_shape: Shape) -> None:
        for k, conv in enumerate(self.convs):
            conv.build((*input_shape[:3], input_shape[3] + k * self.growth))

    def call(self, x: Tensor) -> Tensor:
        for conv in self.convs[:4]:
            x = ops.concatenate([x, ops.leaky_relu(conv(x), SLOPE)], axis=-1)
        return self.convs[4](x)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:3], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "growth": self.growth}


class FeatureEnhancement(keras.layers.Layer):
    """x + 0.2 F(x), with F two dense blocks around convolutions of 1x1, 3x3 and 1x1.

    It starts as the identity, and adds in the precision of x: only F follows a policy of bfloat16,
    which cannot tell all grey levels apart. Between the three inner convolutions the original has
    no activation, so that they are one linear map; `activate` puts leaky ReLUs there.

    Args:
        width: channels inside; a convolution of the dense blocks adds half as many.
        activate: see above; False is what the papers' code computes.
        squeeze: F sees the blocks of squeeze x squeeze pixels as channels, for as many times less
            arithmetic; 1, at full resolution, in the papers.
    Input and output: [B, H, W, C], H and W multiples of `squeeze`. Parameters at C = 3 and the
        defaults: 313,987.
    """

    def __init__(self, width: int = 64, activate: bool = False, squeeze: int = 1, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.width, self.activate, self.squeeze = width, activate, squeeze
        policy = self.dtype_policy
        # As PyTorch's layers start.
        start = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        self.dense_in = DenseBlock(width, width // 2, dtype=policy, name="dense_in")
        self.convs = [
            keras.layers.Conv2D(
                width,
                size,
                padding="same",
                kernel_initializer=start.clone(),
                dtype=policy,
                name=f"conv{k}",
            )
            for k, size in enumerate((1, 3, 1))
        ]

    def build(self, input_shape: Shape) -> None:
        outer = (None, None, None, input_shape[-1] * self.squeeze**2)
        inner = (None, None, None, self.width)
        self.dense_out = DenseBlock(
            outer[-1], self.width // 2, dtype=self.dtype_policy, name="dense_out"
        )
        self.dense_in.build(outer)
        for conv in self.convs:
            conv.build(inner)
        self.dense_out.build(inner)

    def call(self, x: Tensor) -> Tensor:
        y = x if self.squeeze == 1 else ops.space_to_depth(x, self.squeeze)
        y = self.dense_in(y)
        for conv in self.convs:
            y = conv(y)
            if self.activate:
                y = ops.leaky_relu(y, SLOPE)
        y = self.dense_out(y)
        if self.squeeze > 1:
            y = ops.depth_to_space(y, self.squeeze)
        return x + RESIDUAL * ops.cast(y, x.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = {"width": self.width, "activate": self.activate, "squeeze": self.squeeze}
        return {**super().get_config(), **config}
