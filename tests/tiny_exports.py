"""Small untrained models, exported, for tests of what stands around a model."""

import atexit
import functools
import json
import os
import pathlib
import shutil
import tempfile

import keras
import numpy as np

from tfcodec import models
from tfcodec.exports import installed, write

TINY = {"filters": 6, "latents": 8, "widths": (8, 8, 8)}
TINY_QUAD = {
    "width": 8,
    "analysis_blocks": 1,
    "synthesis_blocks": 2,
    "latents": 8,
    "filters": 6,
    "hyper_latents": 5,
    "features": 7,
    "step_widths": (8, 8),
}
BLOCKS = {"width": 8, "analysis_blocks": 1, "synthesis_blocks": 1}
TINY_OCTAVE = {**BLOCKS, "filters": 8, "latents": 16, "hyper_filters": 12, "estimators": (10, 10)}
TINY_ICWEM = {**BLOCKS, "filters": 6, "latents": 8, "enhancement": 4}
TINY_WECONVENE = {**BLOCKS, "filters": 6, "latents": 8}
OF_MODEL = {
    "quad": TINY_QUAD,
    "octave": TINY_OCTAVE,
    "icwem": TINY_ICWEM,
    "weconvene": TINY_WECONVENE,
}


def tiny_model(name="mbt2018_mean", preset="compact", **changes):
    """(model, config): the preset with a few channels and random weights that code something."""
    config = models.config(name, preset, **{**OF_MODEL.get(name, TINY), **changes})
    keras.utils.set_random_seed(1)
    model = models.module(name).build(config, name=name).build_weights()
    model.prepare(np.random.RandomState(0).random_sample([4, 64, 64, 3]).astype(np.float32))
    return model, config


def tiny_export(directory, name="mbt2018_mean", preset="compact", weights="bfloat16", **changes):
    """The `ModelInfo` of such a model's export in `directory`.

    A process makes each kind once, and copies it for whoever asks again.
    """
    directory = pathlib.Path(directory)
    shutil.copytree(_made(name, preset, weights, **changes), directory, dirs_exist_ok=True)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "name": directory.name}, indent=1))
    return installed.read_info(str(directory))


@functools.cache
def _made(name, preset, weights, **changes):
    """Folder of the export that `tiny_export` copies."""
    root = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, root)
    model, config = tiny_model(name, preset, **changes)
    path = os.path.join(root, "tiny")
    return write.write(model, path, name, preset, config, weights=weights).path


def lite_export(directory, name="quad", preset="small", **changes):
    """As `tiny_export`, frozen, and with the form for LiteRT beside its SavedModel; one name."""
    shutil.copytree(_made_lite(name, preset, **changes), directory, dirs_exist_ok=True)
    return installed.read_info(str(directory))


@functools.cache
def _made_lite(name, preset, **changes):
    from tfcodec import freeze
    from tfcodec.lite import export

    root = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, root)
    info = tiny_export(os.path.join(root, "tiny"), name, preset, **changes)
    picture = np.random.RandomState(0).randint(0, 256, [64, 96, 3]).astype(np.uint8)
    frozen = freeze.freeze(info, os.path.join(root, "frozen"), [picture])
    export.bundle(frozen)
    return frozen.path


def small_export(directory, name, changes):
    """As `tiny_export` of the preset `compact`, for models whose fields are others."""
    keras.utils.set_random_seed(1)
    config = models.config(name, "compact", **changes)
    model = models.module(name).build(config, name=name).build_weights()
    x = np.random.RandomState(0).random_sample([2, 128, 128, 3]).astype(np.float32)
    model.prepare(x)
    return write.write(model, directory, name, "compact", config)
