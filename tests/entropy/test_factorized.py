import keras
import numpy as np
import pytest
import tensorflow as tf
from harness import check_prior, gradients

from tfcodec.entropy.factorized import TAIL_MASS, Factorized, FactorizedPrior

CHANNELS = 5


@pytest.fixture
def prior():
    """A prior away from its start: every variable moved, medians off zero."""
    layer = FactorizedPrior()
    layer.build((None, None, None, CHANNELS))
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign_add(rng.normal(0, 0.3, weight.shape))
    return layer


def test_a_channel_has_61_parameters_and_its_config_goes_round():
    prior = FactorizedPrior(filters=(3, 3, 3, 3), init_scale=8.0, name="prior")
    clone = FactorizedPrior.from_config(prior.get_config())
    assert clone.get_config() == prior.get_config()
    prior.build((None, None, None, CHANNELS))
    assert prior.count_params() == 61 * CHANNELS


def test_it_is_a_prior(prior):
    trained = [w for w in prior.trainable_weights if w is not prior.quantiles]

    def make(_, first_row):
        return Factorized(prior, first_row)

    check_prior(make, CHANNELS, prior.table_rows(), trained)


def test_the_cumulative_is_monotone(prior):
    values = np.tile(np.linspace(-200, 200, 4001, dtype=np.float32), [CHANNELS, 1, 1])
    logits = np.array(prior.logits(tf.constant(values)), np.float64)
    assert np.all(np.diff(logits) >= -1e-4) and np.all(logits[..., -1] > logits[..., 0])


def test_the_rate_trains_the_density_and_the_quantile_loss_the_quantiles_alone(prior):
    def rate():
        return prior.bits(tf.ones([1, 2, 2, CHANNELS]) + prior.medians)

    for weight, by_rate, by_quantiles in zip(
        prior.trainable_weights,
        gradients(rate, prior.trainable_weights),
        gradients(prior.quantile_loss, prior.trainable_weights),
        strict=True,
    ):
        silent, trained = by_quantiles, by_rate
        if weight is prior.quantiles:
            silent, trained = by_rate, by_quantiles
        assert silent is None or not np.any(silent), weight.path
        assert np.any(trained), weight.path


def test_descent_on_the_quantile_loss_finds_median_and_tails(prior):
    prior.init_scale = 2.0
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1.0, 600))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = prior.quantile_loss()
        value = prior.quantiles
        optimizer.apply(tape.gradient(loss, [value.value]), [value])

    for _ in range(600):
        step()
    at = np.array(prior.logits(tf.constant(prior.quantiles.numpy()[:, None, :])))[:, 0]
    cumulative = 1 / (1 + np.exp(-at.astype(np.float64)))
    np.testing.assert_allclose(cumulative[:, 1], 0.5, atol=0.01)
    np.testing.assert_allclose(cumulative[:, 0], TAIL_MASS / 2, rtol=0.1)
    np.testing.assert_allclose(1 - cumulative[:, 2], TAIL_MASS / 2, rtol=0.1)


def test_rows_sum_to_one_and_hold_the_median_and_the_masses_that_bits_charges(prior):
    rows = prior.table_rows()
    assert len(rows) == CHANNELS
    medians = np.array(prior.medians)
    for channel, (pmf, first) in enumerate(rows):
        assert pmf.sum() == pytest.approx(1, abs=1e-9) and pmf.min() >= 0
        assert first <= 0 < first + len(pmf) - 1
        assert pmf[-1] < 2 * TAIL_MASS
        symbols = np.arange(first, first + len(pmf) - 1, dtype=np.float32)
        values = symbols[None, :, None, None] + medians
        bits = np.array(prior.bits(tf.constant(values)))[0, :, 0, channel]
        np.testing.assert_allclose(2.0 ** -bits.astype(np.float64), pmf[:-1], atol=1e-5)


def test_each_channel_is_coded_by_its_own_row(prior):
    indexes = Factorized(prior, first_row=3).indexes()
    np.testing.assert_array_equal(indexes, np.arange(3, 3 + CHANNELS).reshape(1, 1, 1, -1))
    assert indexes.dtype == "int32"
