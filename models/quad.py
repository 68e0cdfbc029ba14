"""quad: the project's own codec, depthwise blocks at 1/8 of the resolution and a four-step context.
The bundled default is its preset `base`.

    x ─► 8x8 blocks ─► pca ─┬► stem ─► depth blocks ─► down ─(+)─► y ─┬► Q, four steps ─► y_hat
                            └──────────── linear ─────────────┘       └► hyper_analysis ─► z ─► Q
                                                                                            │
    y_hat ─┬► up ─► depth blocks ─► head ─(+)─► pca ─► 8x8 blocks ─► x_hat      features ◄──┘
           └──────────── linear ───────────┘                                    of the context

It brings together what others found: the depth block at a single resolution (DCVC-RT: Jia et al.,
CVPR 2025; `layers.depthwise`), the quadtree context (DCVC-DC: Li et al., CVPR 2023;
`entropy.quadtree`), gains for a ladder of rates (Cui et al., CVPR 2021), and a linear chain that
carries the picture beside the network (AuxT: Li et al., ICLR 2025).

`pca` starts as the principal components of blocks of 8x8 pixels, `linear` as those of 2x2 of them,
the synthesis has the transposes, and all other paths end in zeros: training begins at a
Karhunen-Loeve transform codec with blocks of 16x16 pixels.

Between z and a table index are only convolutions and leaky ReLUs: the model can be frozen as it is.
`small` is for speed, `large` for rate.
"""

import dataclasses
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from tfcodec.entropy.latents.hyperprior import ContextLatents, HyperNetworks
from tfcodec.entropy.quadtree import Quadtree
from tfcodec.layers import Tensor
from tfcodec.layers.conv import DownConv2D, SubpixelConv2D, WideConv2D
from tfcodec.layers.depthwise import DepthBlock
from tfcodec.models.base import LADDER, CodecModel
from tfcodec.models.starts import principal_components, principal_pair
from tfcodec.models.transforms import conv, down_conv, leaky, sequential, subpixel

BLOCK = 8  # side of the blocks of pixels that become channels
PIXELS = 3 * BLOCK**2  # channels of a block
STRIDE = 2 * BLOCK  # of y


@dataclasses.dataclass(frozen=True)
class Config:
    width: int = 256  # channels of the depth blocks, at H/8
    analysis_blocks: int = 4
    synthesis_blocks: int = 6
    latents: int = 256  # M, of y
    filters: int = 128  # of the hyper networks
    hyper_latents: int = 96  # of z
    features: int = 192  # of the hyper synthesis, for the context
    step_widths: tuple[int, ...] = (192, 128)  # hidden layers of the context's nets
    lambdas: tuple[float, ...] = LADDER
    gain_level: float = 16.0


PRESETS = {
    "small": Config(
        width=128,
        analysis_blocks=3,
        synthesis_blocks=4,
        latents=192,
        filters=96,
        hyper_latents=64,
        features=128,
        step_widths=(96, 96),
    ),
    "base": Config(),
    "large": Config(width=384, analysis_blocks=6, synthesis_blocks=12),
}


def build(cfg: Config, name: str = "quad") -> CodecModel:
    """The codec of a `Config`, weights not yet created."""
    context = partial(Quadtree, cfg.latents, cfg.features, widths=cfg.step_widths, name="context")
    hyper = hyper_networks(cfg)
    return CodecModel(
        BlockAnalysis(cfg.width, cfg.analysis_blocks, cfg.latents, name="analysis"),
        BlockSynthesis(cfg.width, cfg.synthesis_blocks, name="synthesis"),
        ContextLatents(hyper, context, cfg.latents, stride=STRIDE),
        lambdas=cfg.lambdas,
        gain_level=cfg.gain_level,
        start=karhunen_loeve,
        name=name,
    )


def hyper_networks(cfg: Config) -> HyperNetworks:
    """y to z [B, H/64, W/64, hyper_latents], z_hat to [B, H/16, W/16, features]."""
    act = leaky(0.125)  # a power of two, for `freeze`
    down = [conv(cfg.filters, 3), act, down_conv(cfg.filters, 5), act]
    down += [down_conv(cfg.hyper_latents, 5)]
    up = [subpixel(cfg.filters), act, subpixel(cfg.features), act]
    return HyperNetworks(
        cfg.hyper_latents,
        sequential(down, name="hyper_analysis"),
        sequential(up, name="hyper_means"),
    )


class BlockAnalysis(keras.layers.Layer):
    """[B, H, W, 3] in [0, 1] to y [B, H/16, W/16, latents], float32; see the module's docstring.

    Args:
        width: channels of the depth blocks; blocks: how many.
        latents: channels of y.
    """

    def __init__(self, width: int, blocks: int, latents: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.width, self.latents, policy = width, latents, self.dtype_policy
        # Linear chains are float32: at a magnitude of 100, bfloat16 has steps of 0.5.
        self.pca = _change_of_basis()
        self.stem = WideConv2D(width, 3, padding="same", dtype=policy, name="stem")
        self.blocks = [DepthBlock(width, dtype=policy, name=f"block{k}") for k in range(blocks)]
        self.down = DownConv2D(latents, 3, kernel_initializer="zeros", dtype="float32", name="down")
        self.linear = DownConv2D(latents, 2, use_bias=False, dtype="float32", name="linear")

    def call(self, x: Tensor) -> Tensor:
        p = self.pca(ops.space_to_depth(x - 0.5, BLOCK))  # [B, H/8, W/8, 192]
        h = self.stem(p)
        for block in self.blocks:
            h = block(h)
        return self.down(h) + self.linear(p)

    def get_config(self) -> dict[str, Any]:
        own = {"width": self.width, "blocks": len(self.blocks), "latents": self.latents}
        return {**super().get_config(), **own}


class BlockSynthesis(keras.layers.Layer):
    """y_hat [B, H/16, W/16, M] to [B, H, W, 3]: the analysis mirrored, with its own blocks.

    Args: width: channels of the depth blocks; blocks: how many.
    """

    def __init__(self, width: int, blocks: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.width, policy = width, self.dtype_policy
        self.linear = SubpixelConv2D(PIXELS, 1, use_bias=False, dtype="float32", name="linear")
        self.up = SubpixelConv2D(width, 3, dtype=policy, name="up")
        self.blocks = [DepthBlock(width, dtype=policy, name=f"block{k}") for k in range(blocks)]
        self.head = conv(PIXELS, 3)(kernel_initializer="zeros", name="head")
        self.pca = _change_of_basis()

    def call(self, y_hat: Tensor) -> Tensor:
        h = self.up(y_hat)
        for block in self.blocks:
            h = block(h)
        p = self.head(h) + self.linear(y_hat)  # [B, H/8, W/8, 192]
        return ops.depth_to_space(self.pca(p), BLOCK) + 0.5

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "blocks": len(self.blocks)}


def _change_of_basis():
    options = dict(use_bias=False, dtype="float32", kernel_initializer="orthogonal")
    return keras.layers.Conv2D(PIXELS, 1, name="pca", **options)


def karhunen_loeve(model: CodecModel, x: np.ndarray) -> None:
    """Sets `pca` and `linear` to the principal components of pictures, the synthesis' to their
    transposes; then the rates.

    x: float32 [B, H, W, 3] in [0, 1], sides multiples of 16; some 100 crops of pictures.
    """
    analysis, synthesis = model.analysis_transform, model.synthesis_transform
    blocks = ops.convert_to_numpy(ops.space_to_depth(x - 0.5, BLOCK))
    basis = principal_components(blocks).astype("float32")
    analysis.pca.kernel.assign(basis[None, None])
    synthesis.pca.kernel.assign(basis.T[None, None])
    principal_pair(analysis.linear, synthesis.linear, blocks @ basis)
    model.start_rates(x)
