"""Small untrained models, exported, for tests of what stands around a model."""

import keras
import numpy as np

from tfcodec import export, models

TINY = {"filters": 6, "latents": 8, "widths": (8, 8, 8)}


def tiny_model(name="mbt2018_mean", preset="compact", **changes):
    """(model, config): the preset with a few channels and random weights that code something."""
    config = models.config(name, preset, **{**TINY, **changes})
    model = models.module(name).build(config, name=name).build_weights()
    keras.utils.set_random_seed(1)
    model.prepare(np.random.RandomState(0).random_sample([4, 64, 64, 3]).astype(np.float32))
    return model, config


def tiny_export(directory, name="mbt2018_mean", preset="compact", weights="bfloat16", **changes):
    """The `ModelInfo` of such a model's export in `directory`."""
    model, config = tiny_model(name, preset, **changes)
    return export.export(model, directory, name, preset, config, weights=weights)


def small_export(directory, name, changes):
    """As `tiny_export` of the preset `compact`, for models whose fields are others."""
    keras.utils.set_random_seed(1)
    config = models.config(name, "compact", **changes)
    model = models.module(name).build(config, name=name).build_weights()
    x = np.random.RandomState(0).random_sample([2, 128, 128, 3]).astype(np.float32)
    model.prepare(x)
    return export.export(model, directory, name, "compact", config)
