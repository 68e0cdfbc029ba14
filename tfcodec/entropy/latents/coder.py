"""What codes the latents of a codec, and the simplest: learned densities alone."""

import abc
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from tfcodec.entropy.chains import FreezableNetwork
from tfcodec.entropy.factorized import Factorized, FactorizedPrior
from tfcodec.entropy.walk import Part, Prior, State, Steps
from tfcodec.errors import NotFreezable
from tfcodec.layers import Tensor, Tensors


class Rows:
    """Who has which rows of the codec's tables: in the order in which they were asked for."""

    def __init__(self):
        self._sources: list[tuple[Callable, int]] = []
        self._next = 1  # row 0 is the certain row that pads the coder's lanes

    def add(self, table_rows: Callable[[], list[tuple[np.ndarray, int]]], count: int) -> int:
        """Keeps `count` rows for a function that gives them; returns the first one's number."""
        first = self._next
        self._sources.append((table_rows, count))
        self._next += count
        return first

    def table_rows(self) -> list[tuple[np.ndarray, int]]:
        """All rows in order. Raises: ValueError if a source has not as many as it said."""
        all_rows = []
        for table_rows, count in self._sources:
            rows = table_rows()
            if len(rows) != count:
                raise ValueError(f"{count} rows of tables were kept for {len(rows)} rows")
            all_rows += rows
        return all_rows


class LatentCoder(abc.ABC):
    """Abstract: how y is coded.

        y ─► to_latents ─► one latent a step ─► steps ─► finish ─► decoded latents ─► to_y_hat

    A plain object, no layer: the variables of its layers have paths below the codec's own name,
    `quad/hyper_analysis/..`. The `CodecModel` that holds it tracks them.

    Attributes that a subclass sets:
        parts: one `Part` a step, in coding order.
        y_names: of the tensors of y, if it is a tuple of them.
        networks, priors: its layers. A codec lists networks before its gains, and behind them
            what gives priors: learned densities and contexts.
    """

    parts: tuple[Part, ...]
    y_names: tuple[str, ...] = ()
    networks: tuple[keras.layers.Layer, ...] = ()
    priors: tuple[keras.layers.Layer, ...] = ()

    def __init__(self):
        self.rows = Rows()

    @abc.abstractmethod
    def build(self) -> None:
        """Creates the weights that no call of a layer creates, those of learned densities."""

    @abc.abstractmethod
    def to_latents(self, y: Tensors) -> tuple[Tensor, ...]:
        """y to a tuple of float32 latents, one a step; sees all of y."""

    @abc.abstractmethod
    def step(self, k: int, state: State, symbols: Tensor | None) -> tuple[State, Prior]:
        """(state, symbols of step k - 1) to (state, prior of step k); see `walk.walk`."""

    @abc.abstractmethod
    def finish(self, state: State, symbols: Tensor) -> Tensors:
        """(state, symbols of the last step) to the decoded latents."""

    def to_y_hat(self, decoded: Tensors) -> Tensors:
        """Decoded latents to y_hat; sees them locally, as the synthesis does."""
        return decoded

    def with_all_known(self, latents: tuple[Tensor, ...]) -> Steps:
        """The model of `walk.walk` where the latents are known, in training and evaluation."""
        return self

    def table_rows(self) -> list[tuple[np.ndarray, int]]:
        """Rows of the coding tables, the first of which is row 1 of the codec's tables."""
        return self.rows.table_rows()

    def entropy_chains(self) -> list[FreezableNetwork]:
        """The networks from z's symbols to table indexes.

        Raises: NotFreezable that says why they cannot be frozen into integers.
        """
        raise NotFreezable("its networks between z and an index cannot be frozen yet")

    def start_rates(self, y: Tensors) -> None:
        """Makes coding start at the spread of y of some pictures, whatever the context.

        Without it, the rate flattens the latents before the networks know their scale. A coder
        that finds its own way has nothing to do here.
        """
        return None

    def auxiliary_loss(self) -> Tensor | float:
        """Loss terms beside rate and distortion, scalar."""
        return 0.0

    def latent_loss(self, decoded: list[Tensor], progress: Tensor | float) -> Tensor | float:
        """Loss terms of the decoded latents, scalar.

        Args:
            decoded: float32 latents, one a step of `RateMeter`.
            progress: scalar tensor or number, share of the training that is done, from 0 to 1.
        """
        return 0.0


class FactorizedLatents(LatentCoder):
    """y under a learned density a channel (Balle et al., ICLR 2018, Fig. 1 left).

    Args: channels: of y; stride: of y to the picture.
    """

    def __init__(self, channels: int, stride: int = 16):
        super().__init__()
        self.channels, self.prior = channels, FactorizedPrior(name="prior")
        self.first_row = self.rows.add(self.prior.table_rows, channels)
        self.parts, self.priors = (Part("y", stride, channels),), (self.prior,)

    def build(self) -> None:
        self.prior.build((None, None, None, self.channels))

    def to_latents(self, y: Tensor) -> tuple[Tensor, ...]:
        return (y,)

    def step(self, k: int, state: State, symbols: Tensor | None) -> tuple[State, Prior]:
        return state, Factorized(self.prior, self.first_row)

    def finish(self, state: State, symbols: Tensor) -> Tensor:
        return ops.cast(symbols, "float32") + self.prior.medians

    def entropy_chains(self) -> list[FreezableNetwork]:
        return []  # the tables are all

    def auxiliary_loss(self) -> Tensor:
        return self.prior.quantile_loss()
