"""The codecs that ablation.py compares, in families, composed of the library's public parts.

A variant is a function from a family's `Sizes` to a codec. All variants of a family have as many
latents, and about the arithmetic where parts can be exchanged for others; transforms are stacks of
blocks at H/8 between linear chains (models/blocks), so that training begins at a Karhunen-Loeve
transform codec. The first variant of a family is what the others are measured against.
"""

import dataclasses
from collections.abc import Callable
from functools import partial

import keras
from variant_parts import Checkerboard, Components

from tfcodec.entropy.channelwise import Group, even_slices
from tfcodec.entropy.gaussian import GaussianDensity
from tfcodec.entropy.latents.coder import LatentCoder
from tfcodec.entropy.latents.hyperprior import ContextLatents
from tfcodec.entropy.latents.octave import OctaveLatents
from tfcodec.entropy.latents.wavefront import WavefrontLatents
from tfcodec.entropy.mixture import NUMBERS
from tfcodec.entropy.quadtree import Quadtree
from tfcodec.layers.depthwise import DepthBlock
from tfcodec.layers.wavelet import Bands
from tfcodec.layers.weconv import WeConvBlock
from tfcodec.models import gllmm, icwem, octave
from tfcodec.models.base import LADDER, CodecModel
from tfcodec.models.blocks import BlockAnalysis, BlockSynthesis, karhunen_loeve
from tfcodec.models.transforms import (
    compact_features,
    compact_hyper_features,
    compact_slices,
)

GAIN_LEVEL = 16.0  # as the presets `compact`


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What the variants of a family share.

    width: channels of the blocks at H/8; of octave blocks, both resolutions together.
    latents: channels of y, were it at H/16; a multiple of 24.
    filters, hyper_latents: of the hyper networks, and of z.
    net_widths: hidden layers of the nets that estimate densities.
    """

    width: int
    analysis_blocks: int
    synthesis_blocks: int
    latents: int
    filters: int
    hyper_latents: int
    net_widths: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Family:
    """Variants that answer one question. They are trained at `sizes`."""

    question: str
    sizes: Sizes
    variants: dict[str, Callable[[Sizes], CodecModel]]


def codec(
    sizes: Sizes,
    coder: LatentCoder,
    channels: int,
    stride: int = 16,
    block: Callable[..., keras.layers.Layer] | None = None,
    pixels: icwem.PixelTransform | None = None,
) -> CodecModel:
    """Transforms of blocks around a coder of y, [B, H / stride, W / stride, channels].

    Args:
        block: of the width of `sizes`; a `DepthBlock` by default.
        pixels: as `CodecModel` takes it; its network, if it has one, stands in for the linear chain
            from pixels to H/8.
    """
    block = block or partial(DepthBlock, sizes.width)
    squeezed = pixels is not None and pixels.network is not None
    options = dict(stride=stride, squeezed=squeezed)
    # About as much arithmetic on either stride: sub-pixels multiply the outputs by four.
    up_kernel = 1 if stride == 16 else 3
    analysis = [block] * sizes.analysis_blocks
    synthesis = [block] * sizes.synthesis_blocks
    return CodecModel(
        BlockAnalysis(sizes.width, analysis, channels, name="analysis", **options),
        BlockSynthesis(sizes.width, synthesis, up_kernel=up_kernel, name="synthesis", **options),
        coder,
        lambdas=LADDER,
        gain_level=GAIN_LEVEL,
        start=karhunen_loeve,
        pixels=pixels,
        name="codec",
    )


# ------------------------------------------------------------------------------------- wavelets


def wavelet(
    sizes: Sizes,
    block: Callable[..., keras.layers.Layer] = DepthBlock,
    bands: Bands | None = None,
    high_kernels: tuple[int, int, int] = (3, 1, 1),
) -> CodecModel:
    """Three slices of a quarter of the latents, then three of the others, in either domain.

    Without bands (ChARM) y is at H/16, in order of energy; with them (WeChARM) at H/8, and the
    slices are those of its low and of its high bands. The nets are the same.

    Args: block: called with the width; high_kernels: of the nets of the later slices.
    """
    stride = 16 if bands is None else 8
    channels = sizes.latents if bands is None else sizes.latents // 4
    low, high = (even_slices(n * sizes.latents // 4, 3) for n in (1, 3))
    options = dict(widths=sizes.net_widths)
    groups = [
        Group.convolutions("low", low, **options),
        Group.convolutions("high", high, given=("low",), kernels=high_kernels, **options),
    ]
    coder = compact_slices(dataclasses.replace(sizes, latents=channels), groups, stride, bands)
    return codec(sizes, coder, channels, stride, partial(block, sizes.width))


def wavelet_blocks(sizes: Sizes) -> CodecModel:
    """Blocks of WeConvene, no more."""
    return wavelet(sizes, WeConvBlock)


def wavelet_bands(sizes: Sizes) -> CodecModel:
    """WeChARM over ordinary blocks."""
    return wavelet(sizes, bands=Bands("haar", name="bands"))


def weconvene(sizes: Sizes, name: str) -> CodecModel:
    """Blocks and entropy model in the wavelet domain, as preset `compact` of weconvene."""
    return wavelet(sizes, partial(WeConvBlock, wavelet=name), Bands(name, name="bands"))


def weconvene3d(sizes: Sizes, name: str) -> CodecModel:
    """The same along the channels too, as preset `compact` of weconvene3d."""
    block = partial(WeConvBlock, wavelet=name, levels=2)
    return wavelet(sizes, block, Bands(name, channels=True, name="bands"), (1, 1, 1))


# --------------------------------------------------------------------------------------- octave


def mean_scale(sizes: Sizes) -> CodecModel:
    """Depth blocks and a mean-scale hyperprior: what octave's parts are measured against.

    Five eighths of octave's channels, at H/16, are as many latents as its two resolutions have, and
    blocks of five eighths of the width cost what octave's of both resolutions cost.
    """
    sizes = dataclasses.replace(
        sizes,
        width=sizes.width * 5 // 8,
        latents=sizes.latents * 5 // 8,
        filters=2 * sizes.filters,
        hyper_latents=sizes.hyper_latents * 5 // 8,
    )
    whole = Group.convolutions("y", (sizes.latents,), widths=sizes.net_widths)  # in one slice
    return codec(sizes, compact_slices(sizes, [whole], 16), sizes.latents)


def octaves(sizes: Sizes, without: tuple[str, ...] = (), fidelity: float = 1.0) -> CodecModel:
    """Octave convolutions, as preset `compact` of octave.

    Args:
        without: fields of `OctaveNetworks` to leave out.
        fidelity: weight of the information fidelity.
    """
    config = octave.CompactConfig(
        filters=sizes.filters,
        latents=sizes.latents,
        hyper_filters=compact_features(sizes.filters),
        estimators=sizes.net_widths,
    )
    density, half = GaussianDensity(), sizes.latents // 2
    networks = octave.networks(config, density, use_bias=True)
    networks = dataclasses.replace(networks, **dict.fromkeys(without))
    return CodecModel(
        octave.OctaveAnalysis(sizes.width, sizes.analysis_blocks, sizes.latents, name="analysis"),
        octave.OctaveSynthesis(sizes.width, sizes.synthesis_blocks, half, name="synthesis"),
        OctaveLatents(networks, half, sizes.filters // 2, density, fidelity=fidelity),
        lambdas=LADDER,
        gain_level=GAIN_LEVEL,
        start=octave.karhunen_loeve,
        name="codec",
    )


ACROSS = ("y_across", "z_across")
FIDELITY = ("y_fidelity", "z_fidelity")
TOP = ("top_analysis", "top_synthesis", "z_estimator", "up_means", "up_scales", "up_features")


# ---------------------------------------------------------------------------------------- gllmm


# Of the Gaussians, which come first, the second begins at the spread of the latents.
ONE_GAUSSIAN, THREE_GAUSSIANS, NINE = (4, 5), tuple(range(9)), tuple(range(NUMBERS))


def mixtures(sizes: Sizes, places: tuple[int, ...]) -> CodecModel:
    """Concatenated blocks, attention and the wavefront context, as preset `compact` of gllmm.

    Args: places: see `Components`.
    """
    config = gllmm.CompactConfig(
        width=sizes.width,
        analysis_blocks=sizes.analysis_blocks,
        synthesis_blocks=sizes.synthesis_blocks,
        filters=sizes.filters,
        latents=sizes.latents,
        estimators=sizes.net_widths,
    )
    density = Components(places)
    networks = gllmm.networks(config, density.numbers, use_bias=True)
    return CodecModel(
        *gllmm.block_transforms(config),
        WavefrontLatents(networks, sizes.latents, sizes.filters, density=density),
        lambdas=LADDER,
        gain_level=GAIN_LEVEL,
        start=karhunen_loeve,
        name="codec",
    )


# ---------------------------------------------------------------------------------------- icwem

ENHANCEMENT = 12  # channels inside it
KERNEL_SIZES, SQUEEZE = (3, 1), (4, 2)  # of the invertible network's couplings, and levels
# Depth blocks, in analysis and in synthesis, that cost about what stands there in their place.
BLOCKS_FOR_NETWORK, BLOCKS_FOR_ENHANCEMENT = 5, 3


def invertible(sizes: Sizes, enhancement: bool, network: bool) -> CodecModel:
    """Depth blocks and slices, as preset `compact` of icwem; where a part of it is missing there
    are further blocks, and a linear chain in place of the network."""
    further = BLOCKS_FOR_NETWORK * (not network) + BLOCKS_FOR_ENHANCEMENT * (not enhancement)
    sizes = dataclasses.replace(
        sizes,
        analysis_blocks=sizes.analysis_blocks + further,
        synthesis_blocks=sizes.synthesis_blocks + further,
    )
    pixels = None
    if enhancement or network:
        pixels = icwem.PixelTransform(
            ENHANCEMENT * enhancement,
            KERNEL_SIZES if network else (),
            couplings=1,
            squeeze=SQUEEZE,
            centre=0.5 if network else 0.0,  # the linear chain takes it away itself
            activate=True,
            name="pixels",
        )
    slices = even_slices(sizes.latents, 4)
    group = Group.convolutions("y", slices, widths=sizes.net_widths, kernels=(3, 1, 1))
    return codec(sizes, compact_slices(sizes, [group], 16), sizes.latents, pixels=pixels)


# -------------------------------------------------------------------------------------- context


def four_steps(sizes: Sizes) -> CodecModel:
    """quad's own context."""
    return _whole(sizes, Quadtree, sizes.net_widths)


def checkerboard(sizes: Sizes) -> CodecModel:
    """Half as many nets, wider ones."""
    return _whole(sizes, Checkerboard, _wider(sizes, 11 / 6))


def channel_slices(sizes: Sizes) -> CodecModel:
    """ms2020's context, slices as uneven as in its preset `compact`."""
    slices = tuple(sizes.latents * share // 24 for share in (1, 2, 3, 6, 12))
    group = Group.convolutions("y", slices, widths=_wider(sizes, 7 / 6), kernels=(3, 3, 1))
    return codec(sizes, compact_slices(sizes, [group], 16), sizes.latents)


def _wider(sizes, factor):
    """Hidden layers of nets that cost about what quad's four cost together."""
    return tuple(round(factor * width) for width in sizes.net_widths)


def _whole(sizes, context, widths):
    """Under a context whose steps code all channels of some positions."""
    features = compact_features(sizes.filters)
    make = partial(context, sizes.latents, features, widths=widths, name="context")
    hyper = compact_hyper_features(sizes.filters, sizes.hyper_latents)
    return codec(sizes, ContextLatents(hyper, make, sizes.latents), sizes.latents)


FAMILIES = {
    "wavelet": Family(
        "wavelet convolutions and wavelet slices, which wavelet, two dimensions or three",
        Sizes(96, 3, 4, latents=256, filters=48, hyper_latents=48, net_widths=(64, 48)),
        {
            "depth blocks, ChARM": wavelet,
            "WeConv, ChARM; Haar": wavelet_blocks,
            "depth blocks, WeChARM; Haar": wavelet_bands,
            "WeConv, WeChARM; Haar": partial(weconvene, name="haar"),
            "WeConv, WeChARM; 5/3": partial(weconvene, name="5/3"),
            "WeConv, WeChARM; 9/7": partial(weconvene, name="9/7"),
            "3DM-WeConv, 3DWeChARM; 5/3": partial(weconvene3d, name="5/3"),
            "3DM-WeConv, 3DWeChARM; 9/7": partial(weconvene3d, name="9/7"),
        },
    ),
    "octave": Family(
        "two resolutions, and what the entropy model makes of them",
        Sizes(128, 3, 4, latents=160, filters=48, hyper_latents=48, net_widths=(64, 64)),
        {
            "depth blocks, mean and scale": mean_scale,
            "octave": octaves,
            "octave, no cross-resolution estimation": partial(octaves, without=ACROSS),
            "octave, one hyper layer": partial(octaves, without=(*TOP, "z_across")),
            "octave, no information fidelity": partial(octaves, without=FIDELITY, fidelity=0.0),
        },
    ),
    "gllmm": Family(
        "mixtures against one Gaussian a latent",
        Sizes(64, 2, 2, latents=96, filters=48, hyper_latents=48, net_widths=(128, 128)),
        {
            "one Gaussian": partial(mixtures, places=ONE_GAUSSIAN),
            "three Gaussians": partial(mixtures, places=THREE_GAUSSIANS),
            "three Gaussians, three Laplacians, three logistics": partial(mixtures, places=NINE),
        },
    ),
    "icwem": Family(
        "an invertible network and enhancement against depth blocks",
        Sizes(96, 2, 3, latents=192, filters=48, hyper_latents=48, net_widths=(64, 48)),
        {
            "neither": partial(invertible, enhancement=False, network=False),
            "enhancement": partial(invertible, enhancement=True, network=False),
            "invertible network": partial(invertible, enhancement=False, network=True),
            "both": partial(invertible, enhancement=True, network=True),
        },
    ),
    "context": Family(
        "four contexts over the same transforms",
        Sizes(128, 3, 4, latents=192, filters=96, hyper_latents=64, net_widths=(96, 96)),
        {
            "four steps": four_steps,
            "channel slices": channel_slices,
            "checkerboard": checkerboard,
            "wavelet slices": wavelet_bands,
        },
    ),
}
