"""One run from what a person asks for to a trained model: weights to start from, the loop, export.

Run ─► collect (pictures) ─► build (model) ─► Trainer ─► loop.fit ─► exports.write
"""

import dataclasses
import json
import os

from tfcodec import models
from tfcodec.errors import InputError
from tfcodec.training.settings import Settings, check


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
        model, preset, config: name, preset and the `Config` itself, of `models`.
        data, validation: as `pictures.find` takes them, or None.
        run_dir, weights_dir: see `loop.fit`.
        strategy, deterministic: see the backend's `scope`.
    """

    model: str
    preset: str
    config: object
    settings: Settings
    data: str | None = None
    validation: str | None = None
    run_dir: str = "runs/default"
    weights_dir: str | None = None
    start: Start | None = None
    export: Export | None = None
    strategy: str = "default"
    deterministic: bool = False


def configure(model: str, preset: str, changes: str = "", lambdas=None):
    """The `Config` of a preset with fields replaced, such as "wavelet=5/3,levels=1".

    Raises: InputError for an unknown model, preset or field, or a value that is not of its type.
    """
    config = models.config(model, preset)
    config = dataclasses.replace(config, **_read_changes(changes, config))
    return config if lambdas is None else dataclasses.replace(config, lambdas=lambdas)


def _read_changes(text, config):
    """ "wavelet=5/3,levels=1" as a dictionary, each value of the type that the field has."""
    changes = {}
    for item in filter(None, text.split(",")):
        name, _, value = item.partition("=")
        kind = type(getattr(config, name, None))
        if kind not in (int, float, str):
            known = [f.name for f in dataclasses.fields(config)]
            known = [n for n in known if isinstance(getattr(config, n), (int, float, str))]
            raise InputError(f"--config cannot set {name!r}; it sets {', '.join(known)}")
        try:
            changes[name] = kind(value)
        except ValueError:
            raise InputError(f"--config {name} takes a number, received {value!r}") from None
    return changes


def train(run: Run) -> None:
    """Trains (or continues) a run, and exports it."""
    from tfcodec.exports import weights, write
    from tfcodec.training import loop
    from tfcodec.training.backends import backend, set_precision

    check(run.settings)
    if not run.data and run.settings.steps:
        raise InputError("--data is needed: folders, files or globs of training pictures")
    if run.export:
        write.check_target(run.export.folder)
        weights.read_form(run.export.weights)
    set_precision(run.settings)
    with backend().scope(run.strategy, run.deterministic):
        with backend().host():
            trainer, validation = prepare(run)
        if trainer.backend.chief:
            os.makedirs(run.run_dir, exist_ok=True)
            with open(os.path.join(run.run_dir, "model.json"), "w") as file:
                described = {"model": run.model, "preset": run.preset}
                json.dump({**described, "config": dataclasses.asdict(run.config)}, file, indent=1)
        loop.fit(trainer, run.run_dir, validation, run.weights_dir)
    if run.export and trainer.backend.chief:
        with trainer.averaged() as averaged:
            write.write(
                averaged,
                run.export.folder,
                run.model,
                run.preset,
                run.config,
                run.export.name,
                weights=run.export.weights,
                precision=run.export.precision,
            )


def prepare(run: Run):
    """(trainer, pictures for validation or None) of a run, before its first step."""
    import keras
    import numpy as np
    from absl import logging

    from tfcodec.training import crops, pictures, weights
    from tfcodec.training.trainer import Trainer

    settings, start = run.settings, run.start
    # A run that is killed before its first checkpoint begins anew from the same weights.
    keras.utils.set_random_seed(settings.seed)
    model = models.module(run.model).build(run.config, name=run.model).build_weights()
    anew = model.variables
    if start:
        anew = weights.initialise(model, start.path, start.averaged, start.partly)
    held_out = pictures.find(run.validation) if run.validation else []
    validation = pictures.Pictures(held_out, settings.crop) if held_out else None
    sources = pictures.find(run.data) if run.data else []
    withheld = set(held_out)
    sources = [source for source in sources if source not in withheld]
    training = pictures.Pictures(sources, settings.crop) if sources else ()
    if training and training.skipped:
        logging.info("left out %d unreadable or small pictures", len(training.skipped))
    if training and anew:
        plan = crops.plan(0, count=len(training), batch_size=128, num_rungs=1, seed=settings.seed)
        x = crops.cut(training, plan, settings.crop) / np.float32(255)
        if start:
            logging.info("%d of %d variables start anew", len(anew), len(model.variables))
            model.start_rates(x)
            weights.initialise(model, start.path, start.averaged, start.partly)
        else:
            model.prepare(x)
    return Trainer(model, training, settings), validation
