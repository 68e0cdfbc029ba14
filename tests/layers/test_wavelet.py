import keras
import numpy as np
import pytest
import tensorflow as tf
from harness import gradients

from tfcodec.layers import wavelet as w

LONG = ("5/3", "9/7")
ALL = tuple(w.WAVELETS)
TOLERANCE = {"float64": 1e-13, "float32": 4e-6, "bfloat16": 0.05}  # some ulps of values near 3


def _noise(shape, dtype="float32", seed=0):
    return keras.ops.cast(np.random.default_rng(seed).standard_normal(shape), dtype)


def _difference(a, b):
    return float(
        np.abs(np.float64(keras.ops.cast(a, "float64") - keras.ops.cast(b, "float64"))).max()
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("boundary", w.BOUNDARIES)
@pytest.mark.parametrize("scaling", w.WAVELETS["9/7"].scales)
@pytest.mark.parametrize("name", ALL)
def test_the_inverse_reconstructs_along_every_axis(name, scaling, boundary, dtype):
    options = dict(wavelet=name, boundary=boundary, scaling=scaling)
    for axis, shape in ((0, (2, 3)), (1, (3, 6, 5)), (2, (1, 3, 34, 2)), (3, (2, 3, 5, 10))):
        x = _noise(shape, dtype)
        low, high = w.dwt(x, axis, **options)
        half = [side // (1 + (k == axis)) for k, side in enumerate(shape)]
        assert list(low.shape) == list(high.shape) == half and low.dtype == x.dtype
        assert _difference(w.idwt(low, high, axis, **options), x) < TOLERANCE[dtype]


@pytest.mark.parametrize("boundary", w.BOUNDARIES)
@pytest.mark.parametrize("name", ALL)
def test_a_matrix_and_lifting_are_one_transform(name, boundary):
    """Sides that are not known when a function is traced are lifted."""
    x, signature = _noise((2, 12, 20, 6), "float64"), [tf.TensorSpec([None] * 4, tf.float64)]
    for axis in range(1, 4):

        def there(x, axis=axis):
            return w.dwt(x, axis, name, boundary)

        def back(low, high, axis=axis):
            return w.idwt(low, high, axis, name, boundary)

        bands = there(x)
        for band, lifted in zip(bands, tf.function(there, signature)(x), strict=True):
            assert _difference(band, lifted) < 1e-13
        assert _difference(back(*bands), tf.function(back, signature * 2)(*bands)) < 1e-13


def test_a_signal_of_any_length_is_transformed_along_its_last_axis():
    x = _noise((2, 100_000))  # as a matrix, 40 GB
    assert _difference(w.idwt(*w.dwt(x, 1), 1), x) < TOLERANCE["float32"]


@pytest.mark.parametrize("height,width", [(8, 8), (24, 40), (16, 56)])
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("name", ALL)
def test_several_levels_in_two_and_three_dimensions_reconstruct(name, levels, height, width):
    x = _noise([2, height, width, 6])
    bands = w.wavedec2(x, levels, name)
    assert [b.shape[1] for b in bands] == [height >> levels] + [
        height >> j for j in range(levels, 0, -1) for _ in range(3)
    ]
    assert _difference(w.waverec2(bands, name), x) < 1e-5
    low, high = w.wavedec3(x, levels, name)
    assert len(low) == len(high) == 3 * levels + 1 and low[-1].shape == (
        2,
        height // 2,
        width // 2,
        3,
    )
    assert _difference(w.waverec3(low, high, name), x) < 1e-5


def test_haar_bands_are_those_of_the_formula():
    a, b, c, d = 1.0, 10.0, 100.0, 1000.0
    bands = w.dwt2(
        keras.ops.reshape(keras.ops.convert_to_tensor([a, b, c, d]), (1, 2, 2, 1)), "haar"
    )
    expected = [a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d]
    np.testing.assert_allclose(
        [float(band[0, 0, 0, 0]) for band in bands], np.array(expected) / 2, rtol=1e-6
    )


@pytest.mark.parametrize("name", LONG)
def test_a_ramp_has_no_high_band_away_from_borders(name):
    ramp = keras.ops.arange(64, dtype="float64") * 0.7 - 5
    _, high = w.dwt(ramp, 0, name)
    assert np.abs(np.array(high)[2:-2]).max() < 1e-12
    assert np.abs(np.array(high)).max() > 0.1  # the mirrored border bends it


@pytest.mark.parametrize("name", ALL)
def test_a_constant_lives_in_the_low_band_with_the_gain_of_the_scaling(name):
    flat = keras.ops.ones([32], dtype="float64")
    for scaling, gain in (("jpeg2000", 1.0), ("balanced", 2**0.5)):
        low, high = w.dwt(flat, 0, name, scaling=scaling)
        np.testing.assert_allclose(low, gain, rtol=1e-12)
        assert np.abs(np.array(high)).max() < 1e-12
        alternating = flat * np.tile([1.0, -1.0], 16)
        low, high = w.dwt(alternating, 0, name, boundary="periodic", scaling=scaling)
        np.testing.assert_allclose(np.abs(high), 2.0 / gain if gain == 1 else gain, rtol=1e-12)
        assert np.abs(np.array(low)).max() < 1e-12


@pytest.mark.parametrize("name", ALL)
def test_unit_scaling_gives_every_coefficient_the_same_energy(name):
    zero = np.zeros([32])
    impulse = zero.copy()
    impulse[16] = 1
    for pair in ((impulse, zero), (zero, impulse)):
        x = np.array(w.idwt(*map(keras.ops.convert_to_tensor, pair), 0, name))
        assert np.sum(np.square(x)) == pytest.approx(1, abs=1e-12)


def test_haar_is_orthonormal():
    x = _noise([1, 16, 16, 4], "float64")
    energy = sum(float(np.sum(np.square(band))) for band in w.wavedec2(x, 3, "haar"))
    assert energy == pytest.approx(float(np.sum(np.square(x))), rel=1e-12)


@pytest.mark.parametrize("name,low_taps", [("5/3", 5), ("9/7", 9)])
def test_the_analysis_filters_have_as_many_taps_as_their_name_says(name, low_taps):
    identity = keras.ops.eye(64, dtype="float64")
    low, high = (np.array(band) for band in w.dwt(identity, 0, name))
    assert np.count_nonzero(np.abs(low[16]) > 1e-12) == low_taps
    assert np.count_nonzero(np.abs(high[16]) > 1e-12) == low_taps - 2
    np.testing.assert_allclose(low[16], low[16][np.arange(64, 0, -1) % 64], atol=1e-15)


@pytest.mark.parametrize("boundary", w.BOUNDARIES)
@pytest.mark.parametrize("name", ALL)
def test_the_gradient_is_the_transposed_transform(name, boundary):
    def matrix(x):
        return keras.ops.concatenate(w.dwt(x, 0, name, boundary), axis=0)

    dense = np.array(matrix(keras.ops.eye(12, dtype="float64")))
    x, weigh = tf.constant(np.random.randn(12)), np.random.randn(12)
    (found,) = gradients(lambda: matrix(x) * weigh, [x])
    np.testing.assert_allclose(found, dense.T @ weigh, atol=1e-12)


def test_maps_of_unknown_size_are_transformed_in_a_graph():
    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 4])])
    def there_and_back(x):
        return w.waverec3(*w.wavedec3(x, 2, "9/7"), "9/7")

    for shape in ((1, 8, 12, 4), (1, 20, 4, 4)):
        x = _noise(shape)
        assert _difference(there_and_back(x), x) < 1e-5


def test_taps_start_as_haar_and_compute_with_what_they_are_given():
    haar, taps = w.Transform2D("haar"), w.Transform2D("taps")
    x = _noise([1, 6, 8, 3])
    for a, b in zip(haar(x), taps(x), strict=True):
        assert _difference(a, b) < 1e-6
    assert _difference(taps.inverse(taps(x)), x) < 1e-6
    assert not taps.trainable_weights and len(taps.weights) == 2
    taps.analysis_taps.assign(np.arange(16.0).reshape(4, 2, 2))
    corner = np.array(x)[0, :2, :2, 0].reshape(4)
    found = [float(band[0, 0, 0, 0]) for band in taps(x)]
    np.testing.assert_allclose(found, np.arange(16.0).reshape(4, 4) @ corner, atol=1e-5)


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda x: w.dwt(x, 1), "axis 1 must have an even side. Received: shape (1, 3, 4, 2)"),
        (lambda x: w.dwt(x, 2, "db4"), "`wavelet` must be one of haar, 5/3, 9/7. Received: 'db4'"),
        (
            lambda x: w.dwt(x, 2, boundary="zero"),
            "`boundary` must be one of symmetric, periodic. Received: 'zero'",
        ),
        (
            lambda x: w.dwt(x, 2, scaling="none"),
            "`scaling` must be one of unit, balanced, jpeg2000. Received: 'none'",
        ),
    ],
)
def test_what_cannot_be_transformed_is_said(call, message):
    with pytest.raises(ValueError) as error:
        call(_noise([1, 3, 4, 2]))
    assert str(error.value) == message
