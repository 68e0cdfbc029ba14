"""Channel-conditional entropy model (Minnen and Singh, "Channel-wise Autoregressive Entropy Models
for Learned Image Compression", ICIP 2020, Fig. 1; https://arxiv.org/abs/2007.08739).

    x ─► analysis ─► y ─┬───────► Q, slice by slice, each given earlier ones ─► y_hat ─► synthesis
                        └► hyper_analysis ─► z ─► Q ─► hyper_means, hyper_scales

Ten slices of which each sees the first five, with latent residual prediction. `n192` has TFC's
layers: 113,988,035 parameters, 6,336 of which TFC's smaller factorized prior does not have. In
`compact` a slice is one small net without the prediction, and its five slices grow from 8 channels
to 96: the linear chain leaves y ordered by energy, so that each has about a fifth of the bits
(uneven slices: He et al., "ELIC", CVPR 2022, Sec. 3.2).
"""

import dataclasses
from functools import partial

from tfcodec.entropy.channelwise import ChARM, Group, even_slices
from tfcodec.errors import InputError
from tfcodec.models.base import LADDER
from tfcodec.models.channelwise import ChannelwiseCodec
from tfcodec.models.transforms import (
    ShortcutAnalysis,
    ShortcutSynthesis,
    balle_analysis,
    balle_synthesis,
    compact_hyper_features,
    conv,
    down_conv,
    principal_start,
    relu,
    sequential,
    up_conv,
)


@dataclasses.dataclass(frozen=True)
class Config:
    filters: int = 192  # N
    latents: int = 320  # M
    slices: int | tuple[int, ...] = 10  # how many even ones, or the channels of each
    support: int = 5  # of the slices, how many a later one sees
    hyper_latents: int = 192  # of z
    widths: tuple[int, ...] = ()  # of the compact transforms; empty for the paper's
    wavelet: str = ""  # of wavelet convolutions in the compact transforms; "" for none
    lambdas: tuple[float, ...] = (0.013,)
    gain_level: float = 1.0


PRESETS = {
    "compact": Config(
        96,
        192,
        slices=(8, 16, 24, 48, 96),
        hyper_latents=96,
        widths=(32, 64, 128),
        lambdas=LADDER,
        gain_level=16.0,
    ),
    "n192": Config(),
}


def build(cfg, name="ms2020"):
    """The codec of a `Config`, weights not yet created."""
    slices = cfg.slices
    if isinstance(slices, int):
        slices = even_slices(cfg.latents, slices)
    if sum(slices) != cfg.latents:
        raise InputError(f"slices of {sum(slices)} channels do not make {cfg.latents} latents")
    if cfg.widths:
        group = Group(
            "y",
            slices,
            support=cfg.support,
            widths=(96, 96),
            kernels=(3, 3, 1),
            activation="leaky",
            lrp=False,
            joint=True,
            scale="log",
        )
        analysis = ShortcutAnalysis(cfg.widths, cfg.latents, wavelet=cfg.wavelet, name="analysis")
        synthesis = ShortcutSynthesis(cfg.widths, wavelet=cfg.wavelet, name="synthesis")
        hyper_analysis, hyper_means = compact_hyper_features(cfg.filters, cfg.hyper_latents)
        hyper_scales, means, scales = None, cfg.filters * 4 // 3, 0
    else:
        group = Group(
            "y", slices, support=cfg.support, kernels=(5, 5, 3), activation="relu", scale="index"
        )
        analysis, synthesis = balle_analysis(cfg.filters, cfg.latents), balle_synthesis(cfg.filters)
        down = [conv(320, 3), relu(), down_conv(256, 5), relu()]
        down += [down_conv(cfg.hyper_latents, 5, use_bias=False)]
        up = [up_conv(192, 5), relu(), up_conv(256, 5), relu(), conv(320, 3), relu()]
        hyper_analysis = sequential(down, name="hyper_analysis")
        hyper_means = sequential(up, name="hyper_means")
        hyper_scales = sequential(up, name="hyper_scales")
        means = scales = 320
    return ChannelwiseCodec(
        analysis,
        synthesis,
        hyper_analysis,
        hyper_means,
        hyper_scales,
        partial(ChARM, [group], means, scales, aligned=True, name="charm"),
        latents=cfg.latents,
        hyper_latents=cfg.hyper_latents,
        y_stride=2 ** (len(cfg.widths) + 1) if cfg.widths else 16,
        lambdas=cfg.lambdas,
        gain_level=cfg.gain_level,
        start=principal_start if cfg.widths else None,
        name=name,
    )
