"""A trained model made portable: its networks between z and the table indexes become integers.

`freeze` reads an export, measures the ranges of its channels on pictures, and writes another
export whose files decode to the same symbols on every machine (docs/portable.md). The transforms
stay as they are.
"""

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from tfcodec.coding.format import PROFILE_FLOAT32, padded
from tfcodec.entropy.factorized import FactorizedPrior
from tfcodec.entropy.walk import CODINGS, CodedPrior, LatentShapes
from tfcodec.errors import InputError, ModelError, NotFreezable
from tfcodec.exact import freezing, proof, specification
from tfcodec.exact import layers as exact
from tfcodec.exports import installed, rebuild, write
from tfcodec.exports.weights import form_of

MEDIAN_BITS = 8  # medians of z in 1/256, so that z_hat is exact in float32 up to 2^15
KEPT = ("preset", "precision", "default_quality", "qualities", "lambdas", "parameters")


def freeze(
    info: installed.ModelInfo,
    directory: str,
    pictures: Sequence[np.ndarray],
    profile: str = specification.DEFAULT_PROFILE,
    name: str | None = None,
    progress: Callable = lambda what, done=None, count=None: None,
) -> installed.ModelInfo:
    """Writes the frozen form of an export.

    Args:
        info: the `installed.ModelInfo` of a model of the registry.
        directory: the new export's folder; an export there is replaced.
        pictures: uint8 [H, W, 3] arrays, some ten photographs; channels may reach 1.25 times the
            largest value seen on them.
        profile: "exact-12" or "exact-10", see `exact.specification`.
        name: of the new export; the folder's name if None.
        progress: called with what is done now, and with how much of it is done where that is known.
    Returns: the `ModelInfo` of the new export.
    Raises: ModelError if the model cannot be frozen, or is; InputError without pictures.
    """
    write.check_target(os.path.normpath(directory))
    if not pictures:
        raise InputError("no pictures to calibrate with")
    if info.config["profile"] != PROFILE_FLOAT32:
        raise ModelError(f"{info.name} is frozen already, to profile {info.config['profile']}")
    progress("rebuilding")
    model, config = rebuild.rebuild(info)
    try:
        networks = model.entropy_chains()
    except NotFreezable as error:
        raise ModelError(f"{info.name} stays portable: no, since {error}") from error
    _round_medians(model)
    calibration = _calibrate(model, networks, pictures, progress)
    convs = []
    for network in networks:
        try:
            frozen = freezing.freeze(network, calibration, specification.PROFILES[profile])
        except NotFreezable as error:
            raise ModelError(f"{info.name} cannot be frozen to {profile}: {error}") from error
        freezing.swap(network, frozen)
        convs += frozen
    progress("proving")
    with exact.by_the_specification():
        answer = proof.known_answer(Walked(model))
    if proof.known_answer(Walked(model)) != answer:
        raise ModelError(f"{info.name}: this machine does not compute {profile} exactly")
    note = {key: info.config[key] for key in KEPT if key in info.config}
    note |= {"profile": specification.PROFILES[profile].number, "portable": True}
    note["exact"] = {
        "profile": profile,
        "frozen_from": info.config["fingerprint"],
        "sha256": proof.integers_hash(convs),
        "known_answer": answer,
        "convolutions": [conv.describe() for conv in convs],
    }
    note = json.loads(json.dumps(note))
    progress("writing")
    built = (info.config["model"], info.config["preset"], config)
    return write.save(model, directory, *built, name, form_of(info), note)


def _calibrate(model, networks, pictures, progress):
    """The ranges of the networks' channels on pictures, at three rungs of the ladder."""
    with freezing.Calibration(networks) as calibration:
        for k, picture in enumerate(pictures):
            progress("calibrating", k, len(pictures))
            for rung in sorted({0.0, (len(model.lambdas) - 1) / 2, len(model.lambdas) - 1.0}):
                model.rate(model.analysis(_padded(picture, model.stride), np.float32([rung])))
    return calibration


class Walked:
    """A Keras model as the codec sees an export: the walk's steps in numpy, on any backend.

    Args: model: a built `CodecModel`.
    """

    def __init__(self, model: keras.Model):
        self.model, self.stride = model, model.stride
        self.shapes = LatentShapes(model.parts, model.stride).shapes

    def step(self, k: int, state: dict, symbols: np.ndarray | None) -> tuple[dict, CodedPrior]:
        """As `exports.loaded.Exported.step`."""
        given = None if symbols is None else keras.ops.convert_to_tensor(symbols)
        state, prior = self.model.step(k, state, given)
        mu, indexes = (keras.ops.convert_to_numpy(t) for t in (prior.mu, prior.indexes()))
        part = self.model.parts[min(k, len(self.model.parts) - 1)]  # wavefronts repeat the last
        return state, CODINGS[part.coding](part, mu, indexes)

    def finish(self, state: dict, symbols: np.ndarray) -> Any:
        """As `exports.loaded.Exported.finish`, on the backend."""
        return self.model.finish(state, keras.ops.convert_to_tensor(symbols))


def _round_medians(model):
    for prior in model.layers:
        if isinstance(prior, FactorizedPrior):
            quantiles = prior.quantiles.numpy()
            quantiles[:, 1] = np.rint(quantiles[:, 1] * 2**MEDIAN_BITS) / 2**MEDIAN_BITS
            prior.quantiles.assign(quantiles)


def _padded(picture, stride):
    height, width = (padded(side, stride) for side in picture.shape[:2])
    rows, columns = height - picture.shape[0], width - picture.shape[1]
    x = np.pad(picture, ((0, rows), (0, columns), (0, 0)), mode="edge")
    return np.float32(x[None]) / 255.0
