"""Invertible layers of a pixel (Xie, Cheng, Chen, "Enhanced Invertible Encoding for Learned Image
Compression", ACM MM 2021; as ICWEM uses them, without squeezing).

Every layer here has two methods that undo each other: calling it, and `inverse`. All compute in
float32: a chain of them in bfloat16 loses grey levels.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tfcodec.layers import Shape, Tensor

SLOPE = 0.2  # of the leaky ReLU in the coupling's networks


class InvertibleConv1x1(keras.layers.Layer):
    """Multiplies each pixel's channels by a full matrix, which starts as a random rotation.

    Input and output: [B, H, W, C], float32. Parameters: C^2, no bias.
    """

    def __init__(self, seed: int = 0, **kwargs: Any):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.seed = seed

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        start = keras.initializers.Orthogonal(seed=self.seed)
        self.kernel = self.add_weight(name="kernel", shape=(channels, channels), initializer=start)

    def call(self, x: Tensor, inverse: bool = False) -> Tensor:
        kernel = self._inverse_kernel(x.dtype) if inverse else self.kernel
        return ops.conv(x, ops.cast(kernel, x.dtype)[None, None], padding="valid")

    def inverse(self, y: Tensor) -> Tensor:
        return self(y, inverse=True)

    def _inverse_kernel(self, dtype):
        kernel = ops.cast(self.kernel, "float32")
        inverse = ops.inv(kernel)
        # One Newton step squares the relative error that float32 elimination leaves.
        identity = ops.eye(kernel.shape[0])
        inverse = ops.matmul(inverse, 2.0 * identity - ops.matmul(kernel, inverse))
        return ops.cast(inverse, dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


class AffineCoupling(keras.layers.Layer):
    """Scales and shifts one part of the channels by functions of the other, then the reverse.

        y1 = x1 exp(t(G2(x2))) + H2(x2)        x2 = (y2 - H1(y1)) exp(-t(G1(y1)))
        y2 = x2 exp(t(G1(y1))) + H1(y1)        x1 = (y1 - H2(x2)) exp(-t(G2(x2)))

    with t(s) = clamp tanh(s / 2): a layer scales by e^-clamp to e^clamp. The last convolution of G
    and H starts at zero, and the coupling as the identity.

    Args:
        kernel_size: odd, of the first and last convolution of G and H; a 1x1 stands between them.
        first: channels of x1; None for a quarter of them, at least 1.
        clamp: see above.
    Input and output: [B, H, W, C], float32, C at least 2.
    Raises: ValueError if `first` leaves a part without channels.
    """

    def __init__(
        self, kernel_size: int = 3, first: int | None = None, clamp: float = 1.0, **kwargs: Any
    ):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.kernel_size, self.first, self.clamp = kernel_size, first, clamp

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        a = max(1, channels // 4) if self.first is None else self.first
        if not 0 < a < channels:
            raise ValueError(f"`first` must be from 1 to {channels - 1}. Received: first={a}")
        self.split = a
        parts = {"g1": (a, channels - a), "h1": (a, channels - a)}
        parts |= {"g2": (channels - a, a), "h2": (channels - a, a)}
        self.networks = {
            name: self._network(name, fan_in, fan_out, input_shape)
            for name, (fan_in, fan_out) in parts.items()
        }

    def _network(self, name, fan_in, fan_out, input_shape):
        sizes = ((fan_in, self.kernel_size), (fan_out, 1), (fan_out, self.kernel_size))
        layers = []
        for k, (channels, size) in enumerate(sizes):
            # Xavier normal times 0.1 is a variance scaling of 0.01; the last one starts at zero.
            start = keras.initializers.VarianceScaling(
                0.01, "fan_avg", "untruncated_normal", seed=k
            )
            conv = keras.layers.Conv2D(
                fan_out,
                size,
                padding="same",
                kernel_initializer=start if k < 2 else "zeros",
                dtype=self.dtype_policy,
                name=f"{name}_conv{k}",
            )
            conv.build((*input_shape[:3], channels))
            setattr(self, f"{name}_conv{k}", conv)
            layers.append(conv)
        return layers

    def _apply(self, name, x):
        first, middle, last = self.networks[name]
        return last(ops.leaky_relu(middle(ops.leaky_relu(first(x), SLOPE)), SLOPE))

    def _log_scale(self, name, x):
        return self.clamp * ops.tanh(0.5 * self._apply(name, x))

    def call(self, x: Tensor) -> Tensor:
        x1, x2 = x[..., : self.split], x[..., self.split :]
        y1 = x1 * ops.exp(self._log_scale("g2", x2)) + self._apply("h2", x2)
        y2 = x2 * ops.exp(self._log_scale("g1", y1)) + self._apply("h1", y1)
        return ops.concatenate([y1, y2], axis=-1)

    def inverse(self, y: Tensor) -> Tensor:
        y1, y2 = y[..., : self.split], y[..., self.split :]
        x2 = (y2 - self._apply("h1", y1)) * ops.exp(-self._log_scale("g1", y1))
        x1 = (y1 - self._apply("h2", x2)) * ops.exp(-self._log_scale("g2", x2))
        return ops.concatenate([x1, x2], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = {"kernel_size": self.kernel_size, "first": self.first, "clamp": self.clamp}
        return {**super().get_config(), **config}


class InvertibleNetwork(keras.layers.Layer):
    """Levels of one invertible 1x1 convolution and some couplings each.

    `squeeze=1` is the pixel network of ICWEM, which stays at [B, H, W, 3] throughout (4,044
    parameters at the defaults); `squeeze=2` that of InvCompress, whose every level begins by moving
    2x2 blocks into channels (37,215,108 parameters).

    Args:
        kernel_sizes: of the couplings, one a level.
        couplings: how many a level.
        squeeze: side of the blocks that a level moves into channels, 1 for none; of each level, or
            of all.
    Input:  [B, H, W, C], float32; sides multiples of s, the product of all levels' squeezes.
    Output: [B, H / s, W / s, C s^2].
    """

    def __init__(
        self,
        kernel_sizes: Sequence[int] = (5, 5, 3, 3),
        couplings: int = 3,
        squeeze: int | Sequence[int] = 1,
        **kwargs: Any,
    ):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.kernel_sizes, self.couplings = tuple(kernel_sizes), couplings
        if isinstance(squeeze, int):
            squeeze = [squeeze] * len(self.kernel_sizes)
        self.squeeze = tuple(squeeze)
        self.levels = [
            [
                InvertibleConv1x1(seed=k, dtype=self.dtype_policy, name=f"level{k}_conv"),
                *(
                    AffineCoupling(size, dtype=self.dtype_policy, name=f"level{k}_coupling{j}")
                    for j in range(couplings)
                ),
            ]
            for k, size in enumerate(self.kernel_sizes)
        ]

    def build(self, input_shape: Shape) -> None:
        batch, height, width, channels = input_shape
        for side, level in zip(self.squeeze, self.levels, strict=True):
            channels *= side**2
            height, width = (None if s is None else s // side for s in (height, width))
            for layer in level:
                layer.build((batch, height, width, channels))

    def call(self, x: Tensor) -> Tensor:
        for side, level in zip(self.squeeze, self.levels, strict=True):
            if side > 1:
                x = ops.space_to_depth(x, side)
            for layer in level:
                x = layer(x)
        return x

    def inverse(self, y: Tensor) -> Tensor:
        for side, level in zip(self.squeeze[::-1], self.levels[::-1], strict=True):
            for layer in level[::-1]:
                y = layer.inverse(y)
            if side > 1:
                y = ops.depth_to_space(y, side)
        return y

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        scale = math.prod(self.squeeze)
        sides = (None if s is None else s // scale for s in input_shape[1:3])
        return (input_shape[0], *sides, input_shape[3] * scale**2)

    def get_config(self) -> dict[str, Any]:
        config = {
            "kernel_sizes": self.kernel_sizes,
            "couplings": self.couplings,
            "squeeze": self.squeeze,
        }
        return {**super().get_config(), **config}
