"""The models: one file a paper, and the dictionary that names them.

`build("mbt2018_mean", "compact")` gives a Keras model without weights; `build_weights()` of it
creates them. An unknown name lists the known ones.
"""

import dataclasses
import importlib

from tfcodec.errors import InputError

MODELS = ("bmshj2018", "mbt2018_mean")


def module(name):
    """The model's module: `Config`, `PRESETS`, `build`. Raises InputError for an unknown name."""
    if name not in MODELS:
        raise InputError(f"there is no model {name!r}; the models are {', '.join(MODELS)}")
    return importlib.import_module(f"tfcodec.models.{name}")


def config(name, preset, **changes):
    """The `Config` of a preset, with fields replaced. Raises InputError for an unknown preset."""
    presets = module(name).PRESETS
    if preset not in presets:
        raise InputError(f"{name} has no preset {preset!r}; it has {', '.join(presets)}")
    return dataclasses.replace(presets[preset], **changes)


def build(name, preset, **changes):
    """A model of the zoo with the fields of its preset's `Config` replaced by `changes`."""
    return module(name).build(config(name, preset, **changes), name=name)
