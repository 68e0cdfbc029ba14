"""Channel-wise autoregressive entropy model (ChARM), as one engine over a table of data.

The latents are groups of channels, each coded in slices. A slice's Gaussian comes from the
hyperprior, from slices of its group decoded before it, and from whole groups decoded before it:

    ms2020      y: ten slices, each sees the first five; conv5 - conv5 - conv3
    tcm         y: five slices behind an attention of two Swin blocks
    weconvene   low: five slices | high, given low: five slices; attention of residual blocks
    weconvene3d low: four slices | high, given low: one slice a band, 1x1 convolutions

(Minnen and Singh, "Channel-wise Autoregressive Entropy Models for Learned Image Compression", ICIP
2020, https://arxiv.org/abs/2007.08739; for the others see their modules in tfcodec.models.)

The computation of one slice, with S the support and | the concatenation of channels:

    S_mean = attend(means | given groups | earlier slices)       S_scale likewise
    mu = mean net(S_mean)    sigma = scale net(S_scale)    y_hat = symbols + mu
    y_hat += 0.5 tanh(lrp net(S_mean | y_hat))                   latent residual prediction
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfcodec.entropy import chains, gaussian
from tfcodec.entropy.density import Density
from tfcodec.entropy.gaussian import GaussianDensity
from tfcodec.entropy.walk import Prior, State
from tfcodec.errors import NotFreezable
from tfcodec.layers import Shape, Tensor
from tfcodec.layers.bound import lower_bound
from tfcodec.layers.tcm import ContextAttention

SLOPES = {"relu": 0, "leaky": 0.125}  # of those that can be frozen into integers
ACTIVATIONS = {
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "relu": ops.relu,
    # A power of two, so that the network can be frozen into integers.
    "leaky": lambda x: ops.leaky_relu(x, 0.125),
}


@dataclasses.dataclass(frozen=True)
class Group:
    """One row of the table.

    name: of the part in rates and files.
    slices: channels of each slice, in coding order.
    given: names of earlier groups, all of whose channels join the support.
    support: how many of the first slices of the group a slice may see; None for all earlier ones.
    attention: body of the `ContextAttention` over the support, "swin" or "residual"; "" for none.
    widths, kernels, activation: of the three convolutions of each net, the last as wide as needed.
    lrp: whether the rounding error is predicted from what is decoded (needs tanh).
    joint: one net gives all numbers of the density, of one map of the hyperprior; otherwise one
        gives means and one scales.
    scale: what the net of scales emits: "sigma" itself, its natural "log", or the "index" in a
        table of 64 sigmas from 0.11 to 256, even in logarithm.
    """

    name: str
    slices: tuple[int, ...]
    given: tuple[str, ...] = ()
    support: int | None = None
    attention: str = ""
    widths: tuple[int, ...] = (224, 128)
    kernels: tuple[int, ...] = (3, 3, 3)
    activation: str = "gelu"
    lrp: bool = True
    joint: bool = False
    scale: str = "sigma"

    @classmethod
    def convolutions(cls, name: str, slices: tuple[int, ...], **options: Any) -> "Group":
        """A group whose nets are convolutions with leaky ReLUs, as the `compact` presets have.

        It can be frozen into integers: see docs/portable.md.
        """
        return cls(name, slices, activation="leaky", lrp=False, joint=True, scale="log", **options)

    @property
    def channels(self) -> int:
        """Channels of all slices together."""
        return sum(self.slices)


def even_slices(channels: int, count: int) -> tuple[int, ...]:
    """Widths of `count` slices of `channels`, as even as can be, the wider ones first."""
    return tuple(len(range(k, channels, count)) for k in range(count))


class SliceNet(keras.layers.Layer):
    """Convolutions with activations between, of the parameters of a slice or step.

    Args:
        filters: channels of the output.
        widths: of the hidden layers; kernels: sides of all kernels, one more.
        activation: a key of `ACTIVATIONS`.
    Input:  [B, h, w, C], float32.
    Output: [B, h, w, filters].
    """

    def __init__(
        self,
        filters: int,
        widths: Sequence[int],
        kernels: Sequence[int],
        activation: str,
        **kwargs: Any,
    ):
        super().__init__(dtype="float32", **kwargs)
        self.activation = activation
        self.convs = [
            keras.layers.Conv2D(width, kernel, padding="same", dtype="float32", name=f"conv{k}")
            for k, (width, kernel) in enumerate(zip((*widths, filters), kernels, strict=True))
        ]

    def build(self, input_shape: Shape) -> None:
        for conv in self.convs:
            conv.build(input_shape)
            input_shape = (*input_shape[:3], conv.filters)

    def call(self, x: Tensor) -> Tensor:
        for conv in self.convs[:-1]:
            x = ACTIVATIONS[self.activation](conv(x))
        return self.convs[-1](x)

    def list_stages(self) -> chains.Stages:
        """What `chains.FreezableNetwork` takes. Raises: NotFreezable."""
        if self.activation not in SLOPES:
            raise NotFreezable(f"{self.name} has {self.activation} between z and an index")
        slopes = [SLOPES[self.activation]] * (len(self.convs) - 1) + [1]
        return tuple(zip(self.convs, slopes, strict=True))


class SliceModel(keras.layers.Layer):
    """The networks of one slice; see the module's docstring for what they compute.

    Args: group: a `Group`; filters: channels of the slice; density, aligned: see `ChARM`.
    """

    def __init__(self, group: Group, filters: int, density: Density, aligned: bool, **kwargs: Any):
        super().__init__(dtype="float32", **kwargs)
        self.group, self.filters, self.density, self.aligned = group, filters, density, aligned

    def build(
        self, mean_channels: int, scale_channels: int, given_channels: int, earlier_channels: int
    ) -> None:
        """Creates the weights; channels of all given groups and of all earlier slices."""
        group, filters = self.group, self.filters
        shape = (None, None, None)

        def attention(channels, name):
            if not group.attention:
                return None, channels + given_channels + earlier_channels
            layer = ContextAttention(
                channels + earlier_channels,
                group.attention,
                aligned=self.aligned,
                dtype="float32",
                name=name,
            )
            layer.build((*shape, channels + given_channels + earlier_channels))
            return layer, channels + earlier_channels

        def net(outputs, inputs, name):
            layer = SliceNet(outputs, group.widths, group.kernels, group.activation, name=name)
            layer.build((*shape, inputs))
            return layer

        self.attend_mean, support = attention(mean_channels, "attend_mean")
        numbers = self.density.numbers if group.joint else 1
        self.mean = net(numbers * filters, support, "mean")
        if group.lrp:
            # Behind an attention the given groups are mixed into fewer channels, and join again.
            again = given_channels if group.attention else 0
            self.lrp = net(filters, support + filters + again, "lrp")
        if not group.joint:
            self.attend_scale, support = attention(scale_channels, "attend_scale")
            self.scale = net(filters, support, "scale")
        self.built = True

    def parameters(
        self, means: Tensor, scales: Tensor | None, given: list[Tensor], earlier: list[Tensor]
    ) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """(maps of the density, support of the latent residual prediction or None)."""
        s_mean = ops.concatenate([means, *given, *earlier], axis=-1)
        shift_mask = None
        if self.attend_mean is not None:
            shift_mask = self.attend_mean.shift_mask(s_mean)  # one for both attentions
            s_mean = self.attend_mean(s_mean, shift_mask)
        numbers = self.mean(s_mean)
        lrp_support = None
        if self.group.lrp:
            parts = [*given, s_mean] if self.group.attention else [s_mean]
            lrp_support = ops.concatenate(parts, axis=-1)
        if self.group.joint:
            return self.density.split(numbers), lrp_support
        s_scale = ops.concatenate([scales, *given, *earlier], axis=-1)
        if self.attend_scale is not None:
            s_scale = self.attend_scale(s_scale, shift_mask)
        return (numbers, self._log_scale(self.scale(s_scale))), lrp_support

    def _log_scale(self, scale):
        if self.group.scale == "log":
            return scale
        if self.group.scale == "index":
            return gaussian.LOG_MIN + scale * ((gaussian.LOG_MAX - gaussian.LOG_MIN) / 63)
        return ops.log(lower_bound(scale, gaussian.SCALE_MIN))

    def call(self, lrp_support: Tensor, y_hat: Tensor) -> Tensor:
        """y_hat with its predicted rounding error taken away, at most 1/2."""
        residual = self.lrp(ops.concatenate([lrp_support, y_hat], axis=-1))
        return y_hat + 0.5 * ops.tanh(residual)


class ChARM(keras.layers.Layer):
    """The steps of the walk for latents in groups of slices; float32 throughout.

    Args:
        groups: a sequence of `Group`.
        mean_channels, scale_channels: of the hyperprior's two maps; with joint groups the first
            serves, and there is no second.
        first_row: row of the codec's tables where the density's rows begin.
        density: of the latents; Gaussians by default, and in groups that are not joint.
        aligned: a promise that the latents' sides are multiples of the attention's window.
    Raises: ValueError if a group is given one that is not decoded before it, or a density that it
        has no nets for.
    """

    factor = 1  # stride of the parts to the latents'

    def __init__(
        self,
        groups: Sequence[Group],
        mean_channels: int,
        scale_channels: int,
        first_row: int,
        density: Density | None = None,
        aligned: bool = False,
        **kwargs: Any,
    ):
        super().__init__(dtype="float32", **kwargs)
        self.groups = tuple(groups)
        self.mean_channels, self.scale_channels = mean_channels, scale_channels
        self.first_row, self.density = first_row, density or GaussianDensity()
        decoded = []
        for group in self.groups:
            if not group.joint and not isinstance(self.density, GaussianDensity):
                raise ValueError(
                    f"group {group.name!r} has nets of means and of scales, which are Gaussians'; "
                    f"another density needs joint=True. Received: {self.density}"
                )
            for name in group.given:
                if name not in decoded:
                    raise ValueError(
                        f"group {group.name!r} is given {name!r}, which is not decoded before it"
                    )
            decoded.append(group.name)
        self.order = [
            (g, i) for g, group in enumerate(self.groups) for i in range(len(group.slices))
        ]
        self.slices = [
            SliceModel(
                self.groups[g],
                self.groups[g].slices[i],
                self.density,
                aligned,
                name=f"{self.groups[g].name}{i}",
            )
            for g, i in self.order
        ]

    def build(self, input_shape: Shape | None = None) -> None:
        channels = {group.name: group.channels for group in self.groups}
        for (g, i), layer in zip(self.order, self.slices, strict=True):
            group = self.groups[g]
            given = sum(channels[name] for name in group.given)
            earlier = sum(group.slices[: self._seen(group, i)])
            layer.build(self.mean_channels, self.scale_channels, given, earlier)
        self.built = True

    def split(self, y: Tensor) -> list[Tensor]:
        """The groups' latents side by side [B, h, w, C] to one a slice."""
        places = np.cumsum(self.widths)[:-1].tolist()
        return ops.split(y, places, axis=-1) if places else [y]

    @property
    def widths(self) -> list[int]:
        """Channels of each slice, in coding order."""
        return [self.groups[g].slices[i] for g, i in self.order]

    @property
    def names(self) -> list[str]:
        """Name of each slice's group, in coding order."""
        return [self.groups[g].name for g, _ in self.order]

    @staticmethod
    def _seen(group, i):
        return i if group.support is None else min(i, group.support)

    def step(self, k: int, state: State, symbols: Tensor | None = None) -> tuple[State, Prior]:
        """The prior of slice k.

        Args:
            k: number of the slice among all groups'.
            state: for slice 0 {"means": [B, h, w, mean_channels], "scales": [.., scale_channels]},
                "scales" only if a group is not joint; then what step k - 1 returned.
            symbols: of slice k - 1.
        Returns: (state, prior), see `walk.walk`.
        """
        if k:
            state = self._decoded(k - 1, state, symbols)
        g, i = self.order[k]
        group = self.groups[g]
        given = [
            state[f"{name}{j}"]
            for name in group.given
            for j, _ in enumerate(next(g.slices for g in self.groups if g.name == name))
        ]
        earlier = [state[f"{group.name}{j}"] for j in range(self._seen(group, i))]
        maps, lrp_support = self.slices[k].parameters(
            state["means"], state.get("scales"), given, earlier
        )
        kept = {"mu": self.density.mean(maps), "lrp_support": lrp_support}
        state = {**state, **{name: v for name, v in kept.items() if v is not None}}
        return state, self.density.prior(maps, self.first_row)

    def finish(self, state: State, symbols: Tensor) -> Tensor:
        """All slices after the last symbols, side by side: [B, h, w, sum of the slices]."""
        state = self._decoded(len(self.order) - 1, state, symbols)
        return ops.concatenate([state[f"{self.groups[g].name}{i}"] for g, i in self.order], axis=-1)

    def _decoded(self, k, state, symbols):
        """The state with slice k in it, and without what only slice k needed."""
        g, i = self.order[k]
        state = dict(state)
        y_hat = ops.cast(symbols, "float32")
        if "mu" in state:
            y_hat = y_hat + state.pop("mu")
        if self.groups[g].lrp:
            y_hat = self.slices[k](state.pop("lrp_support"), y_hat)
        return {**state, f"{self.groups[g].name}{i}": y_hat}

    def entropy_chains(self) -> list[chains.FreezableNetwork]:
        """The nets of all slices, see `CodecModel.entropy_chains`."""
        networks = []
        for (g, i), layer in zip(self.order, self.slices, strict=True):
            group = self.groups[g]
            if group.attention:
                raise NotFreezable(
                    f"its slices are behind an attention of {group.attention} blocks"
                )
            if group.lrp:
                raise NotFreezable("its latent residual prediction, a tanh, feeds later slices")
            if group.activation not in SLOPES or group.scale != "log":
                raise NotFreezable(
                    f"its slices' nets use {group.activation} and emit {group.scale}"
                )
            context = sum(g.channels for g in self.groups if g.name in group.given)
            context += sum(group.slices[: self._seen(group, i)])
            outputs = self.density.outputs(layer.filters)
            nets = {"mean": outputs}
            if not group.joint:
                nets = {name: (o,) for name, o in zip(("mean", "scale"), outputs, strict=True)}
            for name, outputs in nets.items():
                maps = self.mean_channels if name == "mean" else self.scale_channels
                blocks = (maps, context) if context else (maps,)
                stages = getattr(layer, name).list_stages()
                networks.append(chains.FreezableNetwork(layer, name, stages, outputs, blocks))
        return networks

    def start_at(self, spread: np.ndarray) -> None:
        """Makes coding start at a spread (standard deviation) [C] of all channels, whatever the
        context; for groups that emit the logarithm.

        The last convolutions start at zero: latents of some hundreds, through random kernels, would
        give scales that are wrong by as much in logarithm.
        """
        first = 0
        for layer, width in zip(self.slices, self.widths, strict=True):
            start = self.density.start(spread[first : first + width])
            joint = layer.group.joint
            last = (layer.mean if joint else layer.scale).convs[-1]
            last.bias.assign((start if joint else start[1]).ravel())
            last.kernel.assign(ops.zeros(last.kernel.shape))
            first += width
