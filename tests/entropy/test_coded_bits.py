"""What evaluation charges is what the coder charges, however wrong the model is."""

import math

import numpy as np
import pytest
import tensorflow as tf
from harness import as_coded, coded_size

from tfcodec.coding import mixtures
from tfcodec.entropy import gaussian, mixture
from tfcodec.entropy.factorized import Factorized, FactorizedPrior
from tfcodec.entropy.gaussian import Gaussian

SHAPE = (1, 32, 32, 20)


def _estimate_and_file(prior, latents, rows):
    """Bits of latents [1, h, w, c] by the meter, and those of payload and escapes of a file."""
    return coded_size(prior, as_coded(prior), latents, rows)


def _gaussian(rng, low, high):
    log_scale = np.float32(rng.uniform(low, high, SHAPE))
    mu = np.float32(rng.uniform(-3, 3, SHAPE))
    return Gaussian(tf.constant(mu), tf.constant(log_scale), 1)


def _check(estimate, file):
    assert file <= 1.005 * estimate + 64
    assert estimate <= 1.005 * file + 64


@pytest.mark.parametrize("reach", [0.4, 3.0, 10.0, 100.0, 3e4])
@pytest.mark.parametrize("scales", [(-50, 50), (-3, -2), (-1, 1), (2, 5), (-50, -49)])
def test_gaussian_latents_far_from_the_mean_cost_what_is_estimated(scales, reach):
    rng = np.random.default_rng(0)
    prior = _gaussian(rng, *scales)
    latents = np.float32(prior.mu + rng.uniform(-reach, reach, SHAPE))
    _check(*_estimate_and_file(prior, latents, gaussian.table_rows()))


@pytest.mark.parametrize("share", [0.5, 0.01])
def test_a_few_latents_that_the_network_is_sure_of_and_wrong_about(share):
    rng = np.random.default_rng(1)
    prior = _gaussian(rng, math.log(0.11), math.log(2))
    noise = np.exp(prior.log_scale) * rng.standard_normal(SHAPE)
    noise[rng.random(SHAPE) < share] *= 20
    latents = np.float32(prior.mu + noise)
    estimate, file = _estimate_and_file(prior, latents, gaussian.table_rows())
    _check(estimate, file)
    # This is what the coder does not charge: the density alone says at least a tenth more.
    density = np.sum(prior.bits(np.rint(latents - prior.mu) + prior.mu))
    assert density > 1.1 * file


@pytest.mark.parametrize("width", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("reach", [0.4, 3.0, 30.0, 100.0, 3e4])
def test_hyper_latents_far_from_the_median_cost_what_is_estimated(reach, width):
    rng = np.random.default_rng(2)
    layer = FactorizedPrior(init_scale=width)
    layer.build((None, None, None, SHAPE[-1]))
    for weight in layer.weights:
        weight.assign_add(rng.normal(0, 0.3, weight.shape))
    prior = Factorized(layer, 1)
    latents = np.float32(np.array(layer.medians) + rng.uniform(-reach, reach, SHAPE))
    _check(*_estimate_and_file(prior, latents, layer.table_rows()))


@pytest.mark.parametrize("scales", [(-20, 20), (-3, -2), (-1, 2)])
@pytest.mark.parametrize("reach", [3.0, 30.0, 300.0])
def test_mixtures_cost_at_most_what_is_estimated(scales, reach):
    rng = np.random.default_rng(3)
    raw = np.zeros([mixture.NUMBERS, 2000])
    raw[0:27:3] = rng.normal(0, 2, [9, 2000])
    raw[1:27:3] = rng.normal(0, 3, 2000) + rng.normal(0, 1, [9, 2000])
    raw[2:27:3] = rng.uniform(*scales, [9, 2000])
    prior = mixture.Mixture(tf.constant(np.float32(raw).reshape(1, 1, 1, -1)), 1)
    latents = np.float32(rng.uniform(-reach, reach, [1, 1, 1, 2000]))
    coded = mixtures.MixturePrior(np.array(prior.indexes()), prior.first_row)
    estimate, file = coded_size(prior, coded, latents, mixtures.binary_rows())
    assert file <= 1.02 * estimate + 64
