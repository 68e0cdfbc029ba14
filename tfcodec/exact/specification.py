"""Integer convolutions: the specification that frozen entropy networks obey, in numpy's int64.

A network that feeds the entropy coder must give the same table indexes on every machine. A frozen
one is made of convolutions whose inputs x, weights w and biases b are integers:

    t = sum over blocks of (sum of w x << left of the block) + b
    y = floor(t / 2^shift + 1/2)                      an arithmetic shift with rounding
    y = floor(y slope / 2^slope_bits + 1/2) if y < 0  leaky ReLU, any ratio of integers
    y = y + a                                         where another path's integers a are added
    y = min(max(y, low), high), then depth to space

Every real scale is folded into the weights, so that only shifts remain, one an output channel.
Blocks of input channels with unlike ranges (hyper features, decoded latents) have shifts of their
own. Transposed convolutions are stored as convolutions of their phases with depth to space after.
Two paths that are added have one scale, so that the sum of integers means the sum.

Between networks stand real numbers that float32 holds exactly, multiples of 2^-20. The first
convolution of a network takes them to its integers, x = clip(floor(v / in_scale + 1/2)); the last
one's integers mean y out_scale + out_offset: means in 1/64, features in powers of two, and
log(sigma) in levels of the table of `entropy.gaussian`.

No sum can reach the end of the numbers that carry it (`prove`), so neither their order nor fused
operations can matter: the layers of `exact.layers` compute this in floating point, faster.

This module needs numpy alone.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from tfcodec.errors import NotFreezable
from tfcodec.exact.phases import from_phases
from tfcodec.exact.rounding import Compensation


@dataclasses.dataclass(frozen=True)
class Profile:
    """One arithmetic of a file, by its number there.

    weight_bits, input_bits: of w and x, with sign.
    kernel: how it is carried. "float64": products and sums in float64, below 2^53. "float32":
        groups of input channels in float32, each below 2^24, whose sums are added in int32.
    """

    number: int
    name: str
    weight_bits: int
    input_bits: int
    kernel: str

    @property
    def weight_max(self) -> int:
        """Largest |w|."""
        return 2 ** (self.weight_bits - 1) - 1

    @property
    def weight_type(self) -> str:
        """The narrowest integers that hold w."""
        return "int8" if self.weight_bits <= 8 else "int16"

    @property
    def input_max(self) -> int:
        """Largest |x|."""
        return 2 ** (self.input_bits - 1) - 1

    @property
    def sum_max(self) -> int:
        """What |t| stays below, rounding included."""
        return 2**53 if self.kernel == "float64" else 2**31


_PROFILES = (
    Profile(1, "exact-12", 12, 12, "float64"),
    Profile(2, "exact-10", 10, 10, "float32"),
    # As much in a product as exact-10, and half the bytes.
    Profile(3, "exact-8", 8, 12, "float32"),
)
PROFILES = {profile.name: profile for profile in _PROFILES}
DEFAULT_PROFILE = "exact-10"
NUMBERS = {profile.number: profile for profile in _PROFILES}

FEATURE_MAX = 2**13 - 1  # features are finer than the inputs they become, so that these round once
MEAN_BITS = 6  # mu in 1/64: costs 0.004 % of the rate
MEAN_MAX = 2**21 - 1  # |mu| < 2^15, the limit of symbols
GRID_BITS = 20  # no number between networks is finer
SLOPE_BITS = 12
FLOAT32_MAX = 2**24  # integers below it, and their sums, float32 holds
LEAKY_MAX = 2**23 - 1  # of |y| and |y slope|


@dataclasses.dataclass(eq=False)
class Conv:
    """One convolution: what the graph is built from, and the integers.

    name: path of the layer that was frozen.
    transposed: side of its kernel if it was a transposed convolution, else 0.
    profile: a `Profile`'s name.
    kernel_size: (rows, columns); pads: ((top, bottom), (left, right)), zeros; strides: (2).
    factor: of the depth to space.
    blocks: input channels of each block, C together.
    groups: ends of the groups of input channels, for the kernel "float32"; within blocks.
    slope: (numerator, bits) of the leaky ReLU; (1, 0) for none.
    arrays: kernel [rows, columns, C, O] of the profile's `weight_type`, bias int32 [O], shifts int8
        [blocks, O] (the largest is the shift of t, a block's left is its difference from it), low
        and high int32 [O], and what the integers mean: in_scale [C], out_scale and out_offset
        [O / factor^2], float32.
    """

    name: str
    transposed: int
    profile: str
    kernel_size: tuple[int, int]
    pads: tuple[tuple[int, int], tuple[int, int]]
    strides: tuple[int, int]
    factor: int
    blocks: tuple[int, ...]
    groups: tuple[int, ...]
    slope: tuple[int, int]
    outputs: int
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict, repr=False)

    def describe(self) -> dict[str, Any]:
        """All but the arrays, ready for JSON."""
        return {k: v for k, v in vars(self).items() if k != "arrays"}

    @staticmethod
    def read(described: dict[str, Any], arrays: dict[str, np.ndarray]) -> "Conv":
        """The reverse of `describe`."""
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in described.items()}
        fields["pads"] = tuple(map(tuple, described["pads"]))
        return Conv(**fields, arrays=arrays)

    @property
    def channels(self) -> int:
        """Input channels."""
        return sum(self.blocks)

    def shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """{name: (dtype, shape)} of the arrays."""
        real, weight_type = self.outputs // self.factor**2, PROFILES[self.profile].weight_type
        return {
            "kernel": (weight_type, (*self.kernel_size, self.channels, self.outputs)),
            "bias": ("int32", (self.outputs,)),
            "shifts": ("int8", (len(self.blocks), self.outputs)),
            "low": ("int32", (self.outputs,)),
            "high": ("int32", (self.outputs,)),
            "in_scale": ("float32", (self.channels,)),
            "out_scale": ("float32", (real,)),
            "out_offset": ("float32", (real,)),
        }

    def block_of_channels(self) -> np.ndarray:
        """Number of the block of each input channel, [C]."""
        return np.repeat(np.arange(len(self.blocks)), self.blocks)

    def lefts(self) -> np.ndarray:
        """Left shift of each weight's products, int64 [C, O]."""
        shifts = self.arrays["shifts"].astype(np.int64)
        return (shifts.max(0) - shifts)[self.block_of_channels()]

    def take(self, values: np.ndarray) -> np.ndarray:
        """Exact reals [B, h, w, C] to the integers of a network's first convolution, int64."""
        fine = np.rint(np.float64(values) * 2**GRID_BITS).astype(np.int64)
        right = GRID_BITS + np.rint(np.log2(np.float64(self.arrays["in_scale"]))).astype(np.int64)
        most = PROFILES[self.profile].input_max
        return np.clip(_shift(fine, right), -most, most)

    def apply(self, x: np.ndarray, added: np.ndarray | None = None) -> np.ndarray:
        """Integers [B, h, w, C] to integers [B, h', w', O / factor^2]; the specification.

        Args: added: those of another path, of the output's shape and scale.
        """
        kernel = self.arrays["kernel"].astype(np.int64) << self.lefts()
        x = np.pad(np.asarray(x, np.int64), ((0, 0), *self.pads, (0, 0)))
        rows, columns = self.kernel_size
        height, width = (
            (side - k) // stride + 1
            for side, k, stride in zip(x.shape[1:3], self.kernel_size, self.strides, strict=True)
        )
        total = np.zeros([len(x), height, width, self.outputs], np.int64)
        for i in range(rows):
            for j in range(columns):
                seen = x[:, i :: self.strides[0], j :: self.strides[1]][:, :height, :width]
                total += seen @ kernel[i, j]
        y = _shift(total + self.arrays["bias"], self.arrays["shifts"].max(0).astype(np.int64))
        numerator, bits = self.slope
        limit = leaky_limit(self.slope)
        y = np.clip(y, -limit, limit)
        y = np.where(y < 0, _shift(y * numerator, bits), y)
        factor, (batch, height, width, _) = self.factor, y.shape
        if added is not None:
            added = np.asarray(added, np.int64).reshape(batch, height, factor, width, factor, -1)
            y = y + added.transpose(0, 1, 3, 2, 4, 5).reshape(y.shape)
        y = np.clip(y, self.arrays["low"], self.arrays["high"])
        y = y.reshape(batch, height, width, factor, factor, -1).transpose(0, 1, 3, 2, 4, 5)
        return y.reshape(batch, factor * height, factor * width, -1)

    def mean(self, y: np.ndarray) -> np.ndarray:
        """What the integers of a network's last convolution mean, float32."""
        out = self.arrays["out_scale"] * y.astype(np.float32)
        return out + self.arrays["out_offset"]

    def prove(self) -> None:
        """Raises ValueError unless no input within its range can leave the exact numbers."""
        profile, arrays = PROFILES[self.profile], self.arrays
        for name, (dtype, shape) in self.shapes().items():
            if arrays[name].dtype != dtype or arrays[name].shape != shape:
                raise ValueError(f"{self.name}: {name} is not {dtype} of shape {shape}")
        size = np.abs(arrays["kernel"].astype(np.int64))
        if size.max() > profile.weight_max:
            raise ValueError(f"{self.name}: a weight is {size.max()}, beyond {profile.weight_max}")
        shifts = arrays["shifts"].astype(np.int64)
        if shifts.min() < 0 or shifts.max() > 30:
            raise ValueError(f"{self.name}: shifts are from 0 to 30")
        if not (0 <= self.slope[0] <= 2**SLOPE_BITS and 0 <= self.slope[1] <= SLOPE_BITS):
            raise ValueError(f"{self.name}: the slope is {self.slope[0]} / 2^{self.slope[1]}")
        ends = np.cumsum(self.blocks).tolist()
        if profile.kernel == "float32":
            if not set(ends) <= set(self.groups) or sorted(self.groups) != list(self.groups):
                raise ValueError(f"{self.name}: the groups do not fit the blocks")
            for start, end in zip((0, *self.groups), self.groups, strict=False):
                part = profile.input_max * size[:, :, start:end].sum((0, 1, 2)).max()
                _below(part, FLOAT32_MAX, f"{self.name}: channels {start} to {end}")
        _below(int(total_bound(arrays, self.lefts(), profile).max()), profile.sum_max, self.name)
        for name in ("low", "high"):
            reach = int(np.abs(arrays[name].astype(np.int64)).max())
            # Whichever path of whichever network it is added to.
            _below(LEAKY_MAX + reach, FLOAT32_MAX, f"{self.name}: added to another path")


def total_bound(arrays: dict[str, np.ndarray], lefts: np.ndarray, profile: Profile) -> np.ndarray:
    """Largest |t|, with what rounding adds, of each output channel; exact Python integers."""
    size = np.abs(arrays["kernel"].astype(np.int64)).sum((0, 1)) << lefts  # [C, O]
    bound = profile.input_max * size.sum(0) + np.abs(arrays["bias"].astype(np.int64))
    return bound + (1 << arrays["shifts"].max(0).astype(np.int64))


def leaky_limit(slope: tuple[int, int]) -> int:
    """What |y| is clipped to before the slope: far beyond any range, and y slope < 2^23."""
    return LEAKY_MAX // max(slope[0], 1)


def _below(value, limit, name):
    if value >= limit:
        raise ValueError(
            f"{name}: a sum can reach 2^{math.log2(value):.1f}, which must stay below "
            f"2^{math.log2(limit):.0f}"
        )


def _shift(x, right):
    """floor(x / 2^right + 1/2), int64; right >= 0."""
    return (x + ((np.int64(1) << right) >> 1)) >> right


# ---------------------------------------------------------------------------------------- freezing


def slope_ratio(slope: float) -> tuple[int, int]:
    """(numerator, bits) of the ratio nearest to a slope in [0, 1]; a power of two is exact."""
    numerator, bits = round(slope * 2**SLOPE_BITS), SLOPE_BITS
    while bits and numerator % 2 == 0:
        numerator, bits = numerator // 2, bits - 1
    return numerator, bits


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What an output's integers mean, (integer x scale + offset), and their range; arrays [O]."""

    scale: np.ndarray
    offset: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclasses.dataclass(frozen=True)
class Source:
    """What a convolution's input is.

    scale: what an integer means [C]; mean: real [C].
    covariance: of what the kernel's rows meet, real [rows x columns x C] twice, see `rounding`;
        without it each weight goes to the nearest integer.
    """

    scale: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray | None = None

    def compensation(self, taps: int) -> Compensation | None:
        """For weights of integers. Args: taps: of the kernel."""
        if self.covariance is None:
            return None
        each = np.tile(np.float64(self.scale), taps)
        return Compensation(self.covariance / np.outer(each, each))


def quantise(
    kernel: np.ndarray,
    bias: np.ndarray,
    source: Source,
    output: Meaning,
    profile: Profile,
    **fields: Any,
) -> Conv:
    """The `Conv` nearest to a float convolution.

    Args:
        kernel: float [rows, columns, C, O]; bias: float [O].
        source: a `Source`.
        output: `Meaning` of those of the output, arrays [O / factor^2].
        profile: a `Profile`.
        fields: the other fields of `Conv`, but `groups`.
    Raises: NotFreezable if a weight does not fit.
    """
    phases, in_scale = fields["factor"] ** 2, np.float64(source.scale)
    blocks, outputs = fields["blocks"], kernel.shape[-1]
    scale = np.tile(np.float64(np.float32(output.scale)), phases)
    folded = np.float64(kernel) * in_scale[:, None] / scale
    real_bias = (np.float64(bias) - np.tile(np.float64(np.float32(output.offset)), phases)) / scale

    spans = np.split(folded, np.cumsum(blocks)[:-1], axis=2)
    largest = np.stack([np.abs(span).max((0, 1, 2)) for span in spans])  # [blocks, O]
    shifts = _finest_shifts(largest, profile, fields["name"])
    conv = Conv(**fields, profile=profile.name, groups=(), outputs=outputs)
    compensation = source.compensation(kernel.shape[0] * kernel.shape[1])
    # Where the whole sum does not fit, its finest shift gives way.
    most = np.where(largest > 0, shifts, 0).max(0)
    while True:
        shifts = np.minimum(shifts, most)
        each = shifts[conv.block_of_channels()]
        rounded = _rounded(folded, 2.0**-each, profile, compensation)
        lost = _lost(folded - rounded * 2.0**-each, source.mean / in_scale)
        wide_bias = np.rint((real_bias + lost) * 2.0 ** shifts.max(0))
        conv.arrays = {
            "kernel": rounded.astype(profile.weight_type),
            "bias": np.clip(wide_bias, -(2**31) + 1, 2**31 - 1).astype(np.int32),
            "shifts": shifts.astype(np.int8),
            "low": np.tile(np.int32(output.low), phases),
            "high": np.tile(np.int32(output.high), phases),
            "in_scale": np.float32(in_scale),
            "out_scale": np.float32(output.scale),
            "out_offset": np.float32(output.offset),
        }
        over = total_bound(conv.arrays, conv.lefts(), profile) >= profile.sum_max
        over |= np.abs(wide_bias) >= 2**30
        if not over.any():
            break
        most = most - over
        if most.min() < 0:
            raise NotFreezable(f"{fields['name']}: its sums do not fit {profile.name}")
    if profile.kernel == "float32":
        conv.groups = _groups(conv, profile)
    conv.prove()
    return conv


def _rounded(folded, steps, profile, compensation):
    """The weights' integers, float64. Args: steps: what they mean, [C, O]."""
    if compensation is None:
        return np.rint(folded / steps)
    matrix = folded.reshape(-1, folded.shape[-1])
    steps = np.broadcast_to(steps, folded.shape).reshape(matrix.shape)
    return compensation.round(matrix, steps, profile.weight_max).reshape(folded.shape)


def _lost(errors, mean):
    """What rounding took from the sum, in steps of the output, [O].

    It goes into the bias, so that for the mean input nothing is lost (Nagel, van Baalen,
    Blankevoort, Welling, "Data-Free Quantization through Weight Equalization and Bias Correction",
    ICCV 2019). Flat areas are alike everywhere, and would be off alike.
    """
    return (errors * mean[:, None]).sum((0, 1, 2))


def _finest_shifts(largest, profile, name):
    """The finest shift at which the largest weight of a block still fits, int64 [blocks, O]."""
    with np.errstate(divide="ignore"):
        shifts = np.minimum(np.floor(np.log2(profile.weight_max / largest)), 30)
    if shifts.min() < 0:
        raise NotFreezable(
            f"{name}: a weight of {largest.max():.3g} steps of the output does not fit "
            f"{profile.weight_bits} bits"
        )
    return shifts.astype(np.int64)


def _groups(conv, profile):
    """Ends of the fewest groups of neighbouring channels whose sums float32 holds."""
    size = np.abs(conv.arrays["kernel"].astype(np.int64)).sum((0, 1))  # [C, O]
    block, ends, total = conv.block_of_channels(), [], np.zeros(conv.outputs, np.int64)
    for channel in range(conv.channels):
        grown = total + size[channel]
        if channel and (
            block[channel] != block[channel - 1] or profile.input_max * grown.max() >= FLOAT32_MAX
        ):
            ends.append(channel)
            grown = size[channel]
        total = grown
    return (*ends, conv.channels)


def dequantise(conv: Conv) -> tuple[np.ndarray, np.ndarray]:
    """(kernel, bias) of the float layer that was frozen, float32, as near as the integers are."""
    arrays, phases = conv.arrays, conv.factor**2
    scale = np.tile(np.float64(arrays["out_scale"]), phases)
    shifts = arrays["shifts"].astype(np.int64)
    folded = arrays["kernel"] / 2.0 ** shifts[conv.block_of_channels()]
    kernel = folded * scale / np.float64(arrays["in_scale"])[:, None]
    offset = np.tile(np.float64(arrays["out_offset"]), phases)
    bias = arrays["bias"] / 2.0 ** shifts.max(0) * scale + offset
    if conv.transposed:
        kernel = from_phases(kernel, conv.transposed, conv.factor)
        bias = bias[: len(bias) // phases]
    return np.float32(kernel), np.float32(bias)
