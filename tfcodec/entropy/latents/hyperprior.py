"""Latents whose priors are sent as z: at once (`HyperpriorLatents`), or in steps with a context of
what is decoded (`ContextLatents`)."""

import dataclasses
from collections.abc import Callable

import keras
from keras import ops

from tfcodec.entropy import chains
from tfcodec.entropy.chains import FreezableNetwork
from tfcodec.entropy.channelwise import ChARM
from tfcodec.entropy.density import Density
from tfcodec.entropy.factorized import Factorized, FactorizedPrior
from tfcodec.entropy.gaussian import GaussianDensity
from tfcodec.entropy.latents.coder import LatentCoder
from tfcodec.entropy.quadtree import Quadtree
from tfcodec.entropy.walk import Part, Prior, State
from tfcodec.layers import Tensor

HYPER_STRIDE = 4  # of z to y, in all the papers


class HyperpriorLatents(LatentCoder):
    """y under densities whose numbers are sent as z (bmshj2018, mbt2018).

        y ─┬───────────────────────────► Q ─► y_hat
           └► hyper_analysis ─► z ─► Q ─► z_hat ─► hyper_synthesis ─► numbers of the density

    Args:
        hyper_analysis: y [B, h, w, M] to z [B, h/4, w/4, N], a Keras layer.
        hyper_synthesis: z_hat to the density's numbers [B, h, w, numbers M], a `keras.Sequential`.
        channels, hyper_channels: M of y and N of z.
        density: by default Gaussians of log(sigma) and mu, in this order.
        magnitudes: whether the hyper analysis sees |y|, as bmshj2018's does.
        stride: of y to the picture.
    """

    def __init__(
        self,
        hyper_analysis: keras.layers.Layer,
        hyper_synthesis: keras.layers.Layer,
        channels: int,
        hyper_channels: int,
        density: Density | None = None,
        magnitudes: bool = False,
        stride: int = 16,
    ):
        super().__init__()
        self.hyper_analysis, self.hyper_synthesis = hyper_analysis, hyper_synthesis
        self.channels, self.hyper_channels = channels, hyper_channels
        self.density = density or GaussianDensity(scale_first=True)
        self.magnitudes, self.prior = magnitudes, FactorizedPrior(name="prior")
        self.z_row = self.rows.add(self.prior.table_rows, hyper_channels)
        self.y_row = self.rows.add(self.density.table_rows, self.density.rows)
        self.parts = (
            Part("z", HYPER_STRIDE * stride, hyper_channels),
            self.density.part("y", stride, channels, self.y_row),
        )
        self.networks, self.priors = (hyper_analysis, hyper_synthesis), (self.prior,)

    def build(self) -> None:
        self.prior.build((None, None, None, self.hyper_channels))

    def to_latents(self, y: Tensor) -> tuple[Tensor, ...]:
        return self.hyper_analysis(ops.abs(y) if self.magnitudes else y), y

    def step(self, k: int, state: State, symbols: Tensor | None) -> tuple[State, Prior]:
        if k == 0:
            return state, Factorized(self.prior, self.z_row)
        z_hat = ops.cast(symbols, "float32") + self.prior.medians
        maps = self.density.split(self.hyper_synthesis(z_hat))
        mu = self.density.mean(maps)
        return {} if mu is None else {"mu": mu}, self.density.prior(maps, self.y_row)

    def finish(self, state: State, symbols: Tensor) -> Tensor:
        y_hat = ops.cast(symbols, "float32")
        return y_hat + state["mu"] if "mu" in state else y_hat

    def entropy_chains(self) -> list[FreezableNetwork]:
        stages, blocks = chains.list_stages(self.hyper_synthesis), (self.hyper_channels,)
        outputs = self.density.outputs(self.channels)
        return [FreezableNetwork(self, "hyper_synthesis", stages, outputs, blocks)]

    def start_rates(self, y: Tensor) -> None:
        spread = ops.convert_to_numpy(y).std(axis=(0, 1, 2))
        self.hyper_synthesis.layers[-1].bias.assign(self.density.start(spread).ravel())

    def auxiliary_loss(self) -> Tensor:
        return self.prior.quantile_loss()


@dataclasses.dataclass(frozen=True)
class HyperNetworks:
    """The networks around z of `ContextLatents`, Keras layers.

    analysis: latents [B, h, w, M] to z [B, h/4, w/4, channels].
    means, scales: z_hat to the maps [B, h, w, ..] that the context takes; the second is None if it
        takes one.
    """

    channels: int
    analysis: keras.layers.Layer
    means: keras.layers.Layer
    scales: keras.layers.Layer | None = None


class ContextLatents(LatentCoder):
    """y in steps, each under densities that depend on z and on earlier steps.

        y ─► bands ─► w ─┬──────────────────────────► Q, step by step ─► w_hat ─► inverse bands
                         └► hyper.analysis ─► z ─► Q ─► z_hat ─► hyper.means, hyper.scales

    Args:
        hyper: `HyperNetworks`.
        context: makes a `ChARM` or a `Quadtree` when given its `density` and `first_row`.
        channels: of y.
        bands: a layer from y to the groups' latents side by side at half of the sides, with an
            `inverse`; None if y is coded as it is.
        density: by default Gaussians.
        stride: of y to the picture.
    """

    def __init__(
        self,
        hyper: HyperNetworks,
        context: Callable[..., ChARM | Quadtree],
        channels: int,
        bands: keras.layers.Layer | None = None,
        density: Density | None = None,
        stride: int = 16,
    ):
        super().__init__()
        self.hyper_analysis, self.hyper_channels = hyper.analysis, hyper.channels
        self.hyper_means, self.hyper_scales = hyper.means, hyper.scales
        self.channels, self.bands, self.prior = channels, bands, FactorizedPrior(name="prior")
        density = density or GaussianDensity()
        self.z_row = self.rows.add(self.prior.table_rows, hyper.channels)
        y_row = self.rows.add(density.table_rows, density.rows)
        self.context = context(density=density, first_row=y_row)
        coded_stride = stride if bands is None else 2 * stride
        steps = zip(self.context.names, self.context.widths, strict=True)
        step_stride = self.context.factor * coded_stride
        self.parts = (
            Part("z", HYPER_STRIDE * coded_stride, hyper.channels),
            *(density.part(name, step_stride, width, y_row) for name, width in steps),
        )
        layers = (hyper.analysis, hyper.means, hyper.scales, bands)
        self.networks = tuple(layer for layer in layers if layer is not None)
        self.priors = (self.prior, self.context)

    def build(self) -> None:
        self.prior.build((None, None, None, self.hyper_channels))
        self.context.build()
        if self.bands is not None:
            self.bands.build((None, None, None, self.channels))

    def to_latents(self, y: Tensor) -> tuple[Tensor, ...]:
        w = self._coded(y)
        return self.hyper_analysis(w), *self.context.split(w)

    def _coded(self, y):
        return ops.cast(y if self.bands is None else self.bands(y), "float32")

    def step(self, k: int, state: State, symbols: Tensor | None) -> tuple[State, Prior]:
        if k == 0:
            return state, Factorized(self.prior, self.z_row)
        if k == 1:
            z_hat = ops.cast(symbols, "float32") + self.prior.medians
            state = {"means": self.hyper_means(z_hat)}
            if self.hyper_scales is not None:
                state["scales"] = self.hyper_scales(z_hat)
        return self.context.step(k - 1, state, symbols)

    def finish(self, state: State, symbols: Tensor) -> Tensor:
        return self.context.finish(state, symbols)

    def to_y_hat(self, decoded: Tensor) -> Tensor:
        return decoded if self.bands is None else self.bands.inverse(decoded)

    def entropy_chains(self) -> list[FreezableNetwork]:
        steps = self.context.entropy_chains()
        maps = {
            "hyper_means": self.context.mean_channels,
            "hyper_scales": self.context.scale_channels,
        }
        return [
            FreezableNetwork(
                self,
                name,
                chains.list_stages(getattr(self, name)),
                (("features", channels),),
                (self.hyper_channels,),
            )
            for name, channels in maps.items()
            if getattr(self, name) is not None
        ] + steps

    def start_rates(self, y: Tensor) -> None:
        self.context.start_at(ops.convert_to_numpy(self._coded(y)).std(axis=(0, 1, 2)))

    def auxiliary_loss(self) -> Tensor:
        return self.prior.quantile_loss()
