"""The model computes what the network computes that its first weights were trained in.

`tests/data/quad_reference.npz` holds weights of a narrow network, a picture, and what that network
(an implementation of its own) makes of them: bits of each part, the picture, 8 rungs.
"""

import dataclasses
import pathlib

import numpy as np
import pytest

from tfcodec import models
from tfcodec.models import quad

DATA = pathlib.Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def reference():
    with np.load(DATA / "quad_reference.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def model(reference):
    config = quad.Config(
        width=16,
        analysis_blocks=2,
        synthesis_blocks=3,
        latents=16,
        filters=12,
        hyper_latents=8,
        features=10,
        step_widths=(14, 12),
    )
    model = models.build_with_weights("quad", config)
    for variable in model.trainable_variables:
        variable.assign(reference["weights/" + variable.path])
    return model


@pytest.mark.parametrize("rung", [0.0, 3.5, 7.0])
def test_bits_and_picture_are_those_of_the_reference(model, reference, rung):
    x_hat, bits = model(reference["picture"][None] / np.float32(255), np.float32([rung]))
    for part in ("z", "y"):
        assert float(bits[part][0]) == pytest.approx(
            float(reference[f"bits_{part}/{rung}"]), rel=1e-3
        )
    error = np.array(x_hat[0]) - reference[f"x_hat/{rung}"]
    assert np.sqrt(np.mean(np.square(error))) < 2e-3


BLOCKS = [
    ("quad", "small", {"width": 16, "latents": 64}),
    ("weconvene", "compact", {"width": 16, "latents": 24}),
    pytest.param("weconvene3d", "compact", {"width": 16, "latents": 24}, marks=pytest.mark.slow),
    pytest.param("icwem", "compact", {"width": 16, "latents": 64}, marks=pytest.mark.slow),
    pytest.param("octave", "compact", {"width": 16, "latents": 128}, marks=pytest.mark.slow),
    pytest.param("gllmm", "compact", {"width": 16, "latents": 64}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name,preset,changes", BLOCKS)
def test_training_begins_at_a_linear_transform_codec(reference, name, preset, changes):
    """Of all models whose transforms are those of models/blocks.py."""
    config = dataclasses.replace(models.config(name, preset), **changes)
    model = models.build_with_weights(name, config)
    x = reference["picture"][None] / np.float32(255)
    x = np.concatenate([x, x[:, ::-1]], axis=1)
    crops = np.concatenate([x, x[:, ::-1], x[:, :, ::-1]])
    model.prepare(crops)
    x_hat, bits = model(x, np.float32([7.0]))
    psnr = -10 * np.log10(np.mean(np.square(np.array(x_hat) - x)))
    assert psnr > 28 and float(sum(b[0] for b in bits.values())) / x[..., 0].size < 4
