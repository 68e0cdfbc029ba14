"""Fully factorized prior: one learned density a channel (Balle et al., ICLR 2018, appendix 6.1)."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfcodec.entropy.rate import table_bits
from tfcodec.layers import Shape, Tensor

TAIL_MASS = 2.0**-17  # outside a row's range; what falls there is escaped
TAIL_LOGIT = math.log(2.0 / TAIL_MASS - 1.0)  # half of it on either side
MARGIN = 2  # symbols of a row on either side of where its tails begin
MAX_HALF_RANGE = 2000  # bounds the tables of a badly trained model


class FactorizedPrior(keras.layers.Layer):
    """The cumulative of each channel as a small monotone network, and the channel's median.

    Parameters: per channel 58 of the network (filters 3, 3, 3, 3) and 3 quantiles, 61 in all, as in
    CompressAI. The quantiles are learned by `quantile_loss`; the middle one is the median, around
    which latents are rounded.

    Args:
        filters: widths of the hidden layers of the cumulative.
        init_scale: width of the density at the start.
    """

    def __init__(
        self, filters: Sequence[int] = (3, 3, 3, 3), init_scale: float = 10.0, **kwargs: Any
    ):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.filters, self.init_scale = tuple(filters), float(init_scale)

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        widths = (1, *self.filters, 1)
        scale = self.init_scale ** (1 / (len(self.filters) + 1))
        self.matrices, self.biases, self.factors = [], [], []
        for k, (fan_in, fan_out) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            start = math.log(math.expm1(1 / scale / fan_out))
            self.matrices.append(
                self.add_weight(
                    name=f"matrix_{k}",
                    shape=(channels, fan_out, fan_in),
                    initializer=keras.initializers.Constant(start),
                )
            )
            self.biases.append(
                self.add_weight(
                    name=f"bias_{k}",
                    shape=(channels, fan_out, 1),
                    initializer=keras.initializers.RandomUniform(-0.5, 0.5, seed=k),
                )
            )
            if k < len(self.filters):
                self.factors.append(
                    self.add_weight(
                        name=f"factor_{k}", shape=(channels, fan_out, 1), initializer="zeros"
                    )
                )
        quantiles = np.float32([-self.init_scale, 0.0, self.init_scale])
        self.quantiles = self.add_weight(
            name="quantiles",
            shape=(channels, 3),
            initializer=lambda shape, dtype=None: ops.cast(
                # Not broadcast: PyTorch cannot write to memory that elements share.
                ops.tile(ops.convert_to_tensor(quantiles)[None], (shape[0], 1)),
                dtype,
            ),
        )

    @property
    def medians(self) -> Tensor:
        """[1, 1, 1, C], not moved by the rate: only `quantile_loss` trains them."""
        return ops.stop_gradient(ops.reshape(self.quantiles[:, 1], (1, 1, 1, -1)))

    def logits(self, values: Tensor, frozen: bool = False) -> Tensor:
        """Logit of the cumulative at `values` [C, 1, n], one row a channel."""
        hold = ops.stop_gradient if frozen else lambda x: x
        for k, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            values = ops.matmul(ops.softplus(hold(matrix)), values) + hold(bias)
            if k < len(self.factors):
                values = values + ops.tanh(hold(self.factors[k])) * ops.tanh(values)
        return values

    def bits(self, values: Tensor) -> Tensor:
        """Bits of `values` [B, h, w, C], float32 of the same shape; `values` may be noisy."""
        lower, upper = self._logits_at(values - 0.5), self._logits_at(values + 0.5)
        # On the side of the smaller tail the difference keeps its digits.
        sign = -ops.sign(ops.stop_gradient(lower + upper))
        sign = ops.where(sign == 0, ops.ones_like(sign), sign)
        left, right = sign * lower, sign * upper
        near = ops.log_sigmoid(ops.maximum(left, right))
        far = ops.log_sigmoid(ops.minimum(left, right))
        gap = ops.maximum(near - far, 1e-7)
        return (near + ops.log(-ops.expm1(-gap))) * (-1.0 / math.log(2.0))

    def coded_bits(self, symbols: Tensor) -> Tensor:
        """Bits of integer `symbols` [B, h, w, C], float32, as `table_rows` code them."""
        values, distance = symbols + self.medians, ops.abs(symbols)
        # Where a row begins and ends there, as seen from an entry.
        within = self._logits_at(values - 0.5 + MARGIN) >= -TAIL_LOGIT
        within = within & (self._logits_at(values - 0.5 - MARGIN) < TAIL_LOGIT)
        within = (within & (distance <= MAX_HALF_RANGE)) | (distance <= MARGIN)
        return table_bits(self.bits(values), symbols, within)

    def _logits_at(self, values):
        """As `logits`, of `values` [B, h, w, C]."""
        shape = ops.shape(values)
        flat = ops.reshape(ops.transpose(values, (3, 0, 1, 2)), (shape[-1], 1, -1))
        logits = ops.reshape(self.logits(flat), (shape[-1], shape[0], shape[1], shape[2]))
        return ops.transpose(logits, (1, 2, 3, 0))

    def quantile_loss(self) -> Tensor:
        """Mean distance of the cumulative at the quantiles from (tail, 1/2, 1 - tail), scalar.

        The tail is TAIL_MASS / 2 and distances are between logits.

        Moves the quantiles alone. A mean, where CompressAI sums: Adam does not feel the factor, and
        the clipping of the global norm should not feel these variables.
        """
        target = ops.convert_to_tensor(np.float32([-TAIL_LOGIT, 0.0, TAIL_LOGIT]))
        logits = self.logits(ops.expand_dims(self.quantiles, 1), frozen=True)
        return ops.mean(ops.abs(logits[:, 0, :] - target))

    def table_rows(self) -> list[tuple[np.ndarray, int]]:
        """(pmf with the escape's mass last, first symbol value) for each channel, float64."""
        medians = ops.convert_to_numpy(self.quantiles)[:, 1].astype(np.float64)
        # Symbols are round(value - median), so edge k lies at median + k - 1/2.
        edges = np.arange(-MAX_HALF_RANGE, MAX_HALF_RANGE + 2) - 0.5
        points = np.float32(medians[:, None] + edges)[:, None, :]
        logits = ops.convert_to_numpy(self.logits(ops.convert_to_tensor(points)))[:, 0, :]
        logits = np.maximum.accumulate(np.float64(logits), axis=1)
        below, above = _sigmoid(logits), _sigmoid(-logits)
        rows = []
        for lower_tail, upper_tail in zip(below, above, strict=True):
            first = min(int(np.searchsorted(lower_tail, TAIL_MASS / 2)), MAX_HALF_RANGE)
            last = max(int(np.searchsorted(-upper_tail, -TAIL_MASS / 2)), MAX_HALF_RANGE + 1)
            first, last = max(first - MARGIN, 0), min(last + MARGIN, len(edges) - 1)
            # Each tail from its own side.
            middle = np.where(lower_tail < 0.5, lower_tail, 1.0 - upper_tail)
            pmf = np.diff(middle[first : last + 1])
            escape = lower_tail[first] + upper_tail[last]
            rows.append((np.concatenate([pmf, [escape]]), first - MAX_HALF_RANGE))
        return rows

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "init_scale": self.init_scale}


def _sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0 / (1.0 + e), e / (1.0 + e))


@dataclasses.dataclass(frozen=True)
class Factorized:
    """What the model knows of one step's latents before it sees them: their channels' densities.

    prior: the `FactorizedPrior`; first_row: row of the codec's tables where its channels begin.
    """

    prior: FactorizedPrior
    first_row: int

    @property
    def mu(self) -> Tensor:
        return self.prior.medians

    def bits(self, values: Tensor) -> Tensor:
        return self.prior.bits(values)

    def coded_bits(self, symbols: Tensor) -> Tensor:
        return self.prior.coded_bits(symbols)

    def indexes(self) -> Tensor:
        """int32 [1, 1, 1, C], broadcasts to the latents: one row a channel."""
        channels = self.prior.quantiles.shape[0]
        return ops.reshape(
            ops.arange(channels, dtype="int32") + self.first_row, (1, 1, 1, channels)
        )
