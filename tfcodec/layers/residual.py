"""Residual blocks (Cheng et al., CVPR 2020, in CompressAI's form; LIC-TCM, WeConvene, ICWEM)."""

from typing import Any

import keras

from tfcodec.layers import Shape, Tensor
from tfcodec.layers.conv import DownConv2D, SubpixelConv2D
from tfcodec.layers.gdn import GDN

SLOPE = 0.01  # of the leaky ReLU, as in CompressAI


class ResidualBlock(keras.layers.Layer):
    """conv3 - leaky ReLU - conv3 - leaky ReLU, added to the input (through a 1x1 if widths differ).

    Input:  [B, H, W, C].
    Output: [B, H, W, filters].
    """

    def __init__(self, filters: int, slope: float = SLOPE, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters, self.slope = filters, slope
        options = dict(padding="same", dtype=self.dtype_policy)
        self.conv1 = keras.layers.Conv2D(filters, 3, name="conv1", **options)
        self.conv2 = keras.layers.Conv2D(filters, 3, name="conv2", **options)
        self.skip = keras.layers.Conv2D(filters, 1, name="skip", **options)

    def build(self, input_shape: Shape) -> None:
        self.conv1.build(input_shape)
        self.conv2.build((*input_shape[:3], self.filters))
        if input_shape[-1] == self.filters:
            self.skip = None
        else:
            self.skip.build(input_shape)

    def call(self, x: Tensor) -> Tensor:
        y = keras.ops.leaky_relu(self.conv1(x), self.slope)
        y = keras.ops.leaky_relu(self.conv2(y), self.slope)
        return y + (x if self.skip is None else self.skip(x))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:3], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "slope": self.slope}


class ResidualBlockDown(keras.layers.Layer):
    """conv3 with a stride - leaky ReLU - conv3 - GDN, added to a strided 1x1 of the input.

    Input:  [B, H, W, C].
    Output: [B, ceil(H / s), ceil(W / s), filters]; a stride of 1 leaves plain convolutions.
    """

    def __init__(self, filters: int, strides: int = 2, slope: float = SLOPE, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters, self.strides, self.slope = filters, strides, slope
        policy = self.dtype_policy
        self.down = DownConv2D(filters, 3, strides, dtype=policy, name="down")
        self.conv = keras.layers.Conv2D(filters, 3, padding="same", dtype=policy, name="conv")
        self.gdn = GDN(dtype=policy, name="gdn")
        self.skip = DownConv2D(filters, 1, strides, dtype=policy, name="skip")

    def build(self, input_shape: Shape) -> None:
        inner = self.compute_output_shape(input_shape)
        self.down.build(input_shape)
        self.conv.build(inner)
        self.gdn.build(inner)
        self.skip.build(input_shape)

    def call(self, x: Tensor) -> Tensor:
        y = keras.ops.leaky_relu(self.down(x), self.slope)
        return self.gdn(self.conv(y)) + self.skip(x)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self.down.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        config = {"filters": self.filters, "strides": self.strides, "slope": self.slope}
        return {**super().get_config(), **config}


class ResidualBlockUp(keras.layers.Layer):
    """Sub-pixel conv3 - leaky ReLU - conv3 - IGDN, added to a second sub-pixel conv of the input.

    Args:
        filters: channels of the output.
        factor: how many times larger it is.
        slope: of the leaky ReLU.
        skip_kernel_size: of the second convolution; 3 as in Cheng et al., 1 in Fu et al.
    Input:  [B, H, W, C].
    Output: [B, factor H, factor W, filters]; a factor of 1 leaves plain 3x3 convolutions.
    """

    def __init__(
        self,
        filters: int,
        factor: int = 2,
        slope: float = SLOPE,
        skip_kernel_size: int = 3,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters, self.factor, self.slope = filters, factor, slope
        self.skip_kernel_size = skip_kernel_size
        policy = self.dtype_policy
        self.up = SubpixelConv2D(filters, 3, factor, dtype=policy, name="up")
        self.conv = keras.layers.Conv2D(filters, 3, padding="same", dtype=policy, name="conv")
        self.igdn = GDN(inverse=True, dtype=policy, name="igdn")
        self.skip = SubpixelConv2D(filters, skip_kernel_size, factor, dtype=policy, name="skip")

    def build(self, input_shape: Shape) -> None:
        inner = self.compute_output_shape(input_shape)
        self.up.build(input_shape)
        self.conv.build(inner)
        self.igdn.build(inner)
        self.skip.build(input_shape)

    def call(self, x: Tensor) -> Tensor:
        y = keras.ops.leaky_relu(self.up(x), self.slope)
        return self.igdn(self.conv(y)) + self.skip(x)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self.up.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        config = {"filters": self.filters, "factor": self.factor, "slope": self.slope}
        config["skip_kernel_size"] = self.skip_kernel_size
        return {**super().get_config(), **config}
