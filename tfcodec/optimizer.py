"""Adam with clipping and averaged weights, as a pure function of tensors.

Keras' optimizers on TensorFlow clip each replica's gradient before the replicas are summed and
update variables in place: the same global batch then gives other steps on other numbers of
replicas, and a step cannot be taken back. This one maps values to values, so that both backends
and every strategy share it, and a step whose gradient is not a number is never taken.
"""

import keras
from keras import ops


class Adam:
    """Adam (Kingma and Ba, ICLR 2015) with a clipped global norm and an average of the weights.

    Args:
        weights: the Keras variables to train; the optimizer's own are created beside them.
        schedule: from the number of updates made, int32, to the learning rate.
        clip_norm: largest global norm of a gradient; a longer one is scaled to it.
        ema: momentum of the averaged weights, which start at the first update's.
    `variables` is the state, in the order in which `update` takes and returns its values.
    """

    def __init__(self, weights, schedule, clip_norm, ema, betas=(0.9, 0.999), epsilon=1e-7):
        self.schedule, self.clip_norm, self.ema = schedule, clip_norm, ema
        self.betas, self.epsilon = betas, epsilon
        # Names as those of Keras' Adam, whose checkpoints can be continued.
        with keras.name_scope("adam"):
            self.iterations = _variable("iteration", (), "int32")
            self.momentums, self.velocities, self.averages = (
                [_variable(f"{w.path.replace('/', '_')}_{kind}", w.shape, w.dtype) for w in weights]
                for kind in ("momentum", "velocity", "average")
            )
        self.variables = [self.iterations, *self.momentums, *self.velocities, *self.averages]

    def update(self, state, gradients, weights):
        """One step, on values.

        Args: state: of `variables`; gradients, weights: lists of one length.
        Returns: (state, weights, norm), the last the gradient's global norm before clipping.
        """
        iteration, count = state[0], len(weights)
        momentums, velocities, averages = (
            state[1 + k * count : 1 + (k + 1) * count] for k in range(3)
        )
        norm = ops.sqrt(sum(ops.sum(ops.square(g)) for g in gradients))
        scale = self.clip_norm / ops.maximum(norm, self.clip_norm)
        past = ops.cast(iteration + 1, "float32")
        beta_1, beta_2 = self.betas
        rate = self.schedule(iteration) * ops.sqrt(1.0 - beta_2**past) / (1.0 - beta_1**past)
        keep = self.ema * ops.cast(iteration > 0, "float32")
        new_weights, slots = [], ([], [], [])
        for g, w, m, v, a in zip(gradients, weights, momentums, velocities, averages, strict=True):
            g = g * scale
            m = m + (g - m) * (1.0 - beta_1)
            v = v + (ops.square(g) - v) * (1.0 - beta_2)
            w = w - rate * m / (ops.sqrt(v) + self.epsilon)
            new_weights.append(w)
            for slot, value in zip(slots, (m, v, a * keep + w * (1.0 - keep)), strict=True):
                slot.append(value)
        return [iteration + 1, *slots[0], *slots[1], *slots[2]], new_weights, norm


def _variable(name, shape, dtype):
    return keras.Variable("zeros", shape=shape, dtype=dtype, trainable=False, name=name)
