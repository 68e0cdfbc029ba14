"""What a training run is made of; read and checked before Keras is imported."""

import dataclasses
import math

from tfcodec import metrics, models
from tfcodec.errors import InputError

# Another value changes what a continued run computes.
CURVE = ("batch_size", "crop", "distortion", "rate_weights", "precision", "seed")
OPTIMIZERS = ("muon", "adam")
DISTORTIONS = ("mse", "ms_ssim")
CROP_STEP = 16  # strides of all models are multiples of it


def _setting(default, help, *, choices=None, least=None, above=None, most=None):
    """A field: what it means, and the values that it can have."""
    limits = {"choices": choices, "least": least, "above": above, "most": most}
    return dataclasses.field(default=default, metadata={"help": help, **limits})


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run is made of, beside model and data; one flag of `tfcodec train` a field.

    The defaults are those with which the bundled model was trained (recipes/quad-base.flags).
    """

    steps: int = _setting(40_000, "steps of the run", least=0)
    seconds: float = _setting(
        0.0,
        "length of the run on the clock, 0 for none; it ends by --steps or by this, what is first",
        least=0,
    )
    batch_size: int = _setting(16, "crops a step, over all replicas together", least=1)
    crop: int = _setting(
        256, "pixels a side of a crop, a multiple of the model's stride (64 or 128)", least=1
    )
    # The default of all models is decided here; recipes of the papers' sizes say adam.
    optimizer: str = _setting(
        "muon", "muon, with Adam where it does not apply, or adam", choices=OPTIMIZERS
    )
    learning_rate: float = _setting(1e-3, "after the warm-up; of both optimizers", above=0)
    warmup: int = _setting(300, "steps in which the rate rises linearly", least=0)
    cooldown: float = _setting(
        0.5, "share of the run in which the rate falls to 0 as 1 - sqrt", least=0, most=1
    )
    clip_norm: float = _setting(1.0, "of the gradient over all variables", above=0)
    spike: float = _setting(
        200.0,
        "a gradient of so many times --clip_norm is left out where the steps before were calm",
        above=0,
    )
    ema: float = _setting(
        0.999, "momentum of the averaged weights, which are what is exported", least=0, most=1
    )
    distortion: str = _setting("mse", "what is minimised beside the rate", choices=DISTORTIONS)
    rate_weights: str = _setting("", "of the parts' bits in the loss, as low=0.9,high=1.1")
    precision: str = _setting(
        "bfloat16",
        "of the transforms and of Muon's matrices; the entropy maths is float32 always",
        choices=tuple(models.PRECISIONS),
    )
    seed: int = _setting(0, "of initial weights, crops, rungs and noise", least=0, most=2**32 - 1)
    skip_limit: int = _setting(
        100, "steps whose loss or gradient is not a number, before the run stops", least=0
    )
    checkpoint_every: int = _setting(
        1000, "steps between checkpoints, 0 for one at the end alone", least=0
    )
    weights_every: float = _setting(150.0, "seconds between two writings of --weights_dir", least=0)
    validate_every: int = _setting(
        2000, "steps between validations, 0 for one at the end alone", least=0
    )
    log_every: int = _setting(
        100, "steps between records in metrics.jsonl, 0 for one at each checkpoint", least=0
    )
    input_threads: int = _setting(2, "threads that decode and crop pictures", least=1)
    steps_per_dispatch: int = _setting(1, "JAX only: steps inside one compiled call", least=1)
    peak_tflops: float = _setting(
        0.0, "of all devices together, to report the share that is reached", least=0
    )


def check(settings: Settings) -> None:
    """Raises InputError for settings that no run can have."""
    for field in dataclasses.fields(settings):
        value, limits = getattr(settings, field.name), field.metadata
        choices = limits["choices"]
        if choices and value not in choices:
            raise InputError(f"--{field.name} is one of {', '.join(choices)}, received {value!r}")
        if isinstance(value, str):
            continue
        for name, words, wrong in (
            ("least", "at least", lambda value, limit: value < limit),
            ("above", "more than", lambda value, limit: value <= limit),
            ("most", "at most", lambda value, limit: value > limit),
        ):
            limit = limits[name]
            if limit is not None and (not math.isfinite(value) or wrong(value, limit)):
                raise InputError(f"--{field.name} must be {words} {limit}, received {value}")
    if settings.distortion == "ms_ssim" and settings.crop < metrics.MS_SSIM_MIN_SIDE:
        raise InputError(
            f"MS-SSIM needs crops of at least {metrics.MS_SSIM_MIN_SIDE} pixels a side, "
            f"received {settings.crop}"
        )
    if settings.crop % CROP_STEP:
        raise InputError(
            f"--crop must be a multiple of the model's stride, which is 64 or 128 for most: "
            f"64, 128, 256 .., received {settings.crop}"
        )


def check_crop(settings: Settings, stride: int) -> None:
    """Raises InputError if a crop is no multiple of a model's stride."""
    if settings.crop % stride:
        raise InputError(
            f"--crop must be a multiple of {stride} for this model ({stride}, {2 * stride}, "
            f"{3 * stride} ..), received {settings.crop}"
        )


def read_lambdas(text: str | None) -> tuple[float, ...] | None:
    """ "0.01,0.02" as numbers; None for None. Raises InputError unless they rise from above 0."""
    if text is None:
        return None
    try:
        lambdas = tuple(float(word) for word in text.split(","))
    except ValueError:
        lambdas = ()
    rising = all(a < b for a, b in zip(lambdas, lambdas[1:], strict=False))
    if not lambdas or not all(0 < value < math.inf for value in lambdas) or not rising:
        raise InputError(
            f"--lambda takes numbers above 0 in rising order, commas between, received {text!r}"
        )
    return lambdas
