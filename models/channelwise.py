"""Codecs with a hyperprior and a channel-wise autoregressive entropy model: what ms2020, tcm,
weconvene, weconvene3d and icwem have in common."""

import numpy as np
from keras import ops

from tfcodec.entropy import chains, gaussian
from tfcodec.entropy.channelwise import ChARM
from tfcodec.entropy.factorized import Factorized, FactorizedPrior
from tfcodec.models.base import CodecModel, gains
from tfcodec.models.transforms import ShortcutAnalysis, principal_start

FIRST_ROW = 1  # row 0 of the codec's tables is the certain row that pads the coder's lanes


class ChannelwiseCodec(CodecModel):
    """Latents in groups of slices, each slice under a Gaussian that depends on earlier ones.

        x ─► analysis ─► y ─► bands ─► w ─┬──────────────► Q, slice by slice ─► w_hat ─► inverse
                                          └► hyper_analysis ─► z ─► means, scales       bands ─►
                                                                            synthesis ─► x_hat

    Args:
        analysis, synthesis, hyper_analysis: Keras layers.
        hyper_means, hyper_scales: z_hat to the maps that `ChARM` takes, Keras layers; the second is
            None if all groups are joint.
        groups: the table of `ChARM`.
        bands: a layer from y to the groups' latents side by side, with an `inverse`; None if y is
            coded as it is.
        pixels: a layer from the picture to what the analysis takes, with an `inverse` for what the
            synthesis gives and a `principal_start`; None for the picture itself.
        latents: channels of y; hyper_latents: of z.
        means, scales: channels of the two maps.
        y_stride, hyper_stride: of y to the picture, and of z to the coded latents.
        stride: the picture's sides are padded to a multiple of it.
        lambdas, gain_level: see `hyperprior.FactorizedCodec`.
    """

    def __init__(
        self,
        analysis,
        synthesis,
        hyper_analysis,
        hyper_means,
        hyper_scales,
        groups,
        latents,
        hyper_latents,
        means,
        scales,
        lambdas,
        bands=None,
        pixels=None,
        y_stride=16,
        hyper_stride=4,
        stride=64,
        gain_level=1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.transform, self.inverse_transform = analysis, synthesis
        self.hyper_analysis = hyper_analysis
        self.hyper_means, self.hyper_scales = hyper_means, hyper_scales
        self.bands, self.pixels = bands, pixels
        self.latents, self.hyper_latents = latents, hyper_latents
        self.lambdas, self.stride = tuple(lambdas), stride
        self.coded_stride = y_stride if bands is None else 2 * y_stride
        self.hyper_stride = hyper_stride * self.coded_stride
        self.gain, self.inverse_gain = gains(lambdas, gain_level)
        self.prior = FactorizedPrior(name="prior")
        self.charm = ChARM(groups, means, scales, FIRST_ROW + hyper_latents, True, name="charm")

    def build(self, input_shape):
        self.prior.build((None, None, None, self.hyper_latents))
        self.charm.build()
        if self.bands is not None:
            self.bands.build((None, None, None, self.latents))
        super().build(input_shape)

    @property
    def parts(self):
        z = {"name": "z", "stride": self.hyper_stride, "channels": self.hyper_latents}
        slices = zip(self.charm.names, self.charm.widths, strict=True)
        stride = self.coded_stride
        return (z, *({"name": n, "stride": stride, "channels": c} for n, c in slices))

    def to_y(self, x, rung):
        y = self.transform(x if self.pixels is None else self.pixels(x))
        return y if self.gain is None else self.gain(y, rung)

    def to_latents(self, y):
        w = ops.cast(y if self.bands is None else self.bands(y), "float32")
        z = self.hyper_analysis(w)
        return z, *ops.split(w, np.cumsum(self.charm.widths)[:-1].tolist(), axis=-1)

    def step(self, k, state, symbols):
        if k == 0:
            return state, Factorized(self.prior, FIRST_ROW)
        if k == 1:
            z_hat = ops.cast(symbols, "float32") + self.prior.medians
            state = {"means": self.hyper_means(z_hat)}
            if self.hyper_scales is not None:
                state["scales"] = self.hyper_scales(z_hat)
        return self.charm.step(k - 1, state, symbols)

    def finish(self, state, symbols):
        return self.charm.finish(state, symbols)

    def synthesis(self, y_hat, rung):
        if self.bands is not None:
            y_hat = self.bands.inverse(y_hat)
        if self.inverse_gain is not None:
            y_hat = self.inverse_gain(y_hat, rung)
        x_hat = self.inverse_transform(y_hat)
        return x_hat if self.pixels is None else self.pixels.inverse(x_hat)

    def entropy_chains(self):
        slices = self.charm.entropy_chains()
        maps = {"hyper_means": self.charm.means, "hyper_scales": self.charm.scales}
        return [
            chains.FreezableNetwork(
                self,
                name,
                chains.stages(getattr(self, name)),
                (("features", channels),),
                (self.hyper_latents,),
            )
            for name, channels in maps.items()
            if getattr(self, name) is not None
        ] + slices

    def prepare(self, x):
        if not isinstance(self.transform, ShortcutAnalysis):
            self._fan_in_start()
            return
        v = x
        if self.pixels is not None:
            self.pixels.principal_start(x)
            v = self.pixels(x)
        principal_start(self.transform, self.inverse_transform, v)
        self.start_rates(x)

    def start_rates(self, x):
        latents = [ops.convert_to_numpy(y) for y in self.analysis(x, self.middle(x))[1:]]
        self.charm.start_at(np.concatenate([y.std(axis=(0, 1, 2)) for y in latents]))

    def _fan_in_start(self):
        """Scales Glorot's start of all kernels to a variance of 1 / (3 fan-in), as PyTorch's layers
        start: through the products of several inverse GDNs, Glorot's reaches 1e8 in LIC-TCM."""
        own = [] if self.pixels is None else self.pixels.trainable_variables  # start as they should
        for variable in self.trainable_variables:
            if variable.path.endswith("kernel") and not any(variable is v for v in own):
                inputs, outputs = variable.shape[-2:]
                # Both fans count the window, so that it cancels.
                variable.assign(variable * np.float32(np.sqrt((inputs + outputs) / (6 * inputs))))

    def table_rows(self):
        return self.prior.table_rows() + gaussian.table_rows()

    def auxiliary_loss(self):
        return self.prior.quantile_loss()
