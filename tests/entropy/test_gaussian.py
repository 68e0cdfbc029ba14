import math

import numpy as np
import pytest
import tensorflow as tf
from harness import gradients

from tfcodec.coding.tables import CodingTables
from tfcodec.entropy import gaussian
from tfcodec.entropy.gaussian import LOG_MAX, LOG_MIN, NUM_LEVELS, Gaussian, log_erfc
from tfcodec.entropy.rate import RateMeter

LEVELS = np.linspace(LOG_MIN, LOG_MAX, NUM_LEVELS)


def test_log_erfc_is_the_logarithm_of_erfc():
    x = np.linspace(-6, 9, 601).astype(np.float32)
    expected = [math.log(math.erfc(v)) for v in x.astype(float)]
    np.testing.assert_allclose(log_erfc(tf.constant(x)), expected, rtol=1e-5, atol=3e-7)


def test_log_erfc_follows_the_asymptote_where_erfc_underflows():
    x = np.float64([30, 100, 1e4])
    asymptote = -(x**2) - np.log(x * math.sqrt(math.pi))
    np.testing.assert_allclose(log_erfc(tf.constant(np.float32(x))), asymptote, rtol=1e-4)


@pytest.mark.parametrize("sigma", [0.11, 0.3, 1.0, 7.0, 100.0, 256.0])
@pytest.mark.parametrize("mu", [0.0, 0.3, -7.5])
def test_probabilities_over_the_integers_sum_to_one(sigma, mu):
    values = np.arange(-3000, 3001, dtype=np.float32)[:, None, None, None]
    log_scale = tf.fill(values.shape, np.float32(math.log(sigma)))
    bits = np.array(Gaussian(np.float32(mu), log_scale, 1).bits(values), np.float64)
    assert np.sum(2.0**-bits) == pytest.approx(1, abs=1e-3)


def test_bits_are_those_of_the_normal_distribution():
    sigma, mu, values = 1.7, 0.4, np.arange(-5.0, 6.0)
    edges = [math.erf((v - 0.5 - mu) / sigma / 2**0.5) / 2 for v in np.append(values, 6.0)]
    prior = Gaussian(mu, tf.fill([1, 1, 1, 11], math.log(sigma)), 1)
    bits = prior.bits(np.float32(values.reshape(1, 1, 1, -1)))[0, 0, 0]
    np.testing.assert_allclose(bits, -np.log2(np.diff(edges)), rtol=1e-4)


@pytest.mark.parametrize("log_scale", [-50.0, LOG_MIN, 0.0, LOG_MAX, 50.0])
@pytest.mark.parametrize("distance", [0.0, 0.5, 3.0, 1e4, -1e4])
def test_bits_and_gradients_stay_finite_at_the_extremes(log_scale, distance):
    mu, log_scale = tf.constant([[[[0.25]]]]), tf.constant([[[[log_scale]]]])
    values = mu + distance
    bits = Gaussian(mu, log_scale, 1).bits(values)
    assert np.all(np.isfinite(bits)) and np.all(bits >= 0)
    found = gradients(lambda: Gaussian(mu, log_scale, 1).bits(values), [mu, log_scale])
    assert all(np.all(np.isfinite(g)) for g in found)


def test_a_scale_beyond_its_range_is_still_pulled_back():
    far = tf.constant([[[[-50.0, 50.0]]]])
    (gradient,) = gradients(lambda: Gaussian(0.0, far, 1).bits(tf.constant([[[[9.0, 0]]]])), [far])
    assert gradient[0, 0, 0, 0] < 0 < gradient[0, 0, 0, 1]  # descent raises one, lowers the other


def test_indexes_name_the_nearest_level_and_never_leave_the_table():
    log_scale = np.random.default_rng(0).uniform(-5, 8, [1, 10, 10, 20]).astype(np.float32)
    indexes = np.array(Gaussian(0.0, tf.constant(log_scale), 7).indexes())
    assert indexes.dtype == np.int32
    distance = np.abs(np.clip(log_scale, LOG_MIN, LOG_MAX)[..., None] - LEVELS)
    chosen = np.take_along_axis(distance, indexes[..., None] - 7, axis=-1)[..., 0]
    np.testing.assert_allclose(chosen, distance.min(axis=-1), atol=1e-5)
    assert indexes.min() == 7 and indexes.max() == 7 + NUM_LEVELS - 1


def test_rows_sum_to_one_are_symmetric_and_end_with_the_escape():
    rows = gaussian.table_rows()
    assert len(rows) == NUM_LEVELS
    for pmf, first in rows:
        assert pmf.sum() == pytest.approx(1, abs=1e-12) and pmf.min() > 0
        np.testing.assert_allclose(pmf[:-1], pmf[-2::-1], rtol=1e-9)
        assert len(pmf) == 2 * -first + 2


def _samples(rng, low, high, shape=(4, 64, 64, 16)):
    log_scale = rng.uniform(math.log(low), math.log(high), shape).astype(np.float32)
    mu = rng.uniform(-3, 3, shape).astype(np.float32)
    y = (mu + np.exp(log_scale) * rng.standard_normal(shape)).astype(np.float32)
    return y, Gaussian(tf.constant(mu), tf.constant(log_scale), 1)


@pytest.mark.parametrize("low,high", [(0.2, 0.4), (0.8, 1.2), (3.0, 10.0)])
def test_training_bits_are_at_least_evaluation_bits(low, high):
    rng = np.random.default_rng(1)
    y, prior = _samples(rng, low, high)
    keys = rng.integers(0, 2**32, [len(y)], dtype=np.uint32)
    noisy, rounded = RateMeter([y], ["y"], keys), RateMeter([y], ["y"])
    noisy(0, prior), rounded(0, prior)
    noisy, rounded = (np.sum(meter.bits["y"]) for meter in (noisy, rounded))
    assert rounded <= noisy * 1.001
    assert noisy <= rounded * (1.02 if low > 0.5 else 2)


@pytest.mark.parametrize("low,high", [(0.11, 0.3), (0.3, 2.0), (2.0, 40.0), (0.11, 200.0)])
def test_integer_tables_cost_as_much_as_the_estimate_within_a_thousandth(low, high):
    y, prior = _samples(np.random.default_rng(2), low, high)
    symbols = np.rint(y - prior.mu.numpy())
    estimate = np.sum(prior.bits(symbols + prior.mu.numpy()), dtype=np.float64)
    tables = CodingTables.build(gaussian.table_rows())
    ideal = np.sum(tables.ideal_bits(np.array(prior.indexes()), symbols.astype(np.int32)))
    # Near certainty the shares of 2^-16 that unlikely symbols must have cost 3e-4 bits each.
    assert ideal == pytest.approx(estimate, rel=1e-3, abs=3e-4 * symbols.size)
