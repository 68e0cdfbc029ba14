import numpy as np
import tensorflow as tf
from harness import gradients

from tfcodec.entropy.quantize import round_straight_through, uniform_noise

KEYS = np.random.default_rng(0).integers(0, 2**32, [6], dtype=np.uint32)
LIKE = np.zeros([6, 8, 16, 12], np.float32)


def _noise(salt=0, keys=KEYS, like=LIKE):
    return np.array(uniform_noise(like, keys, salt))


def test_rounding_goes_half_to_even_and_its_gradient_is_one():
    x = tf.constant([-1.5, -0.2, 0.5, 1.5, 2.7])
    np.testing.assert_array_equal(round_straight_through(x), [-2, 0, 0, 2, 3])
    (gradient,) = gradients(lambda: round_straight_through(x), [x])
    np.testing.assert_array_equal(gradient, np.ones(5))


def test_noise_does_not_depend_on_how_a_batch_is_split():
    whole = _noise()
    parts = [_noise(keys=KEYS[k : k + 2], like=LIKE[k : k + 2]) for k in (0, 2, 4)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_noise_is_uniform():
    noise = _noise().reshape(-1)
    n = noise.size
    assert noise.dtype == np.float32 and noise.min() >= -0.5 and noise.max() < 0.5
    assert abs(noise.mean()) < 4 * (1 / 12 / n) ** 0.5
    assert abs(noise.var() - 1 / 12) < 4 * (1 / 180 / n) ** 0.5
    histogram = np.histogram(noise, 32, (-0.5, 0.5))[0]
    assert np.sum((histogram - n / 32) ** 2) / (n / 32) < 31 + 4 * 62**0.5  # chi squared


def test_noise_of_neighbours_examples_and_salts_is_unrelated():
    noise = _noise()
    bound = 5 / 12 / noise.size**0.5
    for axis in range(4):
        assert abs(np.mean(noise * np.roll(noise, 1, axis))) < bound
    assert abs(np.mean(noise * _noise(salt=1))) < bound
    assert not np.any(np.all(noise == _noise(salt=1), axis=(1, 2, 3)))


def test_noise_of_keys_that_differ_in_one_bit_is_unrelated():
    pairs = np.uint32([[k, k ^ (1 << (5 * i))] for i, k in enumerate(KEYS)]).reshape(-1)
    noise = _noise(keys=pairs, like=np.zeros([12, 64, 64], np.float32)).reshape(6, 2, -1)
    assert np.all(np.abs(np.mean(noise[:, 0] * noise[:, 1], axis=1)) < 5 / 12 / 64)
