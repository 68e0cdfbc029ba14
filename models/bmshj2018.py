"""Factorized prior and scale hyperprior (Balle, Minnen, Singh, Hwang, Johnston, "Variational Image
Compression with a Scale Hyperprior", ICLR 2018, Fig. 4; https://arxiv.org/abs/1802.01436).

    x ─► analysis ─► y ─┬─────────────────────────────► Q ─► y_hat ─► synthesis ─► x_hat
                        └► |y| ► hyper_analysis ─► z ─► Q ─► z_hat ─► hyper_synthesis ─► scales of y

The hyper synthesis emits log(sigma), where the paper's last ReLU emits sigma: the same layers, and
the index of a coding table is then an affine function of the output (as in TFC's own bmshj2018).
The `factorized-` presets code y under a factorized prior and have no z. Parameters of `n128`,
`n192`, `factorized-n128` and `factorized-n192`: 5,075,843, 11,816,323, 2,998,147 and 7,030,531.
"""

import dataclasses

from tfcodec.models.base import LADDER
from tfcodec.models.hyperprior import FactorizedCodec, HyperpriorCodec
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
    hyperprior: bool = True
    widths: tuple[int, ...] = ()  # of the compact transforms; empty for the paper's
    lambdas: tuple[float, ...] = (0.013,)
    gain_level: float = 1.0


COMPACT = Config(96, 192, widths=(32, 64, 128), lambdas=LADDER, gain_level=16.0)
PRESETS = {
    "compact": COMPACT,
    "n128": Config(128, 192),
    "n192": Config(192, 320),
    "factorized-compact": dataclasses.replace(COMPACT, hyperprior=False),
    "factorized-n128": Config(128, 192, hyperprior=False),
    "factorized-n192": Config(192, 320, hyperprior=False),
}


def build(cfg, name="bmshj2018"):
    """The codec of a `Config`, weights not yet created."""
    if cfg.widths:
        analysis = ShortcutAnalysis(cfg.widths, cfg.latents, name="analysis")
        synthesis = ShortcutSynthesis(cfg.widths, name="synthesis")
    else:
        analysis, synthesis = balle_analysis(cfg.filters, cfg.latents), balle_synthesis(cfg.filters)
    options = dict(latents=cfg.latents, lambdas=cfg.lambdas, gain_level=cfg.gain_level, name=name)
    if not cfg.hyperprior:
        return FactorizedCodec(analysis, synthesis, **options)
    return HyperpriorCodec(
        analysis,
        synthesis,
        *scale_hyper(cfg),
        hyper_latents=cfg.filters,
        means=False,
        hyper_abs=True,
        **options,
    )


def scale_hyper(cfg):
    """|y| to z, and z_hat to log(sigma)."""
    n, m = cfg.filters, cfg.latents
    # The compact preset's slope is a power of two and its upsampling sub-pixel, see mbt2018_mean.
    slope, up = (0.125, subpixel) if cfg.widths else (0.0, lambda filters: up_conv(filters, 5))
    down = [conv(n, 3), leaky(slope), down_conv(n, 5), leaky(slope), down_conv(n, 5)]
    ups = [up(n), leaky(slope), up(n), leaky(slope), conv(m, 3)]
    return sequential(down, name="hyper_analysis"), sequential(ups, name="hyper_synthesis")
