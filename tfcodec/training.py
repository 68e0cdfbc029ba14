"""The training step and its loop, on the TensorFlow or the JAX backend of Keras.

One step is: a plan (which crops, rungs and noise, a function of seed and step), the rate-distortion
objective, its gradient, and a Keras optimizer with clipping and an exponential moving average of
the weights. On JAX the pictures live on the device and crops are cut inside the compiled step.
"""

import contextlib
import dataclasses
import functools
import json
import math
import os
import shutil
import time

import keras
import numpy as np
from absl import logging

from tfcodec import data, losses
from tfcodec.errors import InputError

PIECE_BYTES = 16 << 20  # checkpoints are written in pieces of at most this


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run is made of, beside model and data; one flag of `train_tf.py` a field."""

    steps: int = 1_000_000
    batch_size: int = 8
    crop: int = 256  # pixels a side
    learning_rate: float = 1e-3  # of Adam, after the warm-up
    warmup: int = 200  # steps of linear rise
    cooldown: float = 0.25  # share of the run in which the rate falls to 1 % as 1 - sqrt
    clip_norm: float = 1.0  # of the global gradient norm
    ema: float = 0.999  # momentum of the averaged weights, which are what is exported
    rate_weights: str = ""  # of the parts' bits in the loss, as low=0.9,high=1.1
    precision: str = "bfloat16"  # of the transforms; the entropy maths is float32 always
    seed: int = 0
    checkpoint_every: int = 1000  # steps
    validate_every: int = 2000  # steps
    log_every: int = 100  # steps
    steps_per_dispatch: int = 1  # JAX only: steps inside one compiled call


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Warm-up, a constant rate, and a fall over the last part of the run.

    The constant part knows nothing of the run's length: a run can be continued, or cooled down
    early, by resuming it with another number of steps.
    """

    def __init__(self, settings):
        self.settings = settings

    def __call__(self, step):
        s = self.settings
        step = keras.ops.cast(step, "float32")
        start = s.steps * (1.0 - s.cooldown)
        progress = keras.ops.clip((step - start) / max(s.steps - start, 1.0), 0.0, 1.0)
        rise = keras.ops.minimum((step + 1.0) / max(s.warmup, 1), 1.0)
        return s.learning_rate * rise * (1.0 - 0.99 * keras.ops.sqrt(progress))

    def get_config(self):
        return {"settings": dataclasses.asdict(self.settings)}


def set_precision(settings):
    """Sets Keras' global policy; call it before the model is built."""
    policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[settings.precision]
    keras.mixed_precision.set_global_policy(policy)


class Trainer:
    """A model with its optimizer, and the step that trains both.

    Args:
        model: a built `CodecModel`.
        pictures: `data.Pictures` of at least `settings.crop` pixels a side.
        settings: a `Settings`.
    """

    def __init__(self, model, pictures, settings):
        self.model, self.pictures, self.settings = model, pictures, settings
        self.rate_weights = _rate_weights(settings.rate_weights, model)
        self.optimizer = keras.optimizers.Adam(
            Schedule(settings),
            global_clipnorm=settings.clip_norm,
            use_ema=True,
            ema_momentum=settings.ema,
            name="adam",  # part of the variables' paths, which Keras would number
        )
        self.optimizer.build(model.trainable_variables)
        self.step = 0
        self._run = {"tensorflow": _tensorflow_steps, "jax": _jax_steps}[keras.backend.backend()](
            self
        )

    def plan(self, step):
        """The plan of one step, see `data.plan`."""
        return data.plan(
            step,
            count=len(self.pictures),
            batch_size=self.settings.batch_size,
            num_rungs=len(self.model.lambdas),
            seed=self.settings.seed,
        )

    def run(self, last):
        """Trains up to step `last`; yields (step reached, metrics of that step) now and then."""
        for step, metrics in self._run(self.step, last):
            self.step = step
            yield step, metrics

    @contextlib.contextmanager
    def averaged(self):
        """The model with the averaged weights, inside the block."""
        weights = [keras.ops.convert_to_numpy(v) for v in self.model.trainable_variables]
        if self.step:
            self.optimizer.finalize_variable_values(self.model.trainable_variables)
        try:
            yield self.model
        finally:
            for variable, value in zip(self.model.trainable_variables, weights, strict=True):
                variable.assign(value)

    # ---------------------------------------------------------------- checkpoints

    def save(self, directory):
        """Writes `directory/step-N` with everything that `restore` needs; removes older ones.

        It is written under another name and renamed: a checkpoint that can be seen is whole.
        """
        target = os.path.join(directory, f"step-{self.step:08d}")
        partial = target + ".partial"
        shutil.rmtree(partial, ignore_errors=True)
        os.makedirs(partial)
        arrays = {f"model/{v.path}": v for v in self.model.variables}
        arrays |= {f"optimizer/{v.path}": v for v in self.optimizer.variables}
        if len(arrays) != len(self.model.variables) + len(self.optimizer.variables):
            raise ValueError("two variables share a path; give their layers names of their own")
        _write_pieces(partial, arrays)
        state = {"step": self.step, "settings": dataclasses.asdict(self.settings)}
        with open(os.path.join(partial, "state.json"), "w") as file:
            json.dump(state, file, indent=1)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(partial, target)
        for older in checkpoints(directory)[:-2]:
            shutil.rmtree(older)

    def save_weights(self, directory):
        """Writes the averaged weights alone, a quarter of a checkpoint; `initialise` takes them.

        An earlier set in `directory` is replaced when the new one is whole.
        Raises: InputError if `directory` holds anything else.
        """
        if os.path.exists(directory):
            if any(not name.startswith("piece-") for name in os.listdir(directory)):
                raise InputError(f"{directory}: exists and holds other files; it is not replaced")
        partial = os.path.normpath(directory) + ".partial"
        shutil.rmtree(partial, ignore_errors=True)
        os.makedirs(partial)
        with self.averaged() as model:
            _write_pieces(partial, {f"model/{v.path}": v for v in model.variables})
        shutil.rmtree(directory, ignore_errors=True)
        os.rename(partial, directory)

    def restore(self, path):
        """Continues from a checkpoint of `save`.

        Raises: InputError if it is of another model.
        """
        arrays = load_arrays(path)
        for prefix, variables in (
            ("model", self.model.variables),
            ("optimizer", self.optimizer.variables),
        ):
            named = {k[len(prefix) + 1 :]: v for k, v in arrays.items() if k.startswith(prefix)}
            _assign(variables, named, path)
        with open(os.path.join(path, "state.json")) as file:
            self.step = json.load(file)["step"]


def _rate_weights(text, model):
    """ "low=0.9,high=1.1" as a dictionary. Raises InputError for a part that the model lacks."""
    weights, names = {}, {part["name"] for part in model.parts}
    for item in filter(None, text.split(",")):
        name, _, value = item.partition("=")
        try:
            weights[name] = float(value)
        except ValueError:
            raise InputError(f"rate_weights are NAME=NUMBER,.., received {item!r}") from None
        if name not in names:
            raise InputError(f"there is no part {name!r}; the parts are {', '.join(sorted(names))}")
    return weights


def checkpoints(directory):
    """Paths of the whole checkpoints in a run's directory, oldest first."""
    if not os.path.isdir(directory):
        return []
    names = sorted(n for n in os.listdir(directory) if n.startswith("step-"))
    return [os.path.join(directory, n) for n in names if not n.endswith(".partial")]


def load_arrays(path):
    """All arrays of a checkpoint, by name."""
    arrays = {}
    for name in sorted(os.listdir(path)):
        if name.endswith(".npz"):
            with np.load(os.path.join(path, name), allow_pickle=False) as piece:
                arrays.update(piece.items())
    return arrays


def averaged_weights(path):
    """Averaged weights of a checkpoint, by the path of the model's variable."""
    arrays = load_arrays(path)
    weights = {k[len("model/") :]: v for k, v in arrays.items() if k.startswith("model/")}
    if not weights:
        raise InputError(f"{path}: not a checkpoint of train_tf.py")
    for name in weights:
        # Keras names the average of `a/b` `optimizer/a_b_average` (slashes become underscores).
        average = arrays.get(f"optimizer/adam/{name.replace('/', '_')}_average")
        if average is not None:
            weights[name] = average
    return weights


def initialise(model, path):
    """Gives a model the weights of a checkpoint, of a run's newest checkpoint, or of an export.

    Raises: InputError if it is none of them, or a variable of the model is missing or misshapen.
    """
    if os.path.isfile(os.path.join(path, "config.json")):
        from tfcodec import export

        weights = export.read_weights(path)
    else:
        weights = averaged_weights((checkpoints(path) or [path])[-1])
    _assign(model.variables, weights, path)


def _assign(variables, values, path):
    """Gives each variable its value by path; raises InputError for one missing or misshapen."""
    for variable in variables:
        value = values.get(variable.path)
        if value is None or tuple(value.shape) != tuple(variable.shape):
            found = "nothing" if value is None else list(value.shape)
            expected = list(variable.shape)
            raise InputError(f"{path}: {variable.path} should be {expected}, found {found}")
        variable.assign(value)


def _write_pieces(directory, variables):
    arrays = {name: keras.ops.convert_to_numpy(v) for name, v in variables.items()}
    for k, piece in enumerate(_pieces(arrays)):
        np.savez(os.path.join(directory, f"piece-{k:02d}.npz"), **piece)


def _pieces(arrays):
    piece, size = {}, 0
    for name, array in arrays.items():
        if piece and size + array.nbytes > PIECE_BYTES - 65536:
            yield piece
            piece, size = {}, 0
        piece[name], size = array, size + array.nbytes
    yield piece


# -------------------------------------------------------------------- the step, by backend


def _tensorflow_steps(trainer):
    import tensorflow as tf

    model, optimizer, settings = trainer.model, trainer.optimizer, trainer.settings
    size = settings.crop

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, size, size, 3], tf.uint8),
            tf.TensorSpec([None], tf.float32),
            tf.TensorSpec([None], tf.uint32),
        ]
    )
    def train_step(x, rung, keys):
        progress = tf.cast(optimizer.iterations, tf.float32) / settings.steps
        with tf.GradientTape() as tape:
            loss, metrics = losses.rate_distortion(
                model, x, rung, keys, trainer.rate_weights, progress
            )
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return metrics

    def make(step):
        plan = trainer.plan(step)
        return data.crops(trainer.pictures, plan, size), plan["rung"], plan["key"]

    def run(first, last):
        for step, batch in enumerate(data.prefetch(make, first, last), start=first):
            yield step + 1, train_step(*batch)

    return run


def _jax_steps(trainer):
    import jax

    model, optimizer, settings = trainer.model, trainer.optimizer, trainer.settings
    size = settings.crop
    pictures = [trainer.pictures[k] for k in range(len(trainer.pictures))]
    sides = np.int32([p.shape[:2] for p in pictures])
    starts = np.cumsum([0] + [p.size for p in pictures])  # the last is the end of all
    if starts[-1] >= 2**31:
        raise InputError("the decoded pictures exceed 2 GiB; the device's index has 32 bits")
    pixels = np.concatenate([np.empty(0, np.uint8), *(p.reshape(-1) for p in pictures)])
    pixels, sides = jax.device_put(pixels), jax.device_put(sides)
    starts = jax.device_put(starts.astype(np.int32))

    def crop(pixels, plan):
        """One crop [size, size, 3] for one example's plan: rows cut from the flat buffer."""
        height, width = sides[plan["index"]]
        top = (plan["top"] * (height - size + 1)).astype("int32")
        left = (plan["left"] * (width - size + 1)).astype("int32")
        first = starts[plan["index"]] + (top * width + left) * 3
        rows = first + jax.numpy.arange(size) * width * 3
        cut = jax.vmap(lambda row: jax.lax.dynamic_slice(pixels, (row,), (size * 3,)))(rows)
        cut = cut.reshape(size, size, 3)
        return jax.numpy.where(plan["flip"], cut[:, ::-1], cut)

    def objective(trainable, non_trainable, x, rung, keys, progress):
        mapping = [
            *zip(model.trainable_variables, trainable, strict=True),
            *zip(model.non_trainable_variables, non_trainable, strict=True),
        ]
        with keras.StatelessScope(state_mapping=mapping):
            return losses.rate_distortion(model, x, rung, keys, trainer.rate_weights, progress)

    counter = [v is optimizer.iterations for v in optimizer.variables].index(True)

    def one_step(state, plan, pixels):
        trainable, non_trainable, slots = state
        x = jax.vmap(crop, in_axes=(None, 0))(pixels, plan)
        gradient = jax.value_and_grad(objective, has_aux=True)
        progress = slots[counter].astype("float32") / settings.steps
        (_, metrics), gradients = gradient(
            trainable, non_trainable, x, plan["rung"], plan["key"], progress
        )
        trainable, slots = optimizer.stateless_apply(slots, gradients, trainable)
        return (trainable, non_trainable, slots), metrics

    @jax.jit
    def many_steps(state, plans, pixels):
        return jax.lax.scan(lambda s, p: one_step(s, p, pixels), state, plans)

    def make(span):
        plans = [trainer.plan(step) for step in range(*span)]
        return {key: np.stack([p[key] for p in plans]) for key in plans[0]}

    def run(first, last):
        width = settings.steps_per_dispatch
        spans = [(s, min(s + width, last)) for s in range(first, last, width)]
        state = (
            [v.value for v in model.trainable_variables],
            [v.value for v in model.non_trainable_variables],
            [v.value for v in optimizer.variables],
        )
        batches = data.prefetch(lambda k: make(spans[k]), 0, len(spans))
        for span, plans in zip(spans, batches, strict=True):
            state, metrics = many_steps(state, plans, pixels)
            for variables, values in zip(
                (model.trainable_variables, model.non_trainable_variables, optimizer.variables),
                state,
                strict=True,
            ):
                for variable, value in zip(variables, values, strict=True):
                    variable.assign(value)
            yield span[1], {key: value[-1] for key, value in metrics.items()}

    return run


# -------------------------------------------------------------------- validation and the loop


def validate(model, pictures, crop, batch_size=8):
    """Rate and distortion of each rung over centre crops, with rounded latents and 8-bit pixels.

    Returns: a list with one {"rung", "lambda", "bpp", "psnr"} a rung; psnr in dB, the mean over
        pictures of each one's own.
    """
    points = []
    forward = _compiled(model)
    for rung, lmbda in enumerate(model.lambdas):
        bpp, psnr = [], []
        for first in range(0, len(pictures), batch_size):
            batch = [pictures[k] for k in range(first, min(first + batch_size, len(pictures)))]
            offsets = [((p.shape[0] - crop) // 2, (p.shape[1] - crop) // 2) for p in batch]
            x = np.stack(
                [p[t : t + crop, s : s + crop] for p, (t, s) in zip(batch, offsets, strict=True)]
            )
            x_hat, bits = forward(np.float32(x) / 255, np.full([len(x)], rung, np.float32))
            x_hat = np.rint(np.clip(keras.ops.convert_to_numpy(x_hat), 0, 1) * 255)
            mse = np.mean(np.square(x_hat - x), axis=(1, 2, 3))
            psnr += list(10 * np.log10(255**2 / np.maximum(mse, 1e-9)))
            bpp += list(keras.ops.convert_to_numpy(sum(bits.values())) / crop**2)
        points.append(
            {
                "rung": rung,
                "lambda": lmbda,
                "bpp": float(np.mean(bpp)),
                "psnr": float(np.mean(psnr)),
            }
        )
    return points


@functools.lru_cache(maxsize=1)
def _compiled(model):
    """The forward pass of evaluation; kept, because validation comes again and again."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda x, rung: model(x, rung), reduce_retracing=True)
    import jax

    @jax.jit
    def forward(values, x, rung):
        mapping = list(zip(model.variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return model(x, rung)

    return lambda x, rung: forward([v.value for v in model.variables], x, rung)


def fit(trainer, run_dir, validation=None, weights_dir=None):
    """Trains to `settings.steps`: logs, validates, leaves a checkpoint when it ends or is stopped.

    Continues from the newest checkpoint in `run_dir` if there is one. Writes `metrics.jsonl`, and
    TensorBoard's event files where TensorFlow is installed. With every checkpoint the averaged
    weights go to `weights_dir`, if given.
    Raises: InputError when the loss is not a number.
    """
    settings = trainer.settings
    os.makedirs(run_dir, exist_ok=True)
    found = checkpoints(run_dir)
    if found:
        trainer.restore(found[-1])
        logging.info("resumed %s", found[-1])
    summary = _Summary(run_dir)
    clock, since, before = time.monotonic(), trainer.step, trainer.step
    try:
        for step, metrics in trainer.run(settings.steps):
            last = step >= settings.steps

            def due(every, step=step, before=before):
                return every and step // every > before // every

            # A checkpoint comes with a look at the loss: no broken weights push out sound ones.
            if due(settings.log_every) or due(settings.checkpoint_every) or last:
                values = {k: float(keras.ops.convert_to_numpy(v)) for k, v in metrics.items()}
                if not math.isfinite(values["loss"]):
                    raise InputError(f"the loss is {values['loss']} at step {step}; lower the rate")
                values["seconds_per_step"] = (time.monotonic() - clock) / max(step - since, 1)
                clock, since = time.monotonic(), step
                summary.write(step, values)
                logging.info(
                    "step %d  %s", step, "  ".join(f"{k} {v:.4g}" for k, v in values.items())
                )
            pause = time.monotonic()
            if due(settings.checkpoint_every) or last:
                trainer.save(run_dir)
                if weights_dir:
                    trainer.save_weights(weights_dir)
            if validation and (due(settings.validate_every) or last):
                # Both: the average lags behind while the rate is high, and is what gets exported.
                results = {"validation": validate(trainer.model, validation, settings.crop)}
                with trainer.averaged() as model:
                    results["validation_averaged"] = validate(model, validation, settings.crop)
                summary.write(step, results)
                for name, points in results.items():
                    line = "  ".join(f"{p['bpp']:.3f} bpp {p['psnr']:.2f} dB" for p in points)
                    logging.info("step %d  %s  %s", step, name, line)
            clock += time.monotonic() - pause  # what is timed are the steps alone
            before = step
    except KeyboardInterrupt:
        trainer.save(run_dir)
        logging.info("stopped at step %d; the same command continues", trainer.step)
        raise


class _Summary:
    """Appends to metrics.jsonl, and to TensorBoard's event files if TensorFlow is the backend."""

    def __init__(self, run_dir):
        self.path = os.path.join(run_dir, "metrics.jsonl")
        self.writer = None
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            self.tf, self.writer = tf, tf.summary.create_file_writer(run_dir)

    def write(self, step, values):
        with open(self.path, "a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        if self.writer is None:
            return
        with self.writer.as_default(step):
            for name, value in values.items():
                if isinstance(value, list):  # the points of a validation
                    for point in value:
                        for key in ("bpp", "psnr"):
                            self.tf.summary.scalar(f"{name}/{key}_{point['rung']}", point[key])
                else:
                    self.tf.summary.scalar(name, value)
        self.writer.flush()
