"""Integer convolutions carried in floating point: `exact.specification` at the speed of matmuls.

`freeze` replaces a network of convolutions and leaky ReLUs, a `FreezableNetwork`, by an
`ExactNetwork`: the same function of the same tensors, rounded to integers on the way, and therefore
the same on every machine, backend and number of threads. Activations travel as float32 that hold
integers.

Two kernels, float64 and float32 in groups of channels, each in two forms, compute the one
specification.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfcodec.entropy.chains import Wiring
from tfcodec.exact import specification
from tfcodec.layers import Shape, Tensor, Tensors

# ------------------------------------------------------------------------------------- the layers


class ExactConv2D(keras.layers.Layer):
    """An `specification.Conv`.

    Args:
        conv: its description, with arrays or without (then `assign` gives them).
        form: "conv" or "taps", one matrix product a tap of the window. By default the former under
            TensorFlow, whose steps run on the CPU, where it multiplies directly; the latter
            elsewhere, since libraries may choose convolutions that transform their input (FFT,
            Winograd), and are not exact.
    Input:  [B, h, w, C], float32 that holds integers within the profile's range; and those that are
        added, of the output's shape, or None.
    Output: [B, h', w', O / factor^2], the same.
    """

    def __init__(self, conv: specification.Conv, form: str | None = None, **kwargs: Any):
        super().__init__(dtype="float32", autocast=False, trainable=False, **kwargs)
        self.conv = conv
        self.form = form or ("conv" if keras.backend.backend() == "tensorflow" else "taps")

    def build(self, input_shape: Shape | None = None) -> None:
        self.arrays = {}
        for name, (dtype, shape) in self.conv.shapes().items():
            self.arrays[name] = self.add_weight(
                name=name, shape=shape, dtype=dtype, trainable=False, initializer="zeros"
            )
        if self.conv.arrays:
            self.assign(self.conv.arrays)
        self.built = True

    def assign(self, arrays: dict[str, np.ndarray]) -> None:
        """Gives the layer its integers."""
        for name, variable in self.arrays.items():
            variable.assign(arrays[name])

    def hold_constant(self) -> None:
        """Makes the kernel a float32 constant of the graphs that are traced from now on.

        Of 8 bits, LiteRT's converter leaves the cast in the network, and LiteRT computes
        convolutions several times slower whose kernel is not known beforehand.
        """
        self.arrays["kernel"] = np.float32(ops.convert_to_numpy(self.arrays["kernel"]))

    def call(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        x = ops.pad(x, [(0, 0), *self.conv.pads, (0, 0)])
        float64 = specification.PROFILES[self.conv.profile].kernel == "float64"
        y = self._in_float64(x) if float64 else self._in_float32(x)  # rounded, below 2^23
        numerator, bits = self.conv.slope
        if bits or numerator != 1:
            y = ops.where(y < 0, ops.floor(y * (numerator * 2.0**-bits) + 0.5), y)
        if added is not None:  # below 2^24, see `prove`
            factor = self.conv.factor
            y = y + (added if factor == 1 else ops.space_to_depth(added, factor))
        y = ops.clip(y, self._array("low", "float32"), self._array("high", "float32"))
        return y if self.conv.factor == 1 else ops.depth_to_space(y, self.conv.factor)

    def _in_float64(self, x):
        lefts = self._shift() - self._array("shifts", "int32")  # [blocks, O]
        lefts = ops.take(lefts, self.conv.block_of_channels(), axis=0)  # [C, O]
        # Scaled by powers of two, the weights of all blocks are integers of one unit.
        kernel = self._array("kernel", "float64") * _power(lefts)
        total = self._product(_cast(x, "float64"), kernel) + self._array("bias", "float64")
        limit = specification.leaky_limit(self.conv.slope)
        y = ops.clip(ops.floor(total * _power(-self._shift()) + 0.5), -limit, limit)
        return ops.cast(y, "float32")

    def _in_float32(self, x):
        kernel, shift = self._array("kernel", "float32"), self._shift()
        shifts, block = self._array("shifts", "int32"), self.conv.block_of_channels()
        total = self._array("bias", "int32")
        for start, end in zip((0, *self.conv.groups), self.conv.groups, strict=False):
            part = self._product(x[..., start:end], kernel[:, :, start:end])
            left = shift - shifts[int(block[start])]
            # A product is as exact as a shift to the left, which LiteRT does not have.
            power = ops.left_shift(ops.ones_like(left), left)
            total = total + ops.cast(part, "int32") * power
        half = ops.right_shift(ops.left_shift(ops.ones_like(shift), shift), 1)
        limit = specification.leaky_limit(self.conv.slope)
        return ops.cast(ops.clip(ops.right_shift(total + half, shift), -limit, limit), "float32")

    def _product(self, x, kernel):
        """Valid convolution of x [B, h, w, C], in one of the two forms."""
        if self.form == "conv":
            return ops.conv(
                x, kernel, self.conv.strides, padding="valid", data_format="channels_last"
            )
        (rows, columns), (down, right) = self.conv.kernel_size, self.conv.strides
        total = 0
        for i in range(rows):
            for j in range(columns):
                to_row, to_column = i + 1 - rows or None, j + 1 - columns or None
                total = total + ops.matmul(x[:, i:to_row:down, j:to_column:right], kernel[i, j])
        return total

    def _array(self, name, dtype=None):
        array = ops.convert_to_tensor(self.arrays[name])
        return array if dtype is None else _cast(array, dtype)

    def _shift(self):
        return ops.max(self._array("shifts", "int32"), axis=0)  # [O]


class ExactNetwork(keras.layers.Layer):
    """Frozen convolutions in place of the network that was frozen.

    Args:
        wiring: which tensors they take.
        convs: list of `specification.Conv`.
    Input:  [B, h, w, C], float32, multiples of 2^-20, such as decoded latents; or a tuple of them.
    Output: what the last integers mean: means in 1/64, features, or log(sigma) at a table's levels,
        where rounding cannot move the index that `entropy.gaussian` takes from it. A tuple where
        the wiring has several results.
    """

    def __init__(self, wiring: Wiring, convs: Sequence[specification.Conv], **kwargs: Any):
        super().__init__(dtype="float32", autocast=False, trainable=False, **kwargs)
        self.wiring, self.convs = wiring, []
        for conv in convs:
            # The variables' paths say which layer's they are, whoever owns the chain.
            with contextlib.ExitStack() as scopes:
                for name in conv.name.split("/"):
                    scopes.enter_context(keras.name_scope(name))
                layer = ExactConv2D(conv, name="exact")
                layer.build()
            self.convs.append(layer)
        self.built = True

    def call(self, x: Tensors) -> Tensors:
        inputs, wiring = x if isinstance(x, (tuple, list)) else (x,), self.wiring
        tensors = [self._integers(number, each) for number, each in enumerate(inputs)]
        for conv, source, other in zip(self.convs, wiring.sources, wiring.added, strict=True):
            tensors.append(conv(tensors[source], None if other is None else tensors[other]))
        results = tuple(self._mean(number, tensors[number]) for number in wiring.results)
        return results if len(results) > 1 else results[0]

    def _integers(self, number, x):
        """Those of an input. The scales are powers of two: nothing is lost before the rounding."""
        first = self.convs[self.wiring.sources.index(number)]
        most = specification.PROFILES[first.conv.profile].input_max
        return ops.clip(ops.floor(x / first._array("in_scale") + 0.5), -most, most)

    def _mean(self, number, integers):
        """What those of a result mean."""
        last = self.convs[number - self.wiring.inputs]
        return integers * last._array("out_scale") + last._array("out_offset")


class StraightThrough(keras.layers.Layer):
    """What an `ExactNetwork` computes, with the gradient of the network that it was made of.

    Input and output: those of the two, which are of one shape.
    """

    def __init__(self, network: keras.Layer, exact: ExactNetwork, **kwargs: Any):
        super().__init__(dtype="float32", autocast=False, **kwargs)
        self.network, self.exact = network, exact
        self.built = True

    def call(self, x: Tensors) -> Tensors:
        return keras.tree.map_structure(self._with_gradient, self.exact(x), self.network(x))

    def _with_gradient(self, exact, y):
        # The difference is 0 exactly, so that the integers stay what they are.
        return ops.stop_gradient(exact) + (y - ops.stop_gradient(y))


def _cast(x, dtype):
    x = ops.cast(x, dtype)
    # JAX without x64 casts to float32 where float64 is asked for, with a mere warning.
    if keras.backend.standardize_dtype(x.dtype) != dtype:
        raise ValueError(
            f"this backend computes in {x.dtype} where {dtype} is needed; in JAX, set "
            "jax_enable_x64"
        )
    return x


def _power(exponent):
    """2^exponent in float64, exactly, for int32 exponents from -62 to 62."""
    ones = ops.ones_like(exponent, dtype="int64")
    large = ops.left_shift(ones, ops.cast(ops.abs(exponent), "int64"))
    large = _cast(large, "float64")
    return ops.where(exponent < 0, 1.0 / large, large)


@contextlib.contextmanager
def by_the_specification() -> Iterator[None]:
    """Within it, exact layers called eagerly compute in numpy's integers: slow, and the law."""
    call = ExactConv2D.call

    def specified(layer, x, added=None):
        arrays = {name: ops.convert_to_numpy(array) for name, array in layer.arrays.items()}
        conv = dataclasses.replace(layer.conv, arrays=arrays)
        integers = [None if t is None else ops.convert_to_numpy(t) for t in (x, added)]
        return ops.convert_to_tensor(conv.apply(*integers).astype(np.float32))

    ExactConv2D.call = specified
    try:
        yield
    finally:
        ExactConv2D.call = call


# --------------------------------------------------------------------------------------- freezing
