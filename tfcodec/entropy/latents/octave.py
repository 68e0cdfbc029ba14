"""Latents of two resolutions, the low one first, with one or two hyper layers (models/octave.py).

    z2_high, z2_low   learned densities
    z_low             from top_synthesis(z2), low
    z_high            from z_low, up-sampled, and top_synthesis(z2), high
    y_low             from hyper_synthesis(z), low, and the parameters of z_low, up-sampled
    y_high            from y_low, up-sampled, hyper_synthesis(z), high, and the top's, up-sampled

With one hyper layer z_high and z_low are under learned densities.
"""

import dataclasses

import keras
from keras import ops

from tfcodec.entropy import chains
from tfcodec.entropy.chains import FreezableNetwork
from tfcodec.entropy.density import Density
from tfcodec.entropy.factorized import Factorized, FactorizedPrior
from tfcodec.entropy.gaussian import GaussianDensity
from tfcodec.entropy.latents.coder import LatentCoder
from tfcodec.entropy.walk import Part, Prior, State
from tfcodec.layers import Tensor

STRIDES = {"z2_high": 64, "z2_low": 128, "z_low": 128, "z_high": 64, "y_low": 32, "y_high": 16}


@dataclasses.dataclass(eq=False)
class OctaveNetworks:
    """The networks of `OctaveLatents`, Keras layers; (high, low) are pairs of tensors.

    hyper_analysis, hyper_synthesis: (y_high, y_low) to (z_high, z_low), and back to features; the
        synthesis is octave convolutions one after the other, listed as its `stages`.
    means_conv, scales_conv: what is known of y_low to means, and to the other numbers, of y_low.
    y_estimator: what is known of y_high to the numbers of its density.
    top_analysis, top_synthesis: of z2, the same; None for one hyper layer.
    z_estimator: as y_estimator, of z_high.
    up_means, up_scales, up_features: up-sample the top's parameters by 4.
    y_across, z_across: up-sample low latents for the high ones; None to leave the path out.
    y_fidelity, z_fidelity: predict high latents from low ones, in the loss alone; None without it.
    """

    hyper_analysis: keras.layers.Layer
    hyper_synthesis: keras.layers.Layer
    means_conv: keras.layers.Layer
    scales_conv: keras.layers.Layer
    y_estimator: keras.layers.Layer
    top_analysis: keras.layers.Layer | None = None
    top_synthesis: keras.layers.Layer | None = None
    z_estimator: keras.layers.Layer | None = None
    up_means: keras.layers.Layer | None = None
    up_scales: keras.layers.Layer | None = None
    up_features: keras.layers.Layer | None = None
    y_across: keras.layers.Layer | None = None
    z_across: keras.layers.Layer | None = None
    y_fidelity: keras.layers.Layer | None = None
    z_fidelity: keras.layers.Layer | None = None

    def in_order(self) -> tuple[keras.layers.Layer, ...]:
        """Those that there are, in the order of the codec's variables."""
        names = (
            "hyper_analysis",
            "hyper_synthesis",
            "top_analysis",
            "top_synthesis",
            "z_estimator",
            "up_means",
            "up_scales",
            "up_features",
            "means_conv",
            "scales_conv",
            "y_estimator",
            "y_across",
            "z_across",
            "y_fidelity",
            "z_fidelity",
        )
        layers = (getattr(self, name) for name in names)
        return tuple(layer for layer in layers if layer is not None)


class OctaveLatents(LatentCoder):
    """(y_high, y_low) by way of one or two hyper layers, see the module's docstring.

    Args:
        networks: `OctaveNetworks`.
        channels, hyper_channels: of each y, and of each z and z2.
        density: of y, by default Gaussians, as those of z are.
        fidelity: weight of the information fidelity in the loss.
        fidelity_share: of the training in which it counts.
    """

    y_names = ("high", "low")

    def __init__(
        self,
        networks: OctaveNetworks,
        channels: int,
        hyper_channels: int,
        density: Density | None = None,
        fidelity: float = 1.0,
        fidelity_share: float = 0.2,
    ):
        super().__init__()
        self.net, self.channels, self.hyper_channels = networks, channels, hyper_channels
        self.density, self.z_density = density or GaussianDensity(), GaussianDensity()
        self.fidelity, self.fidelity_share = fidelity, fidelity_share
        self.two_layers = networks.top_analysis is not None
        top = "z2" if self.two_layers else "z"
        names = [f"{top}_{band}" for band in ("high", "low")]
        self.learned = {name: FactorizedPrior(name=f"{name}_prior") for name in names}
        self.first_rows = {
            name: self.rows.add(prior.table_rows, hyper_channels)
            for name, prior in self.learned.items()
        }
        if self.two_layers:
            names += ["z_low", "z_high"]
            self.z_row = self.rows.add(self.z_density.table_rows, self.z_density.rows)
        if self.two_layers and isinstance(self.density, GaussianDensity):
            self.y_row = self.z_row
        else:
            self.y_row = self.rows.add(self.density.table_rows, self.density.rows)
        self.parts = (
            *(Part(name, STRIDES[name], hyper_channels) for name in names),
            *(
                self.density.part(name, STRIDES[name], channels, self.y_row)
                for name in ("y_low", "y_high")
            ),
        )
        self.networks, self.priors = networks.in_order(), tuple(self.learned.values())

    def build(self) -> None:
        for prior in self.priors:
            prior.build((None, None, None, self.hyper_channels))
        for layer in (self.net.y_fidelity, self.net.z_fidelity):
            if layer is not None:
                layer.build((None, None, None, layer.filters))

    def to_latents(self, y: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        y_high, y_low = y
        z_high, z_low = self.net.hyper_analysis(y)  # at 1/64, 1/128
        if not self.two_layers:
            return z_high, z_low, y_low, y_high
        z2_high, z2_low = self.net.top_analysis((z_high, z_low))  # of the same sizes
        return z2_high, z2_low, z_low, z_high, y_low, y_high

    def step(self, k: int, state: State, symbols: Tensor | None) -> tuple[State, Prior]:
        state = self._decoded(k - 1, state, symbols)
        name = self.parts[k].name
        if name in self.learned:
            return state, Factorized(self.learned[name], self.first_rows[name])
        estimate = {
            "z_low": self._z_low,
            "z_high": self._z_high,
            "y_low": self._y_low,
            "y_high": self._y_high,
        }
        state, numbers = estimate[name](state)
        of_y = name.startswith("y")
        density, row = (self.density, self.y_row) if of_y else (self.z_density, self.z_row)
        maps = density.split(numbers)
        mu = density.mean(maps)
        if mu is not None:
            state = {**state, "mu": mu}
        return state, density.prior(maps, row)

    def finish(self, state: State, symbols: Tensor) -> tuple[Tensor, Tensor]:
        state = self._decoded(len(self.parts) - 1, state, symbols)
        return state["y_high"], state["y_low"]

    def _decoded(self, k, state, symbols):
        """The state with the latents of step k, and without the mean that they no longer need."""
        if k < 0:
            return state
        state, name = dict(state), self.parts[k].name
        latents = ops.cast(symbols, "float32")
        if name in self.learned:
            latents = latents + self.learned[name].medians
        elif "mu" in state:
            latents = latents + state.pop("mu")
        return {**state, name: latents}

    # What each step knows: from the state to the state and the numbers of its prior.

    def _z_low(self, state):
        top_high, top_low = self.net.top_synthesis((state.pop("z2_high"), state.pop("z2_low")))
        return {"top_high": top_high, "top_low": top_low}, top_low

    def _z_high(self, state):
        across = [] if self.net.z_across is None else [self.net.z_across(state["z_low"])]
        known = ops.concatenate([*across, state["top_high"]], axis=-1)
        return state, self.net.z_estimator(known)

    def _y_low(self, state):
        high, low = self.net.hyper_synthesis((state.pop("z_high"), state.pop("z_low")))
        means, scales = ops.split(low, 2, axis=-1)
        if self.two_layers:
            top_means, top_scales = ops.split(state.pop("top_low"), 2, axis=-1)
            means = ops.concatenate([means, self.net.up_means(top_means)], axis=-1)
            scales = ops.concatenate([scales, self.net.up_scales(top_scales)], axis=-1)
        means, scales = self.net.means_conv(means), self.net.scales_conv(scales)
        return {**state, "high": high}, self.density.join(means, scales)

    def _y_high(self, state):
        across = [] if self.net.y_across is None else [self.net.y_across(state["y_low"])]
        top = [self.net.up_features(state["top_high"])] if self.two_layers else []
        known = ops.concatenate([*across, *top, state["high"]], axis=-1)
        return {"y_low": state["y_low"]}, self.net.y_estimator(known)

    def entropy_chains(self) -> list[FreezableNetwork]:
        numbers = self.density.outputs(self.channels)
        means, others = (
            tuple(numbers[k] for k in places)
            for places in (self.density.mean_places, self.density.other_places)
        )
        across = () if self.net.y_across is None else (self.channels,)
        top = (self.hyper_channels,) if self.two_layers else ()
        high, low = self.net.hyper_synthesis.stages[-1].widths
        networks = self._top_chains() if self.two_layers else []
        networks += [
            self._pair("hyper_synthesis", "features"),
            self._network("means_conv", (low // 2, *top), means),
            self._network("scales_conv", (low // 2, *top), others),
            self._network("y_estimator", (*across, *top, high), numbers),
        ]
        if across:
            networks.append(self._network("y_across", across, first_decoded=0))
        return networks

    def _top_chains(self):
        """Those of the top's parameters, and from them to z."""
        n = self.hyper_channels
        high, low = self.net.top_synthesis.stages[-1].widths
        across = () if self.net.z_across is None else (n,)
        networks = [
            # Also the numbers of z_low: no multiple of 1/64 is near a tie between two levels.
            self._pair("top_synthesis", "mu"),
            self._network("z_estimator", (*across, high), self.z_density.outputs(n)),
            self._network("up_means", (low // 2,)),
            self._network("up_scales", (low // 2,)),
            self._network("up_features", (high,)),
        ]
        return networks + ([self._network("z_across", across)] if across else [])

    def _pair(self, name, kind):
        layers = getattr(self.net, name).stages
        stages, wiring = chains.list_octave_stages(layers)
        outputs = tuple(zip(("features", kind), layers[-1].widths, strict=True))
        blocks = (self.hyper_channels,) * 2
        return FreezableNetwork(self.net, name, stages, outputs, blocks, 2, wiring)

    def _network(self, name, blocks, outputs=None, first_decoded=None):
        """A network of one input and one result, by default features and none of it decoded."""
        stages = chains.list_stages(getattr(self.net, name))
        outputs = outputs or (("features", stages[-1][0].filters),)
        first_decoded = len(blocks) if first_decoded is None else first_decoded
        return FreezableNetwork(self.net, name, stages, outputs, blocks, first_decoded)

    def start_rates(self, y: tuple[Tensor, Tensor]) -> None:
        y_high, y_low = (ops.convert_to_numpy(band).std(axis=(0, 1, 2)) for band in y)
        others = self.density.start(y_low)[list(self.density.other_places)]
        starts = (
            (self.net.scales_conv, others),
            (
                self.net.y_estimator.layers[-1],
                self.density.start(y_high),
            ),
        )
        for layer, start in starts:
            layer.kernel.assign(ops.zeros(layer.kernel.shape))
            layer.bias.assign(start.ravel())

    def auxiliary_loss(self) -> Tensor:
        losses = [prior.quantile_loss() for prior in self.priors]
        return sum(losses) / len(losses)

    def latent_loss(self, decoded: list[Tensor], progress: Tensor | float) -> Tensor | float:
        """Information fidelity: how far high latents are from what low ones predict, squared."""
        if self.net.y_fidelity is None:
            return 0.0
        latents = dict(zip((part.name for part in self.parts), decoded, strict=True))
        error = ops.mean(ops.square(self.net.y_fidelity(latents["y_low"]) - latents["y_high"]))
        error += ops.mean(ops.square(self.net.z_fidelity(latents["z_low"]) - latents["z_high"]))
        counts = ops.cast(ops.less(progress, self.fidelity_share), "float32")
        return self.fidelity * counts * error
