"""What every model owes: steps for the walk, transforms around it, a forward pass for training."""

import abc

import keras
import numpy as np
from keras import ops

from tfcodec.entropy.rate import RateMeter
from tfcodec.entropy.walk import walk
from tfcodec.errors import NotFreezable
from tfcodec.layers.gain import Gain

# Rates of about 0.1 to 1.2 bpp on photographs, even steps in log(lambda).
LADDER = (0.001, 0.00181, 0.00328, 0.00594, 0.01077, 0.01951, 0.03533, 0.064)


class CodecModel(keras.Model, abc.ABC):
    """Abstract: an image codec as transforms and steps. Subclasses define what is abstract here.

        x ─► to_y ─► y ─► to_latents ─► one latent a step ─► steps ─► y_hat ─► synthesis ─► x_hat
        └──────────── analysis ────────┘

    `to_y` and `synthesis` see pictures locally, so that large ones pass in tiles; `to_latents` and
    the steps see all of y.

    Attributes that a subclass sets:
        stride: the picture's sides are padded to a multiple of it.
        parts: a tuple with one `Part` a step, in coding order.
        lambdas: the ladder of Lagrangian weights, lowest rate first; of length 1 for one rate.
    """

    stride = 64
    lambdas = (0.013,)

    def __init__(self, **kwargs):
        # The outermost layer is float32 whatever the policy: it casts nothing that passes through.
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    @property
    @abc.abstractmethod
    def parts(self):
        """One dict a step: name, stride (of its latents to the picture), channels."""

    @abc.abstractmethod
    def to_y(self, x, rung):
        """Image [B, H, W, 3] in [0, 1] and rung [B] to y, a float32 latent or a tuple of them."""

    @abc.abstractmethod
    def to_latents(self, y):
        """y to a tuple of float32 latents, one a step."""

    def analysis(self, x, rung):
        """Image [B, H, W, 3] in [0, 1] and rung [B] to a tuple of float32 latents, one a step."""
        return self.to_latents(self.to_y(x, rung))

    @abc.abstractmethod
    def step(self, k, state, symbols):
        """(state, symbols of step k - 1) to (state, prior of step k); see `walk.walk`."""

    @abc.abstractmethod
    def finish(self, state, symbols):
        """(state, symbols of the last step) to the decoded latents that `synthesis` takes."""

    @abc.abstractmethod
    def synthesis(self, y_hat, rung):
        """Decoded latents to the image [B, H, W, 3], nominally in [0, 1], not clipped."""

    @abc.abstractmethod
    def table_rows(self):
        """Rows of the coding tables, the first of which is row 1 of the codec's tables."""

    def entropy_chains(self):
        """The networks from z's symbols to table indexes, as a list of `chains.FreezableNetwork`.

        Raises: NotFreezable that says why they cannot be frozen into integers.
        """
        raise NotFreezable("its networks between z and an index cannot be frozen yet")

    def prepare(self, x):
        """Sets start values from pictures [B, H, W, 3] in [0, 1]; called once, before training."""

    def start_rates(self, x):
        """The part of `prepare` that starts coding at the spread of the latents, whatever the
        context; also of use to transforms that were trained under another entropy model.

        Without it, the rate flattens the latents before the networks know their scale.
        """

    def middle(self, x):
        """The middle of the ladder for each of the pictures x, float32 [B]."""
        return np.full([len(x)], (len(self.lambdas) - 1) / 2, np.float32)

    def auxiliary_loss(self):
        """Loss terms beside rate and distortion, scalar."""
        return 0.0

    def latent_loss(self, decoded, progress):
        """Loss terms of the decoded latents, scalar.

        Args:
            decoded: float32 latents, one a step of `RateMeter`.
            progress: scalar tensor or number, share of the training that is done, from 0 to 1.
        """
        return 0.0

    def rate(self, latents, keys=None):
        """Walks the steps with a `RateMeter`; returns (y_hat, meter). For `keys` see `call`."""
        code = RateMeter(latents, [part["name"] for part in self.parts], keys)
        return walk(self, code), code

    def call(self, x, rung=None, keys=None):
        """Forward pass.

        Args:
            x: [B, H, W, 3] in [0, 1]; H and W multiples of `stride`.
            rung: float32 [B] on the ladder of lambdas; None for rung 0.
            keys: uint32 [B] for the noise of training; None rounds instead.
        Returns: (x_hat [B, H, W, 3] float32, {part: bits [B]}).
        """
        x_hat, code = self.forward(x, rung, keys)
        return x_hat, code.bits

    def forward(self, x, rung=None, keys=None):
        """As `call`, with the `RateMeter` itself in place of its bits."""
        if rung is None:
            rung = ops.zeros((ops.shape(x)[0],), dtype="float32")
        y_hat, code = self.rate(self.analysis(x, rung), keys)
        return ops.cast(self.synthesis(y_hat, rung), "float32"), code

    def build_weights(self):
        """Creates all weights by one small forward pass; returns the model."""
        self(np.zeros([1, self.stride, self.stride, 3], np.float32))
        return self


def gains(lambdas, level, suffix=""):
    """(gain, inverse gain) layers for a ladder of lambdas, or (None, None) for a single rate.

    A model with several pairs tells them apart by the suffix of their names.

    The best step of a uniform quantizer goes as 1 / sqrt(lambda), so the gains start as
    level * sqrt(lambda / middle of the ladder). A start far above 1 keeps the latents from
    collapsing under the rate before the transforms have learned anything.
    """
    if len(lambdas) == 1:
        return None, None
    middle = np.exp(np.mean(np.log(lambdas)))
    start = level * np.sqrt(np.array(lambdas) / middle)
    return Gain(start, name=f"gain{suffix}"), Gain(1.0 / start, name=f"inverse_gain{suffix}")
