import numpy as np
from harness import check_layer

from tfcodec.layers.gain import Gain
from tfcodec.models.base import Gains


def test_gain_owes_what_every_layer_owes():
    check_layer(Gain((0.5, 1.0, 4.0)), (3, 4, 4, 2), (3,))


def test_each_example_is_scaled_by_its_own_rung():
    layer = Gain((0.5, 1.0, 4.0))
    out = np.array(layer(np.ones([3, 1, 1, 2], np.float32), np.float32([2, 0, 1])))
    np.testing.assert_allclose(out[:, 0, 0], [[4, 4], [0.5, 0.5], [1, 1]], rtol=1e-6)


def test_between_two_rungs_gains_are_geometric_in_every_channel():
    layer = Gain((0.5, 1.0, 4.0))
    layer.build((None, None, None, 2))
    layer.log_gain.assign(np.log([[0.5, 0.25], [1, 2], [4, 3]]))
    out = np.array(layer(np.ones([2, 1, 1, 2], np.float32), np.float32([1.5, 0.25])))[:, 0, 0]
    np.testing.assert_allclose(out[0], [2, 6**0.5], rtol=1e-6)
    np.testing.assert_allclose(out[1], [0.5**0.75, 0.25**0.75 * 2**0.25], rtol=1e-6)


def test_gain_and_inverse_gain_cancel_at_the_start_and_step_as_root_of_lambda():
    lambdas = (0.001, 0.004, 0.016)
    gains = Gains(lambdas, level=8.0)
    rung = np.float32([0, 0.5, 1, 1.7, 2])
    y = np.random.default_rng(0).standard_normal([5, 2, 2, 3]).astype(np.float32)
    np.testing.assert_allclose(gains.undo(gains.apply(y, rung), rung), y, rtol=1e-5)
    scale = np.array(gains.apply(np.ones([3, 1, 1, 1], np.float32), np.float32([0, 1, 2])))[
        :, 0, 0, 0
    ]
    np.testing.assert_allclose(scale, [4, 8, 16], rtol=1e-5)


def test_a_single_rate_has_no_gains():
    gains = Gains((0.013,), level=1.0)
    assert not gains.layers
    assert gains.undo(gains.apply(5, 0), 0) == 5
