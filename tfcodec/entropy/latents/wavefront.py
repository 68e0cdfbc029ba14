"""Latents under mixtures with a context model, coded in wavefronts (models/gllmm.py).

In training the context model sees all of y at once. A file is coded in the wavefronts of
coding/wavefront.py, 141 steps for a latent of 32 x 48 where the authors take 1536; encoder and
decoder run the very same step on the same shapes, because rates depend on its last bits. (An
encoder that knew all of y could be quicker, and wrong.)
"""

import dataclasses

import keras
import numpy as np
from keras import ops

from tfcodec.coding import wavefront
from tfcodec.entropy.chains import FreezableNetwork
from tfcodec.entropy.density import Density
from tfcodec.entropy.factorized import Factorized, FactorizedPrior
from tfcodec.entropy.latents.coder import LatentCoder
from tfcodec.entropy.mixture import MixtureDensity
from tfcodec.entropy.quantize import round_straight_through
from tfcodec.entropy.walk import Part, Prior, State, Steps
from tfcodec.layers import Tensor
from tfcodec.layers.masked import MaskedConv2D

PAD = 2  # positions that the context sees to each side


@dataclasses.dataclass(frozen=True)
class WavefrontNetworks:
    """The networks of `WavefrontLatents`, Keras layers.

    hyper_analysis: y [B, h, w, M] to z [B, h/4, w/4, N].
    hyper_synthesis: z_hat to features [B, h, w, 2 M].
    context: a `MaskedConv2D` of 5x5 from y_hat to [B, h, w, 2 M].
    estimator: both, side by side, to the density's numbers [B, h, w, 30 M]; 1x1 alone.
    """

    hyper_analysis: keras.layers.Layer
    hyper_synthesis: keras.layers.Layer
    context: MaskedConv2D
    estimator: keras.layers.Layer


class WavefrontLatents(LatentCoder):
    """y rounded as it is, under mixtures that depend on z and on the neighbours above and left.

    Args:
        networks: `WavefrontNetworks`.
        channels, hyper_channels: M of y and N of z.
        stride: of y to the picture.
        density: by default mixtures. Another one rounds latents as they are, too, and its `prior`
            takes `valid` as `mixture.MixtureDensity.prior` does.
    """

    def __init__(
        self,
        networks: WavefrontNetworks,
        channels: int,
        hyper_channels: int,
        stride: int = 16,
        density: Density | None = None,
    ):
        super().__init__()
        self.density = density or MixtureDensity()
        self.hyper_analysis = networks.hyper_analysis
        self.hyper_synthesis = networks.hyper_synthesis
        self.context, self.estimator = networks.context, networks.estimator
        self.channels, self.hyper_channels = channels, hyper_channels
        self.prior = FactorizedPrior(name="prior")
        self.z_row = self.rows.add(self.prior.table_rows, hyper_channels)
        self.y_row = self.rows.add(self.density.table_rows, self.density.rows)
        y = self.density.part("y", stride, channels, self.y_row)
        z = Part("z", 4 * stride, hyper_channels)
        self.parts = (z, dataclasses.replace(y, wavefront=True))
        self.networks = (self.hyper_analysis, self.hyper_synthesis, self.context, self.estimator)
        self.priors = (self.prior,)

    def build(self) -> None:
        self.prior.build((None, None, None, self.hyper_channels))

    def to_latents(self, y: Tensor) -> tuple[Tensor, ...]:
        return self.hyper_analysis(y), y

    def step(self, k: int, state: State, symbols: Tensor | None) -> tuple[State, Prior]:
        """z, then the wavefronts; batch 1."""
        if k == 0:
            return state, Factorized(self.prior, self.z_row)
        if k == 1:
            features = self.features(symbols)
            shape = ops.shape(features)
            sides = shape[1] + PAD, shape[2] + 2 * PAD  # nothing is seen below
            y_hat = ops.zeros((1, *sides, self.channels))
            state = {"features": features, "y_hat": y_hat, "t": ops.zeros((), dtype="int32")}
        else:
            state = {**state, "y_hat": self._decoded(state, symbols), "t": state["t"] + 1}
        shape = ops.shape(state["features"])
        row, column, valid = wavefront.positions(state["t"], *shape[1:3], xp=ops)
        width = shape[2] + 2 * PAD
        tap = np.arange(self.context.taps, dtype=np.int32)
        side = self.context.kernel_size
        # The window's corner lies PAD up and left of the position, at its own place in the padding.
        places = (row[:, None] + tap // side) * width + column[:, None] + tap % side
        flat = ops.reshape(state["y_hat"], (-1, self.channels))
        context = self.context.at(ops.take(flat, places, axis=0))  # [rows, 2 M]
        features = ops.reshape(state["features"], (-1, 2 * self.channels))
        features = ops.take(features, row * shape[2] + column, axis=0)
        known = ops.concatenate([context, features], axis=-1)[None, :, None]
        return state, self.mixture(known, ops.reshape(valid, (1, -1, 1, 1)))

    def finish(self, state: State, symbols: Tensor) -> Tensor:
        return self._decoded(state, symbols)[:, PAD:, PAD:-PAD]

    def features(self, z_symbols: Tensor) -> Tensor:
        """What z says of all positions, float32 [B, h, w, 2 M]."""
        return self.hyper_synthesis(ops.cast(z_symbols, "float32") + self.prior.medians)

    def mixture(self, known: Tensor, valid: Tensor | None = None) -> Prior:
        """The prior of what context and features say, side by side; valid: see `Mixture`."""
        maps = self.density.split(self.estimator(known))
        return self.density.prior(maps, self.y_row, valid)

    def _decoded(self, state, symbols):
        """y_hat with the symbols of wavefront t, [1, h + 2, w + 4, M]."""
        shape = ops.shape(state["features"])
        row, column, valid = wavefront.positions(state["t"], *shape[1:3], xp=ops)
        place = (row + PAD) * (shape[2] + 2 * PAD) + column + PAD
        # What is not valid has the symbol zero and goes into the padding, which stays zero.
        place = ops.where(valid, place, 0)
        flat = ops.reshape(state["y_hat"], (-1, self.channels))
        latents = ops.reshape(ops.cast(symbols, "float32"), (-1, self.channels))
        flat = ops.scatter_update(flat, place[:, None], latents)
        return ops.reshape(flat, ops.shape(state["y_hat"]))

    def with_all_known(self, latents: tuple[Tensor, ...]) -> Steps:
        return _AtOnce(self, round_straight_through(latents[1]))

    def entropy_chains(self) -> list[FreezableNetwork]:
        self.density.outputs(self.channels)  # says why not

    def start_rates(self, y: Tensor) -> None:
        last = self.estimator.layers[-1]
        last.kernel.assign(ops.zeros(last.kernel.shape))
        last.bias.assign(self.density.start(ops.convert_to_numpy(y).std(axis=(0, 1, 2))).ravel())

    def auxiliary_loss(self) -> Tensor:
        return self.prior.quantile_loss()


class _AtOnce:
    """The walk of `WavefrontLatents` where y is known: all wavefronts in one step."""

    def __init__(self, latents, y_hat):
        self.latents, self.y_hat = latents, y_hat

    def step(self, k, state, symbols):
        if k == 0:
            return self.latents.step(0, state, symbols)
        features = self.latents.features(symbols)
        known = ops.concatenate([self.latents.context(self.y_hat), features], axis=-1)
        return state, self.latents.mixture(known)

    def finish(self, state, symbols):
        return symbols
