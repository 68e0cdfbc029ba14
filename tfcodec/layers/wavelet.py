"""Discrete wavelet transforms by lifting (Sweldens, 1996), along any axes of a tensor.

A signal is split into its even and odd samples e, o; each step adds to one of them a filtered copy
of the other, which the inverse takes away again, so that reconstruction is perfect whatever the
steps are. With n counting pairs,

    predict(c): o[n] += c (e[n] + e[n + 1])        update(c): e[n] += c (o[n - 1] + o[n])

and finally low = k_low e, high = k_high o. All this is linear: along channels and other short axes
it is one matrix, that of the identity's transform, which takes a fraction of the time. Constants of
LeGall 5/3 and of Cohen-Daubechies-Feauveau 9/7: ISO/IEC 15444-1, Annex F; Haar needs one neighbour
only.

Bands of an image are named ll, lh, hl, hh: the first letter is the filter along the width, the
second along the height (l low, h high). Haar's of the block [[a, b], [c, d]] are, halved,

    ll: a + b + c + d        lh: a + b - c - d        hl: a - b + c - d        hh: a - b - c + d
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfcodec.layers import Shape, Tensor

BOUNDARIES = ("symmetric", "periodic")
# Samples of an axis that is transformed by a matrix: of the last one, the channels, and of others.
MOST_CHANNELS, SHORT = 1024, 64


@dataclasses.dataclass(frozen=True)
class Lifting:
    """One wavelet.

    steps: (name, factor) in the order of the analysis.
    scales: scaling name to (k_low, k_high).
        unit       synthesis filters of norm 1: quantization noise costs the same in every band
        balanced   the low filter has gain sqrt(2) at DC, the high one at half the sampling rate
        jpeg2000   gains 1 and 2 there
    """

    steps: tuple[tuple[str, float], ...]
    scales: dict[str, tuple[float, float]]


K = 1.230174104914001  # of CDF 9/7, ISO/IEC 15444-1
WAVELETS = {
    "haar": Lifting(
        (("difference", -1.0), ("mean", 0.5)),
        {
            "unit": (math.sqrt(2), -math.sqrt(0.5)),
            "balanced": (math.sqrt(2), -math.sqrt(0.5)),
            "jpeg2000": (1.0, -1.0),
        },
    ),
    "5/3": Lifting(
        (("predict", -0.5), ("update", 0.25)),
        {
            "unit": (math.sqrt(3 / 2), math.sqrt(23 / 32)),
            "balanced": (math.sqrt(2), math.sqrt(0.5)),
            "jpeg2000": (1.0, 1.0),
        },
    ),
    "9/7": Lifting(
        (
            ("predict", -1.586134342059924),
            ("update", -0.052980118572961),
            ("predict", 0.882911075530934),
            ("update", 0.443506852043971),
        ),
        {
            "unit": (1.139764007654642, 0.887277075635907),
            "balanced": (math.sqrt(2) / K, K / math.sqrt(2)),
            "jpeg2000": (1 / K, K),
        },
    ),
}


def dwt(
    x: Tensor, axis: int, wavelet: str = "9/7", boundary: str = "symmetric", scaling: str = "unit"
) -> tuple[Tensor, Tensor]:
    """One level of the transform along one axis.

    Args:
        x: float tensor; the side of `axis` is even. Narrow floats are lifted in float32 and rounded
            once, at the end.
        axis: not negative.
        wavelet: "haar", "5/3" or "9/7".
        boundary: "symmetric" (about the first and last sample, as JPEG 2000) or "periodic".
        scaling: "unit", "balanced" or "jpeg2000", see `Lifting`.
    Returns: (low, high), each half as long.
    Raises: ValueError for an odd side or an unknown name.
    """
    lifting, scales = _lookup(wavelet, boundary, scaling)
    _check_even(x, axis)
    side, dtype, x = x.shape[axis], x.dtype, _widened(x)
    if _is_short(side, axis == len(x.shape) - 1, wavelet):
        matrix = _matrix(side, wavelet, boundary, scaling)
        return tuple(ops.split(ops.cast(_along(x, axis, matrix), dtype), 2, axis))
    bands = _bands(*_pairs(x, axis), axis, lifting, scales, boundary)
    return tuple(ops.cast(band, dtype) for band in bands)


def idwt(
    low: Tensor,
    high: Tensor,
    axis: int,
    wavelet: str = "9/7",
    boundary: str = "symmetric",
    scaling: str = "unit",
) -> Tensor:
    """Inverse of `dwt` with the same arguments."""
    lifting, scales = _lookup(wavelet, boundary, scaling)
    dtype, low, high = low.dtype, _widened(low), _widened(high)
    side = None if low.shape[axis] is None else 2 * low.shape[axis]
    if _is_short(side, axis == len(low.shape) - 1, wavelet):
        matrix = _matrix(side, wavelet, boundary, scaling, inverse=True)
        both = ops.concatenate([low, high], axis=axis)
        return ops.cast(_along(both, axis, matrix), dtype)
    return ops.cast(_interleave(*_samples(low, high, axis, lifting, scales, boundary), axis), dtype)


def dwt2(
    x: Tensor, wavelet: str = "9/7", boundary: str = "symmetric", scaling: str = "unit"
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """[B, H, W, C] to the bands (ll, lh, hl, hh), each [B, H/2, W/2, C]. Raises: as `dwt`."""
    lifting, scales = _lookup(wavelet, boundary, scaling)
    if all(_is_short(side, False, wavelet) for side in x.shape[1:3]):
        low, high = dwt(x, 2, wavelet, boundary, scaling)
        (ll, lh), (hl, hh) = (dwt(band, 1, wavelet, boundary, scaling) for band in (low, high))
        return ll, lh, hl, hh
    for axis in (2, 1):
        _check_even(x, axis)
    rows = ops.split(ops.space_to_depth(_widened(x), 2), 2, axis=-1)  # even and odd columns of each
    low, high = _bands(*rows, 1, lifting, scales, boundary)
    ll, hl = _bands(*ops.split(low, 2, axis=-1), 2, lifting, scales, boundary)
    lh, hh = _bands(*ops.split(high, 2, axis=-1), 2, lifting, scales, boundary)
    return tuple(ops.cast(band, x.dtype) for band in (ll, lh, hl, hh))


def idwt2(
    bands: Sequence[Tensor],
    wavelet: str = "9/7",
    boundary: str = "symmetric",
    scaling: str = "unit",
) -> Tensor:
    """Inverse of `dwt2`: (ll, lh, hl, hh) to [B, H, W, C]."""
    lifting, scales = _lookup(wavelet, boundary, scaling)
    ll, lh, hl, hh = bands
    sides = [None if side is None else 2 * side for side in ll.shape[1:3]]
    if all(_is_short(side, False, wavelet) for side in sides):
        low = idwt(ll, lh, 1, wavelet, boundary, scaling)
        high = idwt(hl, hh, 1, wavelet, boundary, scaling)
        return idwt(low, high, 2, wavelet, boundary, scaling)
    dtype, (ll, lh, hl, hh) = ll.dtype, map(_widened, bands)
    low, high = (
        ops.concatenate(_samples(*pair, 2, lifting, scales, boundary), axis=-1)
        for pair in ((ll, hl), (lh, hh))
    )
    rows = _samples(low, high, 1, lifting, scales, boundary)
    return ops.cast(ops.depth_to_space(ops.concatenate(rows, axis=-1), 2), dtype)


def wavedec2(
    x: Tensor, levels: int, wavelet: str = "9/7", boundary: str = "symmetric", scaling: str = "unit"
) -> list[Tensor]:
    """Several levels: [B, H, W, C], sides multiples of 2^levels, to 3 levels + 1 bands.

    Returns: a list [ll of the last level, lh, hl, hh of the last level, .., lh, hl, hh of the
        first]; the bands of level j are [B, H/2^j, W/2^j, C].
    """
    bands = []
    for _ in range(levels):
        x, *high = dwt2(x, wavelet, boundary, scaling)
        bands = high + bands
    return [x, *bands]


def waverec2(
    bands: Sequence[Tensor],
    wavelet: str = "9/7",
    boundary: str = "symmetric",
    scaling: str = "unit",
) -> Tensor:
    """Inverse of `wavedec2`."""
    x = bands[0]
    for k in range(1, len(bands), 3):
        x = idwt2((x, *bands[k : k + 3]), wavelet, boundary, scaling)
    return x


def wavedec3(
    x: Tensor, levels: int, wavelet: str = "9/7", boundary: str = "symmetric", scaling: str = "unit"
) -> tuple[list[Tensor], list[Tensor]]:
    """Along the channels once, then `wavedec2` of both halves (3DM-WeConvene, arXiv 2504.04658).

    x: [B, H, W, C], C even. Returns: (bands of the low channels, bands of the high channels), each
    a list as of `wavedec2` with C/2 channels a band.
    """
    x = ops.concatenate(dwt(x, 3, wavelet, boundary, scaling), axis=-1)
    bands = wavedec2(x, levels, wavelet, boundary, scaling)
    return tuple(map(list, zip(*(ops.split(band, 2, axis=-1) for band in bands), strict=True)))


def waverec3(
    low: Sequence[Tensor],
    high: Sequence[Tensor],
    wavelet: str = "9/7",
    boundary: str = "symmetric",
    scaling: str = "unit",
) -> Tensor:
    """Inverse of `wavedec3`."""
    bands = [ops.concatenate(halves, axis=-1) for halves in zip(low, high, strict=True)]
    halves = ops.split(waverec2(bands, wavelet, boundary, scaling), 2, axis=-1)
    return idwt(*halves, 3, wavelet, boundary, scaling)


class Transform2D(keras.layers.Layer):
    """A 2-D transform of one level and its inverse, as a layer: `layer(x)`, `layer.inverse(bands)`.

    Args:
        wavelet: of `WAVELETS`, or "taps": 2x2 filters of its own, kept as weights that are not
            trained and start as Haar. So a converted checkpoint computes with the filters that it
            carries.
    Input:  [B, H, W, C], H and W even.
    Output: the bands (ll, lh, hl, hh), each [B, H/2, W/2, C].
    """

    def __init__(self, wavelet: str = "haar", **kwargs: Any):
        super().__init__(**kwargs)
        if wavelet != "taps":
            _lookup(wavelet, "symmetric", "unit")
        self.wavelet = wavelet

    def build(self, input_shape: Shape) -> None:
        if self.wavelet == "taps":
            for name in ("analysis_taps", "synthesis_taps"):
                weight = self.add_weight(
                    name=name, shape=(4, 2, 2), initializer=_haar_taps, trainable=False
                )
                setattr(self, name, weight)

    def call(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if self.wavelet != "taps":
            return dwt2(x, self.wavelet)
        corners = ops.split(ops.space_to_depth(x, 2), 4, axis=-1)  # a, b, c, d
        taps = ops.reshape(ops.cast(self.analysis_taps, x.dtype), (4, 4))
        return tuple(sum(taps[k, p] * corners[p] for p in range(4)) for k in range(4))

    def inverse(self, bands: Sequence[Tensor]) -> Tensor:
        """(ll, lh, hl, hh) to [B, H, W, C]."""
        if self.wavelet != "taps":
            return idwt2(bands, self.wavelet)
        taps = ops.reshape(ops.cast(self.synthesis_taps, bands[0].dtype), (4, 4))
        corners = [sum(taps[k, p] * bands[k] for k in range(4)) for p in range(4)]
        return ops.depth_to_space(ops.concatenate(corners, axis=-1), 2)

    def compute_output_shape(self, input_shape: Shape) -> tuple[Shape, Shape, Shape, Shape]:
        batch, height, width, channels = input_shape
        height, width = (None if side is None else side // 2 for side in (height, width))
        return ((batch, height, width, channels),) * 4

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "wavelet": self.wavelet}


class Bands(keras.layers.Layer):
    """The bands of latents side by side, where an entropy model codes them; `inverse` undoes it.

    Args:
        wavelet: see `Transform2D`.
        channels: transform along the channels first (3DM-WeConvene). Then a band holds that of the
            low channels before that of the high ones.
    Input:  [B, H, W, C], H and W even; with `channels`, C too.
    Output: [B, H/2, W/2, 4 C]: ll, lh, hl, hh, in this order.
    """

    def __init__(self, wavelet: str = "haar", channels: bool = False, **kwargs: Any):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.wavelet, self.channels = wavelet, channels
        self.transform = Transform2D(wavelet, dtype=self.dtype_policy, name="transform")

    def build(self, input_shape: Shape) -> None:
        self.transform.build(input_shape)

    def call(self, x: Tensor) -> Tensor:
        if self.channels:
            x = ops.concatenate(dwt(x, 3, self.wavelet), axis=-1)
        return ops.concatenate(self.transform(x), axis=-1)

    def inverse(self, bands: Tensor) -> Tensor:
        """[B, H/2, W/2, 4 C] to [B, H, W, C]."""
        x = self.transform.inverse(ops.split(bands, 4, axis=-1))
        return idwt(*ops.split(x, 2, axis=-1), 3, self.wavelet) if self.channels else x

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        (batch, height, width, channels), *_ = self.transform.compute_output_shape(input_shape)
        return (batch, height, width, 4 * channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "wavelet": self.wavelet, "channels": self.channels}


HAAR_TAPS = (
    np.float32([[[1, 1], [1, 1]], [[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]]) / 2
)


def _haar_taps(shape, dtype=None):
    return ops.convert_to_tensor(HAAR_TAPS, dtype=dtype)


def _lookup(wavelet, boundary, scaling):
    if wavelet not in WAVELETS:
        raise ValueError(f"`wavelet` must be one of {', '.join(WAVELETS)}. Received: {wavelet!r}")
    if boundary not in BOUNDARIES:
        raise ValueError(
            f"`boundary` must be one of {', '.join(BOUNDARIES)}. Received: {boundary!r}"
        )
    lifting = WAVELETS[wavelet]
    if scaling not in lifting.scales:
        names = ", ".join(lifting.scales)
        raise ValueError(f"`scaling` must be one of {names}. Received: {scaling!r}")
    return lifting, lifting.scales[scaling]


def _check_even(x, axis):
    side = x.shape[axis]
    if side is not None and side % 2:
        raise ValueError(f"axis {axis} must have an even side. Received: shape {tuple(x.shape)}")


def _widened(x):
    narrow = keras.backend.standardize_dtype(x.dtype) in ("bfloat16", "float16")
    return ops.cast(x, "float32") if narrow else x


def _at(axis, index):
    return (slice(None),) * axis + (index,)


def _is_short(side, is_last, wavelet):
    if side is None:
        return False
    # Along rows and columns Haar's sums and differences cost no more than a matrix.
    return side <= MOST_CHANNELS if is_last else wavelet != "haar" and side <= SHORT


@functools.cache
def _matrix(side, wavelet, boundary, scaling, inverse=False):
    """float64 [side, side]: samples to the low band above the high one, or back."""
    lifting, scales = _lookup(wavelet, boundary, scaling)
    even, odd = np.eye(side)[0::2], np.eye(side)[1::2]
    matrix = np.concatenate(_bands(even, odd, 0, lifting, scales, boundary))
    return np.linalg.inv(matrix) if inverse else matrix


def _along(x, axis, matrix):
    """The matrix times every column of that axis."""
    matrix = matrix.astype(keras.backend.standardize_dtype(x.dtype))
    if axis == 3 == len(x.shape) - 1:  # a product of matrices would compute shapes
        return ops.conv(x, matrix.T[None, None], padding="valid")
    shape = list(ops.shape(x))
    if axis == len(shape) - 1:
        return ops.matmul(x, matrix.T)
    columns = ops.reshape(x, [-1, shape[axis], math.prod(shape[axis + 1 :])])
    return ops.reshape(ops.matmul(matrix, columns), shape)


def _bands(even, odd, axis, lifting, scales, boundary):
    """(low, high) of the samples along an axis; of NumPy's arrays, too."""
    for step in lifting.steps:
        even, odd = _lift(even, odd, step, 1.0, axis, boundary)
    return scales[0] * even, scales[1] * odd


def _samples(low, high, axis, lifting, scales, boundary):
    """(even, odd): the inverse of `_bands`."""
    even, odd = low * (1 / scales[0]), high * (1 / scales[1])
    for step in lifting.steps[::-1]:
        even, odd = _lift(even, odd, step, -1.0, axis, boundary)
    return even, odd


def _lift(even, odd, step, sign, axis, boundary):
    """(even, odd) after one step of the analysis, or with sign -1 before it."""
    name, factor = step
    concatenate = np.concatenate if isinstance(even, np.ndarray) else ops.concatenate
    first, last = _at(axis, slice(0, 1)), _at(axis, slice(-1, None))
    if name == "difference":
        return even, odd + sign * factor * even
    if name == "mean":
        return even + sign * factor * odd, odd
    if name == "predict":  # beyond the right end lies the last even sample, or the first
        end = even[last if boundary == "symmetric" else first]
        following = concatenate([even[_at(axis, slice(1, None))], end], axis=axis)
        return even, odd + sign * factor * (even + following)
    end = odd[first if boundary == "symmetric" else last]
    preceding = concatenate([end, odd[_at(axis, slice(None, -1))]], axis=axis)
    return even + sign * factor * (preceding + odd), odd


def _pairs(x, axis):
    """Even and odd samples; not by slices, whose gradients are padded with zeros and added up."""
    shape = list(ops.shape(x))
    pairs = ops.reshape(x, [*shape[:axis], shape[axis] // 2, 2, *shape[axis + 1 :]])
    return ops.unstack(pairs, 2, axis + 1)


def _interleave(even, odd, axis):
    shape = list(ops.shape(even))
    shape[axis] = shape[axis] * 2
    return ops.reshape(ops.stack([even, odd], axis=axis + 1), shape)
