import math

import numpy as np
import pytest
import tensorflow as tf
from harness import check_prior, gradients

from tfcodec.coding.tables import CodingTables
from tfcodec.entropy import gaussian
from tfcodec.entropy.gaussian import LOG_MAX, LOG_MIN, NUM_LEVELS, Gaussian, log_erfc

LEVELS = np.linspace(LOG_MIN, LOG_MAX, NUM_LEVELS)


def test_log_erfc_is_the_logarithm_of_erfc():
    x = np.linspace(-6, 9, 601).astype(np.float32)
    expected = [math.log(math.erfc(v)) for v in x.astype(float)]
    np.testing.assert_allclose(log_erfc(tf.constant(x)), expected, rtol=1e-5, atol=3e-7)


def test_log_erfc_follows_the_asymptote_where_erfc_underflows():
    x = np.float64([30, 100, 1e4])
    asymptote = -(x**2) - np.log(x * math.sqrt(math.pi))
    np.testing.assert_allclose(log_erfc(tf.constant(np.float32(x))), asymptote, rtol=1e-4)


@pytest.mark.parametrize("sigma", [1e-20, 0.11, 0.3, 1.0, 7.0, 100.0, 1e20])
@pytest.mark.parametrize("mu", [0.0, 0.3, -7.5])
def test_a_gaussian_is_a_prior(sigma, mu):
    mu = tf.fill([1, 1, 1, 3], mu)
    log_scale = tf.math.log(tf.constant([[[[sigma, 1.1 * sigma, 0.5]]]]))

    def make(batch, first_row):
        return Gaussian(tf.repeat(mu, batch, 0), tf.repeat(log_scale, batch, 0), first_row)

    check_prior(make, 3, gaussian.table_rows(), [mu, log_scale])


class _Cheap(Gaussian):
    def bits(self, values):
        return 0.99 * super().bits(values)


class _Cut(Gaussian):
    def bits(self, values):
        return tf.where(tf.abs(values - self.mu) > 1e3, math.inf, super().bits(values))


class _Elsewhere(Gaussian):
    def indexes(self):
        return super().indexes() - self.first_row + 1


class _Wider(Gaussian):
    def indexes(self):
        return super().indexes() + 20


@pytest.mark.parametrize("kind", [_Cheap, _Cut, _Elsewhere, _Wider])
def test_what_breaks_a_law_is_no_prior(kind):
    def make(batch, first_row):
        return kind(0.0, tf.fill([batch, 1, 1, 2], 0.5), first_row)

    with pytest.raises(AssertionError):
        check_prior(make, 2, gaussian.table_rows())


def test_bits_are_those_of_the_normal_distribution():
    sigma, mu, values = 1.7, 0.4, np.arange(-5.0, 6.0)
    edges = [math.erf((v - 0.5 - mu) / sigma / 2**0.5) / 2 for v in np.append(values, 6.0)]
    prior = Gaussian(mu, tf.fill([1, 1, 1, 11], math.log(sigma)), 1)
    bits = prior.bits(np.float32(values.reshape(1, 1, 1, -1)))[0, 0, 0]
    np.testing.assert_allclose(bits, -np.log2(np.diff(edges)), rtol=1e-4)


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


@pytest.mark.parametrize("low,high", [(0.11, 0.3), (0.3, 2.0), (2.0, 40.0), (0.11, 200.0)])
def test_integer_tables_cost_as_much_as_the_estimate_within_a_thousandth(low, high):
    y, prior = _samples(np.random.default_rng(2), low, high)
    symbols = np.rint(y - prior.mu.numpy())
    estimate = np.sum(prior.bits(symbols + prior.mu.numpy()), dtype=np.float64)
    tables = CodingTables.build(gaussian.table_rows())
    ideal = np.sum(tables.ideal_bits(np.array(prior.indexes()), symbols.astype(np.int32)))
    # Near certainty the shares of 2^-16 that unlikely symbols must have cost 3e-4 bits each.
    assert ideal == pytest.approx(estimate, rel=1e-3, abs=3e-4 * symbols.size)
