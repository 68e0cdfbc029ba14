import math

import numpy as np
import tensorflow as tf
from harness import gradients

from tfcodec.entropy.gaussian import Gaussian
from tfcodec.entropy.quantize import uniform_noise
from tfcodec.entropy.rate import RateMeter

RNG = np.random.default_rng(0)
Y = RNG.normal(0, 2, [3, 4, 4, 2]).astype(np.float32)
MU = RNG.normal(0, 1, [3, 4, 4, 2]).astype(np.float32)
PRIOR = Gaussian(tf.constant(MU), tf.fill(Y.shape, math.log(2.0)), 1)
KEYS = np.uint32([1, 2, 3])


def test_steps_of_one_name_are_added_up_and_examples_are_not():
    meter = RateMeter([Y, Y, Y], ["z", "y", "y"])
    for k in range(meter.num_steps):
        meter(k, PRIOR)
    assert list(meter.bits) == ["z", "y"] and meter.bits["z"].shape == (3,)
    np.testing.assert_allclose(meter.bits["y"], 2 * meter.bits["z"])


def test_evaluation_charges_for_the_values_that_the_decoder_will_have():
    meter = RateMeter([Y], ["y"])
    symbols = np.array(meter(0, PRIOR))
    np.testing.assert_array_equal(symbols, np.rint(Y - MU))
    expected = tf.reduce_sum(PRIOR.bits(symbols + MU), axis=(1, 2, 3))
    np.testing.assert_allclose(meter.bits["y"], expected)


def test_training_charges_for_noisy_latents_and_hands_on_rounded_ones():
    meter = RateMeter([Y], ["y"], KEYS)
    symbols = meter(0, PRIOR)
    np.testing.assert_allclose(symbols, np.rint(Y - MU), atol=1e-6)
    noisy = Y + uniform_noise(Y, KEYS, salt=0)
    np.testing.assert_allclose(meter.bits["y"], tf.reduce_sum(PRIOR.bits(noisy), axis=(1, 2, 3)))


def test_noise_differs_from_step_to_step():
    meter = RateMeter([Y, Y], ["a", "b"], KEYS)
    meter(0, PRIOR), meter(1, PRIOR)
    assert np.all(np.array(meter.bits["a"]) != np.array(meter.bits["b"]))


def test_the_symbols_hand_the_gradient_straight_through():
    y = tf.constant(Y)
    (gradient,) = gradients(lambda: RateMeter([y], ["y"], KEYS)(0, PRIOR), [y])
    np.testing.assert_array_equal(gradient, np.ones_like(Y))


def test_training_bits_of_an_outlier_grow_as_a_logarithm():
    def train_bits(distance):
        meter = RateMeter([tf.fill([1, 1, 1, 1], distance)], ["y"], np.uint32([0]))
        meter(0, Gaussian(0.0, tf.zeros([1, 1, 1, 1]), 1))
        return float(meter.bits["y"][0])

    bits = [train_bits(d) for d in (1.0, 10.0, 100.0, 1000.0)]
    assert bits == sorted(bits) and bits[-1] < 1000
    # A decade of distance is two of the quadratic bits.
    assert abs(bits[3] - bits[2] - 4 * math.log(100)) < 0.2
