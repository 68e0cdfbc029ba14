"""Writes a trained model as an export: traced functions, weights and tables, config.json."""

import dataclasses
import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from tfcodec.coding.format import PROFILE_FLOAT32
from tfcodec.errors import InputError
from tfcodec.exports import tiles
from tfcodec.exports.installed import ModelInfo, read_info
from tfcodec.exports.weights import places, stored_arrays
from tfcodec.files import replaced_folder
from tfcodec.quality import HIGHEST, LOWEST

if TYPE_CHECKING:  # imports Keras
    from tfcodec.models.base import CodecModel

# The default quality is where a ladder has this lambda, for MSE; on one without it, the middle.
DEFAULT_LAMBDA, MIDDLE = 0.01077, 5.0


def write(
    model: "CodecModel",
    directory: str | os.PathLike,
    model_name: str,
    preset: str,
    config: Any,
    name: str | None = None,
    weights: str = "bfloat16",
    note: dict[str, Any] | None = None,
    precision: str = "float32",
    calibration: np.ndarray | None = None,
) -> ModelInfo:
    """Writes a trained model as an export; an existing one is replaced when the new one is whole.

    Args:
        model: a built `CodecModel` of the registry, under any precision policy.
        directory: the export's folder.
        model_name, preset, config: what `model` was built from, see tfcodec.models.
        name: of the export; the folder's name if None.
        weights: "bfloat16" and "float16" store large weights in half the bytes, "int8" the largest
            kernels in a quarter, "float32" stores all exactly; "bfloat16,int8:PATTERN" chooses
            kernels by their path. The model computes with what is stored.
        note: dictionary that is added to config.json.
        precision: in which the transforms compute, "float32" or "bfloat16"; the entropy model
            computes in float32 always.
        calibration: pictures, float32 [B, H, W, 3] in [0, 1], for which kernels in int8 are
            rounded, see `rounding`; without them each weight goes to the nearest integer.
    Returns: the `ModelInfo`.
    Raises: InputError if `directory` holds something else than an export.
    """
    from tfcodec import models
    from tfcodec.exports import rounding

    values = {v.path: np.float32(v.numpy()) for v in model.variables}
    # Training may have computed otherwise.
    model = models.build_with_weights(model_name, config, precision)
    for variable in model.variables:
        variable.assign(values[variable.path])
    if calibration is not None:
        found = rounding.rounded(model, calibration, weights)
        for variable in model.variables:
            if variable.path in found:
                variable.assign(found[variable.path])
    note = {"precision": precision, **(note or {})}
    return save(model, directory, model_name, preset, config, name, weights, note)


def save(
    model: "CodecModel",
    directory: str | os.PathLike,
    model_name: str,
    preset: str,
    config: Any,
    name: str | None = None,
    weights: str = "bfloat16",
    note: dict[str, Any] | None = None,
) -> ModelInfo:
    """As `write`, of a model that computes as it is to be exported, and which may be frozen."""
    import tensorflow as tf

    from tfcodec.exports import graph

    directory = os.path.normpath(directory)
    check_target(directory)
    stored = {}
    for variable in model.variables:
        for path, array in stored_arrays(variable.path, variable.numpy(), weights).items():
            stored[path] = tf.Variable(array, trainable=False)
    module = graph.build_module(model, stored)
    arrays = {path: variable.numpy() for path, variable in stored.items()}
    tables = {key: variable.numpy() for key, variable in module.tables.items()}
    note = {"profile": PROFILE_FLOAT32, "portable": False, **(note or {})}
    described = {
        "name": name or os.path.basename(directory),
        "model": model_name,
        "preset": preset,
        "config": dataclasses.asdict(config),
        "fingerprint": _fingerprint(arrays, tables, model, note),
        **_describe(model, note),
    }
    with replaced_folder(directory) as partial:
        version = os.path.join(partial, "1")
        os.makedirs(version)
        graph.save(module, version)
        write_config(partial, {**described, "weights": places(version, arrays)})
        if os.path.exists(os.path.join(directory, "card.md")):
            shutil.copy(os.path.join(directory, "card.md"), partial)
    return read_info(directory)


def _default_quality(lambdas):
    """The half step that is nearest to `DEFAULT_LAMBDA` on a ladder, or `MIDDLE`."""
    if not lambdas[0] <= DEFAULT_LAMBDA <= lambdas[-1]:
        return MIDDLE
    rung = np.interp(np.log(DEFAULT_LAMBDA), np.log(lambdas), range(len(lambdas)))
    return round(2 * (LOWEST + rung / (len(lambdas) - 1) * (HIGHEST - LOWEST))) / 2


def _describe(model, note):
    """What config.json says of a model whatever its name, with `note` added."""
    single = len(model.lambdas) == 1
    return {
        "profile": note["profile"],
        "portable": note["portable"],
        "qualities": None if single else [LOWEST, HIGHEST],
        "default_quality": None if single else _default_quality(model.lambdas),
        "lambdas": list(model.lambdas),
        "stride": model.stride,
        "steps": [part.to_json() for part in model.parts],
        "tiling": tiles.measure(model),
        "parameters": int(sum(v.numpy().size for v in model.variables)),
        "measured": [],
        **note,
    }


def write_config(directory: str | os.PathLike, config: dict[str, Any]) -> None:
    """Writes an export's config.json, the place of each weight on a line of its own."""
    text = json.dumps({**config, "weights": {}}, indent=1)
    places = (f"  {json.dumps(name)}: {json.dumps(at)}" for name, at in config["weights"].items())
    text = text.replace('"weights": {}', '"weights": {\n' + ",\n".join(places) + "\n }")
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        file.write(text + "\n")


def check_target(directory: str | os.PathLike) -> None:
    """Raises InputError if `directory` holds something else than an export."""
    inside = os.listdir(directory) if os.path.isdir(directory) else [""] * os.path.exists(directory)
    if inside and "config.json" not in inside:
        raise InputError(f"{directory}: exists and is no export; it is not replaced")


def _fingerprint(arrays, tables, model, note):
    """Hexadecimal of 4 bytes that change with anything that decoding depends on."""
    digest = hashlib.sha256()
    frozen = [note["exact"]["sha256"]] if "exact" in note else []
    parts = [part.to_json() for part in model.parts]
    digest.update(repr([parts, model.stride, note["profile"], *frozen]).encode())
    for name, array in sorted({**arrays, **tables}.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:8]
