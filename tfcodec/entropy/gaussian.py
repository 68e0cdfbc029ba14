"""Conditional Gaussian of the latents: its bits in training, its integer tables in coding.

A latent element is modelled as N(mu, sigma^2) integrated over a bin of width 1 (Balle et al., ICLR
2018, Eq. 13; with a mean: Minnen et al., NeurIPS 2018). Networks emit log(sigma), so that the index
of the coding table, which is uniform in log(sigma), is an affine function of what they emit.
"""

import dataclasses
import math

import numpy as np
from keras import ops

from tfcodec.entropy.density import Density
from tfcodec.entropy.rate import table_bits
from tfcodec.layers import Tensor
from tfcodec.layers.bound import lower_bound, upper_bound

SCALE_MIN = 0.11  # the smallest sigma, as in bmshj2018: below it a bin holds all the mass
SCALE_MAX = 256.0
NUM_LEVELS = 128  # nearest of 128 in log-scale costs under 0.02 % in rate; 64 'next larger' 0.2 %
LOG_MIN, LOG_MAX = math.log(SCALE_MIN), math.log(SCALE_MAX)
LEVEL_STEP = (LOG_MAX - LOG_MIN) / (NUM_LEVELS - 1)
# A table reaches five sigma, which leave 6e-7 to the escape, and at least 3: real tails are heavier
# than normal ones, and an escape costs one to three bytes more than a rare symbol.
TABLE_SIGMAS, MIN_HALF = 5.0, 3


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """What the model knows of one step's latents before it sees them.

    mu: float32, broadcasts to the latents [B, h, w, c].
    log_scale: float32 [B, h, w, c], natural logarithm of sigma, unbounded.
    first_row: row of the codec's tables where the Gaussian rows begin.
    """

    mu: Tensor
    log_scale: Tensor
    first_row: int

    def bits(self, values: Tensor) -> Tensor:
        """Bits of `values` [B, h, w, c], float32 of the same shape; `values` may be noisy."""
        log_scale = lower_bound(upper_bound(self.log_scale, LOG_MAX), LOG_MIN)
        inverse = ops.exp(-log_scale) * math.sqrt(0.5)
        distance = ops.abs(values - self.mu)
        near = log_erfc((distance - 0.5) * inverse)
        far = log_erfc((distance + 0.5) * inverse)
        # log(P) = log(erfc(near) - erfc(far)) - log 2, exact also where both underflow.
        gap = ops.maximum(near - far, 1e-7)
        return (near + ops.log(-ops.expm1(-gap)) - math.log(2.0)) * (-1.0 / math.log(2.0))

    def coded_bits(self, symbols: Tensor) -> Tensor:
        """Bits of integer `symbols` [B, h, w, c], float32, as `table_rows` code them."""
        sigma = ops.exp(LOG_MIN + LEVEL_STEP * self._level())
        half = ops.maximum(float(MIN_HALF), ops.ceil(TABLE_SIGMAS * sigma))
        return table_bits(self.bits(symbols + self.mu), symbols, ops.abs(symbols) <= half)

    def indexes(self) -> Tensor:
        """Rows of the codec's tables, int32 [B, h, w, c]: the nearest sigma in log-scale."""
        return ops.cast(self._level(), "int32") + self.first_row

    def _level(self):
        level = ops.round((self.log_scale - LOG_MIN) * (1.0 / LEVEL_STEP))
        return ops.clip(level, 0, NUM_LEVELS - 1)


def log_erfc(x: Tensor) -> Tensor:
    """log(erfc(x)), float32, for any x (rational fit of Numerical Recipes 6.2, 1.2e-7 relative)."""
    z = ops.abs(x)
    t = 1.0 / (1.0 + 0.5 * z)
    series = 0.17087277
    for coefficient in (
        -0.82215223,
        1.48851587,
        -1.13520398,
        0.27886807,
        -0.18628806,
        0.09678418,
        0.37409196,
        1.00002368,
        -1.26551223,
    ):
        series = series * t + coefficient
    tail = ops.log(t) + series - z * z  # log erfc(|x|)
    # log erfc(-z) = log(2 - erfc(z)); the exponent is at most 0, so nothing overflows.
    return ops.where(x >= 0, tail, math.log(2.0) + ops.log1p(-0.5 * ops.exp(tail)))


class GaussianDensity(Density):
    """Gaussians of a mean and log(sigma), see `Gaussian`.

    Args:
        has_mean: whether they have a mean (mbt2018) or are centred (bmshj2018).
        scale_first: whether log(sigma) stands before the mean in what a network emits.
    """

    rows = NUM_LEVELS

    def __init__(self, has_mean: bool = True, scale_first: bool = False):
        self.has_mean, self.scale_first = has_mean, scale_first
        self.numbers = 1 + has_mean
        self.mean_places = (int(scale_first),) if has_mean else ()

    def split(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """(mu, log(sigma))."""
        if not self.has_mean:
            return ops.zeros((1, 1, 1, 1)), numbers
        mu, log_scale = ops.split(numbers, 2, axis=-1)
        return (log_scale, mu) if self.scale_first else (mu, log_scale)

    def prior(self, maps: tuple[Tensor, ...], first_row: int) -> Gaussian:
        return Gaussian(*maps, first_row)

    def mean(self, maps: tuple[Tensor, ...]) -> Tensor:
        return maps[0]

    def table_rows(self) -> list[tuple[np.ndarray, int]]:
        return table_rows()

    def start(self, spread: np.ndarray) -> np.ndarray:
        log_scale = np.log(spread + SCALE_MIN)
        start = np.zeros([self.numbers, len(spread)], np.float32)
        start[self.other_places[0]] = log_scale
        return start

    def outputs(self, channels: int) -> tuple[tuple[str, int], ...]:
        mu, log_scale = ("mu", channels), ("log_scale", channels)
        if not self.has_mean:
            return (log_scale,)
        return (log_scale, mu) if self.scale_first else (mu, log_scale)


def table_rows() -> list[tuple[np.ndarray, int]]:
    """(pmf with the escape's mass last, symbol value of its first entry) for each of the levels."""
    return [_row(math.exp(LOG_MIN + LEVEL_STEP * level)) for level in range(NUM_LEVELS)]


def _row(sigma):
    half = max(MIN_HALF, math.ceil(TABLE_SIGMAS * sigma))
    edges = [math.erfc((k - 0.5) / (sigma * math.sqrt(2.0))) / 2.0 for k in range(half + 2)]
    upper = -np.diff(np.float64(edges))  # mass of 0, 1, .., half
    pmf = np.concatenate([upper[:0:-1], upper, [2.0 * edges[half + 1]]])
    return pmf, -half
