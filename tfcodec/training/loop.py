"""The loop around the steps: logs, validation, checkpoints, and a clean end when it is stopped."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Sequence

import numpy as np
from absl import logging
from keras import ops

from tfcodec.errors import InputError
from tfcodec.training import checkpoint, run_log
from tfcodec.training.backends import backend
from tfcodec.training.trainer import Trainer
from tfcodec.training.validation import samples, validate


def fit(
    trainer: Trainer,
    run_dir: str,
    validation: Sequence[np.ndarray] | None = None,
    weights_dir: str | None = None,
    described: dict | None = None,
) -> None:
    """Trains to `settings.steps`: logs, validates, leaves checkpoints, and one when it is stopped.

    Or as long as `settings.seconds` last, those before a continued run was stopped included.
    Continues from the newest whole checkpoint in `run_dir` if there is one, and takes back what
    was logged after it. Writes `metrics.jsonl`, and TensorBoard's event files, with pictures, where
    TensorFlow is the backend. Every `settings.weights_every` seconds, and at the end, the averaged
    weights go to `weights_dir`, if given. Of several processes the chief alone reads and writes
    files.

    Args:
        validation: `Pictures`, or None.
        described: the model in words for `model.json`, which is written unless the run is refused.

    SIGINT and SIGTERM end the run after the step that is being computed, with a checkpoint.
    Raises: InputError when more than `settings.skip_limit` steps were no numbers;
        KeyboardInterrupt or SystemExit after SIGINT or SIGTERM.
    """
    settings, chief = trainer.settings, trainer.backend.chief
    log = _begin(trainer, run_dir, described) if chief else None
    trainer.synchronise()
    before, meter, written = trainer.step, run_log.Meter(trainer), time.monotonic()
    progress = run_log.Progress(trainer)
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
                    meter.notice(values, step)
                _check_skipped(values["skipped"], settings.skip_limit, step)
            if chief and progress.due(step, trainer.over or stop):
                logging.info(progress.line(step, measured))
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
                raise _ending(received)


def _ending(received):
    """The exception that the first signal stands for; another process may have received it."""
    first = received[0] if received else signal.SIGTERM
    return KeyboardInterrupt() if first == signal.SIGINT else SystemExit(128 + first)


def _begin(trainer, run_dir, described):
    """The log of a run that is new or continued."""
    os.makedirs(run_dir, exist_ok=True)
    resumed = trainer.resume(run_dir)
    if resumed:
        logging.info("continues %s", resumed)
    if described:
        with open(os.path.join(run_dir, checkpoint.MODEL), "w", encoding="utf-8") as file:
            json.dump(described, file, indent=1)
    return run_log.Log(run_dir, trainer.step, backend().events(run_dir))


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
        images = samples(model, pictures, trainer.settings.crop)
    log.write(trainer.step, results)
    log.show(trainer.step, "samples", images)
    for name, points in results.items():
        curve = ", ".join(f"{p['bpp']:.3f} bpp {p['psnr']:.2f} dB" for p in points)
        logging.info("step %d  %s  %s", trainer.step, name.replace("_", ", "), curve)


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
