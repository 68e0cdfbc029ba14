"""Gaussian-Laplacian-logistic mixtures with a context model (Fu, Liang, Lin, Akbari, Li, Guo, Tu,
Han, "Learned Image Compression with Gaussian-Laplacian-Logistic Mixture Model and Concatenated
Residual Modules", IEEE TIP 2023; https://arxiv.org/abs/2107.06463).

    x ─► analysis ─► y ─┬──────────────────────────────────► Q ─┬► y_hat ─► synthesis ─► x_hat
                        └► hyper_analysis ─► z ─► Q ─► z_hat    └► context (5x5, what is decoded)
                                                       └► hyper_synthesis ─► estimator ◄┘
                                                                             └► mixtures of y

The latent is rounded as it is, without a mean. In training the context model sees all of y at once.
A file is coded in the wavefronts of coding/wavefront.py, 141 steps for a latent of 32 x 48 where
the authors take 1536; encoder and decoder run the very same step on the same shapes, because rates
hang on its last bits. (An encoder that knew all of y could be quicker, and wrong.)

Departures: the scales' form and the sum in logarithms (entropy/mixture.py); the context sees
rounded latents in training, where theirs are noisy (as Minnen and Singh, ICIP 2020); symbols are
not bound to an alphabet, so nothing of it is stored, nor a mask of channels; padding is at the
bottom and right. `n128` (low rates) and `n256` are the paper's; `compact` has fewer channels, with
gains for a ladder of eight rates.
"""

import dataclasses
from functools import partial

import numpy as np
from keras import ops

from tfcodec.coding import mixtures, wavefront
from tfcodec.entropy import mixture as gllmm
from tfcodec.entropy.factorized import Factorized, FactorizedPrior
from tfcodec.entropy.quantize import round_straight_through
from tfcodec.entropy.rate import RateMeter
from tfcodec.entropy.walk import walk
from tfcodec.errors import NotFreezable
from tfcodec.layers.concatenated import ConcatenatedResidualBlock, SimplifiedAttention
from tfcodec.layers.conv import DownConv2D, SubpixelConv2D
from tfcodec.layers.masked import MaskedConv2D
from tfcodec.layers.residual import ResidualBlockDown, ResidualBlockUp
from tfcodec.models.base import LADDER, CodecModel, gains
from tfcodec.models.transforms import conv, estimator, leaky, sequential, unit_start, up_conv

FIRST_ROW = 1  # row 0 of the codec's tables is the certain row that pads the coder's lanes
PAD = 2  # positions that the context sees to each side


@dataclasses.dataclass(frozen=True)
class Config:
    filters: int = 128  # N, of the transforms and of z
    latents: int = 128  # M, of y; N in the paper
    estimators: tuple[int, ...] = (640, 1280)  # widths of the 1x1 layers before the mixtures
    slope: float = 0.2  # of the leaky ReLUs
    lambdas: tuple[float, ...] = (0.0075,)
    gain_level: float = 1.0


PRESETS = {
    "compact": Config(48, 96, (256, 384), slope=0.125, lambdas=LADDER, gain_level=4.0),
    "n128": Config(128, 128),
    "n256": Config(256, 256, lambdas=(0.03,)),
}


def build(cfg, name="gllmm"):
    """The codec of a `Config`, weights not yet created."""
    return GLLMM(cfg, name=name)


def analysis(cfg):
    """[B, H, W, 3] to y [B, H/16, W/16, M]; attention at 1/4 and 1/16."""
    down = partial(ResidualBlockDown, cfg.filters, slope=cfg.slope)
    block = partial(ConcatenatedResidualBlock, slope=cfg.slope)
    last = partial(DownConv2D, cfg.latents, 3, use_bias=False, dtype="float32")
    attend_last = partial(SimplifiedAttention, dtype="float32")
    layers = [down, block, down, SimplifiedAttention, block, down, block, last, attend_last]
    return sequential(layers, name="analysis")


def synthesis(cfg):
    """y_hat [B, H/16, W/16, M] to [B, H, W, 3]; attention at 1/16 and 1/4."""
    up = partial(ResidualBlockUp, cfg.filters, slope=cfg.slope, skip_kernel_size=1)
    block = partial(ConcatenatedResidualBlock, slope=cfg.slope)
    last = partial(SubpixelConv2D, 3, 3, dtype="float32")
    layers = [
        *(SimplifiedAttention, block, up),
        *(block, up),
        *(SimplifiedAttention, block, up),
        *(block, last),
    ]
    return sequential(layers, name="synthesis")


def hyper_transforms(cfg):
    """(analysis, synthesis): y to z [B, H/64, W/64, N], z_hat to features [B, H/16, W/16, 2 M]."""
    n, act = cfg.filters, leaky(cfg.slope)
    down = partial(DownConv2D, n, 3, dtype="float32")
    to_z = [conv(n, 3), act, conv(n, 3), act, down, act, conv(n, 3), act, down]
    wide = n * 3 // 2
    from_z = [
        *(conv(n, 3), act),
        *(up_conv(n, 3), act),
        *(conv(wide, 3), act),
        *(up_conv(wide, 3), act),
        conv(2 * cfg.latents, 3),
    ]
    return sequential(to_z, name="hyper_analysis"), sequential(from_z, name="hyper_synthesis")


class GLLMM(CodecModel):
    """The codec, see the module's docstring. Args: cfg: a `Config`."""

    stride = 64

    def __init__(self, cfg, **kwargs):
        super().__init__(**kwargs)
        self.cfg, self.lambdas = cfg, tuple(cfg.lambdas)
        self.transform, self.inverse_transform = analysis(cfg), synthesis(cfg)
        self.hyper_analysis, self.hyper_synthesis = hyper_transforms(cfg)
        self.context = MaskedConv2D(2 * cfg.latents, dtype="float32", name="context")
        self.estimator = estimator(
            cfg.estimators, gllmm.NUMBERS * cfg.latents, cfg.slope, "estimator"
        )
        self.gain, self.inverse_gain = gains(cfg.lambdas, cfg.gain_level)
        self.prior = FactorizedPrior(name="prior")

    def build(self, input_shape):
        self.prior.build((None, None, None, self.cfg.filters))
        super().build(input_shape)

    @property
    def parts(self):
        mixture = {"coding": "mixture", "first_row": FIRST_ROW + self.cfg.filters}
        return (
            {"name": "z", "stride": 64, "channels": self.cfg.filters},
            {
                "name": "y",
                "stride": 16,
                "channels": self.cfg.latents,
                "wavefront": True,
                **mixture,
            },
        )

    def to_y(self, x, rung):
        y = self.transform(x)
        return y if self.gain is None else self.gain(y, rung)

    def to_latents(self, y):
        return self.hyper_analysis(y), y

    def step(self, k, state, symbols):
        """z, then the wavefronts; batch 1."""
        if k == 0:
            return state, Factorized(self.prior, FIRST_ROW)
        if k == 1:
            features = self._features(symbols)
            shape = ops.shape(features)
            sides = shape[1] + PAD, shape[2] + 2 * PAD  # nothing is seen below
            y_hat = ops.zeros((1, *sides, self.cfg.latents))
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
        flat = ops.reshape(state["y_hat"], (-1, self.cfg.latents))
        context = self.context.at(ops.take(flat, places, axis=0))  # [rows, 2 M]
        features = ops.reshape(state["features"], (-1, 2 * self.cfg.latents))
        features = ops.take(features, row * shape[2] + column, axis=0)
        known = ops.concatenate([context, features], axis=-1)[None, :, None]
        return state, self._mixture(known, ops.reshape(valid, (1, -1, 1, 1)))

    def finish(self, state, symbols):
        return self._decoded(state, symbols)[:, PAD:, PAD:-PAD]

    def _features(self, z_symbols):
        return self.hyper_synthesis(ops.cast(z_symbols, "float32") + self.prior.medians)

    def _mixture(self, known, valid=None):
        return gllmm.Mixture(self.estimator(known), FIRST_ROW + self.cfg.filters, valid)

    def _decoded(self, state, symbols):
        """y_hat with the symbols of wavefront t, [1, h + 2, w + 4, M]."""
        shape = ops.shape(state["features"])
        row, column, valid = wavefront.positions(state["t"], *shape[1:3], xp=ops)
        place = (row + PAD) * (shape[2] + 2 * PAD) + column + PAD
        # What is not valid has the symbol zero and goes into the padding, which stays zero.
        place = ops.where(valid, place, 0)
        flat = ops.reshape(state["y_hat"], (-1, self.cfg.latents))
        latents = ops.reshape(ops.cast(symbols, "float32"), (-1, self.cfg.latents))
        flat = ops.scatter_update(flat, place[:, None], latents)
        return ops.reshape(flat, ops.shape(state["y_hat"]))

    def rate(self, latents, keys=None):
        code = RateMeter(latents, [part["name"] for part in self.parts], keys)
        return walk(_AtOnce(self, round_straight_through(latents[1])), code), code

    def synthesis(self, y_hat, rung):
        if self.inverse_gain is not None:
            y_hat = self.inverse_gain(y_hat, rung)
        return self.inverse_transform(y_hat)

    def prepare(self, x):
        y = unit_start(self.transform, x)
        unit_start(self.inverse_transform, y)
        last = self.inverse_transform.layers[-1].conv
        last.kernel.assign(0.25 * last.kernel)  # pictures around 1/2
        last.bias.assign(np.full([12], 0.5, np.float32))

    def entropy_chains(self):
        raise NotFreezable("the parameters of its mixtures are snapped from real numbers")

    def table_rows(self):
        return self.prior.table_rows() + mixtures.binary_rows()

    def auxiliary_loss(self):
        return self.prior.quantile_loss()


class _AtOnce:
    """The model's walk where y is known (training, evaluation): all wavefronts in one step."""

    def __init__(self, model, y_hat):
        self.model, self.y_hat = model, y_hat

    def step(self, k, state, symbols):
        if k == 0:
            return self.model.step(0, state, symbols)
        features = self.model._features(symbols)
        known = ops.concatenate([self.model.context(self.y_hat), features], axis=-1)
        return state, self.model._mixture(known)

    def finish(self, state, symbols):
        return symbols
