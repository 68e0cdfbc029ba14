"""How far a run has come, by its steps or by the clock, and its learning rate on the way."""

import time

from keras import ops

from tfcodec.layers import Tensor
from tfcodec.training.settings import Settings


class Schedule:
    """Warm-up, a constant rate, and a fall to zero over the last part of the run.

    The constant part knows nothing of the run's length: a run can be continued, or cooled down
    early, by resuming it with another number of steps or seconds.
    """

    def __init__(self, settings: Settings):
        self.settings = settings

    def __call__(self, iteration: Tensor, progress: float | Tensor) -> Tensor:
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

    def __init__(self, settings: Settings):
        self.settings, self.before, self._start = settings, 0.0, None

    def start(self) -> None:
        """To be called before every step; the first one counts."""
        if self._start is None:
            self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.before + (0.0 if self._start is None else time.monotonic() - self._start)

    def progress(self, step: int) -> float:
        """In [0, 1], before `step` is computed."""
        limits = ((step, self.settings.steps), (self.seconds, self.settings.seconds))
        return min(1.0, max((done / limit for done, limit in limits if limit), default=1.0))
