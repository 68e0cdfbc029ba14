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

from tfcodec.entropy.gaussian import GaussianDensity
from tfcodec.entropy.latents.coder import FactorizedLatents
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
    hyperprior: bool = True
    lambdas: tuple[float, ...] = (0.013,)
    gain_level: float = 1.0


@dataclasses.dataclass(frozen=True)
class CompactConfig:
    filters: int = 96  # of the hyper networks and of z
    latents: int = 192  # M
    hyperprior: bool = True
    widths: tuple[int, ...] = (32, 64, 128)  # of the transforms, see `ShortcutTransform`
    lambdas: tuple[float, ...] = LADDER
    gain_level: float = 16.0


PRESETS = {
    "compact": CompactConfig(),
    "n128": Config(128, 192),
    "n192": Config(192, 320),
    "factorized-compact": CompactConfig(hyperprior=False),
    "factorized-n128": Config(128, 192, hyperprior=False),
    "factorized-n192": Config(192, 320, hyperprior=False),
}


def build(cfg: Config | CompactConfig, name: str = "bmshj2018") -> CodecModel:
    """The codec of a configuration, weights not yet created."""
    if isinstance(cfg, CompactConfig):
        analysis = ShortcutAnalysis(cfg.widths, cfg.latents, name="analysis")
        synthesis, start = ShortcutSynthesis(cfg.widths, name="synthesis"), starts.principal
    else:
        analysis = balle_analysis(cfg.filters, cfg.latents)
        synthesis, start = balle_synthesis(cfg.filters), None
    latents = scale_hyperprior(cfg) if cfg.hyperprior else FactorizedLatents(cfg.latents)
    return CodecModel(analysis, synthesis, latents, cfg.lambdas, cfg.gain_level, start, name=name)


def scale_hyperprior(cfg: Config | CompactConfig) -> HyperpriorLatents:
    """|y| to z, and z_hat to log(sigma)."""
    n, m = cfg.filters, cfg.latents
    if isinstance(cfg, CompactConfig):
        # A slope that is a power of two, and sub-pixel upsampling, see mbt2018_mean.
        act, up = leaky(0.125), subpixel
    else:
        act, up = leaky(0.0), lambda filters: up_conv(filters, 5)
    down = [conv(n, 3), act, down_conv(n, 5), act, down_conv(n, 5)]
    ups = [up(n), act, up(n), act, conv(m, 3)]
    return HyperpriorLatents(
        sequential(down, name="hyper_analysis"),
        sequential(ups, name="hyper_synthesis"),
        channels=m,
        hyper_channels=n,
        density=GaussianDensity(has_mean=False),
        magnitudes=True,
    )
