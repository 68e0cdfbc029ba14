import numpy as np
import pytest
from harness import check_layer

from tfcodec.layers.enhancement import DenseBlock, FeatureEnhancement

SHAPE = (1, 6, 8, 3)


def perturbed(layer):
    layer.build(SHAPE)
    random = np.random.default_rng(0)
    for weight in layer.weights:
        value = weight.numpy()
        weight.assign(value + 0.1 * random.standard_normal(value.shape).astype(np.float32))
    return layer


@pytest.mark.parametrize(
    "layer,channels",
    [(DenseBlock(5, growth=4), 5), (FeatureEnhancement(8), 3), (FeatureEnhancement(8, True), 3)],
)
def test_enhancement_owes_what_every_layer_owes(layer, channels):
    assert check_layer(perturbed(layer), SHAPE).shape == (*SHAPE[:3], channels)


def test_enhancement_starts_as_the_identity():
    x = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    np.testing.assert_array_equal(FeatureEnhancement()(x), x)


def test_parameters_are_those_of_the_papers_code():
    layer = FeatureEnhancement()
    layer.build(SHAPE)
    assert layer.dense_in.count_params() == 134_400
    assert layer.dense_out.count_params() == 134_339
    assert layer.count_params() == 313_987


def test_without_activations_the_inner_convolutions_are_linear():
    layer = perturbed(FeatureEnhancement(8))
    random = np.random.default_rng(1)
    a, b = random.standard_normal([2, 1, 6, 8, 8]).astype(np.float32)

    def inner(x):
        for conv in layer.convs:
            x = conv(x)
        return np.array(x)

    np.testing.assert_allclose(inner(a) + inner(b), inner(a + b) + inner(0 * a), atol=1e-4)
