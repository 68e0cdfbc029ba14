"""Rounding, its straight-through form, and the uniform noise that stands for it in training."""

from keras import ops

from tfcodec.layers import Tensor


def round_straight_through(x: Tensor) -> Tensor:
    """round(x), half to even, with gradient 1 (Theis et al., ICLR 2017)."""
    return x + ops.stop_gradient(ops.round(x) - x)


def uniform_noise(like: Tensor, keys: Tensor, salt: int) -> Tensor:
    """Noise in [-1/2, 1/2) that is a function of (keys, salt, position) and of nothing else.

    A counter through a mixing function instead of a generator with a state: every backend, and any
    split of the batch over replicas, draws the same numbers.

    Args:
        like: [B, ...], gives the shape.
        keys: uint32 [B], one well-mixed key per example.
        salt: Python integer, tells tensors of one example apart.
    Output: float32, shape of `like`.
    """
    shape = ops.shape(like)
    count = 1
    for side in shape[1:]:
        count = count * side
    position = ops.cast(ops.arange(count, dtype="int32"), "uint32")
    counter = ops.multiply(position, _u32(0x9E3779B9)) + _u32((salt * 0x85EBCA77 + 1) % 2**32)
    bits = ops.bitwise_xor(_mix(counter)[None, :], keys[:, None])
    bits = _mix(bits)
    uniform = ops.cast(ops.right_shift(bits, _u32(8)), "float32") * 2.0**-24
    return ops.reshape(uniform, shape) - 0.5


def _mix(h):
    """The 32-bit finaliser of MurmurHash3 (public domain): an input bit moves every output bit."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = ops.bitwise_xor(h, ops.right_shift(h, _u32(shift)))
        h = ops.multiply(h, _u32(factor))
    return ops.bitwise_xor(h, ops.right_shift(h, _u32(16)))


def _u32(value):
    return ops.convert_to_tensor(value, dtype="uint32")
