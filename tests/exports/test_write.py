"""Laws of exports: what is saved is what was trained, in stock operations, in one piece."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_exports
from tensorflow.core.protobuf import saved_model_pb2

from tfcodec import codec, models
from tfcodec.coding import container
from tfcodec.entropy.rate import RateMeter
from tfcodec.entropy.walk import walk
from tfcodec.errors import InputError, ModelError
from tfcodec.exports import graph, installed, loaded, write
from tfcodec.exports import weights as weights_module
from tfcodec.exports.weights import quantised, read_weights, stored_weights
from tfcodec.pictures import Picture
from tfcodec.training import weights


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """(model, its export with exact weights)"""
    model, config = tiny_exports.tiny_model()
    path = str(tmp_path_factory.mktemp("models") / "tiny")
    info = write.write(model, path, "mbt2018_mean", "compact", config, weights="float32")
    return model, info


def test_an_export_computes_what_the_model_computes(tiny):
    model, info = tiny
    exported = loaded.Exported(info)
    x = np.random.RandomState(0).randint(0, 256, [128, 64, 3]).astype(np.uint8)
    rung = np.float32([2.5])
    latents = model.analysis(np.float32(x[None]) / 255, rung)
    for ours, theirs in zip(exported.analysis(x, 2.5), latents, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    meter = RateMeter(latents, [part.name for part in model.parts])
    walk(model, meter)
    for part, bits in exported.estimate(x, 2.5).items():
        np.testing.assert_allclose(bits, meter.bits[part], rtol=1e-3)


def test_weights_read_without_tensorflow_are_the_models(tiny):
    model, info = tiny
    code = (
        "import sys, numpy as np; from tfcodec.exports import weights; "
        "w = weights.read_weights(sys.argv[1]);"
        "assert 'tensorflow' not in sys.modules; np.savez(sys.argv[2], **w)"
    )
    path = os.path.join(os.path.dirname(info.path), "weights.npz")
    subprocess.run([sys.executable, "-c", code, info.path, path], check=True)
    with np.load(path) as weights:
        for variable in model.variables:
            np.testing.assert_array_equal(weights[variable.path], variable.numpy())


def test_training_starts_from_an_export(tiny):
    model, info = tiny
    other, _ = tiny_exports.tiny_model()
    other.variables[0].assign(np.zeros(other.variables[0].shape))
    weights.initialise(other, info.path)
    np.testing.assert_array_equal(other.variables[0].numpy(), model.variables[0].numpy())
    wider, _ = tiny_exports.tiny_model(latents=9)
    with pytest.raises(
        InputError, match=r"conv3/kernel should be \[5, 5, 8, 9\], found \[5, 5, 8, 8\]"
    ):
        weights.initialise(wider, info.path)


def test_the_fingerprint_follows_the_weights_and_nothing_else(tiny, tmp_path):
    model, info = tiny
    config = tiny_exports.tiny_model()[1]
    same = write.write(
        model, str(tmp_path / "same"), "mbt2018_mean", "compact", config, weights="float32"
    )
    assert same.fingerprint == info.fingerprint
    model.variables[0].assign(model.variables[0].numpy() * 1.01)
    other = write.write(
        model, str(tmp_path / "other"), "mbt2018_mean", "compact", config, weights="float32"
    )
    assert other.fingerprint != info.fingerprint


def test_the_export_needs_neither_this_package_nor_the_ops(tiny):
    """The SavedModel loads in a process that has only TensorFlow, and holds stock operations."""
    code = """
import sys
import numpy as np, tensorflow as tf
module = tf.saved_model.load(sys.argv[1] + '/1')
y = module.to_y(tf.zeros([1, 50, 70, 3], tf.uint8), tf.constant([1.0]))
latents = module.to_latents(y)
state, mu, indexes = module.steps[0]()
state, mu, indexes = module.steps[1](state, tf.zeros(latents[0].shape, tf.int32))
y_hat = module.finish(state, tf.zeros(latents[1].shape, tf.int32))
assert module.synthesis(y_hat, tf.constant([1.0])).shape == (1, 64, 128, 3)
assert not [m for m in sys.modules if m.startswith(('tfcodec', 'tensorflow_compression'))]
"""
    subprocess.run([sys.executable, "-c", code, tiny[1].path], check=True, capture_output=True)


def test_a_folder_that_is_no_export_is_named(tmp_path):
    with pytest.raises(ModelError, match="not an exported model"):
        installed.read_info(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(ModelError, match="cannot be loaded, it is incomplete"):
        loaded.Exported(installed.read_info(tmp_path))


def test_a_folder_of_something_else_is_not_replaced(tiny, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    model, config = tiny_exports.tiny_model()
    with pytest.raises(InputError, match="exists and is no export; it is not replaced"):
        write.write(model, str(tmp_path), "mbt2018_mean", "compact", config)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_transforms_in_bfloat16_leave_the_entropy_model_in_float32(tmp_path):
    slices = dict(low_slices=1, high_slices=1)
    config = models.config("weconvene", "compact", width=16, latents=8, hyper_latents=8, **slices)
    model = models.build_with_weights("weconvene", config)
    infos = {
        precision: write.write(
            model, str(tmp_path / precision), "weconvene", "compact", config, precision=precision
        )
        for precision in models.PRECISIONS
    }
    exact, rough = (loaded.Exported(info) for info in infos.values())
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


def test_graphs_hold_no_more_than_they_need(tiny):
    """No inferred shapes, no constant twice, and a function reads only the weights it uses."""
    model, info = tiny
    saved = saved_model_pb2.SavedModel.FromString(
        pathlib.Path(info.path, "1", "saved_model.pb").read_bytes()
    )
    for function in saved.meta_graphs[0].graph_def.library.function:
        shaped = {node.name for node in function.node_def if "_output_shapes" in node.attr}
        assert shaped <= {tensor.split(":")[0] for tensor in function.ret.values()}
        constants = [
            node.attr["value"].SerializeToString()
            for node in function.node_def
            if node.op == "Const" and not node.input
        ]
        assert len(constants) == len(set(constants))
    module, paths = loaded.Exported(info).module, list(info.config["weights"])
    reads = {
        name: {
            path
            for path, weight in zip(paths, module.weights, strict=True)
            for captured in getattr(module, name).concrete_functions[0].captured_inputs
            if captured is weight.handle
        }
        for name in ("to_y", "to_latents", "estimate", "finish", "synthesis")
    }
    synthesis = {path for path in paths if "/synthesis/" in path}
    assert reads["synthesis"] - synthesis == {"mbt2018_mean/inverse_gain/log_gain"}
    assert not synthesis - reads["synthesis"]
    for name in ("to_y", "to_latents", "estimate"):
        assert not synthesis & reads[name]


def test_a_weight_first_used_in_a_loop_serves_what_follows():
    weight = keras.Variable(np.float32([2.0]))

    @tf.function
    def twice(x):
        with graph.WeightsScope(lambda variable: tf.constant([3.0])):
            x = tf.while_loop(lambda k, x: k < 2, lambda k, x: (k + 1, x * weight.value), (0, x))[1]
            return x + weight.value

    np.testing.assert_array_equal(twice(tf.constant([1.0])), [12.0])
    np.testing.assert_array_equal(weight.numpy(), [2.0])


@pytest.fixture(scope="module")
def in_integers(tmp_path_factory):
    """(a model whose large kernels are most of it, its export with weights in int8)"""
    model, config = tiny_exports.tiny_model(filters=32, latents=32, widths=(32, 32, 32))
    path = str(tmp_path_factory.mktemp("models") / "integers")
    return model, write.write(model, path, "mbt2018_mean", "compact", config, weights="int8")


def test_the_linear_chains_are_not_stored_in_int8(monkeypatch, tmp_path):
    monkeypatch.setattr(weights_module, "INT8_FROM", 256)
    model, config = tiny_exports.tiny_model()
    info = write.write(
        model, str(tmp_path / "m"), "mbt2018_mean", "compact", config, weights="int8"
    )
    sizes = {v.path: np.prod(v.shape) for v in model.variables if v.path.endswith("/kernel")}
    dtypes = {path: info.config["weights"][path]["dtype"] for path in sizes}
    chains = {path for path in sizes if "/shortcut" in path}
    large = {path for path, size in sizes.items() if size >= 256}
    assert len(chains) == 8 and all(dtypes[path] != "int8" for path in chains)
    assert large - chains and all(dtypes[path] == "int8" for path in large - chains)


@pytest.mark.parametrize("form", ["bfloat16", "float16"])
def test_kernels_chosen_by_their_path_are_stored_in_int8_and_stay_so(form):
    value = np.random.default_rng(0).normal(size=[4, 4, 8, 64]).astype(np.float32)
    weights = f"{form},int8:*/a/*,int8:m/b/kernel"
    for path, kinds in {
        "m/a/kernel": {"int8", "float32"},
        "m/b/kernel": {"int8", "float32"},
        "m/c/kernel": {form},
    }.items():
        stored = weights_module.stored_arrays(path, value, weights)
        assert {str(array.dtype) for array in stored.values()} == kinds, path
        described = {name: {"dtype": str(array.dtype)} for name, array in stored.items()}
        info = installed.ModelInfo("m", "", {"weights": described})
        again = weights_module.stored_arrays(path, value, weights_module.form_of(info))
        assert all(np.array_equal(again[name], array) for name, array in stored.items())


@pytest.mark.parametrize("weights", ["int4", "bfloat16,float32:*", "int8:*"])
def test_a_form_of_weights_that_there_is_not_is_said(weights):
    with pytest.raises(
        InputError, match="weights are stored as bfloat16 or .*, then ,int8:PATTERN"
    ):
        weights_module.read_form(weights)


def test_an_export_in_int8_computes_with_its_integers_and_scales(in_integers, tmp_path):
    """A model of the weights that are read computes the same; exported again, it is the same."""
    model, info = in_integers
    weights = read_weights(info.path)
    assert set(weights) == {variable.path for variable in model.variables}
    stored = stored_weights(info)
    for variable in model.variables:
        exact, value = variable.numpy(), weights[variable.path]
        if stored[variable.path].dtype == np.int8:
            scale = stored[variable.path + "/scale"]
            np.testing.assert_array_equal(value, np.float32(stored[variable.path]) * scale)
            assert np.all(np.abs(value - exact) <= 0.51 * scale)
        variable.assign(value)
    kinds = {path: array.dtype.name for path, array in stored.items()}
    assert kinds["mbt2018_mean/analysis/conv1/kernel"] == "int8"
    assert set(kinds.values()) == {"int8", "bfloat16", "float32"}

    config = models.config("mbt2018_mean", "compact", **info.config["config"])
    plain, again = (
        write.write(model, str(tmp_path / kind), "mbt2018_mean", "compact", config, weights=kind)
        for kind in ("float32", "int8")
    )
    assert again.fingerprint == info.fingerprint != plain.fingerprint
    ours, theirs = loaded.Exported(info), loaded.Exported(plain)
    x = np.random.RandomState(0).randint(0, 256, [70, 90, 3]).astype(np.uint8)
    latents = ours.analysis(x, 2.5)
    symbols = [np.rint(latent).astype(np.int32) for latent in latents]
    results = []
    for model in (ours, theirs):
        state, _ = model.step(0, {}, None)
        state, prior = model.step(1, state, symbols[0])
        y_hat = model.finish(state, symbols[1])
        picture = model.synthesis(y_hat, 2.5, 70, 90)
        results.append([*model.analysis(x, 2.5), prior.mu, prior.indexes, picture])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_export_in_int8_codes_a_picture(in_integers):
    coder = codec.Codec(in_integers[1])
    x = np.random.RandomState(0).randint(0, 256, [64, 96, 3]).astype(np.uint8)
    encoded = coder.encode(Picture(x))
    decoded = coder.decode(container.unpack(encoded.data))
    np.testing.assert_array_equal(decoded.rgb, encoded.reconstruction().rgb)


def test_each_kind_of_weights_is_half_of_the_one_before(in_integers, tmp_path):
    model, info = in_integers
    config = models.config("mbt2018_mean", "compact", **info.config["config"])
    infos = [
        write.write(model, str(tmp_path / kind), "mbt2018_mean", "compact", config, weights=kind)
        for kind in ("float32", "bfloat16")
    ]
    tables = loaded.Exported(info).tables  # integers, the same in all
    others = sum(array.nbytes for array in (tables.lookup, tables.offsets, tables.sizes))
    data = "1/variables/variables.data-00000-of-00001"
    sizes = [os.path.getsize(os.path.join(i.path, data)) - others for i in (*infos, info)]
    assert sizes[1] < 0.6 * sizes[0] and sizes[2] < 0.6 * sizes[1]


def test_a_damaged_export_in_int8_is_named(in_integers, tmp_path):
    path = str(tmp_path / "damaged")
    shutil.copytree(in_integers[1].path, path)
    config = json.loads(pathlib.Path(path, "config.json").read_text())
    kernel = "mbt2018_mean/analysis/conv1/kernel"
    scale = config["weights"].pop(kernel + "/scale")
    pathlib.Path(path, "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"the scale of {kernel} is missing"):
        read_weights(path)
    config["weights"][kernel + "/scale"] = {**scale, "offset": 2**30}
    pathlib.Path(path, "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="the model's weights are incomplete or damaged"):
        read_weights(path)


@pytest.mark.parametrize("shape", [(3, 3, 5, 4), (7, 4)])
def test_quantising_twice_is_quantising_once(shape):
    rng = np.random.RandomState(3)
    for size in (1e-41, 1e-20, 1.0, 1e20):
        kernel = np.float32(rng.normal(size=shape) * size)
        kernel[..., 1] = 0
        integers, scale = quantised(kernel)
        value = integers * scale
        assert not value[..., 1].any() and value.dtype == np.float32
        assert np.all(np.abs(value - kernel) <= 0.51 * scale) or size < 1e-38
        for once, twice in zip((integers, scale), quantised(value), strict=True):
            np.testing.assert_array_equal(once, twice)
