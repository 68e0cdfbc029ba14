"""Networks between decoded symbols and table indexes, as freezing into integers sees them."""

import dataclasses
import fractions
from typing import TypeAlias

import keras

from tfcodec.errors import NotFreezable
from tfcodec.layers.conv import SubpixelConv2D, UpConv2D

# Convolutions, each with the slope of the leaky ReLU behind it, or 1.
Stages: TypeAlias = tuple[tuple[keras.layers.Layer, fractions.Fraction | float], ...]


@dataclasses.dataclass(frozen=True)
class FreezableNetwork:
    """A network between decoded symbols and a table index, as its owner's attribute.

    owner, attribute: where it is.
    stages: its float convolutions, see `Stages`.
    outputs: ((kind, channels), ..) of its last layer: "features", "mu" or "log_scale".
    blocks: channels of each group of inputs that has a range of its own.
    tracker: the Keras layer that tracks the network, where the owner is none.
    """

    owner: object
    attribute: str
    stages: Stages
    outputs: tuple[tuple[str, int], ...]
    blocks: tuple[int, ...]
    tracker: keras.layers.Layer | None = None

    def tracked_by(self, layer: keras.layers.Layer) -> "FreezableNetwork":
        """The same, tracked by that layer."""
        return dataclasses.replace(self, tracker=layer)


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


_CONVOLUTIONS = (keras.layers.Conv2D, UpConv2D, SubpixelConv2D)


def _slope(layer):
    if isinstance(layer, keras.layers.LeakyReLU):
        return fractions.Fraction(layer.negative_slope)
    if isinstance(layer, keras.layers.ReLU):
        return fractions.Fraction(layer.negative_slope)
    return None
