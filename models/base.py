"""The codec that every model is: transforms, gains, and between them a coder of the latents.

Follow one picture, in training:

    forward             x [B, H, W, 3] in [0, 1], rung [B]
    ├ to_y              pixels, analysis, gain: local, so that a large picture passes in tiles
    ├ to_latents        latents.to_latents: one latent a step, sees all of y
    ├ rate              walk(latents, RateMeter): for each step k, latents.step gives a prior, the
    │                   meter rounds around its mean and sums bits; latents.finish
    └ synthesis         latents.to_y_hat, inverse gain, synthesis, inverse pixels: local again

An export holds these very functions (exports/graph.py), and the codec walks its steps with an
encoder or a decoder in place of the meter.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfcodec.entropy.chains import FreezableNetwork
from tfcodec.entropy.latents.coder import LatentCoder
from tfcodec.entropy.rate import RateMeter
from tfcodec.entropy.walk import Part, Prior, State, walk
from tfcodec.layers import Shape, Tensor, Tensors
from tfcodec.layers.gain import Gain

# Rates of about 0.1 to 1.2 bpp on photographs, even steps in log(lambda).
LADDER = (0.001, 0.00181, 0.00328, 0.00594, 0.01077, 0.01951, 0.03533, 0.064)


class CodecModel(keras.Model):
    """An image codec.

        x ─► analysis ─► gain ─► y ─► latents ─► y_hat ─► inverse gain ─► synthesis ─► x_hat

    Args:
        analysis, synthesis: picture [B, H, W, 3] in [0, 1] to a float32 tensor or a tuple of them,
            and back, nominally in [0, 1] and not clipped.
        latents: a `LatentCoder`, which codes what the analysis makes.
        lambdas: ladder of Lagrangian weights, lowest rate first; of length 1 for one rate.
        gain_level: see `Gains`.
        start: called with (the model, pictures [B, H, W, 3] in [0, 1]) before training, as those of
            models/starts.py; None leaves the weights as they are.
        stride: the picture's sides are padded to a multiple of it; None for the coarsest latent's.
        pixels: a layer from the picture to what the analysis takes, with an `inverse` for what the
            synthesis gives; None for the picture itself.
    """

    def __init__(
        self,
        analysis: keras.layers.Layer,
        synthesis: keras.layers.Layer,
        latents: LatentCoder,
        lambdas: Sequence[float] = (0.013,),
        gain_level: float = 1.0,
        start: Callable[["CodecModel", np.ndarray], None] | None = None,
        stride: int | None = None,
        pixels: keras.layers.Layer | None = None,
        **kwargs: Any,
    ):
        # The outermost layer is float32 whatever the policy: it casts nothing that passes through.
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        gains = Gains(lambdas, gain_level, latents.y_names)
        # Keras lists layers, and their variables, in the order in which it sees them.
        layers = [analysis, synthesis, *latents.networks, *([] if pixels is None else [pixels])]
        self.all_layers = [*layers, *gains.layers, *latents.priors]
        self.analysis_transform, self.synthesis_transform = analysis, synthesis
        self.latents, self.gains, self.pixels = latents, gains, pixels
        self.lambdas, self.start = tuple(lambdas), start
        self.stride = stride or max(part.stride for part in latents.parts)

    def build(self, input_shape: Shape) -> None:
        self.latents.build()
        super().build(input_shape)

    @property
    def parts(self) -> tuple[Part, ...]:
        """One `Part` a step, in coding order."""
        return self.latents.parts

    def to_y(self, x: Tensor, rung: Tensor) -> Tensors:
        """Image [B, H, W, 3] in [0, 1] and rung [B] to y, a float32 latent or a tuple of them."""
        y = self.analysis_transform(x if self.pixels is None else self.pixels(x))
        return self.gains.apply(y, rung)

    def to_latents(self, y: Tensors) -> tuple[Tensor, ...]:
        """y to a tuple of float32 latents, one a step."""
        return self.latents.to_latents(y)

    def analysis(self, x: Tensor, rung: Tensor) -> tuple[Tensor, ...]:
        """Image [B, H, W, 3] in [0, 1] and rung [B] to a tuple of float32 latents, one a step."""
        return self.to_latents(self.to_y(x, rung))

    def step(self, k: int, state: State, symbols: Tensor | None) -> tuple[State, Prior]:
        """(state, symbols of step k - 1) to (state, prior of step k); see `walk.walk`."""
        return self.latents.step(k, state, symbols)

    def finish(self, state: State, symbols: Tensor) -> Tensors:
        """(state, symbols of the last step) to the decoded latents that `synthesis` takes."""
        return self.latents.finish(state, symbols)

    def synthesis(self, decoded: Tensors, rung: Tensor) -> Tensor:
        """Decoded latents to the image [B, H, W, 3], nominally in [0, 1], not clipped."""
        y_hat = self.gains.undo(self.latents.to_y_hat(decoded), rung)
        x_hat = self.synthesis_transform(y_hat)
        return x_hat if self.pixels is None else self.pixels.inverse(x_hat)

    def table_rows(self) -> list[tuple[np.ndarray, int]]:
        """Rows of the coding tables, the first of which is row 1 of the codec's tables."""
        return self.latents.table_rows()

    def entropy_chains(self) -> list[FreezableNetwork]:
        """The networks from z's symbols to table indexes, see `LatentCoder.entropy_chains`."""
        return [
            chain if isinstance(chain.owner, keras.layers.Layer) else chain.tracked_by(self)
            for chain in self.latents.entropy_chains()
        ]

    def prepare(self, x: np.ndarray) -> None:
        """Sets start values from pictures [B, H, W, 3] in [0, 1]; called once, before training."""
        if self.start is not None:
            self.start(self, x)

    def start_rates(self, x: np.ndarray) -> None:
        """See `LatentCoder.start_rates`; also of use to transforms that were trained under another
        entropy model. x: pictures [B, H, W, 3] in [0, 1]."""
        middle = np.full([len(x)], (len(self.lambdas) - 1) / 2, np.float32)
        self.latents.start_rates(self.to_y(x, middle))

    def auxiliary_loss(self) -> Tensor | float:
        """Loss terms beside rate and distortion, scalar."""
        return self.latents.auxiliary_loss()

    def latent_loss(self, decoded: list[Tensor], progress: Tensor | float) -> Tensor | float:
        """Loss terms of the decoded latents, scalar; see `LatentCoder.latent_loss`."""
        return self.latents.latent_loss(decoded, progress)

    def rate(
        self, latents: tuple[Tensor, ...], keys: Tensor | None = None
    ) -> tuple[Tensors, RateMeter]:
        """Walks the steps with a `RateMeter`; returns (decoded latents, meter). For `keys` see
        `call`."""
        code = RateMeter(latents, [part.name for part in self.parts], keys)
        return walk(self.latents.with_all_known(latents), code), code

    def call(
        self, x: Tensor, rung: Tensor | None = None, keys: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Forward pass.

        Args:
            x: [B, H, W, 3] in [0, 1]; H and W multiples of `stride`.
            rung: float32 [B] on the ladder of lambdas; None for rung 0.
            keys: uint32 [B] for the noise of training; None rounds instead.
        Returns: (x_hat [B, H, W, 3] float32, {part: bits [B]}).
        """
        x_hat, code = self.forward(x, rung, keys)
        return x_hat, code.bits

    def forward(
        self, x: Tensor, rung: Tensor | None = None, keys: Tensor | None = None
    ) -> tuple[Tensor, RateMeter]:
        """As `call`, with the `RateMeter` itself in place of its bits."""
        if rung is None:
            rung = ops.zeros((ops.shape(x)[0],), dtype="float32")
        decoded, code = self.rate(self.analysis(x, rung), keys)
        return ops.cast(self.synthesis(decoded, rung), "float32"), code

    def build_weights(self) -> "CodecModel":
        """Creates all weights by one small forward pass; returns the model."""
        self(np.zeros([1, self.stride, self.stride, 3], np.float32))
        return self


class Gains:
    """Gains of y for a ladder of lambdas, and their inverses; nothing for a single rate.

    The best step of a uniform quantizer goes as 1 / sqrt(lambda), so the gains start as
    level * sqrt(lambda / middle of the ladder). A start far above 1 keeps the latents from
    collapsing under the rate before the transforms have learned anything.

    Args:
        lambdas, level: see above.
        names: of the tensors of y, each of which has gains of its own; () if it is one tensor.
    `layers` lists the gain and the inverse of each tensor.
    """

    def __init__(self, lambdas: Sequence[float], level: float, names: tuple[str, ...] = ()):
        self.layers, self.names = [], names
        if len(lambdas) == 1:
            return
        middle = np.exp(np.mean(np.log(lambdas)))
        start = level * np.sqrt(np.array(lambdas) / middle)
        for suffix in [f"_{name}" for name in names] or [""]:
            self.layers.append(Gain(start, name=f"gain{suffix}"))
            self.layers.append(Gain(1.0 / start, name=f"inverse_gain{suffix}"))

    def apply(self, y: Tensors, rung: Tensor) -> Tensors:
        """y times its gains at `rung` [B]."""
        return self._each(self.layers[0::2], y, rung)

    def undo(self, y_hat: Tensors, rung: Tensor) -> Tensors:
        """y_hat times its inverse gains at `rung` [B]."""
        return self._each(self.layers[1::2], y_hat, rung)

    def _each(self, layers, y, rung):
        if not layers:
            return y
        if not self.names:
            return layers[0](y, rung)
        return tuple(layer(band, rung) for layer, band in zip(layers, y, strict=True))
