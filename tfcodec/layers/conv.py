"""Strided, transposed and sub-pixel convolutions, aligned alike for every size of the input.

Keras' `same` with stride 2 pads one pixel less on the left of an even side, which shifts the
kernel against 1x1 skips and against PyTorch. Here output sample n is centred on input sample
`strides * n`.
"""

from typing import Any

import keras
from keras import ops

from tfcodec.layers import Shape, Tensor

WIDEST = 512  # outputs from which a sub-pixel convolution is a `WideConv2D`


class DownConv2D(keras.layers.Conv2D):
    """Convolution with symmetric zero padding (k - 1) // 2 and a stride.

    Args: as `keras.layers.Conv2D`; `padding` is not among them.
    Input:  [B, H, W, C].
    Output: [B, ceil(H / s), ceil(W / s), filters] for odd kernels.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = 2,
        **kwargs: Any,
    ):
        super().__init__(filters, kernel_size, strides=strides, padding="valid", **kwargs)

    def call(self, x: Tensor) -> Tensor:
        pads = [((k - 1) // 2, (k - 1) // 2) for k in self.kernel_size]
        if pads != [(0, 0), (0, 0)]:
            x = ops.pad(x, [(0, 0), *pads, (0, 0)])
        return super().call(x)

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        if self.kernel_size != (1, 1):
            return super().convolution_op(inputs, kernel)
        # Sampled first: TensorFlow 2.17 with oneDNN writes beyond its buffers in the filter
        # gradient of a strided 1x1 convolution.
        inputs = inputs[:, :: self.strides[0], :: self.strides[1], :]
        return ops.conv(inputs, kernel, strides=1, padding="valid")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        sides = [
            None if side is None else (side + 2 * ((k - 1) // 2) - k) // stride + 1
            for side, stride, k in zip(
                input_shape[1:3], self.strides, self.kernel_size, strict=True
            )
        ]
        return (input_shape[0], *sides, self.filters)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("padding")
        return config


class UpConv2D(keras.layers.Conv2DTranspose):
    """Transposed convolution: the adjoint of `DownConv2D`, exactly `strides` times as large.

    Input:  [B, H, W, C].
    Output: [B, s H, s W, filters].
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = 2,
        **kwargs: Any,
    ):
        super().__init__(filters, kernel_size, strides=strides, padding="valid", **kwargs)

    def call(self, x: Tensor) -> Tensor:
        height, width = (
            side * stride for side, stride in zip(ops.shape(x)[1:3], self.strides, strict=True)
        )
        top, left = ((k - 1) // 2 for k in self.kernel_size)
        y = super().call(x)
        return y[:, top : top + height, left : left + width, :]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        sides = [
            None if side is None else side * stride
            for side, stride in zip(input_shape[1:3], self.strides, strict=True)
        ]
        return (input_shape[0], *sides, self.filters)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for key in ("padding", "output_padding"):
            config.pop(key, None)
        return config


class WideConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` that TensorFlow computes as two of half the channels, side by side.

    The bits are the same, and oneDNN takes up to a fifth less for 3x3 kernels with many outputs.
    """

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        whole = super().convolution_op
        if keras.backend.backend() != "tensorflow":
            return whole(inputs, kernel)
        halves = ops.split(kernel, [kernel.shape[-1] // 2], axis=-1)
        return ops.concatenate([whole(inputs, half) for half in halves], axis=-1)


class SubpixelConv2D(keras.layers.Layer):
    """Convolution to `filters * factor^2` channels, then depth to space (Shi et al., CVPR 2016).

    Args:
        filters: channels of the output.
        kernel_size: odd side of the square kernel.
        factor: how many times larger the output is.
        use_bias: whether the convolution has a bias.
        kernel_initializer: of the convolution.
    Input:  [B, H, W, C].
    Output: [B, factor H, factor W, filters].
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        factor: int = 2,
        use_bias: bool = True,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.factor = filters, kernel_size, factor
        outputs = filters * factor**2
        kind = WideConv2D if outputs > WIDEST else keras.layers.Conv2D
        self.conv = kind(
            outputs,
            kernel_size,
            padding="same",
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            dtype=self.dtype_policy,
            name="conv",
        )

    def build(self, input_shape: Shape) -> None:
        self.conv.build(input_shape)

    def call(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x if self.factor == 1 else ops.depth_to_space(x, self.factor)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, _ = input_shape
        height, width = (None if s is None else s * self.factor for s in (height, width))
        return (batch, height, width, self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "factor": self.factor,
            "use_bias": self.conv.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.conv.kernel_initializer),
        }
