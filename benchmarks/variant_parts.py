"""Parts of ablation.py's variants that the library does not have: single Gaussians that are rounded
and coded as mixtures are, and the checkerboard context. For training; nothing here can be frozen.
"""

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from tfcodec.entropy.channelwise import SliceNet
from tfcodec.entropy.density import Density
from tfcodec.entropy.mixture import NUMBERS, PER_FAMILY, Mixture, MixtureDensity
from tfcodec.entropy.rate import table_bits
from tfcodec.entropy.walk import Prior, State
from tfcodec.layers import Tensor


class Components(Density):
    """Some components of `MixtureDensity`: a network emits the numbers at `places` of its thirty,
    the others are fixed. A file is coded as one of mixtures.

    Args: places: of what a network emits, as `Mixture.raw` orders them.
    """

    NEVER = -1e4  # a logit of no weight at all

    def __init__(self, places: tuple[int, ...]):
        self.whole, self.places, self.numbers = MixtureDensity(), tuple(places), len(places)
        self.rows, self.coding = self.whole.rows, self.whole.coding
        self.mean_places = tuple(
            k for k, place in enumerate(self.places) if place in self.whole.mean_places
        )
        # A component takes part if its scale is emitted, a family if one of its components does.
        parts = np.isin(np.arange(2, NUMBERS - 3, 3), self.places)
        self.fixed = np.zeros([NUMBERS], np.float32)
        self.fixed[0 : NUMBERS - 3 : 3] = np.where(parts, 0, self.NEVER)
        families = parts.reshape(-1, PER_FAMILY).any(axis=1)
        self.fixed[NUMBERS - 3 :] = np.where(families, 0, self.NEVER)

    def split(self, numbers: Tensor) -> tuple[Tensor]:
        pieces = dict(zip(self.places, ops.split(numbers, self.numbers, axis=-1), strict=True))
        like = ops.zeros_like(next(iter(pieces.values())))
        every = [pieces[k] if k in pieces else like + self.fixed[k] for k in range(NUMBERS)]
        return (ops.concatenate(every, axis=-1),)

    def prior(
        self, maps: tuple[Tensor, ...], first_row: int, valid: Tensor | None = None
    ) -> "Charged":
        return Charged(self.whole.prior(maps, first_row, valid))

    def table_rows(self) -> list[tuple[np.ndarray, int]]:
        return self.whole.table_rows()

    def start(self, spread: np.ndarray) -> np.ndarray:
        return self.whole.start(spread)[list(self.places)]


@dataclasses.dataclass(frozen=True)
class Charged:
    """A mixture whose evaluation charges no symbol more than an escape from a table costs.

    The density's own bits, quadratic in the distance, would charge a single Gaussian for surprises
    what no coder does, and mixtures, whose other families have longer tails, would win by that.
    """

    mixture: Mixture
    mu = 0.0  # symbols are plain roundings

    def bits(self, values: Tensor) -> Tensor:
        return self.mixture.bits(values)

    def coded_bits(self, symbols: Tensor) -> Tensor:
        bits = self.mixture.bits(symbols)
        return ops.minimum(bits, table_bits(bits, symbols, ops.zeros_like(bits, dtype="bool")))

    def indexes(self) -> Tensor:
        return self.mixture.indexes()


class Checkerboard(keras.layers.Layer):
    """Two-step spatial context (He, Zheng, Sun, Wang, Qin, "Checkerboard Context Model for
    Efficient Learned Image Compression", CVPR 2021; https://arxiv.org/abs/2103.15306).

    The positions whose row and column are both even or both odd come first, from the hyperprior
    alone, then the others, given their neighbours on all four sides. Two of every 2x2 positions,
    side by side, are what a step codes: [B, h/2, w/2, 2 C].

    Args: as those of `quadtree.Quadtree`, which it can stand in for, but not be frozen as.
    """

    scale_channels, factor = 0, 2

    def __init__(
        self,
        channels: int,
        mean_channels: int,
        first_row: int,
        density: Density,
        widths: tuple[int, int],
        **kwargs: Any,
    ):
        super().__init__(dtype="float32", **kwargs)
        self.channels, self.mean_channels, self.first_row = channels, mean_channels, first_row
        self.density, filters = density, density.numbers * channels
        self.nets = [
            SliceNet(filters, widths, (3, 3, 1), "leaky", name=f"step{k}") for k in range(2)
        ]
        self.widths, self.names = [2 * channels] * 2, ["y"] * 2

    def build(self, input_shape: Any = None) -> None:
        for k, net in enumerate(self.nets):
            net.build((None, None, None, self.mean_channels + k * self.channels))
        self.built = True

    def split(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return _diagonal(y, 0), _diagonal(y, 1)

    def step(self, k: int, state: State, symbols: Tensor | None = None) -> tuple[State, Prior]:
        x = state["means"]
        if k:
            state = self._decoded(0, state, symbols)
            x = ops.concatenate([x, state["y_hat"]], axis=-1)
        maps = tuple(_diagonal(v, k) for v in self.density.split(self.nets[k](x)))
        return {**state, "mu": self.density.mean(maps)}, self.density.prior(maps, self.first_row)

    def finish(self, state: State, symbols: Tensor) -> Tensor:
        return self._decoded(1, state, symbols)["y_hat"]

    def _decoded(self, k, state, symbols):
        state = dict(state)
        y_hat = _on_diagonal(ops.cast(symbols, "float32") + state.pop("mu"), k)
        return {**state, "y_hat": state["y_hat"] + y_hat if k else y_hat}

    def start_at(self, spread: np.ndarray) -> None:
        for net in self.nets:
            last = net.convs[-1]
            last.kernel.assign(ops.zeros(last.kernel.shape))
            last.bias.assign(self.density.start(spread).ravel())


def _diagonal(y, k):
    """What step k codes of y [B, h, w, C]: [B, h/2, w/2, 2 C]."""
    first, second, third, fourth = ops.split(ops.space_to_depth(y, 2), 4, axis=-1)
    return ops.concatenate([second, third] if k else [first, fourth], axis=-1)


def _on_diagonal(part, k):
    """The reverse, zeros elsewhere."""
    a, b = ops.split(part, 2, axis=-1)
    none = ops.zeros_like(a)
    return ops.depth_to_space(
        ops.concatenate([none, a, b, none] if k else [a, none, none, b], axis=-1), 2
    )
