"""Self-attention in windows, channels last (Swin: Liu et al., ICCV 2021; as in LIC-TCM, CVPR 2023).

Maps of any size: sides that are no multiple of the window are padded at the bottom and right and
the padding is masked. An axis with a single window is not shifted, which would only tear it apart.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from tfcodec.layers import Shape, Tensor
from tfcodec.layers.padding import pad_to_multiple

MASKED = -1e9  # a logit that the softmax turns into 0
PADDING = 3


def window_mask(height: int | Tensor, width: int | Tensor, window: int, shifted: bool) -> Tensor:
    """What is added to the attention's logits of a map, so that only neighbours see each other.

    One mask serves all blocks of the same map, window and shift: pass it to their calls.

    Args:
        height, width: sides of the map, integers or scalar tensors.
        window: side of a window.
        shifted: whether the windows are those of a shifted block.
    Returns: float32 [windows, 1, window^2, window^2], 0 or `MASKED`; windows row by row.
    """
    rows, columns = (_regions(side, window, shifted) for side in (height, width))
    rows, columns = rows[:, None], columns[None, :]
    regions = ops.where(ops.maximum(rows, columns) == PADDING, -1, 4 * rows + columns)
    regions = _windows(regions[None, :, :, None], window)[0, :, :, 0]  # [windows, window^2]
    same = regions[:, None, :, None] == regions[:, None, None, :]
    return ops.where(same, 0.0, MASKED)


def _regions(side, window, shifted):
    """int32 [padded side] of the rolled grid: 0 inside, 1 before the seam, 2 behind it, PADDING."""
    padded = side + -side % window
    shift = _shift(side, window) if shifted else 0
    position = ops.arange(padded, dtype="int32")
    region = ops.where(position >= padded - window, 1, 0)
    region = ops.where(position >= padded - shift, 2, region)
    return ops.where((position + shift) % padded >= side, PADDING, region)


def _shift(side, window):
    """How far a shifted block rolls an axis of that side."""
    if isinstance(side, int):
        return window // 2 if side > window else 0
    return ops.where(side > window, window // 2, 0)


def _windows(x, window):
    """[B, H, W, C] to [B, windows, window^2, C]."""
    batch, height, width, channels = ops.shape(x)
    rows, columns = height // window, width // window
    x = ops.reshape(x, (batch, rows, window, columns, window, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (batch, rows * columns, window**2, channels))


def _unwindows(x, window, height, width):
    """[B, windows, window^2, C] to [B, H, W, C]."""
    batch, channels = ops.shape(x)[0], x.shape[-1]
    x = ops.reshape(x, (batch, height // window, width // window, window, window, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (batch, height, width, channels))


class WindowAttention(keras.layers.Layer):
    """Multi-head self-attention among the pixels of each window, with a relative position bias.

    Args:
        heads: number of heads; divides the channels.
        window: side of a window.
        shifted: roll the map by half a window, so that windows straddle those of the block before.
        aligned: a promise that the sides are multiples of `window`, which spares unknown sizes the
            padding and unshifted blocks the mask.
    Input:  [B, H, W, C]; optionally `shift_mask`, the `window_mask` of this map, window and shift.
    Output: [B, H, W, C].
    Raises: ValueError if the heads do not divide the channels.
    """

    def __init__(
        self,
        heads: int,
        window: int = 8,
        shifted: bool = False,
        aligned: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.heads, self.window, self.shifted, self.aligned = heads, window, shifted, aligned
        # index[i, j]: which entry of the bias table holds for query i and key j.
        row, column = np.divmod(np.arange(window**2), window)
        down = row[:, None] - row[None, :] + window - 1
        right = column[:, None] - column[None, :] + window - 1
        self.index = np.int32(down * (2 * window - 1) + right)

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        if channels % self.heads:
            raise ValueError(
                f"`heads` must divide the channels. Received: heads={self.heads}, "
                f"channels={channels}"
            )
        policy = self.dtype_policy
        self.qkv = keras.layers.Dense(3 * channels, dtype=policy, name="qkv")
        self.out = keras.layers.Dense(channels, dtype=policy, name="out")
        self.qkv.build((None, channels))
        self.out.build((None, channels))
        self.bias = self.add_weight(
            name="bias",
            shape=(self.heads, 2 * self.window - 1, 2 * self.window - 1),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        )

    def call(self, x: Tensor, shift_mask: Tensor | None = None) -> Tensor:
        height, width = ops.shape(x)[1:3]
        if not self.aligned:
            x = pad_to_multiple(x, self.window)
        padded = ops.shape(x)[1:3]
        shift = [_shift(side, self.window) if self.shifted else 0 for side in (height, width)]
        certain = self.aligned or all(
            isinstance(side, int) and side % self.window == 0 for side in (height, width)
        )
        if shift_mask is None and (self.shifted or not certain):
            shift_mask = window_mask(height, width, self.window, self.shifted)
        if self.shifted:
            x = ops.roll(ops.roll(x, -shift[0], axis=1), -shift[1], axis=2)
        tokens = _windows(x, self.window)
        y = self._attend(self.qkv(tokens), shift_mask)
        x = _unwindows(self.out(y), self.window, *padded)
        if self.shifted:
            x = ops.roll(ops.roll(x, shift[0], axis=1), shift[1], axis=2)
        return x if certain else x[:, :height, :width, :]

    def _attend(self, qkv, mask):
        """[B, windows, P, 3 C], all queries, then keys, then values, to [B, windows, P, C]."""
        batch, windows, pixels, _ = ops.shape(qkv)
        depth = qkv.shape[-1] // (3 * self.heads)
        qkv = ops.reshape(qkv, (batch, windows, pixels, 3, self.heads, depth))
        qkv = ops.transpose(qkv, (3, 0, 1, 4, 2, 5))
        query, key, value = qkv[0] * depth**-0.5, qkv[1], qkv[2]  # [B, windows, heads, P, depth]
        logits = ops.matmul(query, ops.transpose(key, (0, 1, 2, 4, 3)))
        # The softmax is float32 whatever the policy.
        bias = ops.reshape(ops.cast(self.bias, "float32"), (self.heads, -1))
        logits = ops.cast(logits, "float32") + ops.take(bias, self.index, axis=1)
        if mask is not None:
            logits = logits + mask
        weights = ops.cast(ops.softmax(logits, axis=-1), value.dtype)
        y = ops.transpose(ops.matmul(weights, value), (0, 1, 3, 2, 4))
        return ops.reshape(y, (batch, windows, pixels, self.heads * depth))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "heads": self.heads,
            "window": self.window,
            "shifted": self.shifted,
            "aligned": self.aligned,
        }


class SwinBlock(keras.layers.Layer):
    """x + attention(norm(x)), then x + mlp(norm(x)); the mlp is C ► 4 C ► exact GELU ► C.

    Arguments, input and output as `WindowAttention`.
    """

    def __init__(
        self,
        heads: int,
        window: int = 8,
        shifted: bool = False,
        aligned: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.attention = WindowAttention(
            heads, window, shifted, aligned, dtype=policy, name="attention"
        )
        self.norm1 = keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name="norm1")
        self.norm2 = keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name="norm2")

    def build(self, input_shape: Shape) -> None:
        channels, policy = input_shape[-1], self.dtype_policy
        self.expand = keras.layers.Dense(4 * channels, dtype=policy, name="expand")
        self.reduce = keras.layers.Dense(channels, dtype=policy, name="reduce")
        self.attention.build(input_shape)
        self.norm1.build(input_shape)
        self.norm2.build(input_shape)
        self.expand.build((None, channels))
        self.reduce.build((None, 4 * channels))

    def call(self, x: Tensor, shift_mask: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.norm1(x), shift_mask)
        y = ops.gelu(self.expand(self.norm2(x)), approximate=False)
        return x + self.reduce(y)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        a = self.attention
        config = {"heads": a.heads, "window": a.window, "shifted": a.shifted, "aligned": a.aligned}
        return {**super().get_config(), **config}
