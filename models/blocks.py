"""Transforms of residual blocks at 1/8 of the resolution, and how they begin.

    x ─► 8x8 blocks ─► pca ─┬► stem ─► blocks ─► down ─(+)─► y
                            └───────── linear ─────────┘

    y_hat ─┬► up ─► blocks ─► head ─(+)─► pca ─► 8x8 blocks ─► x_hat
           └──────── linear ─────────┘

`pca` starts as the principal components of blocks of 8x8 pixels, `linear` as those of 2x2 of them
(or as the leading ones, where y stays at 1/8), the synthesis has the transposes, and all other
paths end in zeros: training begins at a Karhunen-Loeve transform codec. What the blocks are is the
models' own.

A layer that squeezes pixels itself, such as an invertible network, stands in for blocks and `pca`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from tfcodec.layers import Tensor
from tfcodec.layers.conv import DownConv2D, SubpixelConv2D, WideConv2D
from tfcodec.models.base import CodecModel
from tfcodec.models.starts import principal_components, principal_pair
from tfcodec.models.transforms import conv

BLOCK = 8  # side of the blocks of pixels that become channels
PIXELS = 3 * BLOCK**2  # channels of a block


class BlockAnalysis(keras.layers.Layer):
    """[B, H, W, 3] in [0, 1] to y [B, H / stride, W / stride, latents], float32.

    Args:
        width: channels of the blocks.
        blocks: layers that keep [B, h, w, width], as partials that take a dtype and a name.
        latents: channels of y.
        stride: of y, 16 or 8.
        squeezed: whether the input is [B, H/8, W/8, 192] already.
    """

    def __init__(
        self,
        width: int,
        blocks: Sequence[partial],
        latents: int,
        stride: int = 2 * BLOCK,
        squeezed: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        policy, strides = self.dtype_policy, stride // BLOCK
        # Linear chains are float32: at a magnitude of 100, bfloat16 has steps of 0.5.
        self.pca = None if squeezed else change_of_basis()
        self.stem = WideConv2D(width, 3, padding="same", dtype=policy, name="stem")
        self.blocks = [block(dtype=policy, name=f"block{k}") for k, block in enumerate(blocks)]
        options = dict(strides=strides, dtype="float32")
        self.down = DownConv2D(latents, 3, kernel_initializer="zeros", name="down", **options)
        self.linear = DownConv2D(latents, strides, use_bias=False, name="linear", **options)

    def call(self, x: Tensor) -> Tensor:
        p = x if self.pca is None else self.pca(ops.space_to_depth(x - 0.5, BLOCK))
        h = self.stem(p)
        for block in self.blocks:
            h = block(h)
        return self.down(h) + self.linear(p)


class BlockSynthesis(keras.layers.Layer):
    """y_hat [B, H / stride, W / stride, M] to [B, H, W, 3]: the analysis mirrored, with its own
    blocks.

    Args:
        width, blocks, stride: as there.
        squeezed: whether the output is [B, H/8, W/8, 192].
        up_kernel: side of the kernel of `up`.
    """

    def __init__(
        self,
        width: int,
        blocks: Sequence[partial],
        stride: int = 2 * BLOCK,
        squeezed: bool = False,
        up_kernel: int = 3,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        policy, factor = self.dtype_policy, stride // BLOCK
        linear = dict(use_bias=False, dtype="float32", name="linear")
        self.linear = SubpixelConv2D(PIXELS, 1, factor, **linear)
        self.up = SubpixelConv2D(width, up_kernel, factor, dtype=policy, name="up")
        self.blocks = [block(dtype=policy, name=f"block{k}") for k, block in enumerate(blocks)]
        self.head = conv(PIXELS, 3)(kernel_initializer="zeros", name="head")
        self.pca = None if squeezed else change_of_basis()

    def call(self, y_hat: Tensor) -> Tensor:
        h = self.up(y_hat)
        for block in self.blocks:
            h = block(h)
        p = self.head(h) + self.linear(y_hat)  # [B, H/8, W/8, 192]
        return p if self.pca is None else ops.depth_to_space(self.pca(p), BLOCK) + 0.5


def change_of_basis() -> keras.layers.Layer:
    """`pca` of the module's docstring."""
    options = dict(use_bias=False, dtype="float32", kernel_initializer="orthogonal")
    return keras.layers.Conv2D(PIXELS, 1, name="pca", **options)


def karhunen_loeve(model: CodecModel, x: np.ndarray) -> None:
    """Sets `pca` and `linear` to the principal components of pictures, the synthesis' to their
    transposes; then the rates.

    x: float32 [B, H, W, 3] in [0, 1], sides multiples of 16; some 100 crops of pictures.
    """
    analysis, synthesis = model.analysis_transform, model.synthesis_transform
    if analysis.pca is None:
        model.pixels.principal_start(x)
        components = ops.convert_to_numpy(model.pixels(x))
    else:
        components = principal_blocks(analysis, synthesis, x)
    principal_pair(analysis.linear, synthesis.linear, components)
    model.start_rates(x)


def principal_blocks(
    analysis: keras.layers.Layer, synthesis: keras.layers.Layer, x: np.ndarray
) -> np.ndarray:
    """Sets `pca` of both transforms; returns the components of x, float32 [B, H/8, W/8, 192]."""
    blocks = ops.convert_to_numpy(ops.space_to_depth(x - 0.5, BLOCK))
    basis = principal_components(blocks).astype("float32")
    analysis.pca.kernel.assign(basis[None, None])
    synthesis.pca.kernel.assign(basis.T[None, None])
    return blocks @ basis
