"""Training steps on JAX: one accelerator, with the pictures on it.

Plans, crops and noise are made inside the compiled step, and one call computes
`settings.steps_per_dispatch` of them: between two calls the host has nothing to prepare.
"""

import concurrent.futures
import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence

import jax
import keras
import numpy as np

from tfcodec.errors import InputError
from tfcodec.layers import Tensor
from tfcodec.models.base import CodecModel
from tfcodec.training.step import TrainingStep


@contextlib.contextmanager
def scope(strategy: str = "default", deterministic: bool = False) -> Iterator[None]:
    """Model, trainer and training belong inside the block; see `backend_tensorflow`.

    Raises: InputError for any strategy but the default one, and for `deterministic`.
    """
    if strategy != "default":
        raise InputError(f"--strategy={strategy} needs the TensorFlow backend, this one is JAX")
    if deterministic:
        raise InputError(
            "--deterministic is of the TensorFlow backend; for JAX set the variable "
            "XLA_FLAGS=--xla_gpu_deterministic_ops=true"
        )
    yield


def device() -> str:
    """What the steps are computed on, in words."""
    first = jax.devices()[0]
    return f"CPU with {os.cpu_count()} cores" if first.platform == "cpu" else first.device_kind


def host() -> contextlib.AbstractContextManager:
    """Where models are built and started: on the processor.

    Every operation that runs by itself on an accelerator costs a compilation there.
    """
    return jax.default_device(jax.local_devices(backend="cpu")[0])


class Steps:
    """A compiled `TrainingStep`; pictures and variables go to the device when this is made.

    A call takes the numbers of its steps and what share of the run is over, and nothing else:
    what the steps see is planned, cut and drawn where they are computed.
    """

    chief, workers, replicas = True, 1, 1

    def __init__(self, step: TrainingStep, pictures: Sequence[np.ndarray]):
        self.step = step
        self.steps_per_dispatch = step.settings.steps_per_dispatch
        device = jax.devices()[0]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            decoded = list(pool.map(pictures.__getitem__, range(len(pictures))))
        sides = np.int32([p.shape[:2] for p in decoded])
        starts = np.cumsum([0] + [p.size for p in decoded])  # the last is the end of all
        if starts[-1] >= 2**31:
            raise InputError("the decoded pictures exceed 2 GiB; the device's index has 32 bits")
        pixels = np.concatenate([np.empty(0, np.uint8), *(p.reshape(-1) for p in decoded)])
        self.pixels, self.sides = jax.device_put(pixels, device), jax.device_put(sides, device)
        self.starts = jax.device_put(starts.astype(np.int32), device)
        for variable in [*step.variables, *step.model.non_trainable_variables]:
            variable.assign(jax.device_put(np.asarray(variable.value), device))

        def many_steps(state, fixed, steps, pixels, seed):
            def one_step(state, one):
                return self._one_step(state, fixed, *one, pixels, seed)

            return jax.lax.scan(one_step, state, steps)

        self._many_steps = jax.jit(many_steps, donate_argnums=0)

    def make(self, first: int, last: int) -> np.ndarray:
        """The numbers of steps; the rest is made on the device."""
        return np.arange(first, last, dtype=np.int32)

    def dispatch(self, steps: np.ndarray, progress: np.ndarray) -> dict[str, Tensor]:
        """Computes steps on a result of `make`; returns the metrics of the last.

        Args: progress: float32 of the shape of `steps`, the share of the run that is over.
        """
        variables, fixed = self.step.variables, self.step.model.non_trainable_variables
        # The seed is an argument: what JAX keeps of a compilation serves runs of all seeds.
        seed = np.uint32(self.step.settings.seed)
        state, measured = self._many_steps(
            [v.value for v in variables],
            [v.value for v in fixed],
            (steps, progress),
            self.pixels,
            seed,
        )
        for variable, value in zip(variables, state, strict=True):
            variable.assign(value)
        return {key: value[-1] for key, value in measured.items()}

    def agreed(self, stop: bool, measured: dict[str, Tensor]) -> bool:
        """Whether the run stops after this step."""
        return stop

    def ended(self, progress: float) -> bool:
        """Whether the step just dispatched has seen the end of the run."""
        return progress >= 1

    def synchronise(self, number: int) -> int:
        """The number of the chief's step, which is ours."""
        return number

    def _crop(self, pixels, plan):
        """One crop [size, size, 3] for one example's plan: rows cut from the flat buffer."""
        size = self.step.settings.crop
        height, width = self.sides[plan["index"]]
        top = (plan["top"] * (height - size + 1)).astype("int32")
        left = (plan["left"] * (width - size + 1)).astype("int32")
        first = self.starts[plan["index"]] + (top * width + left) * 3
        rows = first + jax.numpy.arange(size) * width * 3
        cut = jax.vmap(lambda row: jax.lax.dynamic_slice(pixels, (row,), (size * 3,)))(rows)
        cut = cut.reshape(size, size, 3)
        cut = jax.numpy.where(plan["flip"], cut[:, ::-1], cut)
        return jax.numpy.where(plan["turn"], cut.swapaxes(0, 1), cut)

    def _one_step(self, state, fixed, number, progress, pixels, seed):
        step = self.step
        weights = step.model.trainable_variables
        plan = step.plan(number, jax.numpy, seed)
        x = jax.vmap(self._crop, in_axes=(None, 0))(pixels, plan)

        def objective(values):
            mapping = [
                *zip(weights, values, strict=True),
                *zip(step.model.non_trainable_variables, fixed, strict=True),
            ]
            with keras.StatelessScope(state_mapping=mapping):
                return step.objective(x, plan["rung"], plan["key"], progress)

        values = state[: len(weights)]
        (loss, measured), gradients = jax.value_and_grad(objective, has_aux=True)(values)
        values, update = step.update(state, loss, gradients, progress)
        return values, {**measured, **update}


@functools.lru_cache(maxsize=1)
def forward(model: CodecModel) -> Callable:
    """The forward pass of evaluation; kept, because validation comes again and again."""

    @jax.jit
    def compiled(values, x, rung):
        mapping = list(zip(model.variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return model(x, rung)

    return lambda x, rung: compiled([v.value for v in model.variables], x, rung)


def events(run_dir: str) -> Callable[[int, dict], None]:
    """A function of (step, {name: number}); there is no TensorBoard without TensorFlow."""
    return lambda step, scalars: None
