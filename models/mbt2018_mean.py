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

from tfcodec.models.base import LADDER
from tfcodec.models.hyperprior import HyperpriorCodec
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
    filters: int = 192  # N, of the transforms and of z
    latents: int = 320  # M
    widths: tuple[int, ...] = ()  # of the compact transforms; empty for the paper's
    lambdas: tuple[float, ...] = (0.013,)
    gain_level: float = 1.0


PRESETS = {
    "compact": Config(96, 192, widths=(32, 64, 128), lambdas=LADDER, gain_level=16.0),
    "n128": Config(128, 192),
    "n192": Config(192, 320),
}


def build(cfg, name="mbt2018_mean"):
    """The codec of a `Config`, weights not yet created."""
    if cfg.widths:
        analysis = ShortcutAnalysis(cfg.widths, cfg.latents, name="analysis")
        synthesis = ShortcutSynthesis(cfg.widths, name="synthesis")
        hyper_analysis, hyper_synthesis = compact_hyper(cfg)
    else:
        analysis, synthesis = balle_analysis(cfg.filters, cfg.latents), balle_synthesis(cfg.filters)
        hyper_analysis, hyper_synthesis = paper_hyper(cfg)
    return HyperpriorCodec(
        analysis,
        synthesis,
        hyper_analysis,
        hyper_synthesis,
        latents=cfg.latents,
        hyper_latents=cfg.filters,
        lambdas=cfg.lambdas,
        gain_level=cfg.gain_level,
        name=name,
    )


def paper_hyper(cfg):
    """y to z, and z_hat to log(sigma) and mu, with leaky ReLUs as in CompressAI's port."""
    n, m = cfg.filters, cfg.latents
    down = [conv(n, 3), leaky(0.01), down_conv(n, 5), leaky(0.01), down_conv(n, 5)]
    up = [up_conv(m, 5), leaky(0.01), up_conv(m * 3 // 2, 5), leaky(0.01), conv(2 * m, 3)]
    return sequential(down, name="hyper_analysis"), sequential(up, name="hyper_synthesis")


def compact_hyper(cfg):
    """As `paper_hyper`, with sub-pixel convolutions and a slope that is a power of two.

    Between z and a table index stand only convolutions, leaky ReLUs and additions, so that this
    part can be frozen into integers.
    """
    n, m = cfg.filters, cfg.latents
    down = [conv(n, 3), leaky(0.125), down_conv(n, 5), leaky(0.125), down_conv(n, 5)]
    up = [subpixel(n), leaky(0.125), subpixel(n * 4 // 3), leaky(0.125), conv(2 * m, 3)]
    return sequential(down, name="hyper_analysis"), sequential(up, name="hyper_synthesis")
