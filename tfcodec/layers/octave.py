"""Generalized octave convolutions: features in two resolutions that exchange what they learn.

Octave convolution (Chen et al., ICCV 2019) in the learned form of Akbari et al. ("Learned
Bi-Resolution Image Coding using Generalized Octave Convolutions", AAAI 2021):

    high ─► conv ─► act ─┬──────────────(+)─► high
                         └► conv /2 ► act │
                        up-conv x2 ► act ─┘ ▼
    low ──► conv ─► act ─┴──────────────(+)─► low

The paths between the resolutions are strided and transposed convolutions of what a resolution has
computed, in place of pooling and nearest neighbours of its input. Three points that the papers
leave open are settled here: the kernel of the paths between is the layer's own unless given, each
of the four paths has an activation (GDN) of its own, and the activation follows its convolution.
"""

from typing import Any

import keras

from tfcodec.layers import PairOfShapes, Shape, Tensor
from tfcodec.layers.conv import DownConv2D, UpConv2D
from tfcodec.layers.depthwise import DepthwiseConv3x3, PointwiseUnit


@keras.saving.register_keras_serializable("tfcodec")
class OctaveConv2D(keras.layers.Layer):
    """Octave convolution; at stride 1 the sizes stay, at stride 2 both are halved.

    Args:
        filters: output channels, both resolutions together.
        kernel_size: side of the kernel within a resolution, odd.
        strides: of the convolutions within a resolution.
        low_ratio: share of `filters` at low resolution, in [0, 1); with 0 the output is one tensor.
        cross_kernel_size: side of the kernels between the resolutions; None for `kernel_size`.
        activation: a Keras layer of which each path gets a copy of its own, or None.
        use_bias: whether the convolutions have biases.
    Input:  (high [B, H, W, C_h], low [B, H/2, W/2, C_l]), or one tensor [B, H, W, C], all high.
    Output: (high [B, H/s, W/s, F_h], low [B, H/2s, W/2s, F_l]), or high alone; sides divisible.
    Raises: ValueError if no channel is left at high resolution, or `low` is not half of `high`.
    Example:
        >>> high, low = OctaveConv2D(64, 3)(
        ...     (keras.ops.ones([1, 32, 32, 8]), keras.ops.ones([1, 16, 16, 8])))
        >>> tuple(high.shape), tuple(low.shape)
        ((1, 32, 32, 32), (1, 16, 16, 32))
    """

    within = DownConv2D

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        low_ratio: float = 0.5,
        cross_kernel_size: int | None = None,
        activation: keras.layers.Layer | dict[str, Any] | None = None,
        use_bias: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides
        self.low_ratio, self.cross_kernel_size = low_ratio, cross_kernel_size
        self.use_bias = use_bias
        self.low_filters = round(low_ratio * filters)
        self.high_filters = filters - self.low_filters
        if self.low_filters < 0 or self.high_filters < 1:
            raise ValueError(
                "`low_ratio` must leave channels at high resolution. "
                f"Received: filters={filters}, low_ratio={low_ratio}"
            )
        if isinstance(activation, dict):
            activation = keras.saving.deserialize_keras_object(activation)
        self._activation = activation and keras.saving.serialize_keras_object(activation)
        # Low features that only serve the high output have as many channels as it.
        low = self.low_filters or self.high_filters
        cross = cross_kernel_size or kernel_size
        options = dict(use_bias=use_bias, dtype=self.dtype_policy)
        self.high = self.within(self.high_filters, kernel_size, strides, name="high", **options)
        self.low = self.within(low, kernel_size, strides, name="low", **options)
        self.down = DownConv2D(low, cross, name="high_to_low", **options)
        self.up = UpConv2D(self.high_filters, cross, name="low_to_high", **options)
        self.acts = {
            path: self._copy(activation, f"{path}_act")
            for path in ("high", "low", "high_to_low", "low_to_high")
        }

    @property
    def widths(self) -> tuple[int, int]:
        """Channels of the output at high and at low resolution."""
        return self.high_filters, self.low_filters

    def _copy(self, activation, name):
        if activation is None:
            return keras.layers.Identity(name=name, dtype=self.dtype_policy)
        config = {**activation.get_config(), "name": name, "dtype": self.dtype_policy}
        return type(activation).from_config(config)

    def build(self, input_shape: Shape | PairOfShapes) -> None:
        high, low = _pair(input_shape)
        paths = [(self.high, high, "high")]
        inner = self.high.compute_output_shape(high)
        if low is None:
            self.low = self.up = None
        else:
            _check_halves(high, low)
            inner_low = self.low.compute_output_shape(low)
            paths += [(self.low, low, "low"), (self.up, inner_low, "low_to_high")]
        if self.low_filters:
            paths += [(self.down, inner, "high_to_low")]
        else:
            self.down = None
        self.acts = {path: self.acts[path] for _, _, path in paths}
        for conv, shape, path in paths:
            conv.build(shape)
            self.acts[path].build(conv.compute_output_shape(shape))

    def call(self, x: Tensor | tuple[Tensor, Tensor]) -> Tensor | tuple[Tensor, Tensor]:
        high, low = x if isinstance(x, (tuple, list)) else (x, None)
        high = self.acts["high"](self.high(high))
        across = self.acts["high_to_low"](self.down(high)) if self.low_filters else None
        if low is not None:
            low = self.acts["low"](self.low(low))
            high = high + self.acts["low_to_high"](self.up(low))
        if not self.low_filters:
            return high
        return high, across if low is None else low + across

    def compute_output_shape(self, input_shape: Shape | PairOfShapes) -> Shape | PairOfShapes:
        high, _ = _pair(input_shape)
        high = self.high.compute_output_shape(high)
        if not self.low_filters:
            return high
        sides = (None if side is None else -(-side // 2) for side in high[1:3])
        return high, (high[0], *sides, self.low_filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "low_ratio": self.low_ratio,
            "cross_kernel_size": self.cross_kernel_size,
            "activation": self._activation,
            "use_bias": self.use_bias,
        }


@keras.saving.register_keras_serializable("tfcodec")
class OctaveConv2DTranspose(OctaveConv2D):
    """`OctaveConv2D` with transposed convolutions within the resolutions: both grow by `strides`.

    With `low_ratio=0` it is the last layer of a synthesis: both resolutions make the output's
    channels, the low one at half the size, which a learned up-sampling doubles.

    Output: (high [B, s H, s W, F_h], low [B, s H/2, s W/2, F_l]), or high alone.
    Example:
        >>> pair = keras.ops.ones([1, 8, 8, 4]), keras.ops.ones([1, 4, 4, 4])
        >>> tuple(OctaveConv2DTranspose(3, 5, strides=2, low_ratio=0)(pair).shape)
        (1, 16, 16, 3)
    """

    within = UpConv2D


def _pair(shape):
    """(high, low) of an input's shape, which is one shape or a pair of them."""
    return shape if isinstance(shape[0], (tuple, list)) else (shape, None)


def _check_halves(high, low):
    for whole, half in zip(high[1:3], low[1:3], strict=True):
        if whole is not None and half is not None and whole != 2 * half:
            raise ValueError(
                "`low` must be half as high and wide as `high`. "
                f"Received: high={tuple(high)}, low={tuple(low)}"
            )


@keras.saving.register_keras_serializable("tfcodec")
class OctaveBlock(keras.layers.Layer):
    """A depth block of two resolutions that exchange what they learn.

        high ─┬► octave 1x1 ► act ─► depthwise 3x3 ► 1x1 ─(+ high)─► FFN ─► high
        low  ─┘  (4 paths)         └► depthwise 3x3 ► 1x1 ─(+ low)──► FFN ─► low

    `depthwise.DepthBlock` whose first convolution is an `OctaveConv2D`, each of whose four paths
    has an activation; the rest works within a resolution.

    Args: filters: channels of both resolutions together, half of them each.
    Input and output: (high [B, H, W, F/2], low [B, H/2, W/2, F/2]).
    """

    def __init__(self, filters: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters, policy = filters, self.dtype_policy
        act = keras.layers.LeakyReLU(negative_slope=0.125)
        self.exchange = OctaveConv2D(
            filters, 1, cross_kernel_size=2, activation=act, dtype=policy, name="exchange"
        )
        zeros = dict(kernel_initializer="zeros", dtype=policy)
        halves = ("high", "low")
        self.dw = [DepthwiseConv3x3(dtype=policy, name=f"{half}_dw") for half in halves]
        self.b = [keras.layers.Conv2D(filters // 2, 1, name=f"{h}_b", **zeros) for h in halves]
        self.mix = [PointwiseUnit(dtype=policy, name=f"{half}_mix") for half in halves]

    def build(self, input_shape: PairOfShapes) -> None:
        self.exchange.build(input_shape)
        for layers in (self.dw, self.b, self.mix):
            for layer, shape in zip(layers, input_shape, strict=True):
                layer.build((*shape[:3], self.filters // 2))

    def call(self, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        y = [
            band + b(dw(part))
            for band, part, dw, b in zip(x, self.exchange(x), self.dw, self.b, strict=True)
        ]
        return tuple(band + mix(band) for band, mix in zip(y, self.mix, strict=True))

    def compute_output_shape(self, input_shape: PairOfShapes) -> PairOfShapes:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters}
