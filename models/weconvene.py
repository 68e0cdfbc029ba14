"""WeConvene (Fu, Liang, Fang, Han, Liang, Zhang, "WeConvene: Learned Image Compression with
Wavelet-Domain Convolution and Entropy Model", ECCV 2024; https://arxiv.org/abs/2407.09983).

    x ─► analysis ─► y [H/8] ─► DWT ─► low, high [H/16] ─► Q ─► inverse DWT ─► synthesis ─► x_hat
                                        └► hyper_analysis ─► z ─► Q ─► hyper_means, hyper_scales

Resampling blocks convolve in the domain of a wavelet transform (WeConv), and so does the entropy
model code (WeChARM): slices of the low band first, then slices of the three high bands, given the
low one. `n128` is the authors' model, Haar, five slices each, without the convolutions that it has
and never uses: 106,704,396 parameters. As there, its high slices do not respect the bands. In
`compact` each band is a slice, high bands have 1x1 kernels, and slices are coded with convolutions
alone.
"""

import dataclasses
from functools import partial

from tfcodec.entropy.channelwise import ChARM, Group, even_slices
from tfcodec.layers.conv import DownConv2D, SubpixelConv2D
from tfcodec.layers.residual import ResidualBlock, ResidualBlockDown, ResidualBlockUp
from tfcodec.layers.wavelet import Bands
from tfcodec.layers.weconv import WeConvDown, WeConvUp
from tfcodec.models.base import LADDER
from tfcodec.models.channelwise import ChannelwiseCodec
from tfcodec.models.transforms import (
    ShortcutAnalysis,
    ShortcutSynthesis,
    compact_hyper_features,
    principal_start,
    sequential,
)


@dataclasses.dataclass(frozen=True)
class Config:
    filters: int = 128  # N
    latents: int = 320  # M, of y; the low band has as many channels, the high bands 3 M
    low_slices: int = 5
    high_slices: int = 5
    hyper_latents: int = 192  # of z
    wavelet: str = "haar"  # or "5/3", "9/7"; "taps" for a checkpoint's own filters
    slice_widths: tuple[int, ...] = (224, 128)  # of the slices' nets
    widths: tuple[int, ...] = ()  # of the compact transforms; empty for the paper's
    lambdas: tuple[float, ...] = (0.013,)
    gain_level: float = 1.0


PRESETS = {
    "compact": Config(
        *(48, 48, 3, 3, 48),
        slice_widths=(64, 48),
        widths=(24, 72),
        lambdas=LADDER,
        gain_level=8.0,
    ),
    "n128": Config(),
}


def build(cfg, name="weconvene"):
    """The codec of a `Config`, weights not yet created."""
    low, high = (
        even_slices(cfg.latents, cfg.low_slices),
        even_slices(3 * cfg.latents, cfg.high_slices),
    )
    if cfg.widths:
        shared = dict(
            widths=cfg.slice_widths, activation="leaky", lrp=False, joint=True, scale="log"
        )
        groups = [
            Group("low", low, **shared),
            Group("high", high, given=("low",), kernels=(3, 1, 1), **shared),
        ]
    else:
        groups = [
            Group("low", low, widths=cfg.slice_widths, attention="residual"),
            Group("high", high, given=("low",), widths=cfg.slice_widths, attention="residual"),
        ]
    return wavelet_codec(cfg, groups, Bands(cfg.wavelet, name="bands"), levels=None, name=name)


def wavelet_codec(cfg, groups, bands, levels, name):
    """The codec around a table of groups; 3DM-WeConvene's too.

    levels: None for `WeConv` in the transforms, else those of `WeConv3D`.
    """
    if cfg.widths:
        options = dict(wavelet=cfg.wavelet, levels=levels)
        analysis = ShortcutAnalysis(cfg.widths, cfg.latents, name="analysis", **options)
        synthesis = ShortcutSynthesis(cfg.widths, name="synthesis", **options)
        hyper_analysis, hyper_means = compact_hyper_features(cfg.filters, cfg.hyper_latents)
        hyper_scales, means, scales = None, cfg.filters * 4 // 3, 0
        y_stride = 2 ** (len(cfg.widths) + 1)
        # z, or the last wavelet convolution, whichever is coarser.
        stride = max(8 * y_stride, 2 ** (len(cfg.widths) + (1 if levels is None else levels)))
    else:
        analysis, synthesis = transforms(cfg, levels)
        hyper_analysis, hyper_means, hyper_scales = hyper_transforms(cfg, levels)
        means = scales = cfg.latents
        # The hyper analysis has a wavelet convolution at H/32.
        y_stride, stride = 8, 32 * 2 ** (1 if levels is None else levels)
    return ChannelwiseCodec(
        analysis,
        synthesis,
        hyper_analysis,
        hyper_means,
        hyper_scales,
        partial(ChARM, groups, means, scales, aligned=True, name="charm"),
        bands=bands,
        latents=cfg.latents,
        hyper_latents=cfg.hyper_latents,
        y_stride=y_stride,
        stride=stride,
        lambdas=cfg.lambdas,
        gain_level=cfg.gain_level,
        start=principal_start if cfg.widths else None,
        name=name,
    )


def transforms(cfg, levels):
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


def hyper_transforms(cfg, levels):
    """(hyper_analysis, hyper_means, hyper_scales): all bands of y to z [B, H/64, W/64, 192], and
    z_hat to two maps [B, H/16, W/16, M]."""
    n, exact = cfg.filters, dict(dtype="float32")
    blocks = [partial(ResidualBlock, n, **exact)] * 3
    down = [partial(WeConvDown, n, cfg.wavelet, levels, **exact), *blocks]
    down += [partial(DownConv2D, cfg.hyper_latents, 3, **exact)]
    up = [partial(WeConvUp, n, cfg.wavelet, levels, **exact), *blocks]
    up += [partial(SubpixelConv2D, cfg.latents, **exact)]
    names = ("hyper_means", "hyper_scales")
    return sequential(down, name="hyper_analysis"), *(sequential(up, name=n) for n in names)
