"""Four-step spatial and channel context (Li, Li, Lu, "Neural Video Compression with Diverse
Contexts", CVPR 2023, Sec. 3.3, the quadtree partition; https://arxiv.org/abs/2302.14402).

The latent is coded in four steps over every 2x2 of its positions. In step k, channel c has its turn
at position (k + c) mod 4 of the order

    0 2
    3 1

so that each step codes a quarter of all channels at each position, and the later ones see
neighbours on all sides and other channels of the same place:

    step 0 at position   0: channels 0, 4, 8, ..    1: 1, 5, ..    2: 2, 6, ..    3: 3, 7, ..
    step 1               1: channels 0, 4, 8, ..    2: 1, 5, ..    3: 2, 6, ..    0: 3, 7, ..

What a step codes is a latent of half the sides and of all channels: its parts need no masks, and no
repacking in the coder. Channels in order of energy are dealt evenly to the four.

The net of a step sees the hyperprior's features and all that is decoded, zeros elsewhere, and gives
means and scales of all positions, of which the step's are taken.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from tfcodec.entropy import chains
from tfcodec.entropy.channelwise import SliceNet
from tfcodec.entropy.density import Density
from tfcodec.entropy.gaussian import GaussianDensity
from tfcodec.entropy.walk import Prior, State
from tfcodec.layers import Shape, Tensor

STEPS = 4
ORDER = ((0, 0), (1, 1), (0, 1), (1, 0))  # (row, column) of the positions 0, 1, 2, 3


def turns(channels: int) -> np.ndarray:
    """Whose turn it is: float32 ones and zeros [step, row, column, channel], [4, 2, 2, channels].

    Each position and channel has its turn in exactly one of the steps.
    """
    masks = np.zeros([STEPS, 2, 2, channels], np.float32)
    for step in range(STEPS):
        for channel in range(channels):
            row, column = ORDER[(step + channel) % STEPS]
            masks[step, row, column, channel] = 1.0
    return masks


def take(y: Tensor, turn: np.ndarray) -> Tensor:
    """What a step codes of y [B, h, w, C]: [B, h/2, w/2, C]. Args: turn: one of `turns`."""
    quarters = ops.multiply(ops.space_to_depth(y, 2), turn.reshape(-1))  # [B, h/2, w/2, 4 C]
    first, second, third, fourth = ops.split(quarters, 4, axis=-1)
    return (first + second) + (third + fourth)  # one of four is no zero: nothing is rounded


def put(part: Tensor, turn: np.ndarray) -> Tensor:
    """The reverse of `take`, zeros elsewhere: [B, h/2, w/2, C] to [B, h, w, C]."""
    quarters = ops.multiply(ops.concatenate([part] * 4, axis=-1), turn.reshape(-1))
    return ops.depth_to_space(quarters, 2)


class Quadtree(keras.layers.Layer):
    """The steps of the walk for a latent in four steps; float32 throughout.

    Args:
        channels: C, of the latent.
        mean_channels: of the hyperprior's features.
        first_row: row of the codec's tables where the density's rows begin.
        density: of the latents; Gaussians by default.
        widths: of the two hidden layers of each step's net, conv3 - conv3 - conv1.
    """

    scale_channels = 0  # the hyperprior has one map, see `channelwise.ChARM`
    factor = 2  # stride of the parts to the latent's

    def __init__(
        self,
        channels: int,
        mean_channels: int,
        first_row: int,
        density: Density | None = None,
        widths: tuple[int, int] = (192, 128),
        **kwargs: Any,
    ):
        super().__init__(dtype="float32", **kwargs)
        self.channels, self.mean_channels, self.first_row = channels, mean_channels, first_row
        self.density = density or GaussianDensity()
        filters = self.density.numbers * channels
        self.turns = turns(channels)
        for k in range(STEPS):  # attributes of their own, so that frozen ones can take their place
            net = SliceNet(filters, widths, (3, 3, 1), "leaky", name=f"step{k}")
            setattr(self, f"step{k}", net)

    @property
    def nets(self) -> list[keras.layers.Layer]:
        """The nets of the steps, in coding order."""
        return [getattr(self, f"step{k}") for k in range(STEPS)]

    def build(self, input_shape: Shape | None = None) -> None:
        for k, net in enumerate(self.nets):
            net.build((None, None, None, self.mean_channels + (self.channels if k else 0)))
        self.built = True

    @property
    def widths(self) -> list[int]:
        """Channels of each step."""
        return [self.channels] * STEPS

    @property
    def names(self) -> list[str]:
        """Name of each step's part."""
        return ["y"] * STEPS

    def split(self, y: Tensor) -> tuple[Tensor, ...]:
        """y [B, h, w, C] to what the steps code, four latents [B, h/2, w/2, C]."""
        return tuple(take(y, turn) for turn in self.turns)

    def step(self, k: int, state: State, symbols: Tensor | None = None) -> tuple[State, Prior]:
        """Args:
            k: from 0 to 3.
            state: for step 0 {"means": [B, h, w, mean_channels]}; then what step k - 1 returned.
            symbols: of step k - 1.
        Returns: (state, prior), see `walk.walk`.
        """
        x = state["means"]
        if k:
            state = self._decoded(k - 1, state, symbols)
            x = ops.concatenate([x, state["y_hat"]], axis=-1)
        maps = tuple(self._take(v, k) for v in self.density.split(self.nets[k](x)))
        mu = self.density.mean(maps)
        if mu is not None:
            state = {**state, "mu": mu}
        return state, self.density.prior(maps, self.first_row)

    def _take(self, numbers, k):
        """`take` of one or more numbers for each latent."""
        times = numbers.shape[-1] // self.channels
        return take(numbers, np.tile(self.turns[k], times))

    def finish(self, state: State, symbols: Tensor) -> Tensor:
        """y_hat [B, h, w, C] after the last symbols."""
        return self._decoded(STEPS - 1, state, symbols)["y_hat"]

    def _decoded(self, k, state, symbols):
        """The state with what step k coded."""
        state = dict(state)
        y_hat = ops.cast(symbols, "float32")
        if "mu" in state:
            y_hat = y_hat + state.pop("mu")
        y_hat = put(y_hat, self.turns[k])
        return {**state, "y_hat": state["y_hat"] + y_hat if k else y_hat}

    def entropy_chains(self) -> list[chains.FreezableNetwork]:
        """The nets of all steps, see `CodecModel.entropy_chains`."""
        outputs = self.density.outputs(self.channels)
        return [
            chains.FreezableNetwork(
                self,
                f"step{k}",
                net.list_stages(),
                outputs,
                (self.mean_channels, self.channels) if k else (self.mean_channels,),
            )
            for k, net in enumerate(self.nets)
        ]

    def start_at(self, spread: np.ndarray) -> None:
        """Makes coding start at a spread (standard deviation) [C], whatever the context."""
        start = self.density.start(spread).ravel()
        for net in self.nets:
            last = net.convs[-1]
            last.kernel.assign(ops.zeros(last.kernel.shape))
            last.bias.assign(start)
