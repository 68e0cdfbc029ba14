"""What a training run is made of, how long it lasts, and what its learning rate is on the way."""

import dataclasses
import time

from keras import ops


def _setting(default, help):
    return dataclasses.field(default=default, metadata={"help": help})


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run is made of, beside model and data; one flag of `train_tf.py` a field."""

    steps: int = _setting(1_000_000, "steps of the run")
    seconds: float = _setting(
        0.0,
        "length of the run on the clock, 0 for none; it ends by --steps or by this, what is first",
    )
    batch_size: int = _setting(8, "crops a step, over all replicas together")
    crop: int = _setting(256, "pixels a side of a crop")
    # The default of all models is decided here; recipes of the papers' sizes say adam.
    optimizer: str = _setting("muon", "muon, with Adam where it does not apply, or adam")
    learning_rate: float = _setting(1e-3, "after the warm-up; of both optimizers")
    warmup: int = _setting(200, "steps in which the rate rises linearly")
    cooldown: float = _setting(0.25, "share of the run in which the rate falls to 0 as 1 - sqrt")
    clip_norm: float = _setting(1.0, "of the gradient over all variables")
    spike: float = _setting(
        200.0,
        "a gradient of so many times --clip_norm is left out where the steps before were calm",
    )
    ema: float = _setting(0.999, "momentum of the averaged weights, which are what is exported")
    distortion: str = _setting("mse", "mse or ms_ssim")
    rate_weights: str = _setting("", "of the parts' bits in the loss, as low=0.9,high=1.1")
    precision: str = _setting(
        "bfloat16", "of the transforms and of Muon's matrices; the entropy maths is float32 always"
    )
    seed: int = _setting(0, "of initial weights, crops, rungs and noise")
    skip_limit: int = _setting(
        100, "steps whose loss or gradient is not a number, before the run stops"
    )
    checkpoint_every: int = _setting(1000, "steps between checkpoints, 0 for one at the end alone")
    weights_every: float = _setting(150.0, "seconds between two writings of --weights_dir")
    validate_every: int = _setting(2000, "steps between validations, 0 for one at the end alone")
    log_every: int = _setting(100, "steps between lines of the log")
    input_threads: int = _setting(2, "threads that decode and crop pictures")
    steps_per_dispatch: int = _setting(1, "JAX only: steps inside one compiled call")
    peak_tflops: float = _setting(
        0.0, "of all devices together, to report the share that is reached"
    )


class Schedule:
    """Warm-up, a constant rate, and a fall to zero over the last part of the run.

    The constant part knows nothing of the run's length: a run can be continued, or cooled down
    early, by resuming it with another number of steps or seconds.
    """

    def __init__(self, settings):
        self.settings = settings

    def __call__(self, iteration, progress):
        """The rate after `iteration` updates, when the share `progress` of the run is over."""
        s = self.settings
        progress = ops.cast(progress, "float32")
        fallen = (progress - (1.0 - s.cooldown)) / max(s.cooldown, 1e-6)
        rise = ops.minimum((ops.cast(iteration, "float32") + 1.0) / max(s.warmup, 1), 1.0)
        return s.learning_rate * rise * (1.0 - ops.sqrt(ops.clip(fallen, 0.0, 1.0)))


class Clock:
    """What share of a run is over: of its steps or of its seconds, what is more.

    `seconds` are those since `start`, and those of the run before it was resumed.
    """

    def __init__(self, settings):
        self.settings, self.before, self._start = settings, 0.0, None

    def start(self):
        """To be called before every step; the first one counts."""
        if self._start is None:
            self._start = time.monotonic()

    @property
    def seconds(self):
        return self.before + (0.0 if self._start is None else time.monotonic() - self._start)

    def progress(self, step):
        """In [0, 1], before `step` is computed."""
        limits = ((step, self.settings.steps), (self.seconds, self.settings.seconds))
        return min(1.0, max((done / limit for done, limit in limits if limit), default=1.0))
