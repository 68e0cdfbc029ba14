"""What a run tells of itself: speed, records in metrics.jsonl, and TensorBoard's event files."""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator

import numpy as np
from absl import logging
from keras import ops

from tfcodec import complexity
from tfcodec.layers import Tensor
from tfcodec.training.trainer import Trainer


class Progress:
    """Lines of how far a run has come, for a person: soon at first, then more and more rarely."""

    FIRST, GROWTH, LONGEST = 10.0, 1.3, 600.0  # seconds until the first line; between lines

    def __init__(self, trainer: Trainer):
        self.trainer, self.wait = trainer, self.FIRST
        self.next = time.monotonic() + self.wait
        self.first = None  # time and number of the first step, which took a compilation

    def due(self, step: int, over: bool = False) -> bool:
        """Whether a line should be printed after a step; to be called after each."""
        now = time.monotonic()
        self.first = self.first or (now, step)
        if now < self.next and not over:
            return False
        self.wait = min(self.wait * self.GROWTH, self.LONGEST)
        self.next = now + self.wait
        return True

    def line(self, step: int, measured: dict[str, Tensor]) -> str:
        """Step, rate, distortion, speed and the time that is left."""
        settings = self.trainer.settings
        values = {k: float(ops.convert_to_numpy(v)) for k, v in measured.items()}
        words = [f"step {step:,} of {settings.steps:,}", f"loss {values['loss']:.4g}"]
        for name, unit in (("bpp", "bpp"), ("psnr", "dB")):
            if name in values:
                words.append(f"{values[name]:.4g} {unit}")
        began, first = self.first
        steps, seconds = step - first, time.monotonic() - began
        if steps:
            words.append(f"{steps * settings.batch_size / seconds:.3g} images/s")
            left = (settings.steps - step) * seconds / steps
            if settings.seconds:
                left = min(left, max(settings.seconds - self.trainer.clock.seconds, 0.0))
            if not self.trainer.over:
                words.append(f"{duration(left)} left")
        return "  ".join(words)


def duration(seconds: float) -> str:
    """ "40 s", "12 min", "3 h 20 min" or "5 d 4 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


class Meter:
    """How fast the steps since the last reading were, and what held them up."""

    def __init__(self, trainer: Trainer):
        self.trainer, settings = trainer, trainer.settings
        self.pixels = settings.crop**2
        self.flop = 0
        if settings.peak_tflops:
            self.flop = complexity.training_flop_per_pixel(trainer.model) * self.pixels
        self._restart(trainer.step)

    def _restart(self, step):
        self.clock, self.since = time.monotonic(), step
        self.waited, self.input_bound = self.trainer.waited, self.trainer.input_bound

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside the block is not counted as time of the steps."""
        start = time.monotonic()
        yield
        self.clock += time.monotonic() - start

    def read(self, step: int) -> dict[str, float]:
        """Numbers for the log; the next reading begins here."""
        trainer, settings = self.trainer, self.trainer.settings
        seconds = max(time.monotonic() - self.clock, 1e-9)
        steps = max(step - self.since, 1)
        images = steps * settings.batch_size / seconds
        values = {
            "seconds_per_step": seconds / steps,
            "images_per_second": images,
            "mpixel_per_second": images * self.pixels / 1e6,
            "input_wait": (trainer.waited - self.waited) / seconds,  # share of the time
            "input_bound_steps": trainer.input_bound - self.input_bound,
            **{v.name: ops.convert_to_numpy(v).item() for v in trainer.training_step.tally},
        }
        if self.flop:
            values["tflops"] = self.flop * images / 1e12
            values["share_of_peak"] = values["tflops"] / settings.peak_tflops
        failed = getattr(trainer.pictures, "failed", ())
        if failed:
            values["undecodable_pictures"] = len(failed)
        self._restart(step)
        return values

    @staticmethod
    def notice(values: dict[str, float], step: int) -> None:
        if values["input_bound_steps"] > 0 and values["input_wait"] > 0.1:
            logging.warning(
                "step %d  input-bound: %d steps waited longer for pictures than for the device, "
                "%.0f %% of the time; try more --input_threads, or smaller picture files",
                step,
                values["input_bound_steps"],
                100 * values["input_wait"],
            )


class Log:
    """Appends to metrics.jsonl, and to TensorBoard's event files if TensorFlow is the backend.

    Records of steps after `step`, of a run that was killed there, are taken out first.

    Args: events: a function of (step, {name: number or pictures}), see `backend_tensorflow.events`.
    """

    def __init__(self, run_dir: str, step: int, events: Callable[[int, dict], None]):
        self.path = os.path.join(run_dir, "metrics.jsonl")
        self.events = events
        if os.path.exists(self.path):
            with open(self.path) as file:
                lines = [line for line in file if _up_to(line, step)]
            with open(self.path + ".partial", "w") as file:
                file.writelines(lines)
            os.replace(self.path + ".partial", self.path)

    def write(self, step: int, values: dict) -> None:
        # JSON has no word for what is not a number.
        known = {
            k: None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in values.items()
        }
        with open(self.path, "a") as file:
            file.write(json.dumps({"step": step, **known}) + "\n")
        scalars = {}
        for name, value in values.items():
            if isinstance(value, list):  # the points of a validation
                for point in value:
                    for key in point.keys() - {"rung", "lambda"}:
                        scalars[f"{name}/{key}_{point['rung']}"] = point[key]
            else:
                scalars[name] = value
        self.events(step, scalars)

    def show(self, step: int, name: str, images: np.ndarray) -> None:
        """Pictures uint8 [n, h, w, 3] for TensorBoard."""
        self.events(step, {name: images})


def _up_to(line, step):
    try:
        return line.endswith("\n") and json.loads(line)["step"] <= step
    except ValueError:  # half written
        return False
