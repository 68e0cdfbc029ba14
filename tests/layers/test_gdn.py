import keras
import numpy as np
import pytest
from harness import check_layer

from tfcodec.layers.gdn import GDN

PEDESTAL = 2.0**-36


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("order", [1, 2])
def test_gdn_owes_what_every_layer_owes(order, inverse):
    check_layer(GDN(inverse=inverse, order=order), (2, 5, 4, 3))


def _set(layer, beta, gamma):
    layer.beta.assign(np.sqrt(beta + PEDESTAL))
    layer.gamma.assign(np.sqrt(gamma + PEDESTAL))


@pytest.mark.parametrize("order", [1, 2])
def test_gdn_is_the_formula_of_its_docstring(order):
    rng = np.random.default_rng(1)
    x = rng.standard_normal([2, 3, 4, 5])
    beta, gamma = rng.uniform(0.5, 2, [5]), rng.uniform(0, 1, [5, 5])
    layer = GDN(order=order)
    layer.build((None, None, None, 5))
    _set(layer, beta, gamma)
    if order == 2:
        norm = np.sqrt(beta + np.einsum("bhwj,ji->bhwi", x**2, gamma))
    else:
        norm = beta + np.einsum("bhwj,ji->bhwi", abs(x), gamma)
    np.testing.assert_allclose(layer(np.float32(x)), x / norm, rtol=1e-5)


@pytest.mark.parametrize("order", [1, 2])
def test_igdn_multiplies_by_the_norm_that_gdn_divides_by(order):
    x = np.random.default_rng(2).standard_normal([1, 4, 4, 6]).astype(np.float32)
    divide, multiply = GDN(order=order), GDN(order=order, inverse=True)
    product = divide(x) * multiply(x)  # x / norm * x * norm
    np.testing.assert_allclose(product, x * x, rtol=1e-5)


def test_the_norm_stays_positive_when_training_pushes_beta_and_gamma_below_zero():
    layer = GDN()
    layer.build((None, None, None, 2))
    layer.beta.assign([-3.0, 0.0])
    layer.gamma.assign(-keras.ops.ones((2, 2)))
    out = keras.ops.convert_to_numpy(layer(np.float32([[[[0.0, 2.0]]]])))
    # beta is at least 1e-6 and gamma at least 0: y = x / sqrt(1e-6).
    np.testing.assert_allclose(out, [[[[0.0, 2000.0]]]], rtol=1e-3)


def test_another_order_is_refused_in_the_manner_of_keras():
    with pytest.raises(ValueError, match="`order` must be 1 or 2. Received: order=3"):
        GDN(order=3)
