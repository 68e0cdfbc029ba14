"""The Keras model of an export, on any backend."""

from typing import Any

import numpy as np

from tfcodec import models
from tfcodec.exact import freezing, proof
from tfcodec.exports.installed import ModelInfo
from tfcodec.exports.weights import dequantised, read_weights, stored_weights
from tfcodec.models.base import CodecModel


def rebuild_with_gradients(info: ModelInfo) -> tuple[CodecModel, Any]:
    """As `rebuild`, where the networks of a frozen export compute their integers and have the
    gradients of what these mean."""
    model, config = rebuild(info, as_float=True)
    convs = {c.name: c for c in proof.frozen_convolutions(info.config, stored_weights(info))}
    if convs:
        for chain in model.entropy_chains():
            freezing.pair(chain, [convs[freezing.float_path(layer)] for layer, _ in chain.stages])
    return model, config


def rebuild(info: ModelInfo, as_float: bool = False) -> tuple[CodecModel, Any]:
    """(the Keras model of an export, frozen if it is, its `Config`), on any backend.

    Args: as_float: a frozen export, too, becomes a model for training, by what its integers mean.
    Raises: ModelError if the export is incomplete.
    """
    stored = stored_weights(info)
    frozen = [] if as_float else proof.frozen_convolutions(info.config, stored)
    stored = read_weights(info.path) if as_float else dequantised(info, stored)
    convs = {conv.name: conv for conv in frozen}
    name, precision = info.config["model"], info.config.get("precision", "float32")
    config = models.read_config(name, info.config["config"])
    model = models.build_with_weights(name, config, precision)
    if convs:
        for chain in model.entropy_chains():
            freezing.swap(chain, [convs[freezing.float_path(layer)] for layer, _ in chain.stages])
    for variable in model.variables:
        value = stored[variable.path]
        integers = np.issubdtype(value.dtype, np.integer)
        variable.assign(value if integers else value.astype(np.float32))
    return model, config
