"""3DM-WeConvene (Fu, Liang, Fang, Han, Liang, Zhang, "3DM-WeConvene: Learned Image Compression with
3D Multi-Level Wavelet-Domain Convolution and Entropy Model", 2025; https://arxiv.org/abs/2504.04658).

    x ─► analysis ─► y [H/8] ─► 3-D DWT ─► low, high [H/16] ─► Q ─► inverse ─► synthesis ─► x_hat
                                           └► hyper_analysis ─► z ─► Q ─► hyper_means, hyper_scales

WeConvene with a transform along the channels too, of several levels in the convolutions
(3DM-WeConv) and of one in the entropy model (3DWeChARM): four low slices, those of the low channels
first, then one slice for each high band, whose nets have 1x1 kernels. No code of the model is
public; what the paper does not say is ours, see `Config` and `weconv.WeConv3D`. The paper trains in
two steps, first with equal and then with separate weights on low and high rates:
`train_tf.py --rate_weights`.
"""

import dataclasses

from tfcodec.entropy.channelwise import Group, even_slices
from tfcodec.layers.wavelet import Bands
from tfcodec.models.base import LADDER
from tfcodec.models.weconvene import wavelet_codec


@dataclasses.dataclass(frozen=True)
class Config:
    filters: int = 128  # N
    latents: int = 320  # M, of y
    low_slices: int = 4
    hyper_latents: int = 192  # of z
    wavelet: str = "9/7"  # or "5/3", "haar"
    levels: int = 2  # spatial levels of the convolutions
    slice_widths: tuple[int, ...] = (224, 128)  # of the slices' nets
    widths: tuple[int, ...] = ()  # of the compact transforms; empty for the full ones
    lambdas: tuple[float, ...] = (0.013,)
    gain_level: float = 1.0


PRESETS = {
    "compact": Config(
        *(48, 48, 3, 48),
        slice_widths=(64, 48),
        widths=(24, 96),
        lambdas=LADDER,
        gain_level=8.0,
    ),
    "n128": Config(),
}


def build(cfg, name="weconvene3d"):
    """The codec of a `Config`, weights not yet created."""
    low, high = even_slices(cfg.latents, cfg.low_slices), (cfg.latents,) * 3
    given = dict(given=("low",), kernels=(1, 1, 1))
    if cfg.widths:
        shared = dict(
            widths=cfg.slice_widths, activation="leaky", lrp=False, joint=True, scale="log"
        )
        groups = [Group("low", low, **shared), Group("high", high, **given, **shared)]
    else:
        groups = [Group("low", low, widths=cfg.slice_widths, attention="residual")]
        groups += [Group("high", high, widths=cfg.slice_widths, **given)]
    bands = Bands(cfg.wavelet, channels=True, name="bands")
    return wavelet_codec(cfg, groups, bands, levels=cfg.levels, name=name)
