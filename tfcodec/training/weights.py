"""Weights alone: of a checkpoint, a run or an export, given to a model; and made to travel."""

import os
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from tfcodec.errors import InputError
from tfcodec.models.base import CodecModel
from tfcodec.training import checkpoint
from tfcodec.training.optimizer import RULES

LARGE = 4096  # elements of an array that travels in half precision


def checkpoint_weights(
    path: str, averaged: bool = True
) -> tuple[dict[str, np.ndarray], list[float] | None]:
    """Weights of a checkpoint, averaged or last, by the path of the model's variable; its ladder.

    The ladder of lambdas is None in a checkpoint of before it was written down.
    """
    arrays, state = checkpoint.read(path)
    weights = {k[len("model/") :]: v for k, v in arrays.items() if k.startswith("model/")}
    if not weights:
        raise InputError(f"{path}: not a checkpoint of training")
    for name in weights if averaged else ():
        for rules in RULES:  # the average of `a/b` is called `optimizer/adam/a_b_average`
            average = f"optimizer/{rules}/{name.replace('/', '_')}_average"
            weights[name] = arrays.get(average, weights[name])
    weights = {k: np.float32(w) if w.dtype == np.float16 else w for k, w in weights.items()}
    return weights, state.get("lambdas")


def initialise(
    model: CodecModel, path: str, averaged: bool = True, partly: bool = False
) -> list[keras.Variable]:
    """Gives a model the weights of a checkpoint, of a run's newest checkpoint, or of an export.

    On a ladder of another length the gains are interpolated, and continued beyond its ends.

    Args:
        averaged: whether those of a checkpoint are the averaged ones, or the last.
        partly: whether they may be another model's, of which only those count that have the path
            and the shape of a variable of this one.
    Returns: the model's variables that were given nothing; without `partly`, none.
    Raises: InputError if it is none of them, or a variable of the model is missing or misshapen;
        with `partly`, if not a single one is found.
    """
    if os.path.isfile(os.path.join(path, "config.json")):
        from tfcodec.exports.installed import read_info
        from tfcodec.exports.weights import read_weights

        weights, lambdas = read_weights(path), read_info(path).config["lambdas"]
    else:
        if not os.path.isdir(path):
            raise InputError(f"{path}: no such folder")
        newest = (checkpoint.listed(path) or [path])[-1]
        weights, lambdas = checkpoint_weights(newest, averaged)
    weights = _on_ladder(weights, lambdas, model.lambdas)
    found = model.variables
    if partly:
        # Paths begin with the model's name.
        weights = {f"{model.name}/{name.partition('/')[2]}": w for name, w in weights.items()}
        found = [v for v in model.variables if fits(weights.get(v.path), v)]
        if not found:
            raise InputError(f"{path}: has no variable in common with {model.name}")
    assign(found, weights, path)
    return [v for v in model.variables if not fits(weights.get(v.path), v)]


def _on_ladder(weights, before, now):
    """The weights with their gains at the lambdas `now`, if they are of a ladder of another length.

    Gains are linear between rungs in the logarithms of gain and lambda, and beyond the ladder as in
    its outermost steps. Ladders that do not meet are of other distortions: they stay as they are.
    """
    before, now = np.log(before or [1.0]), np.log(now)
    if len(before) == len(now) or min(len(before), len(now)) == 1:
        return weights
    if now.min() > before.max() or now.max() < before.min():
        return weights
    low = np.clip(np.searchsorted(before, now) - 1, 0, len(before) - 2)
    share = np.float32((now - before[low]) / (before[low + 1] - before[low]))[:, None]
    return {
        name: w[low] + share * (w[low + 1] - w[low]) if name.endswith("/log_gain") else w
        for name, w in weights.items()
    }


def fits(value: np.ndarray | None, variable: keras.Variable) -> bool:
    """Whether a variable can have a value, or None, by its shape."""
    return value is not None and tuple(value.shape) == tuple(variable.shape)


def assign(variables: Sequence[keras.Variable], values: dict[str, np.ndarray], path: str) -> None:
    """Gives each variable its value by path; raises InputError for one missing or misshapen."""
    for variable in variables:
        value = values.get(variable.path)
        if not fits(value, variable):
            found = "nothing" if value is None else list(value.shape)
            expected = list(variable.shape)
            raise InputError(f"{path}: {variable.path} should be {expected}, found {found}")
        variable.assign(value)


def lighten(value: np.ndarray) -> np.ndarray:
    """An array in float16, if it is a large one of float32."""
    return np.float16(value) if value.size >= LARGE and value.dtype == np.float32 else value


def values_of(variables: dict[str, keras.Variable]) -> dict[str, np.ndarray]:
    """Arrays of the variables, by the same names."""
    return {name: ops.convert_to_numpy(v) for name, v in variables.items()}
