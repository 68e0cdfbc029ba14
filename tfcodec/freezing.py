"""A trained model made portable: its networks between z and the table indexes become integers.

`freeze` reads an export, measures the ranges of its channels on pictures, and writes another
export whose files decode to the same symbols on every machine (docs/portable.md). The transforms
stay as they are.
"""

import json
import os

import keras
import numpy as np

from tfcodec import export, models
from tfcodec.entropy.factorized import FactorizedPrior
from tfcodec.entropy.slices import TablePrior
from tfcodec.errors import InputError, ModelError
from tfcodec.layers import exact, integer

DEFAULT_PROFILE = "exact-10"
MEDIAN_BITS = 8  # medians of z in 1/256, so that z_hat is exact in float32 up to 2^15
KEPT = ("preset", "precision", "default_quality", "qualities", "lambdas", "parameters")


def freeze(info, directory, pictures, profile=DEFAULT_PROFILE, name=None):
    """Writes the frozen form of an export.

    Args:
        info: the `export.ModelInfo` of a model of the registry.
        directory: the new export's folder; an export there is replaced.
        pictures: uint8 [H, W, 3] arrays, some ten photographs; channels may reach 1.25 times the
            largest value seen on them.
        profile: "exact-12" or "exact-10", see `layers.integer`.
        name: of the new export; the folder's name if None.
    Returns: the `ModelInfo` of the new export.
    Raises: ModelError if the model cannot be frozen, or is; InputError without pictures.
    """
    export.check_target(os.path.normpath(directory))
    if not pictures:
        raise InputError("no pictures to calibrate with")
    if info.config["profile"] != export.PROFILE_FLOAT32:
        raise ModelError(f"{info.name} is frozen already, to profile {info.config['profile']}")
    model, config = rebuild(info)
    try:
        chains = model.entropy_chains()
    except ValueError as error:
        raise ModelError(f"{info.name} stays portable: no, since {error}") from error
    for prior in model.layers:
        if isinstance(prior, FactorizedPrior):
            quantiles = prior.quantiles.numpy()
            quantiles[:, 1] = np.rint(quantiles[:, 1] * 2**MEDIAN_BITS) / 2**MEDIAN_BITS
            prior.quantiles.assign(quantiles)
    with exact.Calibration(chains) as calibration:
        for picture in pictures:
            for rung in sorted({0.0, (len(model.lambdas) - 1) / 2, len(model.lambdas) - 1.0}):
                model.rate(model.analysis(_padded(picture, model.stride), np.float32([rung])))
    convs = []
    for chain in chains:
        try:
            frozen = exact.freeze(chain, calibration, integer.PROFILES[profile])
        except ValueError as error:
            raise ModelError(f"{info.name} cannot be frozen to {profile}: {error}") from error
        exact.swap(chain, frozen)
        convs += frozen
    with exact.by_the_specification():
        answer = export.known_answer(Walked(model))
    if export.known_answer(Walked(model)) != answer:
        raise ModelError(f"{info.name}: this machine does not compute {profile} exactly")
    note = {key: info.config[key] for key in KEPT if key in info.config}
    note |= {"profile": integer.PROFILES[profile].number, "portable": True}
    note["exact"] = {
        "profile": profile,
        "frozen_from": info.config["fingerprint"],
        "sha256": export.integers_hash(convs),
        "known_answer": answer,
        "convolutions": [conv.describe() for conv in convs],
    }
    note = json.loads(json.dumps(note))
    dtypes = {place["dtype"] for place in info.config["weights"].values()}
    weights = next(dtype for dtype in ("int8", "bfloat16", "float32") if dtype in dtypes)
    model_name = info.config["model"]
    preset = info.config["preset"]
    return export.save(model, directory, model_name, preset, config, name, weights, note)


def rebuild(info, as_float=False):
    """(the Keras model of an export, frozen if it is, its `Config`), on any backend.

    Args: as_float: a frozen export, too, becomes a model for training, by what its integers mean.
    Raises: ModelError if the export is incomplete.
    """
    stored = export.stored_weights(info)
    frozen = [] if as_float else export.frozen_convolutions(info, stored)
    stored = export.read_weights(info.path) if as_float else export.dequantised(info, stored)
    convs = {conv.name: conv for conv in frozen}
    module = models.module(info.config["model"])
    fields = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in info.config["config"].items()
    }
    config = module.Config(**fields)
    model = models.weighted(info.config["model"], config, info.config.get("precision", "float32"))
    if convs:
        for chain in model.entropy_chains():
            exact.swap(chain, [convs[exact.float_path(layer)] for layer, _ in chain.stages])
    for variable in model.variables:
        value = stored[variable.path]
        integers = np.issubdtype(value.dtype, np.integer)
        variable.assign(value if integers else value.astype(np.float32))
    return model, config


class Walked(export.Exported):
    """A Keras model as the codec sees an export: the walk's steps in numpy, on any backend."""

    def __init__(self, model):
        self.model, self.stride, self.parts = model, model.stride, model.parts

    def step(self, k, state, symbols):
        given = None if symbols is None else keras.ops.convert_to_tensor(symbols)
        state, prior = self.model.step(k, state, given)
        mu, indexes = (keras.ops.convert_to_numpy(t) for t in (prior.mu, prior.indexes()))
        return state, TablePrior(mu, indexes)

    def finish(self, state, symbols):
        return self.model.finish(state, keras.ops.convert_to_tensor(symbols))


def _padded(picture, stride):
    height, width = (-(-side // stride) * stride for side in picture.shape[:2])
    rows, columns = height - picture.shape[0], width - picture.shape[1]
    x = np.pad(picture, ((0, rows), (0, columns), (0, 0)), mode="edge")
    return np.float32(x[None]) / 255.0
