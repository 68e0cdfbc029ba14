"""The optimizers as what they claim to be: Keras' Adam, and steps that are orthogonal matrices."""

import keras
import numpy as np
import pytest

from tfcodec import models
from tfcodec.training import optimizer
from tfcodec.training.optimizer import Muon, Optimizer

KERNELS = [(3, 3, 16, 24), (1, 1, 64, 24), (1, 1, 24, 64), (5, 5, 8, 8), (1, 1, 32, 32)]


def _gradient(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _steps(gradients, momentums=None, dtype="float32"):
    momentums = [np.zeros_like(g) for g in gradients] if momentums is None else momentums
    steps, _ = Muon(dtype).steps(gradients, (momentums,), 1.0)
    return [np.array(step) for step in steps]


def _matrix(kernel):
    return kernel.reshape(-1, kernel.shape[-1])


def _weights(*shapes):
    rng = np.random.default_rng(0)
    return [
        keras.Variable(rng.normal(size=shape).astype(np.float32), name="kernel") for shape in shapes
    ]


def test_adam_is_that_of_keras():
    rng = np.random.default_rng(0)
    weights = [
        keras.Variable(rng.normal(size=shape), name=f"w{k}")
        for k, shape in enumerate([(3,), (2, 2)])
    ]
    ours = Optimizer("adam", weights, lambda iteration, progress: 1e-3, clip_norm=1.0, ema=0.9)
    theirs = keras.optimizers.Adam(1e-3, global_clipnorm=1.0, name="adam")
    theirs.build(weights)
    values, state = [w.numpy() for w in weights], [v.numpy() for v in ours.variables]
    for scale in (5.0, 0.1, 1.0):
        gradients = [np.float32(scale * rng.normal(size=w.shape)) for w in weights]
        state, values, norm = ours.update(state, gradients, values)
        theirs.apply([keras.ops.convert_to_tensor(g) for g in gradients])
        assert float(norm) == pytest.approx(np.sqrt(sum(np.sum(g**2) for g in gradients)), rel=1e-5)
    known = {v.path: v.numpy() for v in theirs.variables}
    slots = [v.path for v in ours.variables if not v.path.endswith("_average")]
    assert len(slots) == 1 + 2 * len(weights)
    for variable, value in zip(ours.variables, state, strict=True):
        if variable.path in slots:
            np.testing.assert_allclose(value, known[variable.path], rtol=1e-4, atol=1e-7)
    for weight, value in zip(weights, values, strict=True):
        np.testing.assert_allclose(value, weight.numpy(), rtol=1e-5)


@pytest.mark.parametrize("name", optimizer.RULES)
def test_the_average_begins_at_the_first_update_and_its_memory_grows_with_the_run(name):
    weights = _weights((3, 3, 8, 8), (4,))
    ours = Optimizer(name, weights, lambda iteration, progress: 1.0, clip_norm=1.0, ema=0.9)
    gradients = [np.ones(w.shape, np.float32) for w in weights]
    state, values = [v.numpy() for v in ours.variables], [w.numpy() for w in weights]
    state, first, _ = ours.update(state, gradients, values)
    np.testing.assert_array_equal(state[1], first[0])
    state, second, _ = ours.update(state, gradients, first)
    kept = 0.9 / 51  # of the average before, 0.9 in the long run
    for k in range(2):
        np.testing.assert_allclose(
            state[1 + k], np.array(first[k]) * kept + np.array(second[k]) * (1 - kept), rtol=1e-5
        )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", KERNELS)
def test_a_step_of_muon_is_orthogonal_and_as_large_as_one_of_adam(shape, dtype):
    gradient = _gradient(shape)
    step = _matrix(_steps([gradient], dtype=dtype)[0])
    found = np.linalg.svd(step, compute_uv=False) / (0.2 * np.sqrt(max(step.shape)))
    # The five polynomials lead to 1 within this, for a singular value of 1/200 of the norm or more.
    large = np.linalg.svd(_matrix(gradient), compute_uv=False) > 0.005 * np.linalg.norm(gradient)
    assert np.all(np.abs(found[large] - 1) < (0.15 if dtype == "float32" else 0.25))
    assert np.all(found < 1.25)
    # And the singular vectors are the gradient's: step^T gradient is symmetric.
    product = step.T @ _matrix(gradient)
    tolerance = 1e-4 if dtype == "float32" else 0.05
    np.testing.assert_allclose(product, product.T, atol=tolerance * np.abs(product).max())


@pytest.mark.parametrize("factor", [1e-12, 1e-3, 1e6])
def test_a_step_of_muon_does_not_depend_on_the_size_of_the_gradient(factor):
    gradient = _gradient((3, 3, 16, 24))
    step, other = _steps([gradient])[0], _steps([gradient * np.float32(factor)])[0]
    np.testing.assert_allclose(other, step, atol=2e-4)
    assert np.all(_steps([0 * gradient])[0] == 0)


@pytest.mark.parametrize("size", [1e-16, 1e-19, 1e-21, 1e-23, 1e-30, 1e-44])
def test_a_gradient_whose_squares_underflow_makes_no_large_step(size):
    step = _matrix(_steps([_gradient((3, 3, 16, 24)) * np.float32(size)])[0])
    assert np.linalg.norm(step, 2) < 1.25 * 0.2 * np.sqrt(max(step.shape))


def test_a_kernel_that_the_loss_no_longer_sees_stays_where_it_is():
    gradient = _gradient((3, 3, 16, 24))
    momentum = [gradient]
    for _ in range(3):
        steps, (momentum,) = Muon().steps([0 * gradient], (momentum,), 2.0)
        assert np.all(np.array(steps[0]) == 0) and np.any(np.array(momentum[0]))


def test_kernels_of_one_shape_are_computed_together_and_as_if_alone():
    gradients = [_gradient(shape, k) for k, shape in enumerate([*KERNELS, *KERNELS[::-1]])]
    for together, gradient in zip(_steps(gradients), gradients, strict=True):
        np.testing.assert_allclose(together, _steps([gradient])[0], atol=1e-5)


def test_a_transposed_kernel_takes_the_transposed_step():
    gradient = _gradient((1, 1, 24, 40))
    np.testing.assert_allclose(
        _steps([gradient.swapaxes(2, 3)])[0], _steps([gradient])[0].swapaxes(2, 3), atol=1e-5
    )


def test_the_momentum_is_nesterovs():
    gradient, momentum = _gradient((1, 1, 16, 16)), _gradient((1, 1, 16, 16), 1)
    _, (kept,) = Muon().steps([gradient], ([momentum],), 2.0)
    np.testing.assert_allclose(kept[0], 0.95 * momentum + gradient, rtol=1e-5, atol=1e-6)
    ahead = gradient + 0.95 * (0.95 * momentum + gradient)
    np.testing.assert_allclose(
        _steps([gradient], [momentum])[0], _steps([ahead / np.float32(1.95)])[0], atol=1e-4
    )


@pytest.mark.parametrize("model", models.MODELS)
def test_muon_trains_the_wide_convolutions_of_every_model_but_not_its_linear_chains(model):
    preset = next(iter(models.module(model).PRESETS))  # the smallest
    variables = models.build(model, preset).build_weights().trainable_variables
    chosen = [v for v in variables if optimizer.is_matrix(v.path, v.shape)]
    count = sum(np.prod(v.shape) for v in variables)
    assert sum(np.prod(v.shape) for v in chosen) > 0.55 * count
    assert all(v.path.endswith("/kernel") and min(v.shape[2:]) >= 8 for v in chosen)
    for word in ("shortcut", "pca", "/linear/", "gain", "prior", "gamma", "bias", "attention"):
        assert not [v.path for v in chosen if word in v.path]


@pytest.mark.parametrize(
    ("path", "shape", "matrix"),
    [
        ("m/analysis/block0/a/kernel", (1, 1, 256, 256), True),
        ("m/synthesis/layer0/kernel", (5, 5, 192, 128), True),  # transposed: [k, k, out, in]
        ("m/synthesis/layer6/kernel", (5, 5, 3, 128), False),  # pixels
        ("m/analysis/conv0/kernel", (5, 5, 3, 32), False),
        ("m/analysis/block0/dw/kernel", (3, 3, 256, 1), False),  # depthwise
        ("m/analysis/block0/dw/kernel", (3, 3, 256), False),
        ("m/analysis/gdn0/gamma", (128, 128), False),
        ("m/analysis/block0/swin/attention/qkv/kernel", (64, 192), False),
        ("m/analysis/pca/kernel", (1, 1, 192, 192), False),
        ("m/synthesis/linear/conv/kernel", (1, 1, 256, 768), False),
        ("m/synthesis/shortcut2/conv/kernel", (1, 1, 64, 128), False),
        ("m/synthesis/head/kernel", (3, 3, 256, 192), False),
        ("m/header/kernel", (3, 3, 256, 192), True),
    ],
)
def test_which_kernels_are_matrices(path, shape, matrix):
    assert optimizer.is_matrix(path, shape) == matrix
