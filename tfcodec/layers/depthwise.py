"""Depthwise convolution, and the residual block that is built around it (DCVC-RT: Jia et al.,
"Towards Practical Real-Time Neural Video Compression", CVPR 2025, https://arxiv.org/abs/2502.20762;
after it DCVC-UF).

At 1/8 of the resolution these blocks learn better and run faster for their arithmetic than ordinary
convolutions at 1/2 and 1/4.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from tfcodec.layers import Shape, Tensor

SHARPNESS = 4.0  # of the activation v sigmoid(4 v), DCVC-RT's


class DepthwiseConv3x3(keras.layers.Layer):
    """Depthwise 3x3 convolution with zero padding: each channel is filtered by itself.

    Args:
        scale: fixed number that multiplies the kernel where it is used (not the bias).
        form: "conv", a depthwise convolution, or "shifts", nine shifted products, which are fast
            under XLA where grouped convolutions are slow. By default the latter on JAX.
    Input and output: [B, H, W, C], float.
    Raises: ValueError for another form.
    """

    def __init__(self, scale: float = 1.0, form: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if form not in (None, "conv", "shifts"):
            raise ValueError(f"`form` must be 'conv' or 'shifts'. Received: form={form!r}")
        self.scale, self.form = scale, form

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        draw = np.random.default_rng(channels).normal(0, 0.3, (3, 3, channels))
        self.kernel = self.add_weight(
            name="kernel",
            shape=draw.shape,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(draw, dtype=dtype),
        )
        self.bias = self.add_weight(name="bias", shape=(channels,), initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        kernel, bias = ops.cast(self.kernel, x.dtype) * self.scale, ops.cast(self.bias, x.dtype)
        if self.form == "conv" or (self.form is None and keras.backend.backend() != "jax"):
            y = ops.depthwise_conv(
                x, kernel[..., None], 1, padding="same", data_format="channels_last"
            )
            return ops.add(y, bias)
        x, y = ops.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]), bias
        for i in range(3):
            for j in range(3):
                y = y + x[:, i : i - 2 or None, j : j - 2 or None] * kernel[i, j]
        return y

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale, "form": self.form}


class ScaledConv2D(keras.layers.Conv2D):
    """Convolution whose kernel counts `scale` times and whose bias counts `bias_scale` times.

    Fixed numbers cost next to nothing on the kernel; on the activations they are passes through
    memory.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        scale: float = 1.0,
        bias_scale: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(filters, kernel_size, **kwargs)
        self.scale, self.bias_scale = scale, bias_scale

    def call(self, x: Tensor) -> Tensor:
        # By `ops.add`, which becomes TensorFlow's BiasAdd, and that a part of the convolution.
        return ops.add(
            self.convolution_op(x, self.kernel * self.scale), self.bias * self.bias_scale
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale, "bias_scale": self.bias_scale}


def _swish(u):
    return u * ops.sigmoid(u)  # as a product: TensorFlow finds it, but not in `ops.silu`


class SeparableUnit(keras.layers.Layer):
    """b(dw(act(a x))): 1x1, act(v) = v sigmoid(4 v), depthwise 3x3, 1x1; the last starts at zero.

    Args: hidden: channels between the two 1x1; filters: of the output.
    Input:  [B, H, W, C].
    Output: [B, H, W, filters].
    """

    def __init__(self, hidden: int, filters: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.hidden, self.filters, policy = hidden, filters, self.dtype_policy
        before = dict(scale=SHARPNESS, bias_scale=SHARPNESS, dtype=policy)
        self.a = ScaledConv2D(hidden, 1, name="a", **before)
        self.dw = DepthwiseConv3x3(scale=1.0 / SHARPNESS, dtype=policy, name="dw")
        self.b = keras.layers.Conv2D(filters, 1, kernel_initializer="zeros", dtype=policy, name="b")

    def build(self, input_shape: Shape) -> None:
        self.a.build(input_shape)
        for layer in (self.dw, self.b):
            layer.build((*input_shape[:3], self.hidden))

    def call(self, x: Tensor) -> Tensor:
        return self.b(self.dw(_swish(self.a(x))))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:3], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden": self.hidden, "filters": self.filters}


class PointwiseUnit(keras.layers.Layer):
    """d(act(c x)): 1x1 from C to 2C channels, act(v) = v sigmoid(4 v), 1x1 back; starts at zero.

    Input and output: [B, H, W, C], float.
    """

    def build(self, input_shape: Shape) -> None:
        filters, policy = input_shape[-1], self.dtype_policy
        before = dict(scale=SHARPNESS, bias_scale=SHARPNESS, dtype=policy)
        behind = dict(scale=1.0 / SHARPNESS, dtype=policy, kernel_initializer="zeros")
        self.c = ScaledConv2D(2 * filters, 1, name="c", **before)
        self.d = ScaledConv2D(filters, 1, name="d", **behind)
        self.c.build(input_shape)
        self.d.build((*input_shape[:3], 2 * filters))

    def call(self, x: Tensor) -> Tensor:
        return self.d(_swish(self.c(x)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


class DepthBlock(keras.layers.Layer):
    """x += b(dw(act(a x))), then x += d(act(c x)), with act(v) = v sigmoid(4 v).

    a, b: 1x1 convolutions from C to C channels; dw: `DepthwiseConv3x3`; c: C to 2C; d: 2C to C.
    b and d start at zero, so that the block starts as the identity. DCVC-RT's block with a plain
    hidden layer of 2C in place of its gated one.

    The activation is computed as u sigmoid(u) of u = 4 v, for which libraries have one pass; its
    factors 4 and 1/4 are in the kernels before and behind it.

    Args: filters: C.
    Input and output: [B, H, W, C], float.
    """

    def __init__(self, filters: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters, policy = filters, self.dtype_policy
        before = dict(scale=SHARPNESS, bias_scale=SHARPNESS, dtype=policy)
        behind = dict(scale=1.0 / SHARPNESS, dtype=policy)
        self.a = ScaledConv2D(filters, 1, name="a", **before)
        self.dw = DepthwiseConv3x3(name="dw", **behind)
        self.b = keras.layers.Conv2D(filters, 1, kernel_initializer="zeros", dtype=policy, name="b")
        self.c = ScaledConv2D(2 * filters, 1, name="c", **before)
        self.d = ScaledConv2D(filters, 1, kernel_initializer="zeros", name="d", **behind)

    def build(self, input_shape: Shape) -> None:
        for layer in (self.a, self.dw, self.b, self.c):
            layer.build(input_shape)
        self.d.build((*input_shape[:3], 2 * self.filters))

    def call(self, x: Tensor) -> Tensor:
        x = x + self.b(self.dw(_swish(self.a(x))))
        return x + self.d(_swish(self.c(x)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters}
