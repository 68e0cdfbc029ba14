"""The training step and its loop, on the TensorFlow or the JAX backend of Keras.

One step is: a plan (which crops, rungs and noise, a function of seed and step), the rate-distortion
objective, its gradient, and an update that is a pure function of values (`optimizer`). How a step
is compiled and spread over devices is the backend's: `training_tf`, `training_jax`.
"""

import contextlib
import dataclasses
import importlib
import os
import signal
import threading
import time

import keras
import numpy as np
from absl import logging
from keras import ops

from tfcodec import checkpoint, data, losses, metrics, models, run_log
from tfcodec.errors import InputError
from tfcodec.optimizer import RULES, Optimizer
from tfcodec.settings import Clock, Schedule, Settings

# Another value changes what a continued run computes.
CURVE = ("batch_size", "crop", "distortion", "rate_weights", "precision", "seed")

LARGE = 4096  # elements of an array that travels in half precision
CALM = 0.02  # of the running share of steps without a spike, how much the newest counts


def set_precision(settings):
    """Sets Keras' global policy; call it before the model is built."""
    _one_of("precision", settings.precision, models.PRECISIONS)
    keras.mixed_precision.set_global_policy(models.PRECISIONS[settings.precision])


def backend():
    """The module of this backend of Keras: `training_tf` or `training_jax`."""
    name = {"tensorflow": "training_tf", "jax": "training_jax"}[keras.backend.backend()]
    return importlib.import_module(f"tfcodec.{name}")


class Trainer:
    """A model with its optimizer, and the step that trains both.

    Under TensorFlow, model and trainer are made inside the scope of a strategy, see
    `training_tf.scope`; every process makes the same and then calls `synchronise`.

    Args:
        model: a built `CodecModel`.
        pictures: `data.Pictures` of at least `settings.crop` pixels a side.
        settings: a `Settings`.
    """

    def __init__(self, model, pictures, settings):
        check(settings)
        self.model, self.pictures, self.settings = model, pictures, settings
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
        # What a step maps to its next values, in the order of `updated`.
        self.variables = [*model.trainable_variables, *self.optimizer.variables, *self.tally]
        self.step, self.clock = 0, Clock(settings)
        self.over = False  # see `run`
        self.waited, self.input_bound = 0.0, 0  # see `run`
        self.backend = backend().Steps(self)

    def plan(self, step, xp=np):
        """The plan of one step, see `data.plan`."""
        return data.plan(
            step,
            count=len(self.pictures),
            batch_size=self.settings.batch_size,
            num_rungs=len(self.model.lambdas),
            seed=self.settings.seed,
            xp=xp,
        )

    def objective(self, x, rung, keys, progress):
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

    def updated(self, state, objective, gradients, progress):
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

    def synchronise(self):
        """Gives every process the chief's step and variables, and compares their pictures.

        Raises: InputError in every process if the pictures differ in number.
        """
        self.step = self.backend.synchronise(self.step)

    def run(self, last):
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
        for batch, waited in data.prefetch(make, 0, count, self.settings.input_threads):
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
    def averaged(self):
        """The model with the averaged weights, inside the block."""
        variables = self.model.trainable_variables
        weights = [ops.convert_to_numpy(v) for v in variables]
        if self.step:
            for variable, average in zip(variables, self.optimizer.averages, strict=True):
                variable.assign(ops.convert_to_numpy(average))
        try:
            yield self.model
        finally:
            for variable, value in zip(variables, weights, strict=True):
                variable.assign(value)

    # ---------------------------------------------------------------- checkpoints

    def save(self, directory):
        """Writes `directory/step-N` with everything that `restore` needs; removes older ones."""
        arrays = {f"model/{v.path}": v for v in self.model.variables}
        arrays |= {f"optimizer/{v.path}": v for v in self.optimizer.variables}
        if len(arrays) != len(self.model.variables) + len(self.optimizer.variables):
            raise ValueError("two variables share a path; give their layers names of their own")
        state = {
            "step": self.step,
            "seconds": self.clock.seconds,
            "pictures": len(self.pictures),
            "lambdas": list(self.model.lambdas),
            **{v.name: ops.convert_to_numpy(v).item() for v in self.tally},
            "settings": dataclasses.asdict(self.settings),
        }
        checkpoint.write(os.path.join(directory, f"step-{self.step:08d}"), _values(arrays), state)
        for older in checkpoint.listed(directory)[:-2]:
            checkpoint.remove(older)

    def save_weights(self, directory):
        """Writes the averaged weights alone; `initialise` takes them.

        They are made to travel: arrays of `LARGE` elements and more are in float16, which is finer
        than the bfloat16 of exports, in pieces of less than 16 MiB. An earlier set in `directory`
        is replaced when the new one is whole.
        Raises: InputError if `directory` holds anything else.
        """
        if os.path.exists(directory):
            names = set(os.listdir(directory)) - {checkpoint.STATE}
            if any(not name.startswith("piece-") for name in names):
                raise InputError(f"{directory}: exists and holds other files; it is not replaced")
        given = self.optimizer.averages if self.step else self.model.trainable_variables
        named = {v.path: v for v in self.model.variables}
        named |= {v.path: a for v, a in zip(self.model.trainable_variables, given, strict=True)}
        values = _values({f"model/{path}": v for path, v in named.items()})
        state = {"step": self.step, "lambdas": list(self.model.lambdas)}
        checkpoint.write(directory, {name: _light(v) for name, v in values.items()}, state)

    def resume(self, directory):
        """Continues from the newest whole checkpoint in a run's directory; returns its path, or
        None if there is none.

        Raises: InputError if it is of another model.
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
            ("optimizer", self.optimizer.variables),
        ):
            named = {k[len(prefix) + 1 :]: v for k, v in arrays.items() if k.startswith(prefix)}
            _assign(variables, named, path)
        for variable in self.tally:
            variable.assign(state.get(variable.name, 0))
        self.step, self.clock.before = state["step"], state.get("seconds", 0.0)
        now = {**dataclasses.asdict(self.settings), "pictures": len(self.pictures)}
        before = {**state["settings"], "pictures": state.get("pictures", len(self.pictures))}
        for name in (*CURVE, "pictures"):
            if before.get(name, now[name]) != now[name]:
                logging.warning("continued with %s %s, was %s", name, now[name], before[name])
        return path


def check(settings: Settings):
    """Raises InputError for settings that no run can have."""
    _one_of("distortion", settings.distortion, losses.DISTORTIONS)
    _one_of("optimizer", settings.optimizer, RULES)
    if settings.distortion == "ms_ssim" and settings.crop < metrics.MS_SSIM_MIN_SIDE:
        raise InputError(
            f"MS-SSIM needs crops of at least {metrics.MS_SSIM_MIN_SIDE} pixels a side, "
            f"received {settings.crop}"
        )


def _one_of(name, value, known):
    if value not in known:
        raise InputError(f"--{name} is one of {', '.join(known)}, received {value!r}")


def rate_weights(text, model):
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


def checkpoint_weights(path, averaged=True):
    """Weights of a checkpoint, averaged or last, by the path of the model's variable; its ladder.

    The ladder of lambdas is None in a checkpoint of before it was written down.
    """
    arrays, state = checkpoint.read(path)
    weights = {k[len("model/") :]: v for k, v in arrays.items() if k.startswith("model/")}
    if not weights:
        raise InputError(f"{path}: not a checkpoint of train_tf.py")
    for name in weights if averaged else ():
        for rules in RULES:  # the average of `a/b` is called `optimizer/adam/a_b_average`
            average = f"optimizer/{rules}/{name.replace('/', '_')}_average"
            weights[name] = arrays.get(average, weights[name])
    weights = {k: np.float32(w) if w.dtype == np.float16 else w for k, w in weights.items()}
    return weights, state.get("lambdas")


def initialise(model, path, averaged=True, partly=False):
    """Gives a model the weights of a checkpoint, of a run's newest checkpoint, or of an export.

    On a ladder of another length the gains are interpolated, and continued beyond its ends.

    Args:
        averaged: whether those of a checkpoint are the averaged ones, or the last.
        partly: whether they may be another model's, of which only those count that have the path
            and the shape of a variable of this one.
    Returns: the model's variables that were given nothing; without `partly`, none.
    Raises: InputError if it is none of them, or a variable of the model is missing or misshapen;
        with `partly`, if not a single one is found.
    """
    if os.path.isfile(os.path.join(path, "config.json")):
        from tfcodec.exports.installed import read_info
        from tfcodec.exports.weights import read_weights

        weights, lambdas = read_weights(path), read_info(path).config["lambdas"]
    else:
        if not os.path.isdir(path):
            raise InputError(f"{path}: no such folder")
        newest = (checkpoint.listed(path) or [path])[-1]
        weights, lambdas = checkpoint_weights(newest, averaged)
    weights = _on_ladder(weights, lambdas, model.lambdas)
    found = model.variables
    if partly:
        # Paths begin with the model's name.
        weights = {f"{model.name}/{name.partition('/')[2]}": w for name, w in weights.items()}
        found = [v for v in model.variables if _fits(weights.get(v.path), v)]
        if not found:
            raise InputError(f"{path}: has no variable in common with {model.name}")
    _assign(found, weights, path)
    return [v for v in model.variables if not _fits(weights.get(v.path), v)]


def _on_ladder(weights, before, now):
    """The weights with their gains at the lambdas `now`, if they are of a ladder of another length.

    Gains are linear between rungs in the logarithms of gain and lambda, and beyond the ladder as in
    its outermost steps. Ladders that do not meet are of other distortions: they stay as they are.
    """
    before, now = np.log(before or [1.0]), np.log(now)
    if len(before) == len(now) or min(len(before), len(now)) == 1:
        return weights
    if now.min() > before.max() or now.max() < before.min():
        return weights
    low = np.clip(np.searchsorted(before, now) - 1, 0, len(before) - 2)
    share = np.float32((now - before[low]) / (before[low + 1] - before[low]))[:, None]
    return {
        name: w[low] + share * (w[low + 1] - w[low]) if name.endswith("/log_gain") else w
        for name, w in weights.items()
    }


def _fits(value, variable):
    return value is not None and tuple(value.shape) == tuple(variable.shape)


def _assign(variables, values, path):
    """Gives each variable its value by path; raises InputError for one missing or misshapen."""
    for variable in variables:
        value = values.get(variable.path)
        if not _fits(value, variable):
            found = "nothing" if value is None else list(value.shape)
            expected = list(variable.shape)
            raise InputError(f"{path}: {variable.path} should be {expected}, found {found}")
        variable.assign(value)


def _light(value):
    return np.float16(value) if value.size >= LARGE and value.dtype == np.float32 else value


def _values(variables):
    return {name: ops.convert_to_numpy(v) for name, v in variables.items()}


# -------------------------------------------------------------------- validation and the loop


def validate(model, pictures, crop, batch_size=8, ms_ssim=False):
    """Rate and distortion of each rung over centre crops, with rounded latents and 8-bit pixels.

    Returns: a list with one {"rung", "lambda", "bpp", "psnr"} a rung; psnr in dB, the mean over
        pictures of each one's own; also "ms_ssim", if it is asked for.
    """
    points = []
    forward = backend().forward(model)
    for rung, lmbda in enumerate(model.lambdas):
        bpp, psnr, similarity = [], [], []
        for first in range(0, len(pictures), batch_size):
            x = _centres(pictures, range(first, min(first + batch_size, len(pictures))), crop)
            x_hat, bits = _shown(forward, x, rung)
            mse = np.mean(np.square(x_hat - x), axis=(1, 2, 3))
            psnr += list(10 * np.log10(255**2 / np.maximum(mse, 1e-9)))
            if ms_ssim:
                similarity += [
                    metrics.ms_ssim(*pair) for pair in zip(np.uint8(x_hat), x, strict=True)
                ]
            bpp += list(ops.convert_to_numpy(sum(bits.values())) / crop**2)
        points.append(
            {
                "rung": rung,
                "lambda": lmbda,
                "bpp": float(np.mean(bpp)),
                "psnr": float(np.mean(psnr)),
                **({"ms_ssim": float(np.mean(similarity))} if ms_ssim else {}),
            }
        )
    return points


def samples(model, pictures, crop, count=4):
    """Centre crops above what the middle rung makes of them, to look at: uint8 [n, 2 c, c, 3]."""
    x = _centres(pictures, range(min(count, len(pictures))), crop)
    x_hat, _ = _shown(backend().forward(model), x, len(model.lambdas) // 2)
    return np.concatenate([x, np.uint8(x_hat)], axis=1)


def _centres(pictures, indexes, crop):
    """Centre crops of some pictures, uint8 [n, crop, crop, 3]."""
    chosen = [pictures[k] for k in indexes]
    offsets = [((p.shape[0] - crop) // 2, (p.shape[1] - crop) // 2) for p in chosen]
    return np.stack(
        [p[t : t + crop, s : s + crop] for p, (t, s) in zip(chosen, offsets, strict=True)]
    )


def _shown(forward, x, rung):
    """(8-bit pixels as float, bits of each part) for crops uint8 [n, c, c, 3]."""
    x_hat, bits = forward(np.float32(x) / 255, np.full([len(x)], rung, np.float32))
    return np.rint(np.clip(ops.convert_to_numpy(x_hat), 0, 1) * 255), bits


def fit(trainer, run_dir, validation=None, weights_dir=None):
    """Trains to `settings.steps`: logs, validates, leaves checkpoints, and one when it is stopped.

    Or as long as `settings.seconds` last, those before a continued run was stopped included.
    Continues from the newest whole checkpoint in `run_dir` if there is one, and takes back what
    was logged after it. Writes `metrics.jsonl`, and TensorBoard's event files, with pictures, where
    TensorFlow is the backend. Every `settings.weights_every` seconds, and at the end, the averaged
    weights go to `weights_dir`, if given. Of several processes the chief alone reads and writes
    files.

    SIGINT and SIGTERM end the run after the step that is being computed, with a checkpoint.
    Raises: InputError when more than `settings.skip_limit` steps were no numbers;
        KeyboardInterrupt or SystemExit after SIGINT or SIGTERM.
    """
    settings, chief = trainer.settings, trainer.backend.chief
    log = None
    if chief:
        os.makedirs(run_dir, exist_ok=True)
        resumed = trainer.resume(run_dir)
        if resumed:
            logging.info("resumed %s", resumed)
        log = run_log.Log(run_dir, trainer.step, backend().events(run_dir))
    trainer.synchronise()
    before, meter, written = trainer.step, run_log.Meter(trainer), time.monotonic()
    with _stop_requests() as received:
        for step, measured in trainer.run(settings.steps):
            stop = trainer.backend.agreed(bool(received), measured)

            def due(every, step=step, before=before):
                return bool(every) and step // every > before // every

            save = due(settings.checkpoint_every) or trainer.over or stop
            if due(settings.log_every) or save:
                values = {k: float(ops.convert_to_numpy(v)) for k, v in measured.items()}
                values |= meter.read(step)
                if chief:
                    log.write(step, values)
                    logging.info("step %d  %s", step, run_log.line(values))
                    meter.notice(values, step)
                _check_skipped(values["skipped"], settings.skip_limit, step)
            with meter.paused():
                if chief and validation and (due(settings.validate_every) or trainer.over):
                    _validate_and_log(trainer, validation, log)
                # Last: what is logged up to a checkpoint is there whenever the checkpoint is.
                if chief and save:
                    trainer.save(run_dir)
                late = time.monotonic() - written >= settings.weights_every
                if chief and weights_dir and (late or trainer.over or stop):
                    trainer.save_weights(weights_dir)
                    written = time.monotonic()
            before = step
            if stop:
                logging.info("stopped at step %d; the same command continues", step)
                if received and received[0] == signal.SIGINT:
                    raise KeyboardInterrupt
                raise SystemExit(128 + (received or [signal.SIGTERM])[0])


def _check_skipped(skipped, limit, step):
    if skipped > limit:
        raise InputError(
            f"the loss or its gradient was not a number in {skipped} steps up to step {step}, "
            f"{limit} are allowed (--skip_limit); try a lower --learning_rate"
        )


def _validate_and_log(trainer, pictures, log):
    # Both: the average lags behind while the rate is high, and is what gets exported.
    options = dict(crop=trainer.settings.crop, ms_ssim=trainer.settings.distortion == "ms_ssim")
    results = {"validation": validate(trainer.model, pictures, **options)}
    with trainer.averaged() as model:
        results["validation_averaged"] = validate(model, pictures, **options)
        shown = samples(model, pictures, trainer.settings.crop)
    log.write(trainer.step, results)
    log.show(trainer.step, "samples", shown)
    for name, points in results.items():
        logging.info("step %d  %s  %s", trainer.step, name, "  ".join(map(run_log.line, points)))


@contextlib.contextmanager
def _stop_requests():
    """A list that receives SIGINT and SIGTERM inside the block, so that no step is cut in two.

    A second signal interrupts at once.
    """
    received = []

    def note(number, frame):
        if received:
            raise KeyboardInterrupt
        received.append(number)
        logging.info("stopping after this step; once more to stop at once, without a checkpoint")

    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
