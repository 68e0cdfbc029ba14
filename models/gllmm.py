"""Gaussian-Laplacian-logistic mixtures with a context model (Fu, Liang, Lin, Akbari, Li, Guo, Tu,
Han, "Learned Image Compression with Gaussian-Laplacian-Logistic Mixture Model and Concatenated
Residual Modules", IEEE TIP 2023; https://arxiv.org/abs/2107.06463).

    x ─► analysis ─► y ─┬──────────────────────────────────► Q ─┬► y_hat ─► synthesis ─► x_hat
                        └► hyper_analysis ─► z ─► Q ─► z_hat    └► context (5x5, what is decoded)
                                                       └► hyper_synthesis ─► estimator ◄┘
                                                                             └► mixtures of y

The latent is rounded as it is, without a mean, and a file is coded in wavefronts
(entropy/latents/wavefront.py).

Departures: the scales' form and the sum in logarithms (entropy/mixture.py); the context sees
rounded latents in training, where theirs are noisy (as Minnen and Singh, ICIP 2020); symbols are
not bound to an alphabet, so nothing of it is stored, nor a mask of channels; padding is at the
bottom and right. `n128` (low rates) and `n256` are the paper's; `compact` has concatenated blocks
and attention at H/8 between linear chains (models/blocks), with gains for a ladder of eight rates.
Three Gaussians need 5.3 % fewer bits there than one, and all nine components half a percent fewer
still (docs/ablations.md).
"""

import dataclasses
from functools import partial

import keras
import numpy as np

from tfcodec.entropy import mixture
from tfcodec.entropy.latents.wavefront import WavefrontLatents, WavefrontNetworks
from tfcodec.layers.concatenated import ConcatenatedResidualBlock, SimplifiedAttention
from tfcodec.layers.conv import DownConv2D, SubpixelConv2D
from tfcodec.layers.masked import MaskedConv2D
from tfcodec.layers.residual import ResidualBlockDown, ResidualBlockUp
from tfcodec.models.base import LADDER, CodecModel
from tfcodec.models.blocks import BlockAnalysis, BlockSynthesis, karhunen_loeve
from tfcodec.models.starts import unit_start
from tfcodec.models.transforms import conv, estimator, leaky, sequential, up_conv


@dataclasses.dataclass(frozen=True)
class Config:
    filters: int = 128  # N, of the transforms and of z
    latents: int = 128  # M, of y; N in the paper
    estimators: tuple[int, ...] = (640, 1280)  # widths of the 1x1 layers before the mixtures
    slope: float = 0.2  # of the leaky ReLUs
    lambdas: tuple[float, ...] = (0.0075,)
    gain_level: float = 1.0


@dataclasses.dataclass(frozen=True)
class CompactConfig:
    width: int = 64  # of the transforms' blocks, at H/8
    analysis_blocks: int = 3
    synthesis_blocks: int = 3
    filters: int = 48  # N, of z and of the hyper networks
    latents: int = 160  # M, of y
    estimators: tuple[int, ...] = (128, 128)
    slope: float = 0.125
    lambdas: tuple[float, ...] = LADDER
    gain_level: float = 16.0


PRESETS = {
    "compact": CompactConfig(),
    "n128": Config(128, 128),
    "n256": Config(256, 256, lambdas=(0.03,)),
}


def build(cfg: Config | CompactConfig, name: str = "gllmm") -> CodecModel:
    """The codec of a `Config`, weights not yet created."""
    compact = isinstance(cfg, CompactConfig)
    transforms = block_transforms(cfg) if compact else (analysis(cfg), synthesis(cfg))
    between = networks(cfg, mixture.NUMBERS, use_bias=compact)
    return CodecModel(
        *transforms,
        WavefrontLatents(between, cfg.latents, cfg.filters),
        lambdas=cfg.lambdas,
        gain_level=cfg.gain_level,
        start=karhunen_loeve if compact else start,
        name=name,
    )


def networks(cfg: Config | CompactConfig, numbers: int, use_bias: bool) -> WavefrontNetworks:
    """What `WavefrontLatents` needs.

    Args: numbers: that the estimator emits for a latent; use_bias: of its last layer.
    """
    outputs = numbers * cfg.latents
    return WavefrontNetworks(
        *hyper_transforms(cfg),
        MaskedConv2D(2 * cfg.latents, dtype="float32", name="context"),
        estimator(cfg.estimators, outputs, cfg.slope, "estimator", use_bias=use_bias),
    )


def block_transforms(cfg: CompactConfig) -> tuple[BlockAnalysis, BlockSynthesis]:
    """x [B, H, W, 3] to y [B, H/16, W/16, M], and back, from concatenated blocks at H/8."""
    block = partial(ConcatenatedResidualBlock, slope=cfg.slope)
    analysis = [block] * cfg.analysis_blocks + [SimplifiedAttention]
    synthesis = [SimplifiedAttention] + [block] * cfg.synthesis_blocks
    return (
        BlockAnalysis(cfg.width, analysis, cfg.latents, name="analysis"),
        BlockSynthesis(cfg.width, synthesis, up_kernel=1, name="synthesis"),
    )


def start(model: CodecModel, x: np.ndarray) -> None:
    """Latents of unit variance, and pictures around 1/2."""
    y = unit_start(model.analysis_transform, x)
    unit_start(model.synthesis_transform, y)
    last = model.synthesis_transform.layers[-1].conv
    last.kernel.assign(0.25 * last.kernel)
    last.bias.assign(np.full([12], 0.5, np.float32))


def analysis(cfg: Config) -> keras.Sequential:
    """[B, H, W, 3] to y [B, H/16, W/16, M]; attention at 1/4 and 1/16."""
    down = partial(ResidualBlockDown, cfg.filters, slope=cfg.slope)
    block = partial(ConcatenatedResidualBlock, slope=cfg.slope)
    last = partial(DownConv2D, cfg.latents, 3, use_bias=False, dtype="float32")
    attend_last = partial(SimplifiedAttention, dtype="float32")
    layers = [down, block, down, SimplifiedAttention, block, down, block, last, attend_last]
    return sequential(layers, name="analysis")


def synthesis(cfg: Config) -> keras.Sequential:
    """y_hat [B, H/16, W/16, M] to [B, H, W, 3]; attention at 1/16 and 1/4."""
    up = partial(ResidualBlockUp, cfg.filters, slope=cfg.slope, skip_kernel_size=1)
    block = partial(ConcatenatedResidualBlock, slope=cfg.slope)
    last = partial(SubpixelConv2D, 3, 3, dtype="float32")
    layers = [SimplifiedAttention, block, up, block, up]
    layers += [SimplifiedAttention, block, up, block, last]
    return sequential(layers, name="synthesis")


def hyper_transforms(cfg: Config) -> tuple[keras.Sequential, keras.Sequential]:
    """(analysis, synthesis): y to z [B, H/64, W/64, N], z_hat to features [B, H/16, W/16, 2 M]."""
    n, act = cfg.filters, leaky(cfg.slope)
    down = partial(DownConv2D, n, 3, dtype="float32")
    to_z = [conv(n, 3), act, conv(n, 3), act, down, act, conv(n, 3), act, down]
    wide = n * 3 // 2
    from_z = [conv(n, 3), act, up_conv(n, 3), act, conv(wide, 3), act, up_conv(wide, 3), act]
    from_z += [conv(2 * cfg.latents, 3)]
    return sequential(to_z, name="hyper_analysis"), sequential(from_z, name="hyper_synthesis")
