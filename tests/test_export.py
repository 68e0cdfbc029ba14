"""Laws of exports: what is saved is what was trained, in stock operations, in one piece."""

import json
import os
import subprocess
import sys

import exports
import numpy as np
import pytest

from tfcodec import export, models, training
from tfcodec.entropy.rate import RateMeter
from tfcodec.entropy.slices import walk
from tfcodec.errors import InputError, ModelError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """(model, its export with exact weights)"""
    model, config = exports.tiny_model()
    path = str(tmp_path_factory.mktemp("models") / "tiny")
    info = export.export(model, path, "mbt2018_mean", "compact", config, weights="float32")
    return model, info


def test_an_export_computes_what_the_model_computes(tiny):
    model, info = tiny
    exported = export.Exported(info)
    x = np.random.RandomState(0).randint(0, 256, [128, 64, 3]).astype(np.uint8)
    rung = np.float32([2.5])
    latents = model.analysis(np.float32(x[None]) / 255, rung)
    for ours, theirs in zip(exported.analysis(x, 2.5), latents, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    meter = RateMeter(latents, [part["name"] for part in model.parts])
    walk(model, meter)
    for part, bits in exported.estimate(x, 2.5).items():
        np.testing.assert_allclose(bits, meter.bits[part], rtol=1e-3)


def test_weights_read_without_tensorflow_are_the_models(tiny):
    model, info = tiny
    code = (
        "import sys, numpy as np; from tfcodec import export; w = export.read_weights(sys.argv[1]);"
        "assert 'tensorflow' not in sys.modules; np.savez(sys.argv[2], **w)"
    )
    path = os.path.join(os.path.dirname(info.path), "weights.npz")
    subprocess.run([sys.executable, "-c", code, info.path, path], check=True)
    with np.load(path) as weights:
        for variable in model.variables:
            np.testing.assert_array_equal(weights[variable.path], np.array(variable))


def test_training_starts_from_an_export(tiny):
    model, info = tiny
    other, _ = exports.tiny_model()
    other.variables[0].assign(np.zeros(other.variables[0].shape))
    training.initialise(other, info.path)
    np.testing.assert_array_equal(np.array(other.variables[0]), np.array(model.variables[0]))
    wider, _ = exports.tiny_model(latents=9)
    with pytest.raises(
        InputError, match=r"conv3/kernel should be \[5, 5, 8, 9\], found \[5, 5, 8, 8\]"
    ):
        training.initialise(wider, info.path)


def test_bfloat16_halves_the_bytes(tmp_path):
    info = exports.tiny_export(str(tmp_path / "tiny"), widths=(32, 32, 32))
    data = os.path.join(info.path, "1/variables/variables.data-00000-of-00001")
    tables = 500_000  # integers, the same in both
    assert os.path.getsize(data) - tables < 0.75 * 4 * info.config["parameters"]


def test_the_fingerprint_follows_the_weights_and_nothing_else(tiny, tmp_path):
    model, info = tiny
    config = exports.tiny_model()[1]
    same = export.export(
        model, str(tmp_path / "same"), "mbt2018_mean", "compact", config, weights="float32"
    )
    assert same.fingerprint == info.fingerprint
    model.variables[0].assign(np.array(model.variables[0]) * 1.01)
    other = export.export(
        model, str(tmp_path / "other"), "mbt2018_mean", "compact", config, weights="float32"
    )
    assert other.fingerprint != info.fingerprint


def test_the_export_needs_neither_this_package_nor_the_ops(tiny):
    """The SavedModel loads in a process that has only TensorFlow, and holds stock operations."""
    code = """
import sys
import numpy as np, tensorflow as tf
module = tf.saved_model.load(sys.argv[1] + '/1')
latents = module.analysis(tf.zeros([1, 50, 70, 3], tf.uint8), tf.constant([1.0]))
state, mu, indexes = module.steps[0]()
state, mu, indexes = module.steps[1](state, tf.zeros(latents[0].shape, tf.int32))
y_hat = module.finish(state, tf.zeros(latents[1].shape, tf.int32))
assert module.synthesis(y_hat, tf.constant([1.0])).shape == (1, 64, 128, 3)
assert not [m for m in sys.modules if m.startswith(('tfcodec', 'tensorflow_compression'))]
"""
    subprocess.run([sys.executable, "-c", code, tiny[1].path], check=True, capture_output=True)


def test_a_folder_that_is_no_export_is_named(tmp_path):
    with pytest.raises(ModelError, match="not an exported model"):
        export.read_info(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(ModelError, match="cannot be loaded, it is incomplete"):
        export.Exported(export.read_info(tmp_path))


def test_one_trace_serves_every_size(tiny):
    exported = export.Exported(tiny[1])
    counts = []
    for side in (64, 100, 200):
        exported.analysis(np.zeros([side, side + 30, 3], np.uint8), 1.0)
        counts.append(exported.module.to_y.experimental_get_tracing_count())
    assert counts[0] == counts[-1]


def test_a_folder_of_something_else_is_not_replaced(tiny, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    model, config = exports.tiny_model()
    with pytest.raises(InputError, match="exists and is no export; it is not replaced"):
        export.export(model, str(tmp_path), "mbt2018_mean", "compact", config)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_transforms_in_bfloat16_leave_the_entropy_model_in_float32(tmp_path):
    slices = dict(low_slices=1, high_slices=1)
    config = models.config("weconvene", "compact", filters=12, latents=8, hyper_latents=8, **slices)
    model = models.weighted("weconvene", config)
    infos = {
        precision: export.export(
            model, str(tmp_path / precision), "weconvene", "compact", config, precision=precision
        )
        for precision in models.PRECISIONS
    }
    exact, rough = (export.Exported(info) for info in infos.values())
    rng = np.random.default_rng(0)
    symbols = [rng.integers(-3, 4, shape, dtype=np.int32) for shape in exact.shapes(96, 96)]
    states = [{}, {}]
    for k in range(len(symbols)):
        given = None if k == 0 else symbols[k - 1]
        states, priors = zip(
            *(e.step(k, s, given) for e, s in zip((exact, rough), states, strict=True)), strict=True
        )
        np.testing.assert_array_equal(priors[0].mu, priors[1].mu)
        np.testing.assert_array_equal(priors[0].indexes, priors[1].indexes)
    y_hat = [e.finish(s, symbols[-1]) for e, s in zip((exact, rough), states, strict=True)]
    np.testing.assert_array_equal(*y_hat)
    pictures = [np.int32(e.synthesis(y_hat[0], 3.0, 96, 96)) for e in (exact, rough)]
    difference = np.abs(pictures[0] - pictures[1])
    assert 0 < difference.max() and difference.mean() < 2
    assert infos["bfloat16"].config["precision"] == "bfloat16"
