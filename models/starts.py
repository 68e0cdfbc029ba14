"""How training begins: start values of a codec's weights, some of them from pictures.

    principal    linear chains at the principal components of pictures (`ShortcutAnalysis`)
    fan_in       all kernels by their fan-in, as PyTorch's layers
    unit_start   each convolution to an output of unit variance

A codec's `start` is called with (the codec, pictures x, float32 [B, H, W, 3] in [0, 1]; some 100
crops are enough).
"""

import keras
import numpy as np
from keras import ops

from tfcodec.layers import Tensor, Tensors
from tfcodec.layers.conv import DownConv2D, SubpixelConv2D
from tfcodec.layers.watch import watching
from tfcodec.models.base import CodecModel
from tfcodec.models.transforms import CENTRE


def principal(model: CodecModel, x: np.ndarray) -> None:
    """Sets the linear chains of `ShortcutAnalysis` and its synthesis to the principal components of
    pictures, stage by stage; then the rates.

    Each stage takes 2x2 blocks of the one before it onto their leading components; the synthesis
    gets the transposes, so that together they are a projection. Channels beyond the size of a block
    start at zero.
    """
    linear = np.float32(x) - CENTRE
    shortcuts = model.analysis_transform.shortcuts, model.synthesis_transform.shortcuts[::-1]
    for down, up in zip(*shortcuts, strict=True):
        linear = principal_pair(down, up, linear)
    model.start_rates(x)


def fan_in(model: CodecModel, x: np.ndarray) -> None:
    """Scales Glorot's start of all kernels to a variance of 1 / (3 fan-in), as PyTorch's layers
    start: through the products of several inverse GDNs, Glorot's reaches 1e8 in LIC-TCM."""
    # Those around the transforms start as they should.
    kept = [] if model.pixels is None else model.pixels.trainable_variables
    for variable in model.trainable_variables:
        if variable.name == "kernel" and not any(variable is v for v in kept):
            inputs, outputs = variable.shape[-2:]
            # Both fans count the window, so that it cancels.
            variable.assign(variable * np.float32(np.sqrt((inputs + outputs) / (6 * inputs))))


def principal_pair(down: DownConv2D, up: SubpixelConv2D, x: Tensor) -> np.ndarray:
    """One stage of linear chains, as `principal` sets them.

    Args:
        down: an s x s `DownConv2D` of stride s.
        up: the 1x1 `SubpixelConv2D` that undoes it.
        x: float32 [B, H, W, C], what `down` takes, of pictures.
    Returns: what `down` makes of x, float32 [B, H/s, W/s, filters].
    """
    side = up.factor
    if side > 1:
        x = ops.space_to_depth(x, side)  # [.., row, column, channel]
    blocks = ops.convert_to_numpy(x)
    components = principal_components(blocks)
    basis = np.zeros([len(components), down.filters], np.float32)
    kept = min(basis.shape)
    basis[:, :kept] = components[:, :kept]
    down.kernel.assign(basis.reshape(side, side, -1, down.filters))
    up.conv.kernel.assign(basis.T[None, None])
    return blocks @ basis


def principal_components(x: np.ndarray) -> np.ndarray:
    """Orthogonal [C, C], float64: the principal components of x [.., C] in columns, the strongest
    first. The mean is not taken away."""
    flat = np.reshape(x, [-1, x.shape[-1]])
    return np.linalg.eigh(np.float64(flat.T) @ flat)[1][:, ::-1]


def unit_start(network: keras.layers.Layer, x: Tensors) -> Tensors:
    """Scales each convolution of a transform so that its output has unit variance at the start.

    Layer by layer, as data passes (Mishkin and Matas, "All You Need Is a Good Init", ICLR 2016).
    Without it, deep residual transforms with inverse GDNs, which grow as the square, begin with
    pictures of 10^7, and those without gains with latents that the rate flattens to zero.

    Args:
        network: a built transform whose biases are still zero.
        x: its input, a tensor or a pair of them.
    Returns: the network's output, as it is scaled now.
    """

    def scale(layer, inputs, output):
        if not isinstance(layer, (keras.layers.Conv2D, keras.layers.Conv2DTranspose)):
            return None
        deviation = float(ops.std(ops.cast(output, "float32")))
        layer.kernel.assign(layer.kernel / max(deviation, 1e-6))
        return output / max(deviation, 1e-6)  # linear, without a bias: as if called again

    with watching(scale):
        network(x)
    return network(x)
