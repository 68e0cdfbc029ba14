"""Laws of an export's functions: what TensorFlow would load, as little and as late as possible."""

import pathlib
import threading

import numpy as np
import pytest
import tensorflow as tf
import tiny_exports
from tensorflow.python.eager import context

from tfcodec import codec
from tfcodec.errors import ModelError
from tfcodec.exports import installed, loaded, write
from tfcodec.exports.functions import Functions
from tfcodec.pictures import from_array

RUNG = np.float32([1.5])
# One step and many, latents of two resolutions, loops inside functions, wavefronts.
TINY = (("bmshj2018", "factorized-compact"), ("mbt2018_mean", "compact"), ("quad", "small"))
SMALL = {
    "octave": {**tiny_exports.TINY_OCTAVE, "likelihood": "gllmm"},
    "gllmm": {**tiny_exports.BLOCKS, "filters": 8, "latents": 6, "estimators": (12, 16)},
}


def noise(height, width):
    return np.random.RandomState(0).randint(0, 256, [height, width, 3]).astype(np.uint8)


def check_against_tensorflows_loader(info):
    """The same file, estimate and picture, to the last bit, by functions of either loader."""
    results = []
    for whole in (False, True):
        model = codec.Codec(info)
        if whole:
            model.exported.functions = model.exported.module
        encoded = model.encode(from_array(noise(100, 140)))
        results.append((encoded.data, encoded.estimated_bits, encoded.reconstruction().rgb))
    (data, bits, rgb), (expected_data, expected_bits, expected_rgb) = results
    assert data == expected_data and bits == expected_bits
    np.testing.assert_array_equal(rgb, expected_rgb)


@pytest.mark.parametrize("name, preset", TINY)
def test_functions_give_what_those_of_tensorflows_loader_give(tmp_path, name, preset):
    check_against_tensorflows_loader(tiny_exports.tiny_export(tmp_path / "tiny", name, preset))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_functions_of_mixtures_do_so_too(tmp_path, name):
    path = str(tmp_path / "small")
    check_against_tensorflows_loader(tiny_exports.small_export(path, name, SMALL[name]))


def test_functions_of_this_process_may_have_the_names_of_those_in_the_file(tiny):
    x = noise(64, 128)[None]
    expected = Functions(tiny.path).to_y(x, RUNG)
    for function in Functions(tiny.path)._library.values():
        other = type(function)()
        other.CopyFrom(function)
        other.attr["of_somebody_else"].b = True
        context.context().add_function_def(other)
    np.testing.assert_array_equal(Functions(tiny.path).to_y(x, RUNG), expected)


def test_a_function_may_first_be_called_where_another_is_traced(tiny):
    x = noise(64, 128)[None]
    traced = tf.function(Functions(tiny.path).to_y, autograph=False)(tf.constant(x), RUNG)
    np.testing.assert_array_equal(traced, Functions(tiny.path).to_y(x, RUNG))


@pytest.fixture
def tiny(tmp_path):
    return tiny_exports.tiny_export(tmp_path / "tiny")


def loads(monkeypatch):
    """A list that grows by the number of a function's node when it is loaded."""
    seen, load = [], Functions.load
    monkeypatch.setattr(Functions, "load", lambda self, node: seen.append(node) or load(self, node))
    return seen


def test_a_function_is_loaded_at_its_first_call_and_for_all_sizes(tiny, monkeypatch):
    seen, exported = loads(monkeypatch), loaded.Exported(tiny)
    assert not seen
    for side in (64, 100, 200):
        latents = exported.analysis(np.zeros([side, side + 30, 3], np.uint8), 1.0)
        assert [a.shape for a in latents] == exported.shapes(side, side + 30)
        assert len(seen) == 2  # to_y and to_latents, and nothing of the decoder


def test_only_weights_that_a_function_reads_are_loaded(tiny):
    functions = Functions(tiny.path)
    functions.steps[0]()
    synthesis = sum("/synthesis/" in path for path in tiny.config["weights"])
    assert 0 < len(functions._variables) < len(tiny.config["weights"]) - synthesis


def test_threads_that_call_a_function_first_share_its_weights(tiny):
    functions, results = Functions(tiny.path), []
    x = np.full([1, 64, 64, 3], 99, np.uint8)
    threads = [
        threading.Thread(target=lambda: results.append(functions.to_y(x, RUNG))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result, results[0])
    once = len(functions._variables)
    functions.to_y(x, RUNG)
    assert len(functions._variables) == once


def test_damaged_weights_are_found_when_they_are_first_read(tiny):
    data = pathlib.Path(tiny.path, "1/variables/variables.data-00000-of-00001")
    kernel = next(p for path, p in tiny.config["weights"].items() if "/synthesis/" in path)
    blob = bytearray(data.read_bytes())
    blob[kernel["offset"]] ^= 1
    data.write_bytes(blob)
    exported = loaded.Exported(tiny)
    latents = [np.zeros(shape, np.int32) for shape in exported.shapes(64, 64)]
    state, _ = exported.step(0, {}, None)
    state, _ = exported.step(1, state, latents[0])
    y_hat = exported.finish(state, latents[1])
    with pytest.raises(ModelError, match="tiny: the model cannot be loaded, it is .*damaged"):
        exported.synthesis(y_hat, 1.0, 64, 64)


@pytest.mark.parametrize("file", ["saved_model.pb", "variables/variables.index"])
def test_a_truncated_or_missing_file_is_found_at_load(tiny, file):
    path = pathlib.Path(tiny.path, "1", file)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="tiny: the model cannot be loaded, it is incomplete"):
        loaded.Exported(tiny)
    path.unlink()
    with pytest.raises(ModelError, match="tiny: the model cannot be loaded, it is incomplete"):
        loaded.Exported(tiny)


def test_an_export_that_was_replaced_is_not_read_in_two_halves(tiny):
    exported = loaded.Exported(tiny)
    exported.step(0, {}, None)
    model, config = tiny_exports.tiny_model()
    write.write(model, tiny.path, "mbt2018_mean", "compact", config)
    with pytest.raises(ModelError, match="tiny: the model was replaced after it had been loaded"):
        exported.analysis(np.zeros([64, 64, 3], np.uint8), 1.0)
    other = loaded.Exported(installed.read_info(tiny.path))
    other.analysis(np.zeros([64, 64, 3], np.uint8), 1.0)
