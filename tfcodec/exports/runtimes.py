"""What computes an export's functions, TensorFlow or LiteRT, and which of them where.

Decoding goes by LiteRT where it is installed and the model has the form: a process starts in a
fraction of the time and memory, and portable models give the same latents. Encoding stays on
TensorFlow where that is installed, so that a picture's file does not depend on the other package.
The environment variable TFCODEC_RUNTIME names one in place of this choice.
"""

import importlib.util
import os
from collections.abc import Callable
from typing import Any

from tfcodec import quiet
from tfcodec.errors import InputError, ModelError
from tfcodec.exports import litert
from tfcodec.exports.installed import ModelInfo

TENSORFLOW, LITERT = RUNTIMES = ("tensorflow", "litert")
RUNTIME_VARIABLE = "TFCODEC_RUNTIME"
# How each is called, and what installs it.
TITLES = {TENSORFLOW: "TensorFlow", LITERT: "LiteRT"}
CURES = {TENSORFLOW: 'pip install "tfcodec[tf]"', LITERT: 'pip install "tfcodec[lite]"'}


def tensorflow_is_installed() -> bool:
    """Whether TensorFlow is; it is not imported."""
    return importlib.util.find_spec("tensorflow") is not None


def choose(info: ModelInfo, decoding: bool = False) -> str:
    """The runtime for a model, TENSORFLOW or LITERT.

    Args: decoding: nothing will be encoded.
    Raises: ModelError if none that can run it is installed; InputError if TFCODEC_RUNTIME names
        none.
    """
    chosen = os.environ.get(RUNTIME_VARIABLE) or None
    if chosen not in (None, *RUNTIMES):
        raise InputError(f"{RUNTIME_VARIABLE} is {' or '.join(RUNTIMES)}, received {chosen!r}")
    if chosen is None:
        lite = _runs(info, LITERT) and (decoding or not _runs(info, TENSORFLOW))
        chosen = LITERT if lite else TENSORFLOW
    _check(info, chosen)
    return chosen


def _runs(info, runtime):
    if runtime == LITERT:
        return litert.is_installed() and litert.has_form(info.path)
    return tensorflow_is_installed() and not litert.is_whole(info.path)


def _check(info, runtime):
    """Raises ModelError if a runtime cannot run a model here: why, and the cure."""
    if not _runs(info, runtime):
        raise ModelError(_missing(info, runtime))


def _missing(info, runtime):
    if runtime == LITERT and not litert.has_form(info.path):
        return (
            f"{info.name} has no form for LiteRT; `tfcodec export {info.path} --litert` writes it "
            "where TensorFlow is installed"
        )
    if litert.is_whole(info.path):
        return f"{info.name} needs LiteRT, which is not installed: {CURES[LITERT]}"
    cure = CURES[runtime]
    if runtime == TENSORFLOW and litert.has_form(info.path):
        cure += f", or {CURES[LITERT]} for LiteRT"
    return f"{info.name} needs {TITLES[runtime]}, which is not installed: {cure}"


def open_functions(info: ModelInfo, runtime: str) -> tuple[Any, Callable]:
    """(the functions of an export, what names damage to it). Raises: ModelError."""
    _check(info, runtime)
    if runtime == LITERT:
        return litert.Functions(info), litert.incomplete_exports_named
    quiet.import_tensorflow()
    from tfcodec.exports import functions

    return functions.Functions(info.path), functions.incomplete_exports_named
