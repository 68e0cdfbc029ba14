"""Weights as an export stores them, and back; reading needs no TensorFlow."""

import fnmatch
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfcodec.errors import InputError, ModelError
from tfcodec.exact import specification
from tfcodec.exact.proof import frozen_convolutions
from tfcodec.exports.installed import ModelInfo, read_info

# How weights are stored: one of these forms and, behind commas, "int8:PATTERN" for kernels whose
# path a shell pattern matches.
WEIGHTS = ("bfloat16", "float16", "int8", "float32")
# Weights of this many elements are stored in 16 bits; gains, biases, norms stay float32.
HALVES_FROM = 4096
# Kernels of this many elements are stored, where asked for, as integers with a scale for each
# slice of their last axis, which lies beside them under a name of its own. Not those of the linear
# chains, which carry the picture itself: on the bundled default they were 0.5 of 0.75 % in BD-rate.
INT8_FROM = 16384
LINEAR_CHAINS = ("/shortcut", "/linear/", "/pca/")
INT8_MAX = 127
SCALE = "/scale"
DATA_FILE = "1/variables/variables.data-00000-of-00001"  # of the SavedModel, below an export


def read_weights(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Weights of an export by the path of the model's variable, float32; needs no TensorFlow.

    Those of frozen layers are what their integers mean.

    Raises: ModelError if the folder is no export.
    """
    info = read_info(path)
    weights = dequantised(info, stored_weights(info))
    for conv in frozen_convolutions(info.config, weights):
        for name in conv.arrays:
            del weights[f"{conv.name}/exact/{name}"]
        weights[f"{conv.name}/kernel"], weights[f"{conv.name}/bias"] = specification.dequantise(
            conv
        )
    return {name: array.astype(np.float32) for name, array in weights.items()}


class StoredWeights(Mapping):
    """As `read_weights` of a `ModelInfo`, as they are stored: scales are arrays of their own.

    Each array is read when it is asked for, and not kept. Reading raises ModelError if the export
    is incomplete.
    """

    def __init__(self, info: ModelInfo):
        self._info, self._places = info, info.config["weights"]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.at(self._places[name])

    def at(self, place: dict[str, Any]) -> np.ndarray:
        """The array at one of `places`."""
        try:
            with open(os.path.join(self._info.path, DATA_FILE), "rb") as file:
                file.seek(place["offset"])
                return _read_array(file, place)
        except OSError as error:
            raise ModelError(_incomplete(self._info)) from error
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(_damaged(self._info)) from error


def stored_weights(info: ModelInfo) -> dict[str, np.ndarray]:
    """`StoredWeights`, read. Raises: ModelError if the export is incomplete."""
    try:
        return dict(StoredWeights(info))
    except (TypeError, KeyError) as error:
        raise ModelError(_damaged(info)) from error


def _read_array(file, place):
    bfloat16, shape = place["dtype"] == "bfloat16", place["shape"]
    if bfloat16:
        import ml_dtypes
    dtype = np.dtype(ml_dtypes.bfloat16 if bfloat16 else place["dtype"])
    data = file.read(int(np.prod(shape)) * dtype.itemsize)
    return np.frombuffer(data, dtype).reshape(shape)


def _incomplete(info):
    return f"{info.path}: the model cannot be loaded, it is incomplete"


def _damaged(info):
    return f"{info.path}: the model's weights are incomplete or damaged"


def dequantised(info: ModelInfo, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`stored_weights` with kernels float32 in place of their integers and scales.

    Raises: ModelError if a scale is missing.
    """
    weights = dict(weights)
    for name in [name for name, array in weights.items() if _has_scale(name, array.dtype)]:
        scale = weights.pop(name + SCALE, None)
        if scale is None or scale.shape != weights[name].shape[-1:]:
            raise ModelError(f"{info.path}: the scale of {name} is missing")
        weights[name] = weights[name].astype(np.float32) * scale
    return weights


def quantised(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int8 array, its scale for each slice of the last axis, float32) of a float32 kernel.

    Quantised again, their product gives these very integers and scales: a scale has 16 significant
    bits, so that 127 of it are exact in float32.
    """
    scale = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1))) / np.float32(INT8_MAX)
    scale = (scale.view(np.uint32) & 0xFFFFFF00).view(np.float32)
    integers = np.rint(kernel / np.where(scale > 0, scale, np.float32(1)))
    return np.clip(integers, -INT8_MAX, INT8_MAX).astype(np.int8), scale


def read_form(weights: str) -> tuple[str, list[str]]:
    """(one of `WEIGHTS`, patterns of the paths of kernels in int8). Raises: InputError."""
    form, *patterns = weights.split(",")
    if form not in WEIGHTS or not all(pattern.startswith("int8:") for pattern in patterns):
        raise InputError(
            f"weights are stored as {' or '.join(WEIGHTS)}, then ,int8:PATTERN; not as {weights}"
        )
    return form, [pattern.removeprefix("int8:") for pattern in patterns]


def is_small(path: str, shape: Sequence[int], weights: str) -> bool:
    """Whether a variable is stored in int8. Args: weights: see `WEIGHTS`."""
    form, patterns = read_form(weights)
    small = any(fnmatch.fnmatch(path, pattern) for pattern in patterns)
    if form == "int8" and not any(chain in path for chain in LINEAR_CHAINS):
        small |= math.prod(shape) >= INT8_FROM
    return small and path.endswith("/kernel")


def stored_arrays(path: str, value: np.ndarray, weights: str) -> dict[str, np.ndarray]:
    """{name: array} of what is stored of a variable of the model. Args: weights: see `WEIGHTS`."""
    import ml_dtypes

    form, _ = read_form(weights)
    if np.issubdtype(value.dtype, np.integer):
        return {path: value}
    if is_small(path, value.shape, weights):
        integers, scale = quantised(np.float32(value))
        return {path: integers, path + SCALE: scale}
    if value.size < HALVES_FROM or form == "float32":
        return {path: value.astype(np.float32)}
    return {path: value.astype(np.float16 if form == "float16" else ml_dtypes.bfloat16)}


def form_of(info: ModelInfo) -> str:
    """`weights` that store a model as an export stores it that is not frozen."""
    dtypes = {path: place["dtype"] for path, place in info.config["weights"].items()}
    halves = [form for form in ("bfloat16", "float16") if form in dtypes.values()]
    small = [f"int8:{path}" for path, dtype in dtypes.items() if _has_scale(path, dtype)]
    return ",".join([*(halves or ["float32"]), *small])


def _has_scale(path, dtype):
    """Whether that is a float kernel in integers; a frozen one's integers mean themselves."""
    return dtype == "int8" and path.endswith("/kernel") and not path.endswith("/exact/kernel")


def places(saved_model: str, arrays: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Where each weight lies in the SavedModel's data file, so that no second copy is needed."""
    path = os.path.join(saved_model, "variables", "variables.data-00000-of-00001")
    blob = pathlib.Path(path).read_bytes()
    places, cursor = {}, 0
    for name, array in arrays.items():
        data = array.tobytes()
        # Any place will do that holds these very bytes. Most stand near the one before them: a
        # search of the whole file for each would take a minute where there are a thousand.
        offset = blob.find(data, cursor, cursor + len(data) + (1 << 20))
        if offset < 0:
            offset = blob.index(data)
        if len(data) > 1 << 16:  # short ones, such as zeros, may have been found anywhere
            cursor = offset + len(data)
        places[name] = {"offset": offset, "dtype": str(array.dtype), "shape": list(array.shape)}
    return places
