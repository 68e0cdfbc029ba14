"""Wavelet-domain convolution: WeConv (Fu et al., ECCV 2024; arXiv 2407.09983) and its 3-D,
multi-level form (3DM-WeConvene; arXiv 2504.04658), bare and inside resampling blocks.

    x ─► DWT ─┬─ low band ───► conv ► GDN ─┬─► inverse DWT ─► y
              └─ high bands ─► conv ► GDN ─┘

`WeConv` and `WeConv3D` keep the size, any size: they stand where a convolution stood, in any CNN.
"""

from functools import partial
from typing import Any

import keras
from keras import ops

from tfcodec.layers import Shape, Tensor
from tfcodec.layers.conv import DownConv2D, SubpixelConv2D
from tfcodec.layers.depthwise import PointwiseUnit, SeparableUnit
from tfcodec.layers.gdn import GDN
from tfcodec.layers.padding import pad_to_multiple
from tfcodec.layers.residual import SLOPE
from tfcodec.layers.wavelet import Transform2D, wavedec2, wavedec3, waverec2, waverec3

NORMS = ("gdn", "igdn", "none")


def _norm(norm, order, name, policy):
    if norm not in NORMS:
        raise ValueError(f"`norm` must be one of {', '.join(NORMS)}. Received: {norm!r}")
    if norm == "none":
        return None
    return GDN(inverse=norm == "igdn", order=order, dtype=policy, name=name)


@keras.saving.register_keras_serializable("tfcodec")
class WeConv(keras.layers.Layer):
    """Convolution in the domain of a 2-D wavelet transform of one level (ECCV 2024, Fig. 3).

    The low band and the three high bands together have convolutions of their own. In the paper both
    are 3x3, and the high bands are mixed.

    Args:
        filters: channels of the output.
        wavelet: "haar", "5/3", "9/7" or "taps", see `wavelet.Transform2D`.
        norm: "gdn", "igdn" or "none", after each of the two convolutions.
        high_kernel: side of the kernel of the high bands.
        order: of GDN.
        aligned: a promise that the sides are even; spares the padding of maps of unknown size.
    Input:  [B, H, W, C].
    Output: [B, H, W, filters].
    Raises: ValueError for an unknown name.
    Example:
        >>> WeConv(16, norm="none")(keras.ops.ones([1, 31, 40, 8])).shape
        TensorShape([1, 31, 40, 16])
    """

    def __init__(
        self,
        filters: int,
        wavelet: str = "haar",
        norm: str = "gdn",
        high_kernel: int = 3,
        order: int = 2,
        aligned: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters, self.wavelet, self.norm = filters, wavelet, norm
        self.high_kernel, self.order, self.aligned = high_kernel, order, aligned
        policy = self.dtype_policy
        options = dict(padding="same", dtype=policy)
        self.transform = Transform2D(wavelet, dtype=policy, name="transform")
        self.low = keras.layers.Conv2D(filters, 3, name="low", **options)
        self.high = keras.layers.Conv2D(3 * filters, high_kernel, name="high", **options)
        self.norm_low = _norm(norm, order, "norm_low", policy)
        self.norm_high = _norm(norm, order, "norm_high", policy)

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        self.transform.build(input_shape)
        self.low.build((None, None, None, channels))
        self.high.build((None, None, None, 3 * channels))
        if self.norm_low is not None:
            self.norm_low.build((None, None, None, self.filters))
            self.norm_high.build((None, None, None, 3 * self.filters))

    def call(self, x: Tensor) -> Tensor:
        height, width = ops.shape(x)[1:3]
        if not self.aligned:
            x = pad_to_multiple(x, 2, "symmetric")
        low, *high = self.transform(x)
        low, high = self.low(low), self.high(ops.concatenate(high, axis=-1))
        if self.norm_low is not None:
            low, high = self.norm_low(low), self.norm_high(high)
        y = self.transform.inverse((low, *ops.split(high, 3, axis=-1)))
        return y if self.aligned else y[:, :height, :width, :]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:3], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "wavelet": self.wavelet,
            "norm": self.norm,
            "high_kernel": self.high_kernel,
            "order": self.order,
            "aligned": self.aligned,
        }


@keras.saving.register_keras_serializable("tfcodec")
class WeConv3D(keras.layers.Layer):
    """Convolution in the domain of a multi-level 3-D wavelet transform (3DM-WeConvene).

    The transform runs along the channels once and then, in both halves, along height and width
    `levels` times. Low bands get a 3x3 convolution; each high band a 1x1 of its own, which keeps it
    sparse and cheap. One GDN follows the inverse transform, so that the wavelet domain stays
    linear. (The paper's code is not public; where it is silent this is our reading.)

    Args:
        filters: channels of the output, even.
        wavelet: "haar", "5/3" or "9/7".
        levels: spatial levels.
        norm: "gdn", "igdn" or "none".
        high_kernel: side of the kernels of the high bands.
        order: of GDN.
        aligned: a promise that the sides are multiples of 2^levels, see `WeConv`.
    Input:  [B, H, W, C], C even.
    Output: [B, H, W, filters].
    Raises: ValueError for an unknown name or an odd number of channels.
    """

    def __init__(
        self,
        filters: int,
        wavelet: str = "9/7",
        levels: int = 2,
        norm: str = "gdn",
        high_kernel: int = 1,
        order: int = 2,
        aligned: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if filters % 2:
            raise ValueError(f"`filters` must be even. Received: filters={filters}")
        self.filters, self.wavelet, self.levels, self.norm = filters, wavelet, levels, norm
        self.high_kernel, self.order, self.aligned = high_kernel, order, aligned
        policy = self.dtype_policy
        self.convs = [
            keras.layers.Conv2D(
                filters // 2,
                high_kernel if band else 3,
                padding="same",
                dtype=policy,
                name=f"{half}{band}",
            )
            for half in ("low", "high")
            for band in range(3 * levels + 1)
        ]
        self.norm_after = _norm(norm, order, "norm_after", policy)

    def build(self, input_shape: Shape) -> None:
        if input_shape[-1] % 2:
            raise ValueError(f"channels must be even. Received: shape {tuple(input_shape)}")
        for conv in self.convs:
            conv.build((None, None, None, input_shape[-1] // 2))
        if self.norm_after is not None:
            self.norm_after.build((None, None, None, self.filters))

    def call(self, x: Tensor) -> Tensor:
        height, width = ops.shape(x)[1:3]
        if not self.aligned:
            x = pad_to_multiple(x, 2**self.levels, "symmetric")
        low, high = wavedec3(x, self.levels, self.wavelet)
        bands = [conv(band) for conv, band in zip(self.convs, low + high, strict=True)]
        y = waverec3(bands[: len(low)], bands[len(low) :], self.wavelet)
        if not self.aligned:
            y = y[:, :height, :width, :]
        return y if self.norm_after is None else self.norm_after(y)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:3], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "wavelet": self.wavelet,
            "levels": self.levels,
            "norm": self.norm,
            "high_kernel": self.high_kernel,
            "order": self.order,
            "aligned": self.aligned,
        }


def wavelet_conv(
    filters: int,
    wavelet: str,
    levels: int | None,
    norm: str,
    policy: str | keras.DTypePolicy,
    name: str,
    **options: Any,
) -> WeConv | WeConv3D:
    """`WeConv` for levels None, else `WeConv3D` of that many levels."""
    options = dict(wavelet=wavelet, norm=norm, dtype=policy, name=name, **options)
    if levels is None:
        return WeConv(filters, **options)
    return WeConv3D(filters, levels=levels, **options)


class _Resampling(keras.layers.Layer):
    """A resampling convolution - leaky ReLU - wavelet convolution, added to a resampling skip.

    Args: see `WeConvDown`; resample, skip: the layers that change the size; norm: of `WeConv`.
    """

    def __init__(self, resample, skip, norm, filters, wavelet, levels, slope, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.wavelet, self.levels, self.slope = filters, wavelet, levels, slope
        policy = self.dtype_policy
        self.resample = resample(dtype=policy)
        self.core = wavelet_conv(filters, wavelet, levels, norm, policy, "core", aligned=True)
        self.skip = skip(dtype=policy, name="skip")

    def build(self, input_shape):
        self.resample.build(input_shape)
        self.core.build(self.compute_output_shape(input_shape))
        self.skip.build(input_shape)

    def call(self, x):
        return self.core(ops.leaky_relu(self.resample(x), self.slope)) + self.skip(x)

    def compute_output_shape(self, input_shape):
        return self.resample.compute_output_shape(input_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "wavelet": self.wavelet,
            "levels": self.levels,
            "slope": self.slope,
        }


@keras.saving.register_keras_serializable("tfcodec")
class WeConvDown(_Resampling):
    """conv3 with stride 2 - leaky ReLU - wavelet convolution with GDN, added to a strided 1x1.

    `ResidualBlockDown` with the second convolution in the wavelet domain (ECCV 2024, Fig. 4).

    Args:
        filters: channels of the output.
        wavelet: see `WeConv`.
        levels: None for `WeConv`, else spatial levels of `WeConv3D`.
        slope: of the leaky ReLU.
    Input:  [B, H, W, C], H and W multiples of 4, with levels of 2^(levels + 1).
    Output: [B, H / 2, W / 2, filters].
    """

    def __init__(
        self,
        filters: int,
        wavelet: str = "haar",
        levels: int | None = None,
        slope: float = SLOPE,
        **kwargs: Any,
    ):
        down = partial(DownConv2D, filters, 3, name="down")
        skip = partial(DownConv2D, filters, 1)
        super().__init__(down, skip, "gdn", filters, wavelet, levels, slope, **kwargs)


@keras.saving.register_keras_serializable("tfcodec")
class WeConvUp(_Resampling):
    """Sub-pixel conv3 - leaky ReLU - wavelet convolution with IGDN, added to a second sub-pixel.

    `ResidualBlockUp` with the second convolution in the wavelet domain. Arguments as `WeConvDown`.

    Input:  [B, H, W, C]; 2 H and 2 W multiples of 2, with levels of 2^levels.
    Output: [B, 2 H, 2 W, filters].
    """

    def __init__(
        self,
        filters: int,
        wavelet: str = "haar",
        levels: int | None = None,
        slope: float = SLOPE,
        **kwargs: Any,
    ):
        up = partial(SubpixelConv2D, filters, 3, name="up")
        skip = partial(SubpixelConv2D, filters, 3)
        super().__init__(up, skip, "igdn", filters, wavelet, levels, slope, **kwargs)


@keras.saving.register_keras_serializable("tfcodec")
class WeConvBlock(keras.layers.Layer):
    """A depth block whose filters work in the wavelet domain, on each band by itself.

        x ─► DWT ─┬─ low band ───► 1x1 ► act ► depthwise 3x3 ► 1x1 ─┬─► inverse DWT ─(+ x)─► FFN
                  └─ high bands ─► 1x1 ► act ► depthwise 3x3 ► 1x1 ─┘

    `depthwise.DepthBlock` with a wavelet convolution in place of its first half, for the same
    arithmetic: as in `WeConv` low and high bands have networks of their own and activations in the
    wavelet domain, and the three high bands of a level are mixed. With `levels` the transform is
    that of `WeConv3D`, along the channels too.

    Args:
        filters: C; even with `levels`.
        wavelet: "haar", "5/3" or "9/7".
        levels: None for one level in two dimensions, else spatial levels in three.
    Input and output: [B, H, W, C], H and W multiples of 2, or of 2^levels.
    """

    def __init__(
        self, filters: int, wavelet: str = "haar", levels: int | None = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.filters, self.wavelet, self.levels, policy = (
            filters,
            wavelet,
            levels,
            self.dtype_policy,
        )
        halves = ("",) if levels is None else ("low_", "high_")
        width = filters // len(halves)
        names = [f"{half}{band}" for half in halves for band in range((levels or 1) + 1)]
        self.units = [
            SeparableUnit(width, width * (1 if name.endswith("0") else 3), dtype=policy, name=name)
            for name in names
        ]
        self.mix = PointwiseUnit(dtype=policy, name="mix")

    def build(self, input_shape: Shape) -> None:
        for unit in self.units:
            unit.build((None, None, None, unit.filters))
        self.mix.build(input_shape)

    def call(self, x: Tensor) -> Tensor:
        x = x + self._merge([u(band) for u, band in zip(self.units, self._split(x), strict=True)])
        return x + self.mix(x)

    def _split(self, x):
        """The low band, then the three high ones of each level side by side; so of each half."""
        if self.levels is None:
            halves = [wavedec2(x, 1, self.wavelet)]
        else:
            halves = wavedec3(x, self.levels, self.wavelet)
        return [band for half in halves for band in _side_by_side(half)]

    def _merge(self, bands):
        if self.levels is None:
            return waverec2(_one_by_one(bands), self.wavelet)
        half = len(bands) // 2
        return waverec3(_one_by_one(bands[:half]), _one_by_one(bands[half:]), self.wavelet)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        own = {"filters": self.filters, "wavelet": self.wavelet, "levels": self.levels}
        return {**super().get_config(), **own}


def _side_by_side(bands):
    """[low, lh, hl, hh, lh, ..] to [low, three high bands as one, ..]."""
    triples = [bands[k : k + 3] for k in range(1, len(bands), 3)]
    return [bands[0], *(ops.concatenate(triple, axis=-1) for triple in triples)]


def _one_by_one(bands):
    """The reverse."""
    return [bands[0], *(band for three in bands[1:] for band in ops.split(three, 3, axis=-1))]
