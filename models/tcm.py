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

from tfcodec.entropy.channelwise import ChARM, Group, even_slices
from tfcodec.layers.conv import DownConv2D, SubpixelConv2D
from tfcodec.layers.residual import ResidualBlockDown, ResidualBlockUp
from tfcodec.layers.tcm import TCMBlock
from tfcodec.models.base import LADDER
from tfcodec.models.channelwise import ChannelwiseCodec
from tfcodec.models.transforms import (
    ShortcutAnalysis,
    ShortcutSynthesis,
    compact_hyper_features,
    principal_start,
    sequential,
)

HEAD_DIMS = (8, 16, 32)  # of the stages at H/2, H/4 and H/8


@dataclasses.dataclass(frozen=True)
class Config:
    filters: int = 128  # N, of each branch
    latents: int = 320  # M
    slices: int = 5
    hyper_latents: int = 192  # of z
    widths: tuple[int, ...] = ()  # of the compact transforms; empty for the paper's
    lambdas: tuple[float, ...] = (0.013,)
    gain_level: float = 1.0


PRESETS = {
    "compact": Config(
        96, 192, slices=4, hyper_latents=96, widths=(32, 64, 128), lambdas=LADDER, gain_level=16.0
    ),
    "n64": Config(64),
    "n96": Config(96),
    "n128": Config(128),
}


def build(cfg, name="tcm"):
    """The codec of a `Config`, weights not yet created."""
    slices = even_slices(cfg.latents, cfg.slices)
    if cfg.widths:
        options = dict(blocks=2, attention=True)
        analysis = ShortcutAnalysis(cfg.widths, cfg.latents, name="analysis", **options)
        synthesis = ShortcutSynthesis(cfg.widths, name="synthesis", **options)
        hyper_analysis, hyper_means = compact_hyper_features(cfg.filters, cfg.hyper_latents)
        hyper_scales, means, scales = None, cfg.filters * 4 // 3, 0
        group = Group(
            "y", slices, widths=(96, 64), activation="leaky", lrp=False, joint=True, scale="log"
        )
    else:
        analysis, synthesis = transforms(cfg)
        hyper_analysis, hyper_means, hyper_scales = hyper_transforms(cfg)
        means = scales = cfg.latents
        group = Group("y", slices, attention="swin")
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
        # Windows of 8 at H/16, and of 4 at H/32; the compact ones of 8 at H/8.
        stride=64 if cfg.widths else 128,
        lambdas=cfg.lambdas,
        gain_level=cfg.gain_level,
        start=principal_start if cfg.widths else None,
        name=name,
    )


def blocks(head_dim, window=8, **options):
    """Two blocks, the second with shifted windows."""
    return [partial(TCMBlock, head_dim, window, s, aligned=True, **options) for s in (False, True)]


def transforms(cfg):
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


def hyper_transforms(cfg):
    """(hyper_analysis, hyper_means, hyper_scales): y to z [B, H/64, W/64, 192], z_hat to maps."""
    trunk, exact = 2 * cfg.filters, dict(dtype="float32")
    pair = blocks(32, 4, **exact)
    down = [partial(ResidualBlockDown, trunk, **exact), *pair]
    down += [partial(DownConv2D, cfg.hyper_latents, 3, **exact)]
    up = [partial(ResidualBlockUp, trunk, **exact), *pair]
    up += [partial(SubpixelConv2D, cfg.latents, **exact)]
    names = ("hyper_means", "hyper_scales")
    return sequential(down, name="hyper_analysis"), *(sequential(up, name=n) for n in names)
