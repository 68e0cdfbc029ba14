"""Feature enhancement at full resolution (Xie et al., ACM MM 2021; "Feature Attention" in ICWEM's
figure, though nothing in it attends)."""

import keras
from keras import ops

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

    def __init__(self, filters, growth=32, **kwargs):
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

    def build(self, input_shape):
        for k, conv in enumerate(self.convs):
            conv.build((*input_shape[:3], input_shape[3] + k * self.growth))

    def call(self, x):
        for conv in self.convs[:4]:
            x = ops.concatenate([x, ops.leaky_relu(conv(x), SLOPE)], axis=-1)
        return self.convs[4](x)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:3], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "growth": self.growth}


class FeatureEnhancement(keras.layers.Layer):
    """x + 0.2 F(x), with F two dense blocks around convolutions of 1x1, 3x3 and 1x1.

    It starts as the identity. Between the three inner convolutions the original has no activation,
    so that they are one linear map; `activate` puts leaky ReLUs there.

    Args:
        width: channels inside.
        activate: see above; False is what the papers' code computes.
    Input and output: [B, H, W, C]. Parameters at C = 3 and the defaults: 313,987.
    """

    def __init__(self, width=64, activate=False, **kwargs):
        super().__init__(**kwargs)
        self.width, self.activate = width, activate
        policy = self.dtype_policy
        self.dense_in = DenseBlock(width, dtype=policy, name="dense_in")
        self.convs = [
            keras.layers.Conv2D(width, size, padding="same", dtype=policy, name=f"conv{k}")
            for k, size in enumerate((1, 3, 1))
        ]

    def build(self, input_shape):
        inner = (*input_shape[:3], self.width)
        self.dense_out = DenseBlock(input_shape[-1], dtype=self.dtype_policy, name="dense_out")
        self.dense_in.build(input_shape)
        for conv in self.convs:
            conv.build(inner)
        self.dense_out.build(inner)

    def call(self, x):
        y = self.dense_in(x)
        for conv in self.convs:
            y = conv(y)
            if self.activate:
                y = ops.leaky_relu(y, SLOPE)
        return x + RESIDUAL * self.dense_out(y)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "width": self.width, "activate": self.activate}
