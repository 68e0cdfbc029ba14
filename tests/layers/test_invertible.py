"""Invertible layers undo themselves, start as they should and count as the papers' code does."""

import keras
import numpy as np
import pytest
from harness import check_layer

from tfcodec.layers.invertible import AffineCoupling, InvertibleConv1x1, InvertibleNetwork

SHAPE = (2, 8, 12, 3)


def perturbed(layer, shape, scale, seed=0):
    """The layer, built, with noise on every weight: nothing is an identity any more.

    The noise of a kernel has the given gain from its inputs, as trained kernels have.
    """
    layer.build(shape)
    random = np.random.default_rng(seed)
    for weight in layer.weights:
        value = weight.numpy()
        fan_in = max(1, np.prod(value.shape[:-1]))
        noise = scale / np.sqrt(fan_in) * random.standard_normal(value.shape)
        weight.assign(value + np.float32(noise))
    return layer


def pictures(shape=SHAPE, seed=1):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@pytest.mark.parametrize(
    "layer",
    [InvertibleConv1x1(), AffineCoupling(3), AffineCoupling(5, first=2), InvertibleNetwork((5, 3))],
    ids=lambda layer: layer.name,
)
def test_invertible_layers_owe_what_every_layer_owes(layer):
    assert check_layer(perturbed(layer, SHAPE, 0.1), SHAPE).shape == SHAPE


@pytest.mark.parametrize("scale", [0.0, 0.1, 0.3, 0.6])
@pytest.mark.parametrize(
    "make",
    [
        InvertibleConv1x1,
        AffineCoupling,
        InvertibleNetwork,
        lambda: InvertibleNetwork((5, 3), squeeze=2),
    ],
)
def test_the_inverse_undoes_the_layer_whatever_the_weights(make, scale):
    layer = perturbed(make(), SHAPE, scale)
    x = pictures()
    np.testing.assert_allclose(layer.inverse(layer(x)), x, atol=1e-4)
    y = np.array(layer(pictures(seed=2)))
    np.testing.assert_allclose(layer(layer.inverse(y)), y, atol=1e-4)


def test_bfloat16_would_lose_what_float32_keeps():
    """Why these layers are float32 whatever the policy: grey levels would go."""
    x = pictures()
    exact = perturbed(InvertibleNetwork(), SHAPE, 0.3)
    rough = perturbed(InvertibleNetwork(dtype="mixed_bfloat16"), SHAPE, 0.0)
    for ours, theirs in zip(rough.weights, exact.weights, strict=True):
        ours.assign(theirs.numpy())
    lost = [
        np.abs(np.float32(keras.ops.cast(layer.inverse(layer(x)), "float32")) - x).max()
        for layer in (exact, rough)
    ]
    assert lost[0] < 1e-5 and lost[1] > 1 / 255


def test_couplings_start_as_the_identity_and_convolutions_as_rotations():
    coupling, conv = AffineCoupling(), InvertibleConv1x1()
    x = pictures()
    np.testing.assert_array_equal(coupling(x), x)
    np.testing.assert_allclose(np.square(conv(x)).sum(-1), np.square(x).sum(-1), rtol=1e-5)


def test_the_scale_of_a_coupling_is_clamped():
    coupling = perturbed(AffineCoupling(clamp=0.5), SHAPE, 20.0)
    log_scale = np.abs(coupling._log_scale("g2", pictures()[..., 1:]))
    assert 0.4 < log_scale.max() <= 0.5


def test_parameters_are_those_of_the_papers_code():
    counts = {}
    for size in (3, 5):
        coupling = AffineCoupling(size)
        coupling.build(SHAPE)
        counts[size] = coupling.count_params()
    assert counts == {3: 190, 5: 478}
    network = InvertibleNetwork()
    network.build(SHAPE)
    assert network.count_params() == 4044
    squeezing = InvertibleNetwork(squeeze=2)
    squeezing.build((1, 16, 16, 3))
    assert squeezing.count_params() == 37_215_108
    assert squeezing.compute_output_shape((1, 512, 768, 3)) == (1, 32, 48, 768)


def test_squeezing_keeps_every_sample():
    network = InvertibleNetwork((3, 3), couplings=0, squeeze=2)
    x = pictures((1, 8, 8, 3))
    y = np.array(network(x))
    assert y.shape == (1, 2, 2, 48)
    np.testing.assert_allclose(np.square(y).sum(), np.square(x).sum(), rtol=1e-5)


def test_a_part_without_channels_is_refused():
    with pytest.raises(ValueError, match="`first` must be from 1 to 2. Received: first=3"):
        AffineCoupling(first=3).build(SHAPE)
