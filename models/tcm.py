"""LIC-TCM (Liu, Sun, Katto, "Learned Image Compression with Mixed Transformer-CNN Architectures",
CVPR 2023, Figs. 2-5; https://arxiv.org/abs/2303.14978).

    x ─► analysis ─► y ─┬──────────► Q, five slices, each given earlier ones ─► y_hat ─► synthesis
                        └► hyper_analysis ─► z ─► Q ─► hyper_means, hyper_scales

Between the resampling blocks stand pairs of `TCMBlock`s, and before the nets of each slice an
attention with two Swin blocks. The trunk is 2 N wide. `n64`, `n96` and `n128` are the authors'
small, medium and large models: 45,180,752, 59,133,650 and 76,568,148 parameters. `compact` keeps
the blocks at one resolution, inside the transforms of `transforms.ShortcutAnalysis`, and codes
slices with convolutions alone.
"""

import dataclasses
from functools import partial
from typing import Any, Protocol

import keras

from tfcodec.entropy.channelwise import ChARM, Group, even_slices
from tfcodec.entropy.latents.hyperprior import ContextLatents, HyperNetworks
from tfcodec.layers.conv import DownConv2D, SubpixelConv2D
from tfcodec.layers.residual import ResidualBlockDown, ResidualBlockUp
from tfcodec.layers.tcm import TCMBlock
from tfcodec.models import starts
from tfcodec.models.base import LADDER, CodecModel
from tfcodec.models.transforms import (
    ShortcutAnalysis,
    ShortcutSynthesis,
    Sizes,
    compact_slices,
    sequential,
)

HEAD_DIMS = (8, 16, 32)  # of the stages at H/2, H/4 and H/8
STRIDE = 128  # windows of 8 at H/16, and of 4 at H/32


@dataclasses.dataclass(frozen=True)
class Config:
    """The authors'."""

    filters: int = 128  # N, of each branch
    latents: int = 320  # M
    slices: int = 5
    hyper_latents: int = 192  # of z
    lambdas: tuple[float, ...] = (0.013,)
    gain_level: float = 1.0


@dataclasses.dataclass(frozen=True)
class CompactConfig:
    filters: int = 96  # of the hyper networks
    latents: int = 192  # M
    slices: int = 4
    hyper_latents: int = 96  # of z
    widths: tuple[int, ...] = (32, 64, 128)  # of the transforms, see `ShortcutTransform`
    lambdas: tuple[float, ...] = LADDER
    gain_level: float = 16.0


class Sliced(Sizes, Protocol):
    """What ICWEM's `Config` has, too."""

    slices: int


PRESETS = {"compact": CompactConfig(), "n64": Config(64), "n96": Config(96), "n128": Config(128)}


def build(cfg: Config | CompactConfig, name: str = "tcm") -> CodecModel:
    """The codec of a configuration, weights not yet created."""
    return (_compact if isinstance(cfg, CompactConfig) else _authors)(cfg, name)


def _authors(cfg, name):
    analysis, synthesis = transforms(cfg)
    return CodecModel(
        analysis,
        synthesis,
        swin_slices(cfg),
        lambdas=cfg.lambdas,
        gain_level=cfg.gain_level,
        start=starts.fan_in,
        stride=STRIDE,
        name=name,
    )


def swin_slices(cfg: Sliced) -> ContextLatents:
    """The authors' entropy model; ICWEM's too."""
    group = Group("y", even_slices(cfg.latents, cfg.slices), attention="swin")
    # The model's stride fits the attention's windows.
    charm = partial(ChARM, [group], cfg.latents, cfg.latents, aligned=True, name="charm")
    return ContextLatents(hyper_networks(cfg), charm, cfg.latents)


def _compact(cfg, name):
    options = dict(blocks=2)  # windows of 8 at H/8
    group = Group.convolutions("y", even_slices(cfg.latents, cfg.slices), widths=(96, 64))
    y_stride = 2 ** (len(cfg.widths) + 1)
    return CodecModel(
        ShortcutAnalysis(cfg.widths, cfg.latents, name="analysis", **options),
        ShortcutSynthesis(cfg.widths, name="synthesis", **options),
        compact_slices(cfg, [group], y_stride),
        lambdas=cfg.lambdas,
        gain_level=cfg.gain_level,
        start=starts.principal,
        name=name,
    )


def blocks(head_dim: int, window: int = 8, **options: Any) -> list[partial]:
    """Two blocks, the second with shifted windows."""
    return [partial(TCMBlock, head_dim, window, s, aligned=True, **options) for s in (False, True)]


def transforms(cfg: Sizes) -> tuple[keras.Sequential, keras.Sequential]:
    """(analysis, synthesis): x [B, H, W, 3] to y [B, H/16, W/16, M], and back."""
    trunk = 2 * cfg.filters
    down, up = [], [partial(ResidualBlockUp, trunk)]
    for k, head_dim in enumerate(HEAD_DIMS):
        down += [partial(ResidualBlockDown, trunk), *blocks(head_dim)]
        up += blocks(HEAD_DIMS[-1 - k])
        up += [partial(ResidualBlockUp, trunk)] if k < 2 else []
    down += [partial(DownConv2D, cfg.latents, 3, dtype="float32")]
    up += [partial(SubpixelConv2D, 3, dtype="float32")]
    return sequential(down, name="analysis"), sequential(up, name="synthesis")


def hyper_networks(cfg: Sizes) -> HyperNetworks:
    """y to z [B, H/64, W/64, 192], z_hat to two maps [B, H/16, W/16, M]."""
    trunk, exact = 2 * cfg.filters, dict(dtype="float32")
    pair = blocks(32, 4, **exact)
    down = [partial(ResidualBlockDown, trunk, **exact), *pair]
    down += [partial(DownConv2D, cfg.hyper_latents, 3, **exact)]
    up = [partial(ResidualBlockUp, trunk, **exact), *pair]
    up += [partial(SubpixelConv2D, cfg.latents, **exact)]
    return HyperNetworks(
        cfg.hyper_latents,
        sequential(down, name="hyper_analysis"),
        sequential(up, name="hyper_means"),
        sequential(up, name="hyper_scales"),
    )
