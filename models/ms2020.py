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
from tfcodec.entropy.latents.hyperprior import ContextLatents, HyperNetworks
from tfcodec.errors import InputError
from tfcodec.models import starts
from tfcodec.models.base import LADDER, CodecModel
from tfcodec.models.transforms import (
    ShortcutAnalysis,
    ShortcutSynthesis,
    balle_analysis,
    balle_synthesis,
    compact_slices,
    conv,
    down_conv,
    relu,
    sequential,
    up_conv,
)

MAPS = 320  # channels of the hyperprior's means and scales, as in TFC's model


@dataclasses.dataclass(frozen=True)
class Config:
    """The paper's."""

    filters: int = 192  # N, of the transforms
    latents: int = 320  # M
    slices: int | tuple[int, ...] = 10  # how many even ones, or the channels of each
    support: int = 5  # of the slices, how many a later one sees
    hyper_latents: int = 192  # of z
    lambdas: tuple[float, ...] = (0.013,)
    gain_level: float = 1.0


@dataclasses.dataclass(frozen=True)
class CompactConfig:
    filters: int = 96  # of the hyper networks
    latents: int = 192  # M
    slices: int | tuple[int, ...] = (8, 16, 24, 48, 96)  # as in `Config`
    support: int = 5  # of the slices, how many a later one sees
    hyper_latents: int = 96  # of z
    widths: tuple[int, ...] = (32, 64, 128)  # of the transforms, see `ShortcutTransform`
    lambdas: tuple[float, ...] = LADDER
    gain_level: float = 16.0


PRESETS = {"compact": CompactConfig(), "n192": Config()}


def build(cfg: Config | CompactConfig, name: str = "ms2020") -> CodecModel:
    """The codec of a configuration, weights not yet created."""
    return (_compact if isinstance(cfg, CompactConfig) else _paper)(cfg, name)


def _paper(cfg, name):
    analysis, synthesis = balle_analysis(cfg.filters, cfg.latents), balle_synthesis(cfg.filters)
    down = [conv(320, 3), relu(), down_conv(256, 5), relu()]
    down += [down_conv(cfg.hyper_latents, 5, use_bias=False)]
    up = [up_conv(192, 5), relu(), up_conv(256, 5), relu(), conv(MAPS, 3), relu()]
    hyper = HyperNetworks(
        cfg.hyper_latents,
        sequential(down, name="hyper_analysis"),
        sequential(up, name="hyper_means"),
        sequential(up, name="hyper_scales"),
    )
    kernels = (5, 5, 3)
    group = Group(
        "y", _slices(cfg), (), cfg.support, kernels=kernels, activation="relu", scale="index"
    )
    charm = partial(ChARM, [group], MAPS, MAPS, name="charm")
    return CodecModel(
        analysis,
        synthesis,
        ContextLatents(hyper, charm, cfg.latents),
        lambdas=cfg.lambdas,
        gain_level=cfg.gain_level,
        start=starts.fan_in,
        name=name,
    )


def _compact(cfg, name):
    group = Group.convolutions(
        "y", _slices(cfg), support=cfg.support, widths=(96, 96), kernels=(3, 3, 1)
    )
    y_stride = 2 ** (len(cfg.widths) + 1)
    return CodecModel(
        ShortcutAnalysis(cfg.widths, cfg.latents, name="analysis"),
        ShortcutSynthesis(cfg.widths, name="synthesis"),
        compact_slices(cfg, [group], y_stride),
        lambdas=cfg.lambdas,
        gain_level=cfg.gain_level,
        start=starts.principal,
        name=name,
    )


def _slices(cfg):
    slices = cfg.slices
    if isinstance(slices, int):
        slices = even_slices(cfg.latents, slices)
    if sum(slices) != cfg.latents:
        raise InputError(f"slices of {sum(slices)} channels do not make {cfg.latents} latents")
    return slices
