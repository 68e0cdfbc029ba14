"""Octave codec: latents of two resolutions, two hyper layers, and cross-resolution parameter
estimation (Fu et al., "Learned Image Compression with Generalized Octave Convolution and
Cross-Resolution Parameter Estimation", 2022; https://arxiv.org/abs/2209.03353).

    x ─► analysis ─► y_high, y_low ─► hyper_analysis ─► z_high, z_low ─► top_analysis ─► z2

Six parts are coded, each of them at once; the low resolution comes first and predicts the high
(entropy/latents/octave.py).

The two transforms and four hyper transforms are made of octave layers alone. A loss term of the
start of training, the information fidelity, asks that y_low predicts y_high, and z_low z_high.

Corrected against the authors' published script: means and scales of y_low have a convolution each
(one served both), and the decoder exists. Departures: networks emit log(sigma), where theirs emit
sigma itself; latents are rounded, not noisy, on their way to the synthesis and to other parts (the
project's habit, Minnen and Singh, ICIP 2020); padding is at the bottom and right.

Presets `n256` (low rates) and `n448` (high rates) are the paper's; `compact` has octave
convolutions in blocks at 1/8 and 1/16 between linear chains, which let it learn fast
(models/blocks), gains for a ladder of eight rates, and between z2 and an index only convolutions,
their sums and leaky ReLUs, so that `freeze` takes it (docs/portable.md). `compact-gllmm` models y
by mixtures (see entropy/mixture.py).
"""

import dataclasses
from functools import partial
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from tfcodec.entropy.density import Density
from tfcodec.entropy.gaussian import GaussianDensity
from tfcodec.entropy.latents.octave import OctaveLatents, OctaveNetworks
from tfcodec.entropy.mixture import MixtureDensity
from tfcodec.layers import Tensor, Tensors
from tfcodec.layers.conv import DownConv2D, SubpixelConv2D
from tfcodec.layers.gdn import GDN
from tfcodec.layers.octave import OctaveBlock, OctaveConv2D, OctaveConv2DTranspose
from tfcodec.models.base import LADDER, CodecModel
from tfcodec.models.blocks import BLOCK, PIXELS, change_of_basis, principal_blocks
from tfcodec.models.starts import principal_pair, unit_start
from tfcodec.models.transforms import conv, estimator, leaky, sequential, up_conv

LIKELIHOODS = {"gaussian": GaussianDensity, "gllmm": MixtureDensity}


@dataclasses.dataclass(frozen=True)
class Config:
    """The paper's.

    filters: N, of both resolutions together, in every layer and latent.
    hyper_filters: of the middle layer of the two hyper syntheses.
    estimators: widths of the 1x1 layers that estimate the parameters of the high resolution.
    cross_kernel_size: of the paths between resolutions, in layers whose own kernel is no smaller.
    parameter_kernel_size: of the convolutions between the hyper synthesis and the parameters, and
        of those that bring low latents to the high resolution.
    slope: of the leaky ReLUs.
    likelihood: of y, a key of `LIKELIHOODS`.
    cross_resolution: whether low latents predict the parameters of high ones; False for ablation.
    hyper_layers: how many, 2, or 1 for ablation: z is then under learned densities.
    fidelity: weight of the information fidelity.
    fidelity_share: of the training in which it counts; 200,000 of the paper's 1,000,000 steps.
    """

    filters: int = 256
    hyper_filters: int = 288
    estimators: tuple[int, ...] = (640, 512)
    cross_kernel_size: int = 5
    parameter_kernel_size: int = 5
    slope: float = 0.2
    likelihood: str = "gaussian"
    cross_resolution: bool = True
    hyper_layers: int = 2
    fidelity: float = 1.0
    fidelity_share: float = 0.2
    lambdas: tuple[float, ...] = (0.013,)
    gain_level: float = 1.0
    up_gdn: ClassVar[bool] = True  # GDNs in the up-sampling of the top, as the authors
    # Of the paths between resolutions in the outer hyper layers, which have as many outputs as
    # latents; None for the layer's own.
    outer_cross_kernel_size: ClassVar[int | None] = None

    @property
    def latents(self) -> int:
        """Channels of y, both resolutions together."""
        return self.filters


@dataclasses.dataclass(frozen=True)
class CompactConfig:
    """Fields are `Config`'s but for:

    width: of the transforms' blocks, both resolutions together, at 1/8 and 1/16.
    latents: channels of y, both resolutions together.
    """

    width: int = 160
    analysis_blocks: int = 3
    synthesis_blocks: int = 4
    filters: int = 64
    latents: int = 288
    hyper_filters: int = 96
    estimators: tuple[int, ...] = (96, 96)
    cross_kernel_size: int = 3
    parameter_kernel_size: int = 3
    slope: float = 0.125
    likelihood: str = "gaussian"
    cross_resolution: bool = True
    hyper_layers: int = 2
    fidelity: float = 1.0
    fidelity_share: float = 0.2
    lambdas: tuple[float, ...] = LADDER
    gain_level: float = 16.0
    up_gdn: ClassVar[bool] = False  # leaky ReLUs
    outer_cross_kernel_size: ClassVar[int | None] = 2


PRESETS = {
    "compact": CompactConfig(),
    "compact-gllmm": CompactConfig(likelihood="gllmm", latents=128),
    "n256": Config(256),
    "n448": Config(448),
}


def build(cfg: Config | CompactConfig, name: str = "octave") -> CodecModel:
    """The codec of a configuration, weights not yet created.

    Raises: ValueError for a configuration that no codec has.
    """
    if cfg.filters % 2 or cfg.latents % 2 or cfg.likelihood not in LIKELIHOODS:
        raise ValueError(
            "`filters` and `latents` must be even and `likelihood` gaussian or gllmm. Received: "
            f"filters={cfg.filters}, latents={cfg.latents}, likelihood={cfg.likelihood!r}"
        )
    if cfg.hyper_layers not in (1, 2):
        raise ValueError(f"`hyper_layers` must be 1 or 2. Received: {cfg.hyper_layers}")
    compact = isinstance(cfg, CompactConfig)
    density, half = LIKELIHOODS[cfg.likelihood](), cfg.latents // 2
    if compact:
        analysis = OctaveAnalysis(cfg.width, cfg.analysis_blocks, cfg.latents, name="analysis")
        synthesis = OctaveSynthesis(cfg.width, cfg.synthesis_blocks, half, name="synthesis")
    else:
        analysis, synthesis = transforms(cfg)
    between = networks(cfg, density, use_bias=compact)
    fidelity = dict(fidelity=cfg.fidelity, fidelity_share=cfg.fidelity_share)
    latents = OctaveLatents(between, half, cfg.filters // 2, density, **fidelity)
    start = karhunen_loeve if compact else unit_variance
    return CodecModel(analysis, synthesis, latents, cfg.lambdas, cfg.gain_level, start, name=name)


def transforms(cfg: Config) -> tuple["PairSequential", "PairSequential"]:
    """(analysis, synthesis): the picture to (y_high, y_low) and back."""
    options = dict(kernel_size=5, strides=2, cross_kernel_size=min(cfg.cross_kernel_size, 5))
    down = partial(OctaveConv2D, cfg.filters, activation=GDN(), **options)
    up = partial(OctaveConv2DTranspose, cfg.filters, activation=GDN(inverse=True), **options)
    # The latents and the picture are float32 under any policy.
    to_y = partial(OctaveConv2D, cfg.latents, dtype="float32", **options)
    to_x = partial(OctaveConv2DTranspose, 3, low_ratio=0, dtype="float32", **options)
    analysis = PairSequential([down] * 3 + [to_y], name="analysis")
    return analysis, PairSequential([up] * 3 + [to_x], name="synthesis")


def networks(cfg: Config | CompactConfig, density: Density, use_bias: bool) -> OctaveNetworks:
    """What `OctaveLatents` needs.

    Args: density: of y; use_bias: of the last layer that estimates y_high.
    """
    n, half, layers = cfg.filters // 2, cfg.latents // 2, {}
    hyper = hyper_transforms(cfg, 2, 2 * cfg.latents, ("hyper_analysis", "hyper_synthesis"))
    if cfg.hyper_layers == 2:
        outputs = 2 * cfg.filters
        top = hyper_transforms(cfg, 1, outputs, ("top_analysis", "top_synthesis"))
        layers["top_analysis"], layers["top_synthesis"] = top
        layers["z_estimator"] = estimator(cfg.estimators, cfg.filters, cfg.slope, "z_estimator")
        for name in ("up_means", "up_scales", "up_features"):
            act = partial(GDN, dtype="float32") if cfg.up_gdn else leaky(cfg.slope)
            layers[name] = sequential([up_conv(n, 3), act] * 2, name=name)
    size = cfg.parameter_kernel_size
    layers["means_conv"] = conv(len(density.mean_places) * half, size)(name="means_conv")
    layers["scales_conv"] = conv(len(density.other_places) * half, size)(name="scales_conv")
    layers["y_estimator"] = estimator(
        cfg.estimators, density.numbers * half, cfg.slope, "y_estimator", use_bias
    )
    across = [("y_across", half)] if cfg.cross_resolution else []
    if cfg.cross_resolution and cfg.hyper_layers == 2:
        across += [("z_across", n)]
    if cfg.fidelity:  # a weight of zero: nothing to learn
        across += [("y_fidelity", half), ("z_fidelity", n)]
    layers |= {name: up_conv(width, size)(name=name) for name, width in across}
    return OctaveNetworks(*hyper, **layers)


def hyper_transforms(
    cfg: Config | CompactConfig, strides: int, outputs: int, names: tuple[str, str]
) -> tuple["PairSequential", "PairSequential"]:
    """(analysis, synthesis) of a hyper layer, the latter to two numbers a latent, `outputs`."""
    act = keras.layers.LeakyReLU(negative_slope=cfg.slope)
    n, kernel = cfg.filters, 5 if strides == 2 else 3
    # Everything between y and a table index is float32 whatever the policy.
    options = dict(dtype="float32", cross_kernel_size=min(cfg.cross_kernel_size, kernel))
    down, up = partial(OctaveConv2D, **options), partial(OctaveConv2DTranspose, **options)
    outer = dict(cross_kernel_size=cfg.outer_cross_kernel_size)
    analysis = [
        partial(down, n, 3, activation=act, **outer),
        partial(down, n, kernel, strides, activation=act),
        partial(down, n, kernel, strides, use_bias=False),
    ]
    synthesis = [
        partial(up, n, kernel, strides, activation=act),
        partial(up, cfg.hyper_filters, kernel, strides, activation=act),
        partial(up, outputs, 3, **outer),
    ]
    return (
        PairSequential(analysis, name=names[0], dtype="float32"),
        PairSequential(synthesis, name=names[1], dtype="float32"),
    )


class PairSequential(keras.layers.Layer):
    """Layers, partials that take a name, one after the other; for pairs, too. Named by position."""

    def __init__(self, layers: list[partial], **kwargs: Any):
        super().__init__(**kwargs)
        self.stages = [layer(name=f"layer{k}") for k, layer in enumerate(layers)]

    def call(self, x: Tensors) -> Tensors:
        for stage in self.stages:
            x = stage(x)
        return x


class LinearAnalysis(keras.layers.Layer):
    """Linear chain of 2x2 convolutions from [B, h, w, C] to (y_high, y_low).

    Some channels at h/2, a quarter as many as y_high's, become y_low by one more convolution: at
    the start those of the largest variance. The others are y_high.

    Args: channels: of each latent, a multiple of 4.
    """

    def __init__(self, channels: int, **kwargs: Any):
        super().__init__(dtype="float32", **kwargs)
        self.leading = channels // 4
        down = partial(DownConv2D, kernel_size=2, use_bias=False, dtype="float32")
        self.high = down(channels + self.leading, name="high")
        self.low = down(channels, name="low")

    def call(self, x: Tensor) -> tuple[Tensor, Tensor]:
        leading, high = ops.split(self.high(x), [self.leading], axis=-1)
        return high, self.low(leading)


class LinearSynthesis(keras.layers.Layer):
    """(y_high, y_low) to [B, h, w, outputs]: `LinearAnalysis` mirrored."""

    def __init__(self, channels: int, outputs: int, **kwargs: Any):
        super().__init__(dtype="float32", **kwargs)
        up = partial(SubpixelConv2D, kernel_size=1, use_bias=False, dtype="float32")
        self.low = up(channels // 4, name="low")
        self.high = up(outputs, name="high")

    def call(self, y: tuple[Tensor, Tensor]) -> Tensor:
        high, low = y
        return self.high(ops.concatenate([self.low(low), high], axis=-1))


class OctaveAnalysis(keras.layers.Layer):
    """[B, H, W, 3] in [0, 1] to (y_high [B, H/16, W/16, M/2], y_low [B, H/32, W/32, M/2]).

    As `blocks.BlockAnalysis`, of octave convolutions alone.

    Args: width: channels of the blocks, both resolutions together; blocks: how many; latents: M.
    """

    def __init__(self, width: int, blocks: int, latents: int, **kwargs: Any):
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.pca = change_of_basis()
        self.stem = OctaveConv2D(width, 3, dtype=policy, name="stem")
        self.blocks = [OctaveBlock(width, dtype=policy, name=f"block{k}") for k in range(blocks)]
        options = dict(strides=2, cross_kernel_size=3, dtype="float32")
        self.down = OctaveConv2D(latents, 3, name="down", **options)
        self.linear = LinearAnalysis(latents // 2, name="linear")

    def call(self, x: Tensor) -> tuple[Tensor, Tensor]:
        p = self.pca(ops.space_to_depth(x - 0.5, BLOCK))
        h = self.stem(p)
        for block in self.blocks:
            h = block(h)
        return tuple(a + b for a, b in zip(self.down(h), self.linear(p), strict=True))


class OctaveSynthesis(keras.layers.Layer):
    """(y_high, y_low) to [B, H, W, 3]: the analysis mirrored, with its own blocks.

    Args: width, blocks: as there; channels: of each latent.
    """

    def __init__(self, width: int, blocks: int, channels: int, **kwargs: Any):
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.linear = LinearSynthesis(channels, PIXELS, name="linear")
        self.up = OctaveConv2DTranspose(width, 3, 2, dtype=policy, name="up")
        self.blocks = [OctaveBlock(width, dtype=policy, name=f"block{k}") for k in range(blocks)]
        self.head = OctaveConv2D(
            PIXELS, 3, low_ratio=0, cross_kernel_size=2, dtype="float32", name="head"
        )
        self.pca = change_of_basis()

    def call(self, y: tuple[Tensor, Tensor]) -> Tensor:
        h = self.up(y)
        for block in self.blocks:
            h = block(h)
        p = self.head(h) + self.linear(y)
        return ops.depth_to_space(self.pca(p), BLOCK) + 0.5


def karhunen_loeve(model: CodecModel, x: np.ndarray) -> None:
    """As `blocks.karhunen_loeve`, of both resolutions; x: as there."""
    analysis, synthesis = model.analysis_transform, model.synthesis_transform
    components = principal_blocks(analysis, synthesis, x)
    linear, inverse = analysis.linear, synthesis.linear
    chain = principal_pair(linear.high, inverse.high, components)
    principal_pair(linear.low, inverse.low, chain[..., : linear.leading])
    for layer in (analysis.down, synthesis.head):
        for path in (layer.high, layer.low):
            path.kernel.assign(ops.zeros(path.kernel.shape))
    model.start_rates(x)


def unit_variance(model: CodecModel, x: np.ndarray) -> None:
    """Latents of unit variance, and pictures around 1/2."""
    unit_start(model.synthesis_transform, unit_start(model.analysis_transform, x))
    last = model.synthesis_transform.stages[-1]
    for path in (last.high, last.up):
        path.kernel.assign(0.18 * path.kernel)  # together, pictures around 1/2
    last.high.bias.assign(np.full([3], 0.5, np.float32))
