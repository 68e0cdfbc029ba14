"""Codecs with a hyperprior and a context of what is decoded: what ms2020, tcm, weconvene,
weconvene3d, icwem and quad have in common."""

import numpy as np
from keras import ops

from tfcodec.entropy import chains, gaussian
from tfcodec.entropy.factorized import Factorized, FactorizedPrior
from tfcodec.models.base import CodecModel, gains

FIRST_ROW = 1  # row 0 of the codec's tables is the certain row that pads the coder's lanes


class ChannelwiseCodec(CodecModel):
    """Latents in steps, each under a Gaussian that depends on earlier ones.

        x ─► analysis ─► y ─► bands ─► w ─┬──────────────► Q, step by step ─► w_hat ─► inverse
                                          └► hyper_analysis ─► z ─► means, scales     bands ─►
                                                                          synthesis ─► x_hat

    Args:
        analysis, synthesis, hyper_analysis: Keras layers.
        hyper_means, hyper_scales: z_hat to the maps that the context takes, Keras layers; the
            second is None if it takes one.
        context: makes a `ChARM` or a `Quadtree` when given its `first_row`.
        bands: a layer from y to the groups' latents side by side, with an `inverse`; None if y is
            coded as it is.
        pixels: a layer from the picture to what the analysis takes, with an `inverse` for what the
            synthesis gives and a `principal_start`; None for the picture itself.
        latents: channels of y; hyper_latents: of z.
        y_stride, hyper_stride: of y to the picture, and of z to the coded latents.
        stride: the picture's sides are padded to a multiple of it.
        lambdas, gain_level: see `hyperprior.FactorizedCodec`.
        start: called with (analysis, synthesis, what the analysis takes) before training; None
            scales all kernels by their fan-in.
    """

    def __init__(
        self,
        analysis,
        synthesis,
        hyper_analysis,
        hyper_means,
        hyper_scales,
        context,
        latents,
        hyper_latents,
        lambdas,
        bands=None,
        pixels=None,
        y_stride=16,
        hyper_stride=4,
        stride=64,
        gain_level=1.0,
        start=None,
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
        self.context, self.start = context(first_row=FIRST_ROW + hyper_latents), start

    def build(self, input_shape):
        self.prior.build((None, None, None, self.hyper_latents))
        self.context.build()
        if self.bands is not None:
            self.bands.build((None, None, None, self.latents))
        super().build(input_shape)

    @property
    def parts(self):
        z = {"name": "z", "stride": self.hyper_stride, "channels": self.hyper_latents}
        steps = zip(self.context.names, self.context.widths, strict=True)
        stride = self.coded_stride * self.context.factor
        return (z, *({"name": n, "stride": stride, "channels": c} for n, c in steps))

    def to_y(self, x, rung):
        y = self.transform(x if self.pixels is None else self.pixels(x))
        return y if self.gain is None else self.gain(y, rung)

    def to_latents(self, y):
        w = self._coded(y)
        return self.hyper_analysis(w), *self.context.split(w)

    def _coded(self, y):
        return ops.cast(y if self.bands is None else self.bands(y), "float32")

    def step(self, k, state, symbols):
        if k == 0:
            return state, Factorized(self.prior, FIRST_ROW)
        if k == 1:
            z_hat = ops.cast(symbols, "float32") + self.prior.medians
            state = {"means": self.hyper_means(z_hat)}
            if self.hyper_scales is not None:
                state["scales"] = self.hyper_scales(z_hat)
        return self.context.step(k - 1, state, symbols)

    def finish(self, state, symbols):
        return self.context.finish(state, symbols)

    def synthesis(self, y_hat, rung):
        if self.bands is not None:
            y_hat = self.bands.inverse(y_hat)
        if self.inverse_gain is not None:
            y_hat = self.inverse_gain(y_hat, rung)
        x_hat = self.inverse_transform(y_hat)
        return x_hat if self.pixels is None else self.pixels.inverse(x_hat)

    def entropy_chains(self):
        steps = self.context.entropy_chains()
        maps = {"hyper_means": self.context.means, "hyper_scales": self.context.scales}
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
        ] + steps

    def prepare(self, x):
        if self.start is None:
            self._fan_in_start()
            return
        v = x
        if self.pixels is not None:
            self.pixels.principal_start(x)
            v = self.pixels(x)
        self.start(self.transform, self.inverse_transform, v)
        self.start_rates(x)

    def start_rates(self, x):
        w = ops.convert_to_numpy(self._coded(self.to_y(x, self.middle(x))))
        self.context.start_at(w.std(axis=(0, 1, 2)))

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
