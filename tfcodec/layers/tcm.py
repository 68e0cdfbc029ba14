"""Blocks that mix convolution and window attention (LIC-TCM: Liu, Sun, Katto, "Learned Image
Compression with Mixed Transformer-CNN Architectures", CVPR 2023; arXiv 2303.14978)."""

from typing import Any

import keras
from keras import ops

from tfcodec.layers import Shape, Tensor
from tfcodec.layers.attention import SwinBlock, window_mask
from tfcodec.layers.residual import ResidualBlock


class TCMBlock(keras.layers.Layer):
    """A convolutional and a transformer branch, each on half of the channels (Fig. 2).

        x ─► conv1 ─┬─► residual block, + its input ─┬─► conv1 ─(+)─► y
                    └─► Swin block ──────────────────┘           x

    As in the authors' code, the identity is added to the convolutional branch twice.

    Args:
        head_dim: channels of an attention head, at most those of the branch.
        window, shifted, aligned: see `WindowAttention`.
    Input and output: [B, H, W, C], C even.
    """

    def __init__(
        self,
        head_dim: int,
        window: int = 8,
        shifted: bool = False,
        aligned: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.head_dim, self.window = head_dim, window
        self.shifted, self.aligned = shifted, aligned

    def build(self, input_shape: Shape) -> None:
        channels, policy = input_shape[-1], self.dtype_policy
        if channels % 2:
            raise ValueError(f"channels must be even. Received: shape {tuple(input_shape)}")
        half = (*input_shape[:3], channels // 2)
        self.mix_in = keras.layers.Conv2D(channels, 1, dtype=policy, name="mix_in")
        self.mix_out = keras.layers.Conv2D(channels, 1, dtype=policy, name="mix_out")
        self.conv = ResidualBlock(half[-1], dtype=policy, name="conv")
        self.swin = SwinBlock(
            max(half[-1] // self.head_dim, 1),
            self.window,
            self.shifted,
            self.aligned,
            dtype=policy,
            name="swin",
        )
        self.mix_in.build(input_shape)
        self.mix_out.build(input_shape)
        self.conv.build(half)
        self.swin.build(half)

    def call(self, x: Tensor, shift_mask: Tensor | None = None) -> Tensor:
        local, distant = ops.split(self.mix_in(x), 2, axis=-1)
        local, distant = self.conv(local) + local, self.swin(distant, shift_mask)
        return x + self.mix_out(ops.concatenate([local, distant], axis=-1))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "head_dim": self.head_dim,
            "window": self.window,
            "shifted": self.shifted,
            "aligned": self.aligned,
        }


class Bottleneck(keras.layers.Layer):
    """relu(x + conv1(relu(conv3(relu(conv1(x)))))), half as wide inside."""

    def build(self, input_shape: Shape) -> None:
        channels, policy = input_shape[-1], self.dtype_policy
        inner = (*input_shape[:3], channels // 2)
        self.conv1 = keras.layers.Conv2D(inner[-1], 1, dtype=policy, name="conv1")
        self.conv2 = keras.layers.Conv2D(inner[-1], 3, padding="same", dtype=policy, name="conv2")
        self.conv3 = keras.layers.Conv2D(channels, 1, dtype=policy, name="conv3")
        self.conv1.build(input_shape)
        self.conv2.build(inner)
        self.conv3.build(inner)

    def call(self, x: Tensor) -> Tensor:
        y = ops.relu(self.conv2(ops.relu(self.conv1(x))))
        return ops.relu(x + self.conv3(y))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


class ContextAttention(keras.layers.Layer):
    """Attention over the context of a slice of latents: SWAtten of LIC-TCM (Fig. 5).

        x ─► conv1 ─► t ─┬─► 3 bottlenecks ─────────────────────────────────► (*) ─(+)─► conv1 ─► y
                         └─► body ► 3 bottlenecks ► conv1 ► sigmoid (gate) ───┘    t

    Args:
        filters: channels of the output.
        body: "swin", two Swin blocks with heads of 16 channels and windows of 8 (LIC-TCM), or
            "residual", two residual blocks (WeConvene).
        width: channels inside.
        aligned: see `WindowAttention`.
    Input:  [B, H, W, C]; optionally `shift_mask`, see the method of that name.
    Output: [B, H, W, filters].
    Raises: ValueError for another body.
    """

    window = 8

    def __init__(
        self,
        filters: int,
        body: str = "swin",
        width: int = 128,
        aligned: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if body not in ("swin", "residual"):
            raise ValueError(f"`body` must be 'swin' or 'residual'. Received: {body!r}")
        self.filters, self.body, self.width, self.aligned = filters, body, width, aligned
        policy = self.dtype_policy
        self.conv_in = keras.layers.Conv2D(width, 1, dtype=policy, name="conv_in")
        self.conv_gate = keras.layers.Conv2D(width, 1, dtype=policy, name="conv_gate")
        self.conv_out = keras.layers.Conv2D(filters, 1, dtype=policy, name="conv_out")
        self.trunk = [Bottleneck(dtype=policy, name=f"trunk{k}") for k in range(3)]
        self.gate = [Bottleneck(dtype=policy, name=f"gate{k}") for k in range(3)]
        if body == "swin":
            self.blocks = [
                SwinBlock(
                    max(width // 16, 1), self.window, shifted, aligned, dtype=policy, name=name
                )
                for shifted, name in ((False, "block0"), (True, "block1"))
            ]
        else:
            self.blocks = [ResidualBlock(width, dtype=policy, name=f"block{k}") for k in range(2)]

    def build(self, input_shape: Shape) -> None:
        inner = (*input_shape[:3], self.width)
        self.conv_in.build(input_shape)
        for layer in (*self.blocks, *self.trunk, *self.gate, self.conv_gate, self.conv_out):
            layer.build(inner)

    def call(self, x: Tensor, shift_mask: Tensor | None = None) -> Tensor:
        t = self.conv_in(x)
        gate = self.blocks[0](t)
        gate = self.blocks[1](gate, shift_mask) if self.body == "swin" else self.blocks[1](gate)
        for block in self.gate:
            gate = block(gate)
        trunk = t
        for block in self.trunk:
            trunk = block(trunk)
        return self.conv_out(trunk * ops.sigmoid(self.conv_gate(gate)) + t)

    def shift_mask(self, x: Tensor) -> Tensor | None:
        """The `window_mask` that its calls on maps of the size of x share, or None."""
        if self.body != "swin":
            return None
        return window_mask(*ops.shape(x)[1:3], self.window, shifted=True)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:3], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "body": self.body,
            "width": self.width,
            "aligned": self.aligned,
        }
