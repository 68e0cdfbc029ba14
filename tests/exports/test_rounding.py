"""Kernels in int8: rounded for pictures, they compute nearer to what they were."""

import keras
import numpy as np
import pytest

from tfcodec import models
from tfcodec.exports import rounding, weights


def correlated(generator, rows, count):
    """Inputs of unlike energy that depend on each other, as those of a layer do."""
    mix = generator.normal(size=(rows, rows)) * np.geomspace(1, 30, rows)
    return generator.normal(size=(count, rows)) @ mix


@pytest.mark.parametrize("shape", [(1, 1, 70, 9), (3, 3, 8, 5)])
def test_outputs_change_less_than_with_each_weight_rounded_by_itself(shape):
    generator = np.random.default_rng(1)
    rows = int(np.prod(shape[:3]))
    kernel = np.float32(generator.normal(size=shape))
    x = correlated(generator, rows, 4 * rows)
    found = rounding.compensated(kernel, x.T @ x)
    integers, scale = weights.quantised(kernel)

    def error(other):
        return np.square(x @ np.float64(other - kernel).reshape(rows, -1)).mean(axis=0)

    assert (error(found) < 0.5 * error(integers * scale)).all()


def test_what_is_stored_of_rounded_kernels_is_what_was_rounded():
    generator = np.random.default_rng(2)
    kernel = np.float32(generator.normal(size=(1, 1, 130, 40)))
    kernel[..., 3] = 0  # an output that is silent
    x = correlated(generator, 130, 500)
    found = rounding.compensated(kernel, x.T @ x)
    integers, scale = weights.quantised(found)
    np.testing.assert_array_equal(np.float32(integers) * scale, found)
    np.testing.assert_array_equal(scale, weights.quantised(kernel)[1])
    assert not found[..., 3].any()


def test_a_grid_is_where_it_was():
    generator = np.random.default_rng(3)
    integers, scale = weights.quantised(np.float32(generator.normal(size=(1, 1, 40, 6))))
    kernel = np.float32(integers) * scale
    x = correlated(generator, 40, 200)
    np.testing.assert_array_equal(rounding.compensated(kernel, x.T @ x), kernel)


def test_a_model_is_nearer_to_itself_in_its_rounded_kernels():
    """Of all convolutions that the form names, and closer than by plain rounding."""
    model = models.build_with_weights("quad", models.config("quad", "small"))
    generator = np.random.default_rng(4)
    x = np.float32(generator.uniform(size=(2, 64, 64, 3)))
    model.prepare(np.float32(generator.uniform(size=(8, 64, 64, 3))))
    for variable in model.trainable_variables:  # nothing ends in zeros any more
        if variable.path.endswith("kernel"):
            spread = 0.02 * np.abs(keras.ops.convert_to_numpy(variable)).max() + 0.002
            variable.assign(variable + spread * generator.normal(size=variable.shape))
    form = "bfloat16,int8:*/analysis/*,int8:*/synthesis/block*"
    kernels = {v.path: v for v in model.variables if weights.is_small(v.path, v.shape, form)}
    exact = {path: keras.ops.convert_to_numpy(v) for path, v in kernels.items()}
    found = rounding.rounded(model, x, form)
    ordinary = {path for path in exact if "/dw/" not in path}
    assert set(found) == ordinary and len(found) > 20

    def outputs(values):
        for path, value in values.items():
            kernels[path].assign(value)
        x_hat, _ = model(x, np.float32([3, 3]))
        return keras.ops.convert_to_numpy(x_hat)

    def plain(value):
        integers, scale = weights.quantised(value)
        return np.float32(integers) * scale

    before = outputs({path: exact[path] for path in ordinary})
    nearest = outputs({path: plain(exact[path]) for path in ordinary})
    compensated = outputs(found)
    assert np.square(compensated - before).mean() < 0.7 * np.square(nearest - before).mean()
