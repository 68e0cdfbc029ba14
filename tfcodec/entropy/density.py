"""What a network says of latents, as a family of densities: the numbers that it has to emit.

`gaussian.GaussianDensity` and `mixture.MixtureDensity` are those of the package. Another one is a
class of its own; the coders of `hyperprior`, `channelwise`, `quadtree`, `wavefront` take it as an
argument.
"""

import abc

import numpy as np
from keras import ops

from tfcodec.entropy.walk import TABLE, Part, Prior
from tfcodec.errors import NotFreezable
from tfcodec.layers import Tensor


class Density(abc.ABC):
    """Abstract: a family of densities, one member for each latent.

    A network emits `numbers` groups of C channels for a latent of C channels, side by side:
    [B, h, w, numbers C].

    numbers: how many an element takes.
    mean_places: which of them are means, in order.
    rows: how many rows of the codec's tables it has.
    coding: of parts under it, see `walk.CODINGS`; with the usual one, `Prior.indexes` are rows.
    """

    numbers: int
    mean_places: tuple[int, ...]
    rows: int
    coding = TABLE

    @abc.abstractmethod
    def split(self, numbers: Tensor) -> tuple[Tensor, ...]:
        """What a network emits [B, h, w, numbers C] to the maps that `prior` takes."""

    @abc.abstractmethod
    def prior(self, maps: tuple[Tensor, ...], first_row: int) -> Prior:
        """The prior of latents [B, h, w, C]. Args: first_row: where `table_rows` begin."""

    @abc.abstractmethod
    def table_rows(self) -> list[tuple[np.ndarray, int]]:
        """`rows` pairs (pmf with the escape's mass last, symbol value of its first entry)."""

    @abc.abstractmethod
    def start(self, spread: np.ndarray) -> np.ndarray:
        """Numbers, float32 [numbers, C], for latents of a spread (standard deviation) [C]."""

    def mean(self, maps: tuple[Tensor, ...]) -> Tensor | None:
        """What symbols are rounded around, a tensor; None where they are plain roundings."""
        return None

    def outputs(self, channels: int) -> tuple[tuple[str, int], ...]:
        """What the numbers are to `chains.FreezableNetwork`. Raises: NotFreezable, saying why."""
        raise NotFreezable(f"the numbers of its {type(self).__name__} cannot be frozen yet")

    def part(self, name: str, stride: int, channels: int, first_row: int) -> Part:
        """A step of the walk whose latents have this density; first_row: as in `prior`."""
        return Part(name, stride, channels, self.coding, first_row)

    @property
    def other_places(self) -> tuple[int, ...]:
        """Places of the numbers that are no means."""
        return tuple(k for k in range(self.numbers) if k not in self.mean_places)

    def join(self, means: Tensor, others: Tensor) -> Tensor:
        """The numbers of means [B, h, w, n C] and of all others, from networks of their own."""
        groups: dict[int, Tensor] = {}
        for places, maps in ((self.mean_places, means), (self.other_places, others)):
            pieces = ops.split(maps, len(places), axis=-1) if len(places) > 1 else [maps]
            groups |= dict(zip(places, pieces, strict=True))
        return ops.concatenate([groups[k] for k in range(self.numbers)], axis=-1)
