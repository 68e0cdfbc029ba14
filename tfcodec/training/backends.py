"""Which backend of Keras a run is on, and the module that knows it."""

import importlib
from types import ModuleType

import keras

from tfcodec import models
from tfcodec.errors import InputError
from tfcodec.training.settings import Settings

MODULES = {
    "tensorflow": "tfcodec.training.backend_tensorflow",
    "jax": "tfcodec.training.backend_jax",
}


def backend() -> ModuleType:
    """The module of this backend of Keras: `backend_tensorflow` or `backend_jax`.

    Raises: InputError on another one.
    """
    name = keras.backend.backend()
    if name not in MODULES:
        raise InputError(
            f"training is for the backends {' and '.join(MODULES)} of Keras, this one is {name}; "
            "set the variable KERAS_BACKEND"
        )
    return importlib.import_module(MODULES[name])


def set_precision(settings: Settings) -> None:
    """Sets Keras' global policy; call it before the model is built."""
    keras.mixed_precision.set_global_policy(models.PRECISIONS[settings.precision])
