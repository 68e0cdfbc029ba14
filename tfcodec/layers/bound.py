"""Bounds whose gradient still pulls a variable back inside (as TensorFlow Compression's)."""

from keras import ops

from tfcodec.layers import Tensor


@ops.custom_gradient
def _maximum(x, bound):
    inside = ops.greater_equal(x, bound)

    def grad(*args, upstream=None):
        # TensorFlow and JAX pass the upstream gradient by position, PyTorch by name.
        upstream = args[0] if upstream is None else upstream
        passes = ops.logical_or(inside, ops.less(upstream, 0))
        return ops.where(passes, upstream, ops.zeros_like(upstream)), ops.zeros_like(bound)

    return ops.maximum(x, bound), grad


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """max(x, bound), with a gradient that also passes where it would raise an x below the bound.

    A plain maximum stops learning for ever once x falls below the bound; this one does not.

    Args:
        x: float tensor or variable of any shape.
        bound: number.
    """
    # Adding zero makes a tensor of a variable: TensorFlow's custom gradients refuse variables.
    return _maximum(ops.add(x, 0), ops.cast(bound, x.dtype))


def upper_bound(x: Tensor, bound: float) -> Tensor:
    """min(x, bound), with a gradient that also passes where it would lower an x above the bound."""
    return -lower_bound(-x, -bound)
