"""quad: the project's own codec, depthwise blocks at 1/8 of the resolution and a four-step context.
The bundled default is its preset `base`.

    x ─► 8x8 blocks ─► pca ─┬► stem ─► depth blocks ─► down ─(+)─► y ─┬► Q, four steps ─► y_hat
                            └──────────── linear ─────────────┘       └► hyper_analysis ─► z ─► Q
                                                                                            │
    y_hat ─┬► up ─► depth blocks ─► head ─(+)─► pca ─► 8x8 blocks ─► x_hat      features ◄──┘
           └──────────── linear ───────────┘                                    of the context

It brings together what others found: the depth block at a single resolution (DCVC-RT: Jia et al.,
CVPR 2025; `layers.depthwise`), the quadtree context (DCVC-DC: Li et al., CVPR 2023;
`entropy.quadtree`), gains for a ladder of rates (Cui et al., CVPR 2021), and a linear chain that
carries the picture beside the network (AuxT: Li et al., ICLR 2025).

Training begins at a Karhunen-Loeve transform codec with blocks of 16x16 pixels, see `blocks`.

Between z and a table index are only convolutions and leaky ReLUs: the model can be frozen as it is.
`small` is for speed, `large` for rate.
"""

import dataclasses
from functools import partial

from tfcodec.entropy.latents.hyperprior import ContextLatents, HyperNetworks
from tfcodec.entropy.quadtree import Quadtree
from tfcodec.layers.depthwise import DepthBlock
from tfcodec.models.base import LADDER, CodecModel
from tfcodec.models.blocks import BlockAnalysis, BlockSynthesis, karhunen_loeve
from tfcodec.models.transforms import conv, down_conv, leaky, sequential, subpixel

STRIDE = 16  # of y


@dataclasses.dataclass(frozen=True)
class Config:
    width: int = 256  # channels of the depth blocks, at H/8
    analysis_blocks: int = 4
    synthesis_blocks: int = 6
    latents: int = 256  # M, of y
    filters: int = 128  # of the hyper networks
    hyper_latents: int = 96  # of z
    features: int = 192  # of the hyper synthesis, for the context
    step_widths: tuple[int, ...] = (192, 128)  # hidden layers of the context's nets
    lambdas: tuple[float, ...] = LADDER
    gain_level: float = 16.0


PRESETS = {
    "small": Config(
        width=128,
        analysis_blocks=3,
        synthesis_blocks=4,
        latents=192,
        filters=96,
        hyper_latents=64,
        features=128,
        step_widths=(96, 96),
    ),
    "base": Config(),
    "large": Config(width=384, analysis_blocks=6, synthesis_blocks=12),
}


def build(cfg: Config, name: str = "quad") -> CodecModel:
    """The codec of a `Config`, weights not yet created."""
    context = partial(Quadtree, cfg.latents, cfg.features, widths=cfg.step_widths, name="context")
    hyper = hyper_networks(cfg)
    block = partial(DepthBlock, cfg.width)
    return CodecModel(
        BlockAnalysis(cfg.width, [block] * cfg.analysis_blocks, cfg.latents, name="analysis"),
        BlockSynthesis(cfg.width, [block] * cfg.synthesis_blocks, name="synthesis"),
        ContextLatents(hyper, context, cfg.latents, stride=STRIDE),
        lambdas=cfg.lambdas,
        gain_level=cfg.gain_level,
        start=karhunen_loeve,
        name=name,
    )


def hyper_networks(cfg: Config) -> HyperNetworks:
    """y to z [B, H/64, W/64, hyper_latents], z_hat to [B, H/16, W/16, features]."""
    act = leaky(0.125)  # a power of two, for `freeze`
    down = [conv(cfg.filters, 3), act, down_conv(cfg.filters, 5), act]
    down += [down_conv(cfg.hyper_latents, 5)]
    up = [subpixel(cfg.filters), act, subpixel(cfg.features), act]
    return HyperNetworks(
        cfg.hyper_latents,
        sequential(down, name="hyper_analysis"),
        sequential(up, name="hyper_means"),
    )
