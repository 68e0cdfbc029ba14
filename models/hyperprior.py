"""Codecs with a hyperprior, and without one: what bmshj2018 and mbt2018_mean have in common."""

import numpy as np
from keras import ops

from tfcodec.entropy import chains, gaussian
from tfcodec.entropy.factorized import Factorized, FactorizedPrior
from tfcodec.models.base import CodecModel, gains
from tfcodec.models.transforms import ShortcutAnalysis, principal_start

FIRST_ROW = 1  # row 0 of the codec's tables is the certain row that pads the coder's lanes


class FactorizedCodec(CodecModel):
    """Latents under a factorized prior (Balle et al., ICLR 2018, Fig. 1 left).

        x ─► analysis ─► y ─► Q ─► y_hat ─► synthesis ─► x_hat

    Args:
        analysis, synthesis: the transforms, Keras layers.
        latents: channels of y.
        lambdas: ladder of Lagrangian weights.
        gain_level: see `base.gains`.
    """

    stride = 16

    def __init__(self, analysis, synthesis, latents, lambdas, gain_level=1.0, **kwargs):
        super().__init__(**kwargs)
        self.transform, self.inverse_transform = analysis, synthesis
        self.latents, self.lambdas = latents, tuple(lambdas)
        self.gain, self.inverse_gain = gains(lambdas, gain_level)
        self.prior = FactorizedPrior(name="prior")

    def build(self, input_shape):
        self.prior.build((None, None, None, self.latents))
        super().build(input_shape)

    @property
    def parts(self):
        return ({"name": "y", "stride": 16, "channels": self.latents},)

    def to_y(self, x, rung):
        y = self.transform(x)
        return y if self.gain is None else self.gain(y, rung)

    def to_latents(self, y):
        return (y,)

    def step(self, k, state, symbols):
        return state, Factorized(self.prior, FIRST_ROW)

    def finish(self, state, symbols):
        return ops.cast(symbols, "float32") + self.prior.medians

    def synthesis(self, y_hat, rung):
        if self.inverse_gain is not None:
            y_hat = self.inverse_gain(y_hat, rung)
        return self.inverse_transform(y_hat)

    def entropy_chains(self):
        return []  # the tables are all

    def prepare(self, x):
        if isinstance(self.transform, ShortcutAnalysis):
            principal_start(self.transform, self.inverse_transform, x)

    def table_rows(self):
        return self.prior.table_rows()

    def auxiliary_loss(self):
        return self.prior.quantile_loss()


class HyperpriorCodec(CodecModel):
    """Latents under a Gaussian whose scales, and means if wanted, are sent as z.

        x ─► analysis ─► y ─┬─────────────────────────► Q ─► y_hat ─► synthesis ─► x_hat
                            └► hyper_analysis ─► z ─► Q ─► z_hat ─► hyper_synthesis ─► means, scales

    Args:
        analysis, synthesis, hyper_analysis, hyper_synthesis: Keras layers. The hyper synthesis
            emits log(sigma) [B, h, w, M], or with `means` log(sigma) and mu [B, h, w, 2M].
        latents, hyper_latents: channels M of y and N of z.
        means: whether the Gaussian has a mean (mbt2018) or is centred (bmshj2018).
        hyper_abs: whether the hyper analysis sees |y|, as bmshj2018 does.
        lambdas, gain_level: see `FactorizedCodec`.
    """

    stride = 64

    def __init__(
        self,
        analysis,
        synthesis,
        hyper_analysis,
        hyper_synthesis,
        latents,
        hyper_latents,
        lambdas,
        means=True,
        hyper_abs=False,
        gain_level=1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.transform, self.inverse_transform = analysis, synthesis
        self.hyper_analysis, self.hyper_synthesis = hyper_analysis, hyper_synthesis
        self.latents, self.hyper_latents = latents, hyper_latents
        self.lambdas, self.means, self.hyper_abs = tuple(lambdas), means, hyper_abs
        self.gain, self.inverse_gain = gains(lambdas, gain_level)
        self.prior = FactorizedPrior(name="prior")

    def build(self, input_shape):
        self.prior.build((None, None, None, self.hyper_latents))
        super().build(input_shape)

    @property
    def parts(self):
        return (
            {"name": "z", "stride": 64, "channels": self.hyper_latents},
            {"name": "y", "stride": 16, "channels": self.latents},
        )

    def to_y(self, x, rung):
        y = self.transform(x)  # [B, H/16, W/16, M]
        return y if self.gain is None else self.gain(y, rung)

    def to_latents(self, y):
        z = self.hyper_analysis(ops.abs(y) if self.hyper_abs else y)  # [B, H/64, W/64, N]
        return z, y

    def step(self, k, state, symbols):
        if k == 0:
            return state, Factorized(self.prior, FIRST_ROW)
        z_hat = ops.cast(symbols, "float32") + self.prior.medians
        scales = self.hyper_synthesis(z_hat)
        if self.means:
            log_scale, mu = ops.split(scales, 2, axis=-1)
        else:
            log_scale, mu = scales, ops.zeros((1, 1, 1, 1))
        return {"mu": mu}, gaussian.Gaussian(mu, log_scale, FIRST_ROW + self.hyper_latents)

    def finish(self, state, symbols):
        return ops.cast(symbols, "float32") + state["mu"]

    def synthesis(self, y_hat, rung):
        if self.inverse_gain is not None:
            y_hat = self.inverse_gain(y_hat, rung)
        return self.inverse_transform(y_hat)

    def entropy_chains(self):
        outputs = [("log_scale", self.latents), ("mu", self.latents)][: 1 + self.means]
        found = chains.stages(self.hyper_synthesis)
        blocks = (self.hyper_latents,)
        return [chains.FreezableNetwork(self, "hyper_synthesis", found, tuple(outputs), blocks)]

    def prepare(self, x):
        if not isinstance(self.transform, ShortcutAnalysis):
            return
        principal_start(self.transform, self.inverse_transform, x)
        self.start_rates(x)

    def start_rates(self, x):
        y = ops.convert_to_numpy(self.analysis(x, self.middle(x))[-1])
        bias = self.hyper_synthesis.layers[-1].bias
        start = np.zeros(bias.shape, np.float32)
        start[: self.latents] = np.log(y.std(axis=(0, 1, 2)) + gaussian.SCALE_MIN)
        bias.assign(start)

    def table_rows(self):
        return self.prior.table_rows() + gaussian.table_rows()

    def auxiliary_loss(self):
        return self.prior.quantile_loss()
