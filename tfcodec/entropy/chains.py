"""Networks between decoded symbols and table indexes, as freezing into integers sees them."""

import dataclasses
import fractions
from collections.abc import Sequence
from typing import TypeAlias

import keras

from tfcodec.errors import NotFreezable
from tfcodec.layers.conv import SubpixelConv2D, UpConv2D
from tfcodec.layers.octave import OctaveConv2D

# Convolutions, each with the slope of the leaky ReLU behind it, or 1.
Stages: TypeAlias = tuple[tuple[keras.layers.Layer, fractions.Fraction | float], ...]


@dataclasses.dataclass(frozen=True)
class Wiring:
    """Which tensors the stages of a network take, and which they add.

    Tensors are numbered: the network's inputs, then what each stage gives, in order.

    inputs: how many.
    sources: for each stage, the tensor that it convolves.
    added: for each stage, the tensor of an earlier one that is added to what it gives, behind its
        leaky ReLU, or None.
    results: the tensors that the network gives.
    """

    inputs: int
    sources: tuple[int, ...]
    added: tuple[int | None, ...]
    results: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class FreezableNetwork:
    """A network between decoded symbols and a table index, as its owner's attribute.

    owner, attribute: where it is.
    stages: its float convolutions, see `Stages`.
    outputs: ((kind, channels), ..) of its last layer: "features", "mu" or "log_scale". Of a network
        with several results, one kind each.
    blocks: channels of each group of inputs that has a range of its own. Of a network with several
        inputs, one group each.
    first_decoded: number of the first block of decoded latents, which may saturate; blocks before
        it are z or features.
    wiring: see `Wiring`; None where each stage takes what the one before gives.
    tracker: the Keras layer that tracks the network, where the owner is none.
    """

    owner: object
    attribute: str
    stages: Stages
    outputs: tuple[tuple[str, int], ...]
    blocks: tuple[int, ...]
    first_decoded: int = 1
    wiring: Wiring | None = None
    tracker: keras.layers.Layer | None = None

    def tracked_by(self, layer: keras.layers.Layer) -> "FreezableNetwork":
        """The same, tracked by that layer."""
        return dataclasses.replace(self, tracker=layer)

    def wired(self) -> Wiring:
        """Its wiring, that of a chain, too."""
        count = len(self.stages)
        return self.wiring or Wiring(1, tuple(range(count)), (None,) * count, (count,))

    def outputs_of_results(self) -> tuple[tuple[tuple[str, int], ...], ...]:
        """((kind, channels), ..) of each result."""
        alone = len(self.wired().results) == 1
        return (self.outputs,) if alone else tuple((each,) for each in self.outputs)

    def blocks_of_inputs(self) -> tuple[tuple[int, ...], ...]:
        """Blocks of each input."""
        alone = self.wired().inputs == 1
        return (self.blocks,) if alone else tuple((each,) for each in self.blocks)


def list_stages(network: keras.layers.Layer) -> Stages:
    """The stages of a `keras.Sequential` or of a single convolution.

    Raises: NotFreezable that says why the network cannot be frozen.
    """
    stages = []
    for layer in network.layers if isinstance(network, keras.Sequential) else [network]:
        slope = _slope(layer)
        if slope is not None and stages and stages[-1][1] == 1:
            stages[-1] = (stages[-1][0], slope)
        elif isinstance(layer, _CONVOLUTIONS):
            stages.append((layer, 1))
        else:
            raise NotFreezable(
                f"{network.name} has a {type(layer).__name__} between z and an index"
            )
    return tuple(stages)


def list_octave_stages(layers: Sequence[OctaveConv2D]) -> tuple[Stages, Wiring]:
    """The stages of octave convolutions one after the other, (high, low) to (high, low).

    Raises: NotFreezable that says why they cannot be frozen.
    """
    stages, sources, added = [], [], []

    def path(conv, act, source, other=None):
        slope = 1 if isinstance(act, keras.layers.Identity) else _slope(act)
        if slope is None:
            raise NotFreezable(
                f"an octave convolution has a {type(act).__name__} between z and an index"
            )
        stages.append((conv, slope))
        sources.append(source)
        added.append(other)
        return 1 + len(stages)

    high, low = 0, 1
    for layer in layers:
        acts = layer.acts
        inner_high, inner_low = (
            path(layer.high, acts["high"], high),
            path(layer.low, acts["low"], low),
        )
        high = path(layer.up, acts["low_to_high"], inner_low, inner_high)
        low = path(layer.down, acts["high_to_low"], inner_high, inner_low)
    return tuple(stages), Wiring(2, tuple(sources), tuple(added), (high, low))


_CONVOLUTIONS = (keras.layers.Conv2D, UpConv2D, SubpixelConv2D)


def _slope(layer):
    if isinstance(layer, keras.layers.LeakyReLU):
        return fractions.Fraction(layer.negative_slope)
    if isinstance(layer, keras.layers.ReLU):
        return fractions.Fraction(layer.negative_slope)
    return None
