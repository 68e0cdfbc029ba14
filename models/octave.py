"""Octave codec: latents of two resolutions, two hyper layers, and cross-resolution parameter
estimation (Fu et al., "Learned Image Compression with Generalized Octave Convolution and
Cross-Resolution Parameter Estimation", 2022; https://arxiv.org/abs/2209.03353).

    x ─► analysis ─► y_high, y_low ─► hyper_analysis ─► z_high, z_low ─► top_analysis ─► z2

Six parts are coded, each of them at once; the low resolution comes first and predicts the high:

    z2_high, z2_low   learned densities
    z_low             from top_synthesis(z2), low
    z_high            from z_low, up-sampled, and top_synthesis(z2), high
    y_low             from hyper_synthesis(z), low, and the parameters of z_low, up-sampled
    y_high            from y_low, up-sampled, hyper_synthesis(z), high, and the top's, up-sampled

The two transforms and four hyper transforms are made of octave layers alone. A loss term of the
start of training, the information fidelity, asks that y_low predicts y_high, and z_low z_high.

Corrected against the authors' published script: means and scales of y_low have a convolution each
(one served both), and the decoder exists. Departures: networks emit log(sigma), where theirs emit
sigma itself; latents are rounded, not noisy, on their way to the synthesis and to other parts (the
project's habit, Minnen and Singh, ICIP 2020); padding is at the bottom and right.

Presets `n256` (low rates) and `n448` (high rates) are the paper's; `compact` has fewer channels,
gains for a ladder of eight rates, a linear chain beside each transform (`LinearAnalysis`) that lets
it learn fast, and between z2 and an index only convolutions and leaky ReLUs.
`compact-gllmm` models y by mixtures (see entropy/mixture.py).
"""

import dataclasses
from functools import partial

import keras
import numpy as np
from keras import ops

from tfcodec.coding import mixtures
from tfcodec.entropy import gaussian
from tfcodec.entropy import mixture as gllmm
from tfcodec.entropy.factorized import Factorized, FactorizedPrior
from tfcodec.errors import NotFreezable
from tfcodec.layers.conv import DownConv2D, SubpixelConv2D
from tfcodec.layers.gdn import GDN
from tfcodec.layers.octave import OctaveConv2D, OctaveConv2DTranspose
from tfcodec.models.base import LADDER, CodecModel, gains
from tfcodec.models.transforms import (
    conv,
    estimator,
    leaky,
    principal_pair,
    principal_start,
    sequential,
    unit_start,
    up_conv,
)

FIRST_ROW = 1  # row 0 of the codec's tables is the certain row that pads the coder's lanes


@dataclasses.dataclass(frozen=True)
class Config:
    """What the systems of this file differ in.

    filters: N, of both resolutions together, in every layer and latent.
    latents: channels of y, both resolutions together; 0 for N.
    hyper_filters: of the middle layer of the two hyper syntheses.
    estimators: widths of the 1x1 layers that estimate the parameters of the high resolution.
    cross_kernel_size: of the paths between resolutions in 5x5 layers; 0 for the layer's own.
    gdn_order: of the transforms' GDNs, see `layers.gdn.GDN`.
    linear: widths of the linear chain beside the transforms at 1/2, 1/4, 1/8; () for none.
    slope: of the leaky ReLUs.
    up_gdn: whether the up-sampling of the top's parameters has (forward) GDNs, as the authors'
        code has, or leaky ReLUs.
    likelihood: of y, "gaussian" or "gllmm".
    cross_resolution: whether low latents predict the parameters of high ones; False for ablation.
    hyper_layers: 2, or 1 for ablation: z is then under learned densities.
    fidelity: weight of the information fidelity; 0 for none.
    fidelity_share: of the training in which it counts; 200,000 of the paper's 1,000,000 steps.
    """

    filters: int = 256
    latents: int = 0
    hyper_filters: int = 288
    estimators: tuple[int, ...] = (640, 512)
    cross_kernel_size: int = 0
    gdn_order: int = 2
    linear: tuple[int, ...] = ()
    slope: float = 0.2
    up_gdn: bool = True
    likelihood: str = "gaussian"
    cross_resolution: bool = True
    hyper_layers: int = 2
    fidelity: float = 1.0
    fidelity_share: float = 0.2
    lambdas: tuple[float, ...] = (0.013,)
    gain_level: float = 1.0


COMPACT = Config(
    64,
    192,
    96,
    (96, 96),
    cross_kernel_size=3,
    gdn_order=1,
    linear=(12, 48, 96),
    slope=0.125,
    up_gdn=False,
    lambdas=LADDER,
    gain_level=16.0,
)
PRESETS = {
    "compact": COMPACT,
    "compact-gllmm": dataclasses.replace(COMPACT, likelihood="gllmm", latents=128),
    "n256": Config(256),
    "n448": Config(448),
}


def build(cfg, name="octave"):
    """The codec of a `Config`, weights not yet created."""
    return Octave(cfg, name=name)


class PairSequential(keras.layers.Layer):
    """Layers one after the other, named by position, as `transforms.sequential`, for pairs too.

    Args: layers: partials that take a name.
    """

    def __init__(self, layers, **kwargs):
        super().__init__(**kwargs)
        self.stages = [layer(name=f"layer{k}") for k, layer in enumerate(layers)]

    def call(self, x):
        for stage in self.stages:
            x = stage(x)
        return x


class LinearAnalysis(keras.layers.Layer):
    """Linear chain of 2x2 convolutions from pictures [B, H, W, 3] to (y_high, y_low).

    Some channels at 1/16, a quarter as many as y_high's, become y_low by one more convolution: at
    the start those of the largest variance. The others are y_high. See models/transforms.py.

    Args: widths: channels at 1/2, 1/4, 1/8. channels: of each latent, a multiple of 4.
    """

    def __init__(self, widths, channels, centre=0.5, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.centre, self.leading = centre, channels // 4
        filters = (*widths, channels + self.leading, channels)
        *self.shortcuts, self.low = (
            DownConv2D(f, 2, use_bias=False, dtype="float32", name=f"shortcut{k}")
            for k, f in enumerate(filters)
        )

    def call(self, x):
        x = x - self.centre
        for shortcut in self.shortcuts:
            x = shortcut(x)
        leading, high = ops.split(x, [self.leading], axis=-1)
        return high, self.low(leading)


class LinearSynthesis(keras.layers.Layer):
    """(y_high, y_low) to pictures: `LinearAnalysis` mirrored. Arguments as there."""

    def __init__(self, widths, channels, centre=0.5, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.centre = centre
        filters = (channels // 4, *widths[::-1], 3)
        self.low, *self.shortcuts = (
            SubpixelConv2D(f, 1, use_bias=False, dtype="float32", name=f"shortcut{k}")
            for k, f in enumerate(filters)
        )

    def call(self, y):
        high, low = y
        x = ops.concatenate([self.low(low), high], axis=-1)
        for shortcut in self.shortcuts:
            x = shortcut(x)
        return x + self.centre


def transforms(cfg):
    """(analysis, synthesis): the picture to (y_high, y_low) and back."""
    gdn = partial(GDN, order=cfg.gdn_order)
    options = dict(kernel_size=5, strides=2, cross_kernel_size=cfg.cross_kernel_size or None)
    down = partial(OctaveConv2D, cfg.filters, activation=gdn(), **options)
    up = partial(OctaveConv2DTranspose, cfg.filters, activation=gdn(inverse=True), **options)
    # The latents and the picture are float32 under any policy.
    to_y = partial(OctaveConv2D, cfg.latents or cfg.filters, dtype="float32", **options)
    to_x = partial(OctaveConv2DTranspose, 3, low_ratio=0, dtype="float32", **options)
    analysis = PairSequential([down] * 3 + [to_y], name="analysis")
    return analysis, PairSequential([up] * 3 + [to_x], name="synthesis")


def hyper_transforms(cfg, strides, outputs, names):
    """(analysis, synthesis) of a hyper layer, the latter to two numbers a latent, `outputs`."""
    act = keras.layers.LeakyReLU(negative_slope=cfg.slope)
    # Everything between y and a table index is float32 whatever the policy.
    options = dict(cross_kernel_size=cfg.cross_kernel_size or None, dtype="float32")
    down, up = partial(OctaveConv2D, **options), partial(OctaveConv2DTranspose, **options)
    n, kernel = cfg.filters, 5 if strides == 2 else 3
    analysis = [
        partial(down, n, 3, activation=act, cross_kernel_size=None),
        partial(down, n, kernel, strides, activation=act),
        partial(down, n, kernel, strides, use_bias=False),
    ]
    synthesis = [
        partial(up, n, kernel, strides, activation=act),
        partial(up, cfg.hyper_filters, kernel, strides, activation=act),
        partial(up, outputs, 3, cross_kernel_size=None),
    ]
    return tuple(
        PairSequential(layers, name=name, dtype="float32")
        for layers, name in zip((analysis, synthesis), names, strict=True)
    )


def up_four(cfg, name):
    """Up-sampling by 4 of a layer's parameters, for the layer below."""
    act = partial(GDN, dtype="float32") if cfg.up_gdn else leaky(cfg.slope)
    return sequential([up_conv(cfg.filters // 2, 3), act] * 2, name=name)


class Octave(CodecModel):
    """The octave codec, see the module's docstring. Args: cfg: a `Config`."""

    stride = 128

    def __init__(self, cfg, **kwargs):
        super().__init__(**kwargs)
        latents = cfg.latents or cfg.filters
        if cfg.filters % 2 or latents % 2 or cfg.likelihood not in ("gaussian", "gllmm"):
            raise ValueError(
                "`filters` and `latents` must be even and `likelihood` gaussian or gllmm. "
                f"Received: filters={cfg.filters}, latents={latents}, likelihood={cfg.likelihood!r}"
            )
        self.cfg, self.lambdas = cfg, tuple(cfg.lambdas)
        self.channels = cfg.filters // 2  # of each z
        self.y_channels = half = latents // 2
        self.transform, self.inverse_transform = transforms(cfg)
        self.linear = self.inverse_linear = None
        if cfg.linear:
            self.linear = LinearAnalysis(cfg.linear, half, name="linear")
            self.inverse_linear = LinearSynthesis(cfg.linear, half, name="inverse_linear")
        self.hyper_analysis, self.hyper_synthesis = hyper_transforms(
            cfg, 2, 2 * latents, ("hyper_analysis", "hyper_synthesis")
        )
        self.two_layers = cfg.hyper_layers == 2
        if self.two_layers:
            self.top_analysis, self.top_synthesis = hyper_transforms(
                cfg, 1, 2 * cfg.filters, ("top_analysis", "top_synthesis")
            )
            self.z_estimator = estimator(cfg.estimators, cfg.filters, cfg.slope, "z_estimator")
            self.up_means, self.up_scales, self.up_features = (
                up_four(cfg, f"up_{what}") for what in ("means", "scales", "features")
            )
        # Numbers for each element of y: a mean and a scale, or those of a mixture, whose means and
        # the rest are split alike between the two convolutions of y_low.
        mixture = cfg.likelihood == "gllmm"
        self.numbers = gllmm.NUMBERS if mixture else 2
        first = mixtures.COMPONENTS if mixture else 1
        self.means_conv = conv(first * half, 5)(name="means_conv")
        self.scales_conv = conv((self.numbers - first) * half, 5)(name="scales_conv")
        self.y_estimator = estimator(
            *(cfg.estimators, self.numbers * half, cfg.slope, "y_estimator"),
            use_bias=bool(cfg.linear),
        )
        if cfg.cross_resolution:
            self.y_across = up_conv(half, 5)(name="y_across")
            if self.two_layers:
                self.z_across = up_conv(self.channels, 5)(name="z_across")
        # In the loss alone; no part of the codec.
        self.y_fidelity = self.z_fidelity = None
        if cfg.fidelity:
            self.y_fidelity = up_conv(half, 5)(name="y_fidelity")
            self.z_fidelity = up_conv(self.channels, 5)(name="z_fidelity")
        # The two bands have gains of their own.
        self.gain_high, self.inverse_high = gains(cfg.lambdas, cfg.gain_level, "_high")
        self.gain_low, self.inverse_low = gains(cfg.lambdas, cfg.gain_level, "_low")
        top = "z2" if self.two_layers else "z"
        self.priors = {
            f"{top}_{band}": FactorizedPrior(name=f"{top}_{band}_prior") for band in ("high", "low")
        }

    def build(self, input_shape):
        for prior in self.priors.values():
            prior.build((None, None, None, self.channels))
        if self.cfg.fidelity:
            for layer in (self.y_fidelity, self.z_fidelity):
                layer.build((None, None, None, layer.filters))
        super().build(input_shape)

    @property
    def parts(self):
        sizes = {"z2_high": 64, "z2_low": 128, "z_low": 128, "z_high": 64}
        if not self.two_layers:
            sizes = {"z_high": 64, "z_low": 128}
        sizes |= {"y_low": 32, "y_high": 16}
        parts = [
            {
                "name": name,
                "stride": stride,
                "channels": self.y_channels if name.startswith("y") else self.channels,
            }
            for name, stride in sizes.items()
        ]
        if self.cfg.likelihood == "gllmm":
            for part in parts[-2:]:
                part |= {"coding": "mixture", "first_row": self._rows("mixture")}
        return tuple(parts)

    def _rows(self, kind):
        """First row of a kind of tables: a prior's, by its latents, or the others'."""
        rows = {name: FIRST_ROW + k * self.channels for k, name in enumerate(self.priors)}
        rows["gaussian"] = FIRST_ROW + 2 * self.channels
        rows["mixture"] = rows["gaussian"] + (gaussian.NUM_LEVELS if self.two_layers else 0)
        return rows[kind]

    def prepare(self, x):
        y = unit_start(self.transform, x)
        last = self.inverse_transform.stages[-1]
        if self.linear is None:
            unit_start(self.inverse_transform, y)
            for path in (last.high, last.up):
                path.kernel.assign(0.18 * path.kernel)  # together, pictures around 1/2
            last.high.bias.assign(np.full([3], 0.5, np.float32))
            return
        at_16 = principal_start(self.linear, self.inverse_linear, x)
        leading = at_16[..., : self.linear.leading]
        principal_pair(self.linear.low, self.inverse_linear.low, leading)
        unit_start(self.inverse_transform, self.linear(x))
        # Training begins at the linear codec: the octave layers learn what to add to it.
        for stage in (self.transform.stages[-1], last):
            for path in (stage.high, stage.low):
                path.kernel.assign(ops.zeros_like(path.kernel))
        self.start_rates(x)

    def start_rates(self, x):
        last = self.y_estimator.layers[-1]
        last.kernel.assign(ops.zeros_like(last.kernel))
        self.scales_conv.kernel.assign(ops.zeros_like(self.scales_conv.kernel))
        if self.cfg.likelihood == "gllmm":  # scales among weights, and among triples with means
            components = np.arange(mixtures.COMPONENTS)
            places = 1 + 2 * components, 2 + 3 * components
        else:
            places = [0], [1]
        layers = self.scales_conv, last
        for y, layer, place in zip(self.to_y(x, self.middle(x))[::-1], layers, places, strict=True):
            spread = ops.convert_to_numpy(y).std(axis=(0, 1, 2))
            start = np.zeros([layer.filters // len(spread), len(spread)], np.float32)
            start[place] = np.log(spread + gaussian.SCALE_MIN)
            layer.bias.assign(start.ravel())

    def table_rows(self):
        rows = [row for prior in self.priors.values() for row in prior.table_rows()]
        if self.two_layers or self.cfg.likelihood == "gaussian":
            rows += gaussian.table_rows()
        return rows + (mixtures.binary_rows() if self.cfg.likelihood == "gllmm" else [])

    def to_y(self, x, rung):
        y_high, y_low = self.transform(x)  # [B, H/16, W/16, N/2], [B, H/32, W/32, N/2]
        if self.linear is not None:
            linear_high, linear_low = self.linear(x)
            y_high, y_low = y_high + linear_high, y_low + linear_low
        if self.gain_high is not None:
            y_high, y_low = self.gain_high(y_high, rung), self.gain_low(y_low, rung)
        return y_high, y_low

    def to_latents(self, y):
        y_high, y_low = y
        z_high, z_low = self.hyper_analysis(y)  # at 1/64, 1/128
        if not self.two_layers:
            return z_high, z_low, y_low, y_high
        z2_high, z2_low = self.top_analysis((z_high, z_low))  # of the same sizes
        return z2_high, z2_low, z_low, z_high, y_low, y_high

    def step(self, k, state, symbols):
        state = self._decoded(k - 1, state, symbols)
        name = self.parts[k]["name"]
        if name in self.priors:
            return state, Factorized(self.priors[name], self._rows(name))
        estimate = {
            "z_low": self._z_low,
            "z_high": self._z_high,
            "y_low": self._y_low,
            "y_high": self._y_high,
        }
        state, numbers = estimate[name](state)
        if name.startswith("y") and self.cfg.likelihood == "gllmm":
            return state, gllmm.Mixture(numbers, self._rows("mixture"))
        mu, log_scale = ops.split(numbers, 2, axis=-1)
        return {**state, "mu": mu}, gaussian.Gaussian(mu, log_scale, self._rows("gaussian"))

    def finish(self, state, symbols):
        state = self._decoded(len(self.parts) - 1, state, symbols)
        return state["y_high"], state["y_low"]

    def synthesis(self, y_hat, rung):
        y_high, y_low = y_hat
        if self.inverse_high is not None:
            y_high, y_low = self.inverse_high(y_high, rung), self.inverse_low(y_low, rung)
        x_hat = self.inverse_transform((y_high, y_low))
        if self.inverse_linear is None:
            return x_hat
        return x_hat + self.inverse_linear((y_high, y_low))

    def _decoded(self, k, state, symbols):
        """The state with the latents of step k, and without the mean that they no longer need."""
        if k < 0:
            return state
        state, name = dict(state), self.parts[k]["name"]
        latents = ops.cast(symbols, "float32")
        if name in self.priors:
            latents = latents + self.priors[name].medians
        elif "mu" in state:
            latents = latents + state.pop("mu")
        return {**state, name: latents}

    def entropy_chains(self):
        if self.cfg.likelihood == "gllmm":
            raise NotFreezable("the parameters of its mixtures are snapped from real numbers")
        raise NotFreezable(
            "its octave convolutions add two paths, which no frozen network does yet"
        )

    # What each step knows: from the state to the state and the numbers of its prior.

    def _z_low(self, state):
        top_high, top_low = self.top_synthesis((state.pop("z2_high"), state.pop("z2_low")))
        return {"top_high": top_high, "top_low": top_low}, top_low

    def _z_high(self, state):
        across = [self.z_across(state["z_low"])] if self.cfg.cross_resolution else []
        return state, self.z_estimator(ops.concatenate([*across, state["top_high"]], axis=-1))

    def _y_low(self, state):
        high, low = self.hyper_synthesis((state.pop("z_high"), state.pop("z_low")))
        means, scales = ops.split(low, 2, axis=-1)
        if self.two_layers:
            top_means, top_scales = ops.split(state.pop("top_low"), 2, axis=-1)
            means = ops.concatenate([means, self.up_means(top_means)], axis=-1)
            scales = ops.concatenate([scales, self.up_scales(top_scales)], axis=-1)
        means, scales = self.means_conv(means), self.scales_conv(scales)
        return {**state, "high": high}, self._interleaved(means, scales)

    def _y_high(self, state):
        across = [self.y_across(state["y_low"])] if self.cfg.cross_resolution else []
        top = [self.up_features(state["top_high"])] if self.two_layers else []
        features = ops.concatenate([*across, *top, state["high"]], axis=-1)
        return {"y_low": state["y_low"]}, self.y_estimator(features)

    def _interleaved(self, means, rest):
        """Means and the rest to the order in which a prior takes its numbers."""
        if self.cfg.likelihood == "gaussian":
            return ops.concatenate([means, rest], axis=-1)
        means = ops.split(means, mixtures.COMPONENTS, axis=-1)
        rest = ops.split(rest, self.numbers - mixtures.COMPONENTS, axis=-1)
        triples = [v for k, mean in enumerate(means) for v in (rest[2 * k], mean, rest[2 * k + 1])]
        return ops.concatenate([*triples, *rest[2 * mixtures.COMPONENTS :]], axis=-1)

    def auxiliary_loss(self):
        losses = [prior.quantile_loss() for prior in self.priors.values()]
        return sum(losses) / len(losses)

    def latent_loss(self, decoded, progress):
        """Information fidelity: how far high latents are from what low ones predict, squared."""
        if not self.cfg.fidelity:
            return 0.0
        latents = dict(zip((part["name"] for part in self.parts), decoded, strict=True))
        error = ops.mean(ops.square(self.y_fidelity(latents["y_low"]) - latents["y_high"]))
        error += ops.mean(ops.square(self.z_fidelity(latents["z_low"]) - latents["z_high"]))
        counts = ops.cast(ops.less(progress, self.cfg.fidelity_share), "float32")
        return self.cfg.fidelity * counts * error
