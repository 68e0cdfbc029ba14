"""WeConvene (Fu, Liang, Fang, Han, Liang, Zhang, "WeConvene: Learned Image Compression with
Wavelet-Domain Convolution and Entropy Model", ECCV 2024; https://arxiv.org/abs/2407.09983).

    x ─► analysis ─► y [H/8] ─► DWT ─► low, high [H/16] ─► Q ─► inverse DWT ─► synthesis ─► x_hat
                                        └► hyper_analysis ─► z ─► Q ─► hyper_means, hyper_scales

Resampling blocks convolve in the domain of a wavelet transform (WeConv), and so does the entropy
model code (WeChARM): slices of the low band first, then slices of the three high bands, given the
low one. `n128` is the authors' model, Haar, five slices each, without the convolutions that it has
and never uses: 106,704,396 parameters. As there, its high slices do not respect the bands. In
`compact` each band is a slice, slices are coded with convolutions alone, and the transforms are
`layers.weconv.WeConvBlock`s at H/8 between linear chains (models/blocks).

Of its two parts WeChARM pays there, by 4.6 % of the bits against ChARM; WeConv does not, against
`DepthBlock`s of the same arithmetic, nor do longer wavelets than Haar's (docs/ablations.md).
"""

import dataclasses
from functools import partial
from typing import Protocol

import keras

from tfcodec.entropy.channelwise import ChARM, Group, even_slices
from tfcodec.entropy.latents.hyperprior import ContextLatents, HyperNetworks
from tfcodec.layers.conv import DownConv2D, SubpixelConv2D
from tfcodec.layers.residual import ResidualBlock, ResidualBlockDown, ResidualBlockUp
from tfcodec.layers.wavelet import Bands
from tfcodec.layers.weconv import WeConvBlock, WeConvDown, WeConvUp
from tfcodec.models import starts
from tfcodec.models.base import LADDER, CodecModel
from tfcodec.models.blocks import BlockAnalysis, BlockSynthesis, karhunen_loeve
from tfcodec.models.transforms import Sizes, compact_slices, sequential


@dataclasses.dataclass(frozen=True)
class Config:
    """The authors'."""

    filters: int = 128  # N
    latents: int = 320  # M, of y; the low band has as many channels, the high bands 3 M
    low_slices: int = 5
    high_slices: int = 5
    hyper_latents: int = 192  # of z
    wavelet: str = "haar"  # or "5/3", "9/7"; "taps" for a checkpoint's own filters
    slice_widths: tuple[int, ...] = (224, 128)  # of the slices' nets
    lambdas: tuple[float, ...] = (0.013,)
    gain_level: float = 1.0


@dataclasses.dataclass(frozen=True)
class CompactConfig:
    width: int = 128  # of the transforms' blocks, at H/8
    analysis_blocks: int = 3
    synthesis_blocks: int = 4
    filters: int = 48  # of the hyper networks
    latents: int = 64  # M, as in `Config`
    low_slices: int = 3
    high_slices: int = 3
    hyper_latents: int = 48  # of z
    wavelet: str = "haar"  # or "5/3", "9/7"
    slice_widths: tuple[int, ...] = (96, 64)  # of the slices' nets
    lambdas: tuple[float, ...] = LADDER
    gain_level: float = 16.0


PRESETS = {"compact": CompactConfig(), "n128": Config()}


def build(cfg: Config | CompactConfig, name: str = "weconvene") -> CodecModel:
    """The codec of a configuration, weights not yet created."""
    low = even_slices(cfg.latents, cfg.low_slices)
    high = even_slices(3 * cfg.latents, cfg.high_slices)
    bands, after = Bands(cfg.wavelet, name="bands"), dict(given=("low",), widths=cfg.slice_widths)
    if isinstance(cfg, CompactConfig):
        groups = [
            Group.convolutions("low", low, widths=cfg.slice_widths),
            Group.convolutions("high", high, kernels=(3, 1, 1), **after),
        ]
        return block_codec(cfg, groups, bands, None, name)
    groups = [
        Group("low", low, widths=cfg.slice_widths, attention="residual"),
        Group("high", high, attention="residual", **after),
    ]
    return wavelet_codec(cfg, groups, bands, None, name)


class Shared(Sizes, Protocol):
    """What 3DM-WeConvene's configurations have, too."""

    wavelet: str
    lambdas: tuple[float, ...]
    gain_level: float


class Blocks(Shared, Protocol):
    width: int
    analysis_blocks: int
    synthesis_blocks: int


# All are 3DM-WeConvene's too. levels: None for `WeConv` in the transforms, else of `WeConv3D`.


def wavelet_codec(
    cfg: Shared, groups: list[Group], bands: Bands, levels: int | None, name: str
) -> CodecModel:
    """The authors' codec around a table of groups."""
    analysis, synthesis = transforms(cfg, levels)
    charm = partial(ChARM, groups, cfg.latents, cfg.latents, aligned=True, name="charm")
    latents = ContextLatents(hyper_networks(cfg, levels), charm, cfg.latents, bands, stride=8)
    # The hyper analysis has a wavelet convolution at H/32.
    stride = 32 * 2 ** (1 if levels is None else levels)
    return CodecModel(
        analysis,
        synthesis,
        latents,
        lambdas=cfg.lambdas,
        gain_level=cfg.gain_level,
        start=starts.fan_in,
        stride=stride,
        name=name,
    )


def block_codec(
    cfg: Blocks, groups: list[Group], bands: Bands, levels: int | None, name: str
) -> CodecModel:
    """The codec with transforms of blocks around a table of groups."""
    block = partial(WeConvBlock, cfg.width, cfg.wavelet, levels)
    return CodecModel(
        BlockAnalysis(cfg.width, [block] * cfg.analysis_blocks, cfg.latents, 8, name="analysis"),
        BlockSynthesis(cfg.width, [block] * cfg.synthesis_blocks, 8, name="synthesis"),
        compact_slices(cfg, groups, 8, bands),
        lambdas=cfg.lambdas,
        gain_level=cfg.gain_level,
        start=karhunen_loeve,
        name=name,
    )


def transforms(cfg: Shared, levels: int | None) -> tuple[keras.Sequential, keras.Sequential]:
    """(analysis, synthesis): x [B, H, W, 3] to y [B, H/8, W/8, M], and back."""
    n = cfg.filters
    blocks = [partial(ResidualBlock, n)] * 3
    down = partial(WeConvDown, n, cfg.wavelet, levels)
    up = partial(WeConvUp, n, cfg.wavelet, levels)
    analysis = [partial(ResidualBlockDown, n, strides=1), *blocks, down, *blocks, down, *blocks]
    analysis += [partial(DownConv2D, cfg.latents, 3, dtype="float32")]
    synthesis = [partial(ResidualBlockUp, n, factor=1), *blocks, up, *blocks, up, *blocks]
    synthesis += [partial(SubpixelConv2D, 3, dtype="float32")]
    return sequential(analysis, name="analysis"), sequential(synthesis, name="synthesis")


def hyper_networks(cfg: Shared, levels: int | None) -> HyperNetworks:
    """All bands of y to z [B, H/64, W/64, 192], and z_hat to two maps [B, H/16, W/16, M]."""
    n, exact = cfg.filters, dict(dtype="float32")
    blocks = [partial(ResidualBlock, n, **exact)] * 3
    down = [partial(WeConvDown, n, cfg.wavelet, levels, **exact), *blocks]
    down += [partial(DownConv2D, cfg.hyper_latents, 3, **exact)]
    up = [partial(WeConvUp, n, cfg.wavelet, levels, **exact), *blocks]
    up += [partial(SubpixelConv2D, cfg.latents, **exact)]
    return HyperNetworks(
        cfg.hyper_latents,
        sequential(down, name="hyper_analysis"),
        sequential(up, name="hyper_means"),
        sequential(up, name="hyper_scales"),
    )
