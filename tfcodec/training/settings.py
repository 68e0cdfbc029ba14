"""What a training run is made of; read and checked before Keras is imported."""

import dataclasses

from tfcodec import metrics, models
from tfcodec.errors import InputError

# Another value changes what a continued run computes.
CURVE = ("batch_size", "crop", "distortion", "rate_weights", "precision", "seed")
OPTIMIZERS = ("muon", "adam")
DISTORTIONS = ("mse", "ms_ssim")


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


def check(settings: Settings):
    """Raises InputError for settings that no run can have."""
    _one_of("distortion", settings.distortion, DISTORTIONS)
    _one_of("optimizer", settings.optimizer, OPTIMIZERS)
    _one_of("precision", settings.precision, models.PRECISIONS)
    if settings.distortion == "ms_ssim" and settings.crop < metrics.MS_SSIM_MIN_SIDE:
        raise InputError(
            f"MS-SSIM needs crops of at least {metrics.MS_SSIM_MIN_SIDE} pixels a side, "
            f"received {settings.crop}"
        )


def _one_of(name, value, known):
    if value not in known:
        raise InputError(f"--{name} is one of {', '.join(known)}, received {value!r}")
