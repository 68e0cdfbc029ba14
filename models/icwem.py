"""ICWEM: a channel-wise entropy model, and an invertible network around the transforms (J-S. Liao's
code of that name, https://github.com/J-S-Liao/ICWEM; network and enhancement after Xie, Cheng,
Chen, "Enhanced Invertible Encoding for Learned Image Compression", ACM MM 2021,
https://arxiv.org/abs/2108.03690).

    x ─► enhance ─► invertible ─► v ─► analysis ─► y ─► Q, slice by slice (as in tcm) ─► y_hat
    x_hat ◄─ enhance ◄─ inverse ◄─ v_hat ◄─ synthesis ◄────────────────────────────────────┘

`n64`, `n96` and `n128` are LIC-TCM inside the authors' pixel network, which stays at three channels
and full resolution: 45,812,770, 59,765,668 and 77,200,166 parameters. The authors' decoder clamps
v_hat to [0, 1], where v is not confined to that; ours clamps pixels alone.

In `compact` the invertible network does the work of the transforms down to an eighth of the
picture's sides, where depth blocks follow (models/blocks): a level that squeezes 4x4 pixels and one
that squeezes 2x2, each begun at the orthogonal principal components of its blocks, between which
the couplings predict, the weak ones from the strong and the strong from the weak. Encoder and
decoder share these weights. Slices are coded with convolutions alone.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from tfcodec.entropy.channelwise import Group, even_slices
from tfcodec.layers import Shape, Tensor
from tfcodec.layers.depthwise import DepthBlock
from tfcodec.layers.enhancement import FeatureEnhancement
from tfcodec.layers.invertible import InvertibleNetwork
from tfcodec.models import starts, tcm
from tfcodec.models.base import LADDER, CodecModel
from tfcodec.models.blocks import BlockAnalysis, BlockSynthesis, karhunen_loeve
from tfcodec.models.transforms import compact_slices

# The authors' Lagrangian weights, of MSE and of 1 - MS-SSIM.
LAMBDAS = (0.0035, 0.0067, 0.013, 0.025, 0.05)
LAMBDAS_MS_SSIM = (3.0, 8.0, 16.0, 36.0, 64.0)
KERNEL_SIZES = (5, 5, 3, 3)  # of the couplings, one a level


@dataclasses.dataclass(frozen=True)
class Config:
    """The authors'."""

    filters: int = 128  # N, of each branch
    latents: int = 320  # M
    slices: int = 5
    hyper_latents: int = 192  # of z
    enhancement: int = 64  # channels inside the enhancement; with 0 it has nothing to say
    levels: int = 4  # of the invertible network
    lambdas: tuple[float, ...] = LAMBDAS[2:3]
    gain_level: float = 1.0


@dataclasses.dataclass(frozen=True)
class CompactConfig:
    width: int = 128  # of the transforms' blocks, at H/8
    analysis_blocks: int = 2
    synthesis_blocks: int = 3
    filters: int = 48  # of the hyper networks
    latents: int = 256  # M
    slices: int = 4
    hyper_latents: int = 48  # of z
    enhancement: int = 24  # as in `Config`
    kernel_sizes: tuple[int, ...] = (3, 1)  # of the couplings, one a level
    squeeze: tuple[int, ...] = (4, 2)  # of the levels, 8 in all
    lambdas: tuple[float, ...] = LADDER
    gain_level: float = 16.0


PRESETS = {
    "compact": CompactConfig(),
    "n64": Config(64),
    "n96": Config(96),
    "n128": Config(128),
}


class PixelTransform(keras.layers.Layer):
    """Enhancement and invertible network around an analysis; `inverse` stands after a synthesis.

        call:    v = network(enhance(x) - centre)
        inverse: x_hat = restore(network^-1(v_hat) + centre)

    `restore` is an enhancement of its own: it does not undo `enhance`.

    Args:
        enhancement: channels inside the enhancement; 0 for none.
        kernel_sizes: of the network's couplings, one a level; empty for no network.
        couplings: a level.
        squeeze: of each level; the enhancement's is the first of them.
        centre: see above.
        activate: of the enhancement.
    Input:  x [B, H, W, 3] in [0, 1].
    Output: v [B, H / s, W / s, 3 s^2], s as of `InvertibleNetwork`; float32, in no certain range.
    """

    def __init__(
        self,
        enhancement: int,
        kernel_sizes: Sequence[int],
        couplings: int,
        squeeze: int | Sequence[int] = 1,
        centre: float = 0.0,
        activate: bool = False,
        **kwargs: Any,
    ):
        super().__init__(dtype="float32", **kwargs)
        self.centre, self.enhance, self.restore, self.network = centre, None, None, None
        if enhancement:
            first = squeeze if isinstance(squeeze, int) else squeeze[0]
            self.enhance, self.restore = (
                FeatureEnhancement(enhancement, activate, first, name=name)
                for name in ("enhance", "restore")
            )
        if kernel_sizes:
            self.network = InvertibleNetwork(kernel_sizes, couplings, squeeze, name="network")

    def build(self, input_shape: Shape) -> None:
        for layer in (self.enhance, self.network, self.restore):
            if layer is not None:
                layer.build(input_shape)

    def call(self, x: Tensor) -> Tensor:
        x = (x if self.enhance is None else self.enhance(x)) - self.centre
        return x if self.network is None else self.network(x)

    def inverse(self, v: Tensor) -> Tensor:
        x = (v if self.network is None else self.network.inverse(v)) + self.centre
        return x if self.restore is None else self.restore(x)

    def principal_start(self, x: np.ndarray) -> None:
        """Sets the network's 1x1 convolutions to the principal components of pictures, level by
        level; x: float32 [B, H, W, 3] in [0, 1]. For a network as it is before training."""
        if self.network is None:
            return
        x = np.float32(x) - self.centre
        for side, (conv, *_) in zip(self.network.squeeze, self.network.levels, strict=True):
            x = ops.convert_to_numpy(ops.space_to_depth(x, side))
            conv.kernel.assign(np.float32(starts.principal_components(x)))
            x = x @ ops.convert_to_numpy(conv.kernel)


def build(cfg: Config | CompactConfig, name: str = "icwem") -> CodecModel:
    """The codec of a configuration, weights not yet created."""
    return (_compact if isinstance(cfg, CompactConfig) else _authors)(cfg, name)


def _authors(cfg, name):
    pixels = PixelTransform(cfg.enhancement, KERNEL_SIZES[: cfg.levels], 3, name="pixels")
    analysis, synthesis = tcm.transforms(cfg)
    return CodecModel(
        analysis,
        synthesis,
        tcm.swin_slices(cfg),
        lambdas=cfg.lambdas,
        gain_level=cfg.gain_level,
        start=starts.fan_in,
        stride=tcm.STRIDE,
        pixels=pixels,
        name=name,
    )


def _compact(cfg, name):
    inside = dict(couplings=1, squeeze=cfg.squeeze, centre=0.5, activate=True)
    pixels = PixelTransform(cfg.enhancement, cfg.kernel_sizes, name="pixels", **inside)
    group = Group.convolutions(
        "y", even_slices(cfg.latents, cfg.slices), widths=(64, 48), kernels=(3, 1, 1)
    )
    block = partial(DepthBlock, cfg.width)
    analysis, synthesis = ([block] * n for n in (cfg.analysis_blocks, cfg.synthesis_blocks))
    squeezed = dict(squeezed=True)
    return CodecModel(
        BlockAnalysis(cfg.width, analysis, cfg.latents, name="analysis", **squeezed),
        BlockSynthesis(cfg.width, synthesis, name="synthesis", up_kernel=1, **squeezed),
        compact_slices(cfg, [group], 16),
        lambdas=cfg.lambdas,
        gain_level=cfg.gain_level,
        start=karhunen_loeve,
        pixels=pixels,
        name=name,
    )
