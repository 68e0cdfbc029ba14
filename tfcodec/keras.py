"""A trained codec as a Keras layer: for networks that are trained through compression.

    pictures ─► padding ─► analysis ─► walk of the entropy model ─► synthesis ─► crop ─► pictures
                                            └─► bits of each picture

What the layer returns is what a file would be: the picture that decoding it gives and the bits that
it takes, header aside. Both have gradients. Runs on the TensorFlow and the JAX backend of Keras; on
JAX nothing of TensorFlow is imported.
"""

import os
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tfcodec.entropy.rate import RateMeter
from tfcodec.entropy.walk import Prior, walk
from tfcodec.errors import InputError, ModelError
from tfcodec.exports import installed
from tfcodec.exports.rebuild import rebuild, rebuild_with_gradients
from tfcodec.layers import Shape, Tensor

ROUNDINGS = ("straight_through", "noise")


@keras.saving.register_keras_serializable("tfcodec")
class Codec(keras.layers.Layer):
    """Compression and decompression by a trained model, differentiable.

    Latents are rounded, bits are those that the coder charges, and a frozen model computes with its
    integers: what `tfcodec.compress` does, but for the last bits of the float networks. Gradients
    are straight-through (Theis et al., ICLR 2017): those of the model's density at the rounded
    latents, and of the floats that the integers mean. With the rounding "noise", the bits in
    training are those of latents with uniform noise, as in the models' own training (Minnen and
    Singh, ICIP 2020, Sec. 3.3); they are more than the file's. It is for codecs that are trained,
    too: where the codec stays as it is, 20 steps on a crop of 128x128 lowered its file by 20 %
    straight-through and by 12 % with noise.

    Args:
        model: name of an installed model, or folder of an export; None for the bundled default.
        quality: from 1 to 8, fractions allowed; None for the model's default.
        rounding: in training, "straight_through" or "noise".
        trainable: whether the codec's weights are trained, too. Frozen networks are then floats
            again, and no installed model can decode what the layer has become.
        seed: of the noise.
        fingerprint: hexadecimal; the weights that a saved layer was made with.
    Call:
        pictures: float [B, H, W, 3] in [0, 1], of any size.
        quality: instead of the layer's, a number or a tensor [] or [B], clipped to the model's
            range and, unlike a file's, not rounded to 1/32.
        training: whether there is noise, and clipping would hide gradients.
    Output: (pictures [B, H, W, 3], in evaluation clipped to [0, 1]; bits [B]), float32.
    Raises: ModelError if the model is not installed, or has other weights than `fingerprint` says;
        InputError for a quality that it does not have.
    """

    def __init__(
        self,
        model: str | os.PathLike | None = None,
        quality: float | None = None,
        *,
        rounding: str = "straight_through",
        trainable: bool = False,
        seed: int | None = None,
        fingerprint: str | None = None,
        **kwargs: Any,
    ):
        kwargs.setdefault("dtype", "float32")
        super().__init__(trainable=trainable, **kwargs)
        if rounding not in ROUNDINGS:
            raise InputError(f"rounding is {' or '.join(ROUNDINGS)}, not {rounding!r}")
        info = _find(model, fingerprint)
        self.model = info.name if model is None else os.fspath(model)
        self.fingerprint = info.fingerprint.hex()
        self.ladder, self.rounding, self.seed = info.ladder, rounding, seed
        self.quality = quality
        self._rung = self.ladder.rung(self.ladder.byte(quality))
        self.seed_generator = keras.random.SeedGenerator(seed)
        # Integers cannot be trained.
        build = (lambda i: rebuild(i, as_float=True)) if trainable else rebuild_with_gradients
        self.codec, _ = build(info)
        self.codec.trainable = trainable
        self.built = True

    def call(
        self, pictures: Tensor, quality: Tensor | float | None = None, training: bool = False
    ) -> tuple[Tensor, Tensor]:
        x = ops.cast(pictures, "float32")
        batch, height, width = ops.shape(x)[:3]
        x = _padded(_padded(x, 1, self.codec.stride), 2, self.codec.stride)
        rung = self._rungs(quality, batch)
        latents = self.codec.analysis(x, rung)
        if training and self.rounding == "noise":
            meter = RateMeter(latents, ["all"] * len(latents), self._keys(batch))
        else:
            meter = StraightThroughMeter(latents)
        y_hat = walk(self.codec, meter)
        x_hat = ops.cast(self.codec.synthesis(y_hat, rung), "float32")[:, :height, :width]
        if not training:
            x_hat = ops.clip(x_hat, 0.0, 1.0)
        return x_hat, meter.bits["all"]

    def _rungs(self, quality, batch):
        """Places on the ladder of lambdas, float32 [B]."""
        if quality is None:
            return ops.full((batch,), self._rung, dtype="float32")
        if self.ladder.single:
            raise InputError(f"{self.ladder.name} has one rate; it takes no quality")
        low, high = float(self.ladder.low), float(self.ladder.high)
        share = (ops.cast(quality, "float32") - low) / (high - low)
        rung = ops.clip(share, 0.0, 1.0) * (self.ladder.rungs - 1)
        return ops.broadcast_to(rung, (batch,))

    def _keys(self, batch):
        keys = keras.random.randint((batch,), 0, 2**31 - 1, dtype="int32", seed=self.seed_generator)
        return ops.cast(keys, "uint32")

    def compute_output_shape(
        self, pictures_shape: Shape, quality_shape: Shape | None = None
    ) -> tuple[Shape, Shape]:
        return tuple(pictures_shape), (pictures_shape[0],)

    def get_config(self) -> dict[str, Any]:
        own = ("model", "quality", "rounding", "seed", "fingerprint")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


class StraightThroughMeter:
    """Visitor of `walk.walk`: symbols and bits of the coder, with straight-through gradients.

    The gradient of the bits is that of the model's density at the rounded latents. As
    `entropy.rate.RateMeter`, but symbols are integers exactly, as a frozen model needs them.

    Args: latents: one tensor [B, h, w, c] a step.
    `bits["all"]` is [B], the bits of each example.
    """

    def __init__(self, latents: Sequence[Tensor]):
        self.latents, self.num_steps, self.bits = latents, len(latents), {"all": 0.0}

    def __call__(self, k: int, prior: Prior) -> Tensor:
        residual = ops.cast(self.latents[k], "float32") - prior.mu
        integers = ops.stop_gradient(ops.round(residual))
        symbols = _with_gradient_of(residual, integers)
        density = prior.bits(symbols + prior.mu)
        coded = ops.stop_gradient(prior.coded_bits(integers))
        bits = ops.sum(_with_gradient_of(density, coded), axis=(1, 2, 3))
        self.bits["all"] = self.bits["all"] + bits
        return symbols


def _with_gradient_of(x, value):
    """`value`, to the last bit, with the gradient of x."""
    return value + (x - ops.stop_gradient(x))


def _padded(x, axis, stride):
    """[B, H, W, 3] with its last row or column repeated up to a multiple of the stride."""
    side = ops.shape(x)[axis]
    if isinstance(side, int) and side % stride == 0:
        return x
    rows = ops.arange(-(-side // stride) * stride)
    return ops.take(x, ops.minimum(rows, side - 1), axis=axis)


def _find(model, fingerprint):
    """The `ModelInfo` of a model's name or folder, or, of a saved layer's, of the same weights."""
    if fingerprint is None:
        return installed.find(model)
    wanted = bytes.fromhex(fingerprint)
    try:
        info = installed.find(model)
    except ModelError:
        info = None
    if info is None or info.fingerprint != wanted:
        info = installed.find_fingerprint(wanted, "the saved layer")
    return info
