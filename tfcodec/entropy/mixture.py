"""Gaussian-Laplacian-logistic mixture model of the latents (Fu, Liang, Lin, Akbari, Li, Guo, Tu,
Han, "Learned Image Compression with Gaussian-Laplacian-Logistic Mixture Model and Concatenated
Residual Modules", IEEE TIP 2023; https://arxiv.org/abs/2107.06463).

Each element has three components of each family, integrated over a bin of width 1:

    P(v) = sum_f pi_f sum_k w_fk (F_f((v + 1/2 - mu_fk) / s_fk) - F_f((v - 1/2 - mu_fk) / s_fk))

Departures, for training that stays finite: s is the exponential of what the network emits, bounded
below, where the authors take an absolute value; the mixture is summed in logarithms; and where
they cut a likelihood off at 1e-6, which ends its gradient, nothing is cut off here.
"""

import dataclasses
import math

import numpy as np
from keras import ops

from tfcodec.coding.mixtures import (
    BINARY_ROWS,
    COMPONENTS,
    FAMILIES,
    INVERSE_BITS,
    MEAN_BITS,
    MEAN_LIMIT,
    WEIGHT_BITS,
    binary_rows,
)
from tfcodec.entropy.density import Density
from tfcodec.entropy.gaussian import SCALE_MIN as SPREAD_MIN
from tfcodec.entropy.gaussian import log_erfc
from tfcodec.entropy.walk import MIXTURE
from tfcodec.errors import NotFreezable
from tfcodec.layers import Tensor
from tfcodec.layers.bound import lower_bound, upper_bound

NUMBERS = 3 * COMPONENTS + len(FAMILIES)  # that a network emits for an element: 30
SCALE_MIN, SCALE_MAX = 0.05, 256.0  # below, a component is one symbol, or two
PER_FAMILY = COMPONENTS // len(FAMILIES)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """What the model knows of one step's latents before it sees them.

    raw: float [B, h, w, 30 c] as a network emits it: 30 groups of c channels, which are nine
        triples of weight logit, mean and logarithm of the scale, in the order of the families, and
        the families' three logits.
    first_row: row of the codec's tables where `mixtures.binary_rows` begin.
    valid: bool, broadcasts to [B, h, w, c]; elsewhere nothing is coded. None for everywhere.
    """

    raw: Tensor
    first_row: int
    valid: Tensor | None = None
    mu = 0.0  # symbols are plain roundings

    def _components(self):
        """Logarithms of weights, means and logarithms of scales, float32 [B, h, w, 9, c]."""
        shape = ops.shape(self.raw)
        raw = ops.cast(self.raw, "float32")
        raw = ops.reshape(raw, (*shape[:3], NUMBERS, self.raw.shape[-1] // NUMBERS))
        logits, means, scales = (raw[..., k : 3 * COMPONENTS : 3, :] for k in range(3))
        family = ops.log_softmax(raw[..., 3 * COMPONENTS :, :], axis=-2)
        weights = [
            ops.log_softmax(logits[..., first : first + PER_FAMILY, :], axis=-2)
            + family[..., f : f + 1, :]
            for f, first in enumerate(range(0, COMPONENTS, PER_FAMILY))
        ]
        scales = lower_bound(upper_bound(scales, math.log(SCALE_MAX)), math.log(SCALE_MIN))
        return ops.concatenate(weights, axis=-2), means, scales

    def bits(self, values: Tensor) -> Tensor:
        """Bits of `values` [B, h, w, c], float32 of the same shape; `values` may be noisy."""
        log_weights, means, log_scales = self._components()
        distance = ops.abs(ops.expand_dims(values, -2) - means)
        inverse = ops.exp(-log_scales)
        masses = [
            log_mass(
                distance[..., first : first + PER_FAMILY, :],
                inverse[..., first : first + PER_FAMILY, :],
            )
            for log_mass, first in zip(
                (log_gaussian, log_laplacian, log_logistic),
                range(0, COMPONENTS, PER_FAMILY),
                strict=True,
            )
        ]
        log_masses = log_weights + ops.concatenate(masses, axis=-2)
        return ops.logsumexp(log_masses, axis=-2) * (-1.0 / math.log(2.0))

    def coded_bits(self, symbols: Tensor) -> Tensor:
        """Bits of integer `symbols` [B, h, w, c], float32, by the density. The questions of
        `coding.mixtures` cost less than that where the density is below about 2^-14: integer masses
        and tables know nothing as improbable. How much less takes asking them."""
        return self.bits(symbols)

    def indexes(self) -> Tensor:
        """Integer parameters of `mixtures.MixturePrior`, int32 [27, B, h, w, c]."""
        log_weights, means, log_scales = self._components()
        limit = float(MEAN_LIMIT << MEAN_BITS)
        means = ops.clip(ops.round(means * 2.0**MEAN_BITS), -limit, limit)
        inverses = ops.round(ops.exp(-log_scales) * 2.0**INVERSE_BITS)
        weights = ops.cast(ops.floor(ops.exp(log_weights) * 2.0**WEIGHT_BITS), "int32")
        rest = 2**WEIGHT_BITS - ops.sum(weights, axis=-2, keepdims=True)
        heaviest = ops.argmax(weights, axis=-2)  # the first of equals
        heaviest = ops.expand_dims(ops.cast(heaviest, "int32"), -2)
        component = ops.reshape(ops.arange(COMPONENTS, dtype="int32"), (-1, 1))
        weights = weights + ops.where(component == heaviest, rest, 0)
        if self.valid is not None:
            weights = ops.where(ops.expand_dims(self.valid, -2), weights, 0)
        numbers = [ops.cast(means, "int32"), ops.cast(inverses, "int32"), weights]
        return ops.transpose(ops.concatenate(numbers, axis=-2), (3, 0, 1, 2, 4))


class MixtureDensity(Density):
    """Mixtures of nine components, see `Mixture`."""

    numbers, rows, coding = NUMBERS, BINARY_ROWS, MIXTURE
    mean_places = tuple(range(1, 3 * COMPONENTS, 3))

    def split(self, numbers: Tensor) -> tuple[Tensor]:
        """One map, as `Mixture.raw` has it."""
        return (numbers,)

    def prior(
        self, maps: tuple[Tensor, ...], first_row: int, valid: Tensor | None = None
    ) -> Mixture:
        """valid: see `Mixture`."""
        return Mixture(*maps, first_row, valid)

    def table_rows(self) -> list[tuple[np.ndarray, int]]:
        return binary_rows()

    def start(self, spread: np.ndarray) -> np.ndarray:
        start = np.zeros([NUMBERS, len(spread)], np.float32)
        # Components of a family that began alike would stay alike.
        apart = np.tile(np.log([0.5, 1.0, 2.0]), len(FAMILIES))[:, None]
        start[2 : 3 * COMPONENTS : 3] = np.log(spread + SPREAD_MIN) + apart
        return start

    def outputs(self, channels: int) -> tuple[tuple[str, int], ...]:
        raise NotFreezable("the parameters of its mixtures are snapped from real numbers")


# Logarithms of a component's mass in the bin around a value at `distance` from its mean, for the
# inverse of its scale. By symmetry they are differences of lower tails.


def log_gaussian(distance: Tensor, inverse: Tensor) -> Tensor:
    near = log_erfc((distance - 0.5) * inverse * math.sqrt(0.5))
    far = log_erfc((distance + 0.5) * inverse * math.sqrt(0.5))
    gap = ops.maximum(near - far, 1e-7)
    return near + ops.log(-ops.expm1(-gap)) - math.log(2.0)


def log_laplacian(distance: Tensor, inverse: Tensor) -> Tensor:
    tail = (0.5 - distance) * inverse + ops.log(-0.5 * ops.expm1(-inverse))
    # A bin that holds the mean; the distance is clipped where this branch is not taken.
    inside = ops.minimum(distance, 0.5)
    outside = ops.expm1((inside - 0.5) * inverse) + ops.expm1((-inside - 0.5) * inverse)
    return ops.where(distance < 0.5, ops.log(-0.5 * outside), tail)


def log_logistic(distance: Tensor, inverse: Tensor) -> Tensor:
    # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)).
    upper, lower = (0.5 - distance) * inverse, (0.5 + distance) * inverse
    return ops.log_sigmoid(upper) + ops.log_sigmoid(lower) + ops.log(-ops.expm1(-inverse))
