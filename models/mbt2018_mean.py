"""Mean-scale hyperprior (Minnen, Balle, Toderici, "Joint Autoregressive and Hierarchical Priors for
Learned Image Compression", NeurIPS 2018, the variant without context model;
https://arxiv.org/abs/1809.02736).

    x ─► analysis ─► y ─┬─────────────────────────► Q ─► y_hat ─► synthesis ─► x_hat
                        └► hyper_analysis ─► z ─► Q ─► z_hat ─► hyper_synthesis ─► means, scales

Presets `n128` and `n192` are the paper's layers with the widths of CompressAI's zoo (7,028,003 and
17,561,699 parameters). `compact` keeps the system and replaces the transforms by those of
`transforms.ShortcutAnalysis`, with gains for a ladder of eight rates.
"""

import dataclasses

from tfcodec.entropy.latents.hyperprior import HyperpriorLatents
from tfcodec.models import starts
from tfcodec.models.base import LADDER, CodecModel
from tfcodec.models.transforms import (
    ShortcutAnalysis,
    ShortcutSynthesis,
    balle_analysis,
    balle_synthesis,
    conv,
    down_conv,
    leaky,
    sequential,
    subpixel,
    up_conv,
)


@dataclasses.dataclass(frozen=True)
class Config:
    """The paper's."""

    filters: int = 192  # N, of the transforms and of z
    latents: int = 320  # M
    lambdas: tuple[float, ...] = (0.013,)
    gain_level: float = 1.0


@dataclasses.dataclass(frozen=True)
class CompactConfig:
    filters: int = 96  # of the hyper networks and of z
    latents: int = 192  # M
    widths: tuple[int, ...] = (32, 64, 128)  # of the transforms, see `ShortcutTransform`
    lambdas: tuple[float, ...] = LADDER
    gain_level: float = 16.0


PRESETS = {"compact": CompactConfig(), "n128": Config(128, 192), "n192": Config(192, 320)}


def build(cfg: Config | CompactConfig, name: str = "mbt2018_mean") -> CodecModel:
    """The codec of a configuration, weights not yet created."""
    if isinstance(cfg, CompactConfig):
        analysis = ShortcutAnalysis(cfg.widths, cfg.latents, name="analysis")
        synthesis = ShortcutSynthesis(cfg.widths, name="synthesis")
        latents, start = compact_hyperprior(cfg.filters, cfg.latents), starts.principal
    else:
        analysis, synthesis = balle_analysis(cfg.filters, cfg.latents), balle_synthesis(cfg.filters)
        latents, start = hyperprior(cfg.filters, cfg.latents), None
    return CodecModel(analysis, synthesis, latents, cfg.lambdas, cfg.gain_level, start, name=name)


def hyperprior(n: int, m: int) -> HyperpriorLatents:
    """y to z, and z_hat to log(sigma) and mu, with leaky ReLUs as in CompressAI's port."""
    act = leaky(0.01)
    down = [conv(n, 3), act, down_conv(n, 5), act, down_conv(n, 5)]
    up = [up_conv(m, 5), act, up_conv(m * 3 // 2, 5), act, conv(2 * m, 3)]
    networks = sequential(down, name="hyper_analysis"), sequential(up, name="hyper_synthesis")
    return HyperpriorLatents(*networks, channels=m, hyper_channels=n)


def compact_hyperprior(n: int, m: int) -> HyperpriorLatents:
    """As `hyperprior`, with sub-pixel convolutions and a slope that is a power of two.

    Between z and a table index stand only convolutions, leaky ReLUs and additions, so that this
    part can be frozen into integers.
    """
    act = leaky(0.125)
    down = [conv(n, 3), act, down_conv(n, 5), act, down_conv(n, 5)]
    up = [subpixel(n), act, subpixel(n * 4 // 3), act, conv(2 * m, 3)]
    networks = sequential(down, name="hyper_analysis"), sequential(up, name="hyper_synthesis")
    return HyperpriorLatents(*networks, channels=m, hyper_channels=n)
