"""Which backend of Keras a run is on, and the module that knows it."""

import importlib

import keras

from tfcodec import models

MODULES = {
    "tensorflow": "tfcodec.training.backend_tensorflow",
    "jax": "tfcodec.training.backend_jax",
}


def backend():
    """The module of this backend of Keras: `backend_tensorflow` or `backend_jax`."""
    return importlib.import_module(MODULES[keras.backend.backend()])


def set_precision(settings):
    """Sets Keras' global policy; call it before the model is built."""
    keras.mixed_precision.set_global_policy(models.PRECISIONS[settings.precision])
