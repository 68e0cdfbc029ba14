"""One step of training, as a function of values: what is seen, what is minimised, what it changes.

    plan ─► objective ─► gradients (the backend's) ─► update ─► values of `variables` after the step

Knows no backend, no pictures and no files: `backend_tensorflow` and `backend_jax` compile it, the
`Trainer` holds both.
"""

from types import ModuleType

import keras
import numpy as np
from keras import ops

from tfcodec.errors import InputError
from tfcodec.layers import Tensor
from tfcodec.models.base import CodecModel
from tfcodec.training import crops, losses
from tfcodec.training.optimizer import Optimizer
from tfcodec.training.schedule import Schedule
from tfcodec.training.settings import Settings, check, check_crop

CALM = 0.02  # of the running share of steps without a spike, how much the newest counts


class TrainingStep:
    """A model with its optimizer, and the step that trains both.

    Args:
        model: a built `CodecModel`.
        settings: a `Settings`.
        count: number of pictures, for the plan.
    `variables` are what a step maps to its next values, in the order of `update`.
    """

    def __init__(self, model: CodecModel, settings: Settings, count: int):
        check(settings)
        check_crop(settings, model.stride)
        self.model, self.settings, self.count = model, settings, count
        self.rate_weights = rate_weights(settings.rate_weights, model)
        self.optimizer = Optimizer(
            settings.optimizer,
            model.trainable_variables,
            Schedule(settings),
            settings.clip_norm,
            settings.ema,
            settings.precision,
        )
        # Steps that were no numbers, steps that were spikes, and how calm the last ones were.
        self.tally = [
            keras.Variable(0, dtype=dtype, trainable=False, name=name)
            for name, dtype in (("skipped", "int32"), ("spikes", "int32"), ("calm", "float32"))
        ]
        self.variables = [*model.trainable_variables, *self.optimizer.variables, *self.tally]

    def plan(
        self, number: int | Tensor, xp: ModuleType = np, seed: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The plan of a step by its number, see `crops.plan`; seed: traced, or the settings'."""
        return crops.plan(
            number,
            count=self.count,
            batch_size=self.settings.batch_size,
            num_rungs=len(self.model.lambdas),
            seed=self.settings.seed if seed is None else seed,
            xp=xp,
        )

    def objective(
        self, x: Tensor, rung: Tensor, keys: Tensor, progress: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`losses.rate_distortion` as the settings have it, when `progress` of the run is over."""
        return losses.rate_distortion(
            self.model,
            x,
            rung,
            keys,
            rate_weights=self.rate_weights,
            progress=progress,
            distortion=self.settings.distortion,
        )

    def update(
        self, state: list[Tensor], objective: Tensor, gradients: list[Tensor], progress: Tensor
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """(values of `variables` after a step, from those before it; measurements of the update).

        A step changes nothing but the tally if its objective or gradient is not finite, or if its
        gradient is a spike while more than half of the last steps had none: a young model's are
        large all the time.
        """
        count, s = len(self.model.trainable_variables), self.settings
        weights, slots = state[:count], state[count : -len(self.tally)]
        skipped, spikes, calm = state[-len(self.tally) :]
        new_slots, new_weights, norm = self.optimizer.update(slots, gradients, weights, progress)
        finite = ops.logical_and(ops.isfinite(objective), ops.isfinite(norm))
        large = ops.logical_and(finite, norm > s.spike * s.clip_norm)
        spike = ops.logical_and(large, calm > 0.5)
        sound = ops.logical_and(finite, ops.logical_not(spike))
        values = [
            ops.where(sound, new, old)
            for new, old in zip([*new_weights, *new_slots], [*weights, *slots], strict=True)
        ]
        below = ops.cast(ops.logical_and(finite, ops.logical_not(large)), "float32")
        tally = [
            skipped + ops.cast(ops.logical_not(finite), "int32"),
            spikes + ops.cast(spike, "int32"),
            calm + (below - calm) * CALM,
        ]
        rate = self.optimizer.schedule(slots[0], progress)
        return [*values, *tally], {"gradient_norm": norm, "learning_rate": rate}


def rate_weights(text: str, model: CodecModel) -> dict[str, float]:
    """ "low=0.9,high=1.1" as a dictionary. Raises InputError for a part that the model lacks."""
    weights, names = {}, {part.name for part in model.parts}
    for item in filter(None, text.split(",")):
        name, _, value = item.partition("=")
        try:
            weights[name] = float(value)
        except ValueError:
            raise InputError(f"rate_weights are NAME=NUMBER,.., received {item!r}") from None
        if name not in names:
            raise InputError(f"there is no part {name!r}; the parts are {', '.join(sorted(names))}")
    return weights
