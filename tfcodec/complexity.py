"""How much arithmetic a model costs: multiply-accumulates, counted while a small picture passes.

Counted are convolutions, transposed convolutions, dense layers and the matrix products of GDN, of
attention and of invertible 1x1 convolutions; what is linear in the number of activations (biases,
rectifiers, gains, priors) is left out, as usual.
"""

import contextlib
import math

import keras

from tfcodec.layers.attention import WindowAttention
from tfcodec.layers.depthwise import DepthwiseConv3x3
from tfcodec.layers.gdn import GDN
from tfcodec.layers.invertible import InvertibleConv1x1
from tfcodec.layers.masked import MaskedConv2D
from tfcodec.layers.watch import watching


def macs_per_pixel(model: keras.Model) -> dict[str, float]:
    """Multiply-accumulates for each pixel of the picture: {"encoder": float, "decoder": float}.

    Both run the steps of the walk; the encoder's analysis and the decoder's synthesis come on top.

    Args: model: a built `CodecModel`.
    """
    analysis, steps, synthesis = macs_of_parts(model)
    return {"encoder": analysis + steps, "decoder": steps + synthesis}


def training_flop_per_pixel(model: keras.Model) -> float:
    """Floating-point operations of a training step for each pixel of its crops.

    Two for each multiply-accumulate, and three times the forward pass: the backward pass computes
    a gradient of the inputs and one of the weights. Optimizer and loss are left out.
    """
    return 2 * 3 * sum(macs_of_parts(model))


def macs_of_parts(model: keras.Model) -> list[float]:
    """As `macs_per_pixel`, of [analysis, steps of the walk, synthesis]."""
    side = model.stride
    x, rung = keras.ops.zeros([1, side, side, 3]), keras.ops.zeros([1])
    # Computed, though only shapes are looked at: to trace some thousand operations takes longer.
    with _counting() as analysis:
        latents = model.analysis(x, rung)
    with _counting() as steps:
        y_hat, _ = model.rate(latents)
    with _counting() as synthesis:
        model.synthesis(y_hat, rung)
    return [sum(macs) / side**2 for macs in (analysis, steps, synthesis)]


@contextlib.contextmanager
def _counting():
    """A list that gets the multiply-accumulates of each layer called inside the block."""
    macs = []
    with watching(lambda layer, inputs, output: macs.append(_layer_macs(layer, inputs[0], output))):
        yield macs


def _layer_macs(layer, x, output):
    """Multiply-accumulates of one layer itself, without the layers inside it."""
    if isinstance(layer, keras.layers.Conv2DTranspose):
        return math.prod(x.shape[:-1]) * math.prod(layer.kernel.shape)
    if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
        # The kernel's axes are [.., inputs of a group, outputs]; an output sees all but the last.
        return math.prod(output.shape) * math.prod(layer.kernel.shape[:-1])
    if isinstance(layer, MaskedConv2D):
        return math.prod(output.shape) * layer.taps * x.shape[-1]
    if isinstance(layer, WindowAttention):
        # Logits and weighted values: each pixel meets those of its window, twice.
        return 2 * math.prod(x.shape) * layer.window**2
    if isinstance(layer, DepthwiseConv3x3):
        return math.prod(output.shape) * 9
    if isinstance(layer, (GDN, InvertibleConv1x1)):
        return math.prod(output.shape) * x.shape[-1]
    return 0
