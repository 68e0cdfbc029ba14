"""Muon and Adam with clipping and averaged weights, as a pure function of tensors.

Keras' optimizers on TensorFlow clip each replica's gradient before the replicas are summed and
update variables in place: the same global batch then gives other steps on other numbers of
replicas, and a step cannot be taken back. This one maps values to values, so that both backends
and every strategy share it, and a step whose gradient is not a number is never taken.

    gradients ─► clip ─► rule ─► steps ─► weights - rate * steps ─► average

A rule (`Muon`, `Adam`) turns clipped gradients into steps of about unit size, and says which slots
of state it keeps for each weight; `RULES` deals the weights out to rules.
"""

import math
import re
from collections.abc import Callable, Sequence

import keras
from keras import ops

from tfcodec.layers import Tensor

# What maps linearly from end to end and starts at principal components, the last layers that join
# it included: Adam's, so that it leaves its start as slowly as it should.
LINEAR = re.compile(r"/(pca|linear|inverse_linear|shortcut|head)\d*/")
NARROWEST = 8  # channels of a matrix; pixels and depthwise kernels have fewer

# Polar Express (Amsel et al., 2025): the best odd polynomials of degree 5 for five steps towards
# singular values of 1.
POLAR = (
    (8.1566, -22.4833, 15.8788),
    (4.0429, -2.8089, 0.5000),
    (3.8917, -2.7725, 0.5061),
    (3.2858, -2.3681, 0.4645),
    (2.3465, -1.7098, 0.4232),
)


def is_matrix(path: str, shape: Sequence[int]) -> bool:
    """Whether a variable is the kernel of an ordinary convolution, which `Muon` trains.

    Four axes, at least `NARROWEST` channels on both sides, and outside the `LINEAR` chains. Dense
    kernels, those of attention, are not: what Muon brings there was not measured.
    """
    wide = len(shape) == 4 and min(shape[2:]) >= NARROWEST
    return wide and path.endswith("/kernel") and not LINEAR.search(path)


def orthogonal(x: Tensor, dtype: str = "float32") -> Tensor:
    """Matrices [n, r, c] with about the singular vectors of x and singular values near 1.

    Five Newton-Schulz steps, computed in `dtype`. Input and output float32. An x of zeros stays,
    and one below 1e-15 fades: where its squares are lost to underflow, its size is not known.
    """
    tall = x.shape[-2] > x.shape[-1]
    x = ops.swapaxes(x, -1, -2) if tall else x
    size = ops.sqrt(ops.sum(ops.square(x), axis=(-1, -2), keepdims=True))
    # A little below 1, so that rounding leaves no singular value above it.
    x = ops.cast(x / (1.02 * size + 1e-15), dtype)
    for a, b, c in POLAR:
        gram = ops.matmul(x, ops.swapaxes(x, -1, -2))
        x = a * x + ops.matmul(b * gram + c * ops.matmul(gram, gram), x)
    x = ops.cast(x, "float32")
    return ops.swapaxes(x, -1, -2) if tall else x


class Adam:
    """Adam (Kingma and Ba, ICLR 2015)."""

    slots = ("momentum", "velocity")

    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-7):
        self.betas, self.epsilon = betas, epsilon

    def steps(
        self, gradients: list[Tensor], slots: Sequence[list[Tensor]], past: Tensor
    ) -> tuple[list[Tensor], tuple]:
        """(steps, slots) of the gradients, `past` updates having been made with this one."""
        beta_1, beta_2 = self.betas
        unbiased = ops.sqrt(1.0 - beta_2**past) / (1.0 - beta_1**past)
        momentums, velocities = slots
        momentums = [
            m + (g - m) * (1.0 - beta_1) for g, m in zip(gradients, momentums, strict=True)
        ]
        velocities = [
            v + (ops.square(g) - v) * (1.0 - beta_2)
            for g, v in zip(gradients, velocities, strict=True)
        ]
        steps = [
            unbiased * m / (ops.sqrt(v) + self.epsilon)
            for m, v in zip(momentums, velocities, strict=True)
        ]
        return steps, (momentums, velocities)


class Muon:
    """Muon (Jordan et al., 2024): the orthogonal matrix nearest to Nesterov's momentum.

    A kernel [k, k, in, out] is the matrix [k k in, out] from a patch to a pixel. That of a
    transposed convolution, [k, k, out, in], is by the same reshape the matrix of its adjoint,
    and the orthogonal matrix nearest to a transpose is the transpose of the nearest: one rule
    serves both. Steps are scaled by 0.2 sqrt(max(rows, columns)), so that their elements are as
    large as Adam's are in practice and one learning rate serves both (Liu et al., "Muon is
    scalable for LLM training", 2025).

    Args: dtype: of the Newton-Schulz steps, see `orthogonal`.
    """

    slots = ("momentum",)

    def __init__(self, dtype: str = "float32", beta: float = 0.95):
        self.dtype, self.beta = dtype, beta

    def steps(
        self, gradients: list[Tensor], slots: Sequence[list[Tensor]], past: Tensor
    ) -> tuple[list[Tensor], tuple]:
        """(steps, slots) of the gradients; equal shapes are computed together."""
        momentums = [self.beta * m + g for g, m in zip(gradients, *slots, strict=True)]
        groups, steps = {}, [None] * len(gradients)
        for k, g in enumerate(gradients):
            groups.setdefault((math.prod(g.shape[:3]), g.shape[3]), []).append(k)
        for shape, group in groups.items():
            ahead = [ops.reshape(gradients[k] + self.beta * momentums[k], shape) for k in group]
            found = orthogonal(ops.stack(ahead), self.dtype) * (0.2 * math.sqrt(max(shape)))
            for j, k in enumerate(group):
                step = ops.reshape(found[j], gradients[k].shape)
                # What the loss no longer sees would go on at full length for hundreds of steps.
                steps[k] = ops.where(ops.any(gradients[k] != 0), step, 0.0)
        return steps, (momentums,)


def _adam(weights, dtype):
    return [(Adam(), list(range(len(weights))))]


def _muon(weights, dtype):
    matrices = [k for k, w in enumerate(weights) if is_matrix(w.path, w.shape)]
    others = [k for k in range(len(weights)) if k not in matrices]
    return [(Muon(dtype), matrices), (Adam(betas=(0.9, 0.99)), others)]


# By name: (weights, dtype of matrix iterations) to [(rule, positions of the weights it trains)].
RULES = {"muon": _muon, "adam": _adam}


class Optimizer:
    """The rules of one name, with a clipped global norm and an average of the weights.

    Args:
        name: a key of `RULES`.
        weights: the Keras variables to train; the optimizer's own are created beside them.
        schedule: from the number of updates made, int32, and the share of the run that is over,
            float32, to the learning rate.
        clip_norm: largest global norm of a gradient; a longer one is scaled to it.
        ema: momentum of the averaged weights in a long run; they start at the first update's, and
            their memory grows with the run.
        dtype: in which Muon computes.
    `variables` is the state, in the order in which `update` takes and returns its values.
    """

    def __init__(
        self,
        name: str,
        weights: Sequence[keras.Variable],
        schedule: Callable[[Tensor, Tensor], Tensor],
        clip_norm: float,
        ema: float,
        dtype: str = "float32",
    ):
        self.schedule, self.clip_norm, self.ema = schedule, clip_norm, ema
        self.rules = RULES[name](weights, dtype)
        paths = [w.path.replace("/", "_") for w in weights]
        # Adam's names are those of Keras' Adam, whose checkpoints can be continued.
        with keras.name_scope(name):
            self.iterations = _variable("iteration", (), "int32")
            self.averages = [
                _variable(f"{path}_average", w.shape, w.dtype)
                for path, w in zip(paths, weights, strict=True)
            ]
            slots = [
                _variable(f"{paths[k]}_{slot}", weights[k].shape, weights[k].dtype)
                for rule, chosen in self.rules
                for slot in rule.slots
                for k in chosen
            ]
        self.variables = [self.iterations, *self.averages, *slots]

    def update(
        self,
        state: list[Tensor],
        gradients: list[Tensor],
        weights: list[Tensor],
        progress: float | Tensor = 0.0,
    ) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """One step, on values.

        Args:
            state: of `variables`; gradients, weights: lists of one length.
            progress: share of the run that is over, for the schedule.
        Returns: (state, weights, norm), the last the gradient's global norm before clipping.
        """
        iteration, averages, slots = (
            state[0],
            state[1 : len(weights) + 1],
            state[len(weights) + 1 :],
        )
        norm = ops.sqrt(sum(ops.sum(ops.square(g)) for g in gradients))
        scale = self.clip_norm / ops.maximum(norm, self.clip_norm)
        rate = self.schedule(iteration, progress)
        past = ops.cast(iteration + 1, "float32")
        new_weights, new_slots = list(weights), []
        for rule, chosen in self.rules:
            count = len(chosen)
            own = [slots[k * count : (k + 1) * count] for k in range(len(rule.slots))]
            slots = slots[len(rule.slots) * count :]
            steps, own = rule.steps([gradients[k] * scale for k in chosen], own, past)
            for k, step in zip(chosen, steps, strict=True):
                new_weights[k] = weights[k] - rate * step
            new_slots += [value for slot in own for value in slot]
        keep = self.ema * (past - 1.0) / (past + 49.0)
        averages = [a * keep + w * (1.0 - keep) for a, w in zip(averages, new_weights, strict=True)]
        return [iteration + 1, *averages, *new_slots], new_weights, norm


def _variable(name, shape, dtype):
    return keras.Variable("zeros", shape=shape, dtype=dtype, trainable=False, name=name)
