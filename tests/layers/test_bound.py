import numpy as np
import tensorflow as tf
from harness import gradients

from tfcodec.layers.bound import lower_bound, upper_bound

X = np.float32([-1, -1, 2, 2])
UP_AND_DOWN = np.float32([1, -1, 1, -1])  # of the loss; descent moves x against it


def test_bounds_are_maximum_and_minimum():
    np.testing.assert_array_equal(lower_bound(tf.constant(X), 0.5), [0.5, 0.5, 2, 2])
    np.testing.assert_array_equal(upper_bound(tf.constant(X), 0.5), [-1, -1, 0.5, 0.5])


def test_beyond_a_bound_only_the_gradient_that_leads_back_passes():
    x = tf.constant(X)
    (lower,) = gradients(lambda: lower_bound(x, 0.5) * UP_AND_DOWN, [x])
    np.testing.assert_array_equal(lower, [0, -1, 1, -1])
    (upper,) = gradients(lambda: upper_bound(x, 0.5) * UP_AND_DOWN, [x])
    np.testing.assert_array_equal(upper, [1, -1, 1, 0])
