"""One run from what a person asks for to a trained model: what it needs, the loop, the export.

    Run ─► check ─► collect (pictures) ─► prepare (model, Trainer) ─► loop.fit ─► exports.write

`check` and `collect` know of a mistake in the time that it takes to read some headers; Keras is
imported after them.
"""

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from tfcodec import models
from tfcodec.errors import InputError
from tfcodec.exports.installed import ModelInfo
from tfcodec.files import check_folder
from tfcodec.training import checkpoint, pictures, settings
from tfcodec.training.outline import outline
from tfcodec.training.settings import Settings

if TYPE_CHECKING:  # these import Keras
    from tfcodec.models.base import CodecModel
    from tfcodec.training.trainer import Trainer


PREPARED_FOR, ROUNDED_FOR = 128, 24  # crops that a model is started with; and rounded for


@dataclasses.dataclass(frozen=True)
class Start:
    """Weights to start from: see `weights.initialise`."""

    path: str
    averaged: bool = True
    partly: bool = False


@dataclasses.dataclass(frozen=True)
class Export:
    """What becomes of the trained model: see `exports.write`."""

    folder: str
    name: str | None = None
    precision: str = "float32"
    weights: str = "bfloat16"


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as it is asked for.

    Args:
        model, preset: of `models`.
        settings: a `Settings`.
        changes: fields of the preset's configuration to replace, such as "wavelet=5/3,levels=1".
        lambdas: the ladder, or None for the preset's.
        data, validation: as `pictures.find` takes them, or None.
        run_dir, weights_dir: see `loop.fit`.
        strategy, deterministic: see the backend's `scope`.
    """

    model: str
    preset: str
    settings: Settings
    changes: str = ""
    lambdas: tuple[float, ...] | None = None
    data: str | None = None
    validation: str | None = None
    run_dir: str = "runs/default"
    weights_dir: str | None = None
    start: Start | None = None
    export: Export | None = None
    strategy: str = "default"
    deterministic: bool = False

    def configure(self) -> Any:
        """The `Config` of the model; this imports it, and Keras.

        Raises: InputError for an unknown model, preset or field, or a value not of its type.
        """
        config = models.config(self.model, self.preset)
        known = {f.name: type(getattr(config, f.name)).__name__ for f in dataclasses.fields(config)}
        config = dataclasses.replace(config, **read_changes(self.changes, known))
        if self.lambdas is None:
            return config
        return dataclasses.replace(config, lambdas=self.lambdas)


@dataclasses.dataclass(frozen=True)
class Collected:
    """The pictures of a run: `Pictures` to train on, () for none, and those held out, or None."""

    training: pictures.Pictures | tuple
    validation: pictures.Pictures | None


def read_changes(text: str, fields: dict[str, str]) -> dict:
    """ "wavelet=5/3,levels=1" as a dictionary, each value of the type that the field has.

    Args: fields: {field: name of its type}; those of other types than these cannot be set.
    Raises: InputError for an unknown field, or a value that it cannot have.
    """
    kinds = {"int": int, "float": float, "str": str}
    changes = {}
    for item in filter(None, text.split(",")):
        name, _, value = item.partition("=")
        kind = kinds.get(fields.get(name))
        if kind is None:
            known = [n for n, kind in fields.items() if kind in kinds]
            raise InputError(f"--config cannot set {name!r}; it sets {', '.join(known)}")
        try:
            changes[name] = kind(value)
        except ValueError:
            raise InputError(f"--config {name} takes a number, received {value!r}") from None
        if kind is not str and not changes[name] >= 0:
            raise InputError(f"--config {name} must not be negative, received {value}")
    return changes


def check(run: Run) -> None:
    """Raises InputError for a run that cannot be what was meant, without Keras."""
    from tfcodec.exports import weights, write

    settings.check(run.settings)
    if "." not in run.model:
        presets = outline(run.model)
        if run.preset not in presets:
            raise InputError(
                f"{run.model} has no preset {run.preset!r}; it has {', '.join(presets)}"
            )
        # Of a union of types, the preset decides.
        read_changes(run.changes, {k: v.split(" ")[0] for k, v in presets[run.preset].items()})
    if run.settings.distortion == "ms_ssim" and run.lambdas is None:
        raise InputError(
            "--distortion=ms_ssim needs --lambda: it multiplies 1 - MS-SSIM, from about 2 to 100"
        )
    check_folder(run.run_dir)
    before = checkpoint.read_model(run.run_dir)
    if before and before != (run.model, run.preset):
        raise InputError(
            f"--run_dir {run.run_dir}: holds a run of --model {before[0]} --preset {before[1]}; "
            "continue it with these, or begin another one"
        )
    if run.start and not os.path.isdir(run.start.path):
        raise InputError(f"--init_from {run.start.path}: no such folder")
    if run.settings.steps and not run.data:
        raise InputError(
            "--data is needed: folders, files or globs of training pictures, or @FILE for a list"
        )
    if run.weights_dir:
        checkpoint.check_replaceable(run.weights_dir)
    if run.export:
        write.check_target(run.export.folder)
        weights.read_form(run.export.weights)
        if not run.settings.steps and not run.start and not checkpoint.listed(run.run_dir):
            raise InputError(
                "--export with --steps 0 needs trained weights: --init_from, or a --run_dir that "
                "holds a run"
            )


def collect(run: Run) -> Collected:
    """The pictures of a run. Raises InputError for a source without any, or if none is left."""
    held_out = pictures.find(run.validation, "--validation") if run.validation else []
    found = pictures.find(run.data, "--data") if run.data else []
    sources = pictures.without(found, held_out)
    if found and not sources:
        raise InputError(
            f"--validation holds out all {len(found)} pictures of --data; none is left to train on"
        )
    training = _decodable(sources, run.settings.crop, "--data") if sources else ()
    validation = _decodable(held_out, run.settings.crop, "--validation") if held_out else None
    return Collected(training, validation)


def _decodable(sources, crop, flag):
    try:
        return pictures.Pictures(sources, crop)
    except InputError as error:
        raise InputError(f"{flag}: {error}") from None


def train(run: Run, collected: Collected) -> ModelInfo | None:
    """Trains (or continues) a run, and exports it; returns the export's `ModelInfo`, or None.

    Raises: InputError if not one of the steps was one that a model can learn from.
    """
    from tfcodec.exports import write
    from tfcodec.training import loop
    from tfcodec.training.backends import backend, set_precision

    config = run.configure()
    set_precision(run.settings)
    with backend().scope(run.strategy, run.deterministic):
        with backend().host():
            trainer = prepare(run, config, collected)
        described = {
            "model": run.model,
            "preset": run.preset,
            "config": dataclasses.asdict(config),
        }
        loop.fit(trainer, run.run_dir, collected.validation, run.weights_dir, described)
    _check_learnt(run, trainer)
    if not run.export or not trainer.backend.chief:
        return None
    with trainer.averaged() as averaged:
        return write.write(
            averaged,
            run.export.folder,
            run.model,
            run.preset,
            config,
            run.export.name,
            weights=run.export.weights,
            precision=run.export.precision,
            calibration=_calibration(run, collected),
        )


def _calibration(run, collected):
    """Crops for which the export's int8 kernels are rounded, or None: see `write.write`."""
    if "int8" not in run.export.weights or not collected.training:
        return None
    return first_crops(run.settings, collected.training, ROUNDED_FOR)


def first_crops(
    settings: Settings, training: pictures.Pictures, count: int = PREPARED_FOR
) -> np.ndarray:
    """The first of a run's crops, float32 [count, crop, crop, 3] in [0, 1]."""
    from tfcodec.training import crops

    plan = crops.plan(0, count=len(training), batch_size=count, num_rungs=1, seed=settings.seed)
    return crops.cut(training, plan, settings.crop) / np.float32(255)


def _check_learnt(run, trainer):
    """Raises InputError where an export would hold what no step has changed, nor another run."""
    if trainer.updates or not run.settings.steps and (run.start or not run.export):
        return
    reason = "no step was made"
    if trainer.step:
        reason = (
            f"all {trainer.step} steps were left out, since their loss or gradient was no number; "
            "try a lower --learning_rate"
        )
    raise InputError(f"nothing was learnt: {reason}")


def prepare(run: Run, config: Any, collected: Collected) -> "Trainer":
    """The `Trainer` of a run before its first step; says what it is going to do."""
    import keras

    from tfcodec.training import weights
    from tfcodec.training.trainer import Trainer

    training, start = collected.training, run.start
    # A run that is killed before its first checkpoint begins anew from the same weights.
    keras.utils.set_random_seed(run.settings.seed)
    model = build(run, config)
    anew = model.variables
    if start:
        anew = weights.initialise(model, start.path, start.averaged, start.partly)
    logging.info(describe(run, model, collected))
    if training and anew:
        x = first_crops(run.settings, training)
        if start:
            logging.info("%d of %d variables start anew", len(anew), len(model.variables))
            model.start_rates(x)
            weights.initialise(model, start.path, start.averaged, start.partly)
        else:
            model.prepare(x)
    return Trainer(model, training, run.settings)


def build(run: Run, config: Any) -> "CodecModel":
    """The model of a run with its weights made. Raises InputError if its `Config` makes none."""
    module = models.module(run.model)
    try:
        model = module.build(config, name=run.model)
        settings.check_crop(run.settings, model.stride)
        return model.build_weights()
    except (ValueError, TypeError, ZeroDivisionError, IndexError) as error:
        if not run.changes:
            raise
        first = str(error).strip().splitlines()[0]
        sentence = f"--config {run.changes}: makes no model of {run.model} ({first})"
        raise InputError(sentence) from error


def describe(run: Run, model: "CodecModel", collected: Collected) -> str:
    """What is about to be trained, on what: one line."""
    from tfcodec.training.backends import backend

    lambdas = [f"{value:.3g}" for value in (model.lambdas[0], model.lambdas[-1])]
    ladder = f"lambda {lambdas[0]}" + (
        f" to {lambdas[1]} in {len(model.lambdas)} rungs" if len(model.lambdas) > 1 else ""
    )
    count, held_out = len(collected.training), len(collected.validation or ())
    skipped = len(getattr(collected.training, "skipped", ()))
    if not count:
        return f"{run.model} {run.preset}: {_millions(model)}, {ladder}; no pictures"
    words = [f"{count} picture{'s' * (count != 1)}"]
    words += [f"{held_out} held out"] if held_out else []
    words += [f"{skipped} unreadable or smaller than a crop left out"] if skipped else []
    return (
        f"{run.model} {run.preset}: {_millions(model)}, {ladder}; "
        f"{', '.join(words)}; {run.settings.batch_size} crops of {run.settings.crop} a step; "
        f"{backend().device()}"
    )


def _millions(model):
    return f"{model.count_params() / 1e6:.1f} million parameters"
