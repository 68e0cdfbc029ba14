"""A training run's state: the step, the device's form of it, and how far the run has come."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Sequence

import numpy as np
from absl import logging
from keras import ops

from tfcodec.errors import InputError
from tfcodec.layers import Tensor
from tfcodec.models.base import CodecModel
from tfcodec.training import checkpoint, crops, weights
from tfcodec.training.backends import backend
from tfcodec.training.schedule import Clock
from tfcodec.training.settings import CURVE, Settings
from tfcodec.training.step import TrainingStep


class Trainer:
    """A model on its way: a `TrainingStep`, the backend's compiled form of it, and the clock.

    Under TensorFlow, model and trainer are made inside the scope of a strategy, see
    `backend_tensorflow.scope`; every process makes the same and then calls `synchronise`.

    Args:
        model: a built `CodecModel`.
        pictures: `pictures.Pictures` of at least `settings.crop` pixels a side.
        settings: a `Settings`.
    """

    def __init__(self, model: CodecModel, pictures: Sequence[np.ndarray], settings: Settings):
        self.model, self.pictures, self.settings = model, pictures, settings
        self.training_step = TrainingStep(model, settings, len(pictures))
        self.backend = backend().Steps(self.training_step, pictures)
        self.step, self.clock = 0, Clock(settings)
        self.over = False  # see `run`
        self.waited, self.input_bound = 0.0, 0  # see `run`

    def synchronise(self) -> None:
        """Gives every process the chief's step and variables, and compares their pictures.

        Raises: InputError in every process if the pictures differ in number.
        """
        self.step = self.backend.synchronise(self.step)

    def run(self, last: int) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Trains up to step `last`, or as long as the settings' seconds last; yields (step reached,
        metrics of that step) now and then. `over` says with the last of them that it is the last.

        `waited` grows by the seconds without a batch to work on, `input_bound` by the steps that
        waited longer for their batch than for the device.
        """
        first, width = self.step, self.backend.steps_per_dispatch

        def make(k):
            return self.backend.make(first + k * width, min(first + (k + 1) * width, last))

        count = -(-(last - first) // width)
        previous = None
        for batch, waited in crops.prefetch(make, 0, count, self.settings.input_threads):
            start = time.perf_counter()
            self.clock.start()
            steps = min(width, last - self.step)
            progress = [self.clock.progress(self.step + k) for k in range(steps)]
            measured = self.backend.dispatch(batch, np.float32(progress))
            # At most one dispatch runs ahead of the device, or waiting would say nothing.
            if previous is not None:
                ops.convert_to_numpy(previous["loss"])
            self.waited += waited
            self.input_bound += steps * (waited > time.perf_counter() - start)
            self.step += steps
            # By the clock it is over when a step has seen its end: the last one's rate is zero.
            self.over = self.step >= last or self.backend.ended(progress[-1])
            yield self.step, measured
            if self.over:
                return
            previous = measured

    @contextlib.contextmanager
    def averaged(self) -> Iterator[CodecModel]:
        """The model with the averaged weights, inside the block."""
        variables, averages = self.model.trainable_variables, self.training_step.optimizer.averages
        last = [ops.convert_to_numpy(v) for v in variables]
        if self.step:
            for variable, average in zip(variables, averages, strict=True):
                variable.assign(ops.convert_to_numpy(average))
        try:
            yield self.model
        finally:
            for variable, value in zip(variables, last, strict=True):
                variable.assign(value)

    # ---------------------------------------------------------------- checkpoints

    def save(self, directory: str) -> None:
        """Writes `directory/step-N` with everything that `restore` needs; removes older ones."""
        variables, slots = self.model.variables, self.training_step.optimizer.variables
        arrays = {f"model/{v.path}": v for v in variables}
        arrays |= {f"optimizer/{v.path}": v for v in slots}
        if len(arrays) != len(variables) + len(slots):
            raise ValueError("two variables share a path; give their layers names of their own")
        state = {
            "step": self.step,
            "seconds": self.clock.seconds,
            "pictures": len(self.pictures),
            "lambdas": list(self.model.lambdas),
            **{v.name: ops.convert_to_numpy(v).item() for v in self.training_step.tally},
            "settings": dataclasses.asdict(self.settings),
        }
        path = os.path.join(directory, f"step-{self.step:08d}")
        checkpoint.write(path, weights.values_of(arrays), state)
        for older in checkpoint.listed(directory)[:-2]:
            checkpoint.remove(older)

    def save_weights(self, directory: str) -> None:
        """Writes the averaged weights alone; `initialise` takes them.

        They are made to travel: arrays of `weights.LARGE` elements and more are in float16, which
        is finer than the bfloat16 of exports, in pieces of less than 16 MiB. An earlier set in
        `directory` is replaced when the new one is whole.
        Raises: InputError if `directory` holds anything else.
        """
        checkpoint.check_replaceable(directory)
        trainable, averages = self.model.trainable_variables, self.training_step.optimizer.averages
        named = {v.path: v for v in self.model.variables}
        if self.step:
            named |= {v.path: a for v, a in zip(trainable, averages, strict=True)}
        values = weights.values_of({f"model/{path}": v for path, v in named.items()})
        state = {"step": self.step, "lambdas": list(self.model.lambdas)}
        checkpoint.write(directory, {name: weights.lighten(v) for name, v in values.items()}, state)

    def resume(self, directory: str) -> str | None:
        """Continues from the newest whole checkpoint in a run's directory; returns its path, or
        None if there is none.

        Raises: InputError if it belongs to another model.
        """
        found = checkpoint.newest(directory)
        if found is None:
            return None
        path, arrays, state = found
        optimizer = state["settings"].get("optimizer", "adam")  # before there was a choice
        if optimizer != self.settings.optimizer:
            raise InputError(
                f"{path}: trained with --optimizer={optimizer}, now it is "
                f"{self.settings.optimizer}; continue with the former, or begin another --run_dir "
                f"with --init_from={directory}"
            )
        for prefix, variables in (
            ("model", self.model.variables),
            ("optimizer", self.training_step.optimizer.variables),
        ):
            named = {k[len(prefix) + 1 :]: v for k, v in arrays.items() if k.startswith(prefix)}
            weights.assign(variables, named, path)
        for variable in self.training_step.tally:
            variable.assign(state.get(variable.name, 0))
        self.step, self.clock.before = state["step"], state.get("seconds", 0.0)
        self._notice_changes(state)
        return path

    def _notice_changes(self, state):
        """Says what of a checkpoint's run another one continues with."""
        now = {
            **dataclasses.asdict(self.settings),
            "pictures": len(self.pictures),
            "lambda": list(self.model.lambdas),
        }
        known = {"pictures": state.get("pictures"), "lambda": state.get("lambdas")}
        before = {**state["settings"], **{k: v for k, v in known.items() if v is not None}}
        for name in (*CURVE, "pictures", "lambda"):
            if before.get(name, now[name]) != now[name]:
                logging.warning("continued with %s %s, was %s", name, now[name], before[name])

    @property
    def updates(self) -> int:
        """How many steps have changed the weights, those of a continued run included."""
        return int(ops.convert_to_numpy(self.training_step.optimizer.iterations))
