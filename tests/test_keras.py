"""Laws of the codec as a Keras layer: it is the file, and it has gradients."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_exports

import tfcodec
import tfcodec.keras
from tfcodec import pictures
from tfcodec.coding import container

ROOT = pathlib.Path(__file__).parents[1]
HEADER_BITS = 8 * 28


@pytest.fixture(scope="module")
def photograph():
    return pictures.read(ROOT / "examples" / "kodim23.png").rgb[100:200, 200:330]


@pytest.fixture(scope="module")
def fast():
    return tfcodec.keras.Codec("fast", 4)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_exports.tiny_export(str(tmp_path_factory.mktemp("models") / "tiny")).path


def batch(*crops):
    return np.float32(np.stack(crops)) / 255


@pytest.mark.parametrize("model", ["fast", None, "octave-compact"])
@pytest.mark.parametrize("quality", [2, 6.5])
def test_what_it_returns_is_the_file(photograph, model, quality):
    shown, bits = tfcodec.keras.Codec(model, quality)(batch(photograph))
    data = tfcodec.compress(photograph, model, quality)
    file_bits = 8 * sum(map(len, container.unpack(data).streams))
    assert abs(float(bits[0]) - file_bits) <= 0.01 * file_bits + HEADER_BITS
    levels = np.abs(255 * np.float64(shown[0]) - tfcodec.decompress(data))
    # Where float networks tip a latent over, a few pixels differ by more.
    assert np.mean(levels <= 1) > 0.999


@pytest.mark.parametrize("rounding", tfcodec.keras.ROUNDINGS)
@pytest.mark.parametrize("output", [0, 1])
def test_gradients_reach_every_pixel_and_are_finite(photograph, rounding, output):
    layer, x = tfcodec.keras.Codec("fast", 4, rounding=rounding), tf.constant(batch(photograph))
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x, training=True)[output])
    gradient = tape.gradient(loss, x).numpy()
    assert np.isfinite(gradient).all() and np.mean(gradient != 0) > 0.99


def test_a_picture_that_descends_the_bits_gets_a_smaller_file(fast, photograph):
    x, optimizer = tf.Variable(batch(photograph)), keras.optimizers.SGD(1.0)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(fast(x, training=True)[1])
        optimizer.apply_gradients([(1e-3 * tf.sign(tape.gradient(loss, x)), x)])

    for _ in range(8):
        step()
    after = np.uint8(np.clip(np.round(255 * x[0].numpy()), 0, 255))
    before = len(tfcodec.compress(photograph, "fast", 4))
    assert len(tfcodec.compress(after, "fast", 4)) < 0.95 * before


def test_each_picture_has_its_quality_and_a_batch_is_its_pictures(fast, photograph):
    x = batch(photograph, photograph[::-1], photograph[:, ::-1])
    qualities = (1.0, 4.0, 9.0)  # beyond the range is its end
    shown, bits = fast(x, quality=np.float32(qualities))
    assert shown.shape == x.shape and bits.shape == (3,)
    for k, quality in enumerate(qualities):
        alone, cost = fast(x[k : k + 1], quality=min(quality, 8.0))
        np.testing.assert_allclose(bits[k], cost[0], rtol=1e-2)
        assert np.mean(np.abs(shown[k] - alone[0]) < 1 / 255) > 0.999
    np.testing.assert_array_equal(fast(x)[1][1], fast(x, quality=4)[1][1])


def test_noise_costs_more_than_the_file_and_is_drawn_anew(photograph):
    layer = tfcodec.keras.Codec("fast", 4, rounding="noise", seed=1)
    x = batch(photograph)
    first, second = (float(layer(x, training=True)[1][0]) for _ in range(2))
    assert first != second and min(first, second) > float(layer(x)[1][0])


def test_a_network_before_it_is_trained_by_fit(photograph):
    x = keras.Input([None, None, 3])
    before = keras.layers.Conv2D(3, 3, padding="same", name="before")
    codec = tfcodec.keras.Codec("fast", 3)
    quality = keras.Input([])
    model = keras.Model([x, quality], codec(before(x), quality=quality))
    model.compile("adam", [keras.losses.MeanSquaredError(), lambda _, bits: bits / 1e6])
    assert len(model.trainable_variables) == 2 and not codec.trainable_variables
    kept, moved = codec.get_weights(), before.kernel.numpy()
    crops = batch(*(photograph[k : k + 64, k : k + 50] for k in (0, 9, 18, 27)))
    history = model.fit(
        [crops, np.float32([2, 3, 4, 5])], [crops, np.zeros(4)], batch_size=2, epochs=2, verbose=0
    )
    assert np.isfinite(history.history["loss"]).all()
    assert not np.array_equal(before.kernel.numpy(), moved)
    for now, then in zip(codec.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_trainable_codec_learns_all_its_floats(tiny, photograph):
    layer = tfcodec.keras.Codec(tiny, 4, rounding="noise", trainable=True)
    with tf.GradientTape() as tape:
        shown, bits = layer(batch(photograph), training=True)
        loss = tf.reduce_sum(shown**2) + tf.reduce_sum(bits)
    gradients = tape.gradient(loss, layer.trainable_variables)
    # The quantiles of the factorized prior have a loss of their own.
    pairs = zip(layer.trainable_variables, gradients, strict=True)
    without = {variable.path for variable, gradient in pairs if gradient is None}
    assert len(gradients) > 10 and all("quantile" in path for path in without)


def test_it_is_saved_and_loaded_with_a_model(tmp_path, tiny, photograph):
    x = keras.Input([None, None, 3])
    model = keras.Model(x, tfcodec.keras.Codec(tiny, 2.5, rounding="noise")(x))
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    for ours, theirs in zip(model(batch(photograph)), loaded(batch(photograph)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    config = loaded.layers[-1].get_config()
    assert (config["model"], config["quality"], config["rounding"]) == (tiny, 2.5, "noise")
    with pytest.raises(tfcodec.ModelError, match="the saved layer: needs the model"):
        tfcodec.keras.Codec(tiny, fingerprint="01020304")


def test_what_cannot_be_is_one_sentence(tiny):
    with pytest.raises(tfcodec.InputError, match="rounding is straight_through or noise, not 'up'"):
        tfcodec.keras.Codec(tiny, rounding="up")
    with pytest.raises(tfcodec.InputError, match="quality is from 1 to 8, not 9"):
        tfcodec.keras.Codec(tiny, 9)


needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX, of the extra `test`, is not installed"
)

IN_JAX = """
import sys, jax, numpy as np
import tfcodec.keras
layer = tfcodec.keras.Codec("fast", 4)
x = np.load(sys.argv[1])
bits = lambda x: layer(x, training=True)[1].sum()
value, gradient = jax.value_and_grad(bits)(x)
assert "tensorflow" not in sys.modules
np.savez(sys.argv[2], value=value, gradient=gradient)
"""


@needs_jax
@pytest.mark.slow
def test_jax_computes_the_same_without_tensorflow(tmp_path, fast, photograph):
    x = batch(photograph[:64, :64])
    np.save(tmp_path / "x.npy", x)
    done = subprocess.run(
        [sys.executable, "-c", IN_JAX, tmp_path / "x.npy", tmp_path / "y.npz"],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = np.load(tmp_path / "y.npz")
    with tf.GradientTape() as tape:
        tape.watch(x := tf.constant(x))
        value = tf.reduce_sum(fast(x, training=True)[1])
    assert float(theirs["value"]) == pytest.approx(float(value), rel=1e-2)
    ours = tape.gradient(value, x).numpy()
    assert np.corrcoef(theirs["gradient"].ravel(), ours.ravel())[0, 1] > 0.99


@pytest.mark.slow
def test_the_example_of_the_docs_runs(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs" / "keras.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(example, "docs/keras.md", "exec"), {})
    before, after = map(float, re.findall(r"\d+\.\d+", capsys.readouterr().out))
    assert after < 0.9 * before
