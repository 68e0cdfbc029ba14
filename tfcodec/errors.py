"""Errors that a user can cause, each one clear sentence.

    TfcodecError
    ├── ContainerError   the file: not of tfcodec, unknown version, truncated, damaged, too large
    ├── ModelError       the model: not installed, other weights, symbols unlike the encoder's
    └── InputError       the picture or the request: not an image, empty, truncated, impossible

Scripts print a `TfcodecError` as one line and exit with 1; anything else is a bug and keeps its
traceback.
"""


class TfcodecError(Exception):
    """Base of all errors raised by tfcodec for bad input."""


class ContainerError(TfcodecError):
    """The bytes are not a sound tfcodec file."""


class ModelError(TfcodecError):
    """The model that the request needs is missing, or not the one that wrote the file."""


class InputError(TfcodecError):
    """The picture or the request cannot be served as it is."""


class NotFreezable(ValueError):
    """Why a model's networks cannot become integers: half a sentence, for `freeze` to finish."""
