"""3DM-WeConvene (Fu, Liang, Fang, Han, Liang, Zhang, "3DM-WeConvene: Learned Image Compression with
3D Multi-Level Wavelet-Domain Convolution and Entropy Model", 2025; https://arxiv.org/abs/2504.04658).

    x ─► analysis ─► y [H/8] ─► 3-D DWT ─► low, high [H/16] ─► Q ─► inverse ─► synthesis ─► x_hat
                                           └► hyper_analysis ─► z ─► Q ─► hyper_means, hyper_scales

WeConvene with a transform along the channels too, of several levels in the convolutions
(3DM-WeConv) and of one in the entropy model (3DWeChARM): four low slices, those of the low channels
first, then one slice for each high band, whose nets have 1x1 kernels. No code of the model is
public; what the paper does not say is ours, see `Config` and `weconv.WeConv3D`. The paper trains in
two steps, first with equal and then with separate weights on low and high rates:
`train_tf.py --rate_weights`. `compact` is made as WeConvene's, in whose transforms the third
dimension does not pay: 2.8 % more bits for a sixth less arithmetic (docs/ablations.md).
"""

import dataclasses

from tfcodec.entropy.channelwise import Group, even_slices
from tfcodec.layers.wavelet import Bands
from tfcodec.models.base import LADDER, CodecModel
from tfcodec.models.weconvene import block_codec, wavelet_codec


@dataclasses.dataclass(frozen=True)
class Config:
    """The paper's, as far as it says."""

    filters: int = 128  # N
    latents: int = 320  # M, of y
    low_slices: int = 4
    hyper_latents: int = 192  # of z
    wavelet: str = "9/7"  # or "5/3", "haar"
    levels: int = 2  # spatial levels of the convolutions
    slice_widths: tuple[int, ...] = (224, 128)  # of the slices' nets
    lambdas: tuple[float, ...] = (0.013,)
    gain_level: float = 1.0


@dataclasses.dataclass(frozen=True)
class CompactConfig:
    width: int = 96  # of the transforms' blocks, at H/8
    analysis_blocks: int = 3
    synthesis_blocks: int = 4
    filters: int = 48  # of the hyper networks
    latents: int = 64  # M, of y
    low_slices: int = 3
    hyper_latents: int = 48  # of z
    wavelet: str = "9/7"  # or "5/3", "haar"
    levels: int = 2  # spatial levels of the convolutions
    slice_widths: tuple[int, ...] = (64, 48)  # of the slices' nets
    lambdas: tuple[float, ...] = LADDER
    gain_level: float = 16.0


PRESETS = {"compact": CompactConfig(), "n128": Config()}


def build(cfg: Config | CompactConfig, name: str = "weconvene3d") -> CodecModel:
    """The codec of a configuration, weights not yet created."""
    low, high = even_slices(cfg.latents, cfg.low_slices), (cfg.latents,) * 3
    bands = Bands(cfg.wavelet, channels=True, name="bands")
    after = dict(given=("low",), kernels=(1, 1, 1), widths=cfg.slice_widths)
    if isinstance(cfg, CompactConfig):
        groups = [
            Group.convolutions("low", low, widths=cfg.slice_widths),
            Group.convolutions("high", high, **after),
        ]
        return block_codec(cfg, groups, bands, cfg.levels, name)
    groups = [
        Group("low", low, widths=cfg.slice_widths, attention="residual"),
        Group("high", high, **after),
    ]
    return wavelet_codec(cfg, groups, bands, cfg.levels, name)
