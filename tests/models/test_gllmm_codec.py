import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from harness import gradients
from tiny_exports import BLOCKS

from tfcodec import codec, models, pictures
from tfcodec.coding import wavefront
from tfcodec.coding.container import unpack
from tfcodec.entropy.quantize import round_straight_through
from tfcodec.entropy.walk import walk
from tfcodec.exports import write
from tfcodec.training import losses

TINY = {**BLOCKS, "filters": 8, "latents": 6, "estimators": (12, 16)}
SIZES = [(1, 1), (97, 131), (200, 64)]


@pytest.fixture(scope="module")
def tiny():
    keras.utils.set_random_seed(1)
    config = models.config("gllmm", "compact", **TINY)
    model = models.module("gllmm").build(config, name="gllmm").build_weights()
    for kernel in (model.latents.context.kernel, model.latents.hyper_synthesis.weights[-2]):
        kernel.assign(3 * kernel.numpy())  # parameters that differ from place to place
    for last in (model.analysis_transform.down, model.synthesis_transform.head):  # at zero
        kernel = last.kernel
        kernel.assign_add(np.random.default_rng(0).normal(0, 0.05, kernel.shape))
    last = model.latents.hyper_analysis.layers[-1]
    last.kernel.assign(0.15 * last.kernel.numpy())  # latents that the priors expect
    return model, config


@pytest.fixture(scope="module")
def info(tiny, tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("models") / "tiny")
    return write.write(tiny[0], directory, "gllmm", "compact", tiny[1])


def _picture(height, width):
    rng = np.random.default_rng(height + width)
    ramp = np.linspace(0, 200, width)[None, :, None]
    return pictures.from_array(np.uint8(ramp + rng.integers(0, 50, [height, width, 3])))


class Meter:
    """Visitor of wavefronts that hands out symbols and keeps each step's mixture numbers."""

    def __init__(self, z, y):
        self.steps = [z, *wavefront.split(y)]
        self.num_steps, self.raw = len(self.steps), []

    def __call__(self, k, prior):
        self.raw.append(None if k == 0 else np.array(prior.raw))
        return np.int32(self.steps[k])


def _numbers(model, z, y):
    """Mixture numbers that the wavefronts give to each position of y, [h, w, 30 M]; and y_hat."""
    meter = Meter(z, y)
    y_hat = walk(model, meter)
    _, height, width, channels = y.shape
    numbers = np.full([height, width, 30 * channels], np.nan, np.float32)
    for t in range(wavefront.count(height, width)):
        row, column, valid = wavefront.positions(t, height, width)
        numbers[row[valid], column[valid]] = meter.raw[t + 1][0, valid, 0]
    return numbers, np.array(y_hat)


def _symbols(height=4, width=8, seed=0):
    rng = np.random.default_rng(seed)
    z = np.int32(rng.normal(0, 3, [1, height // 4, width // 4, TINY["filters"]]))
    return z, np.int32(rng.normal(0, 3, [1, height, width, TINY["latents"]]))


@pytest.mark.parametrize("sides", [(4, 4), (4, 8), (12, 4)])
def test_wavefronts_give_every_position_what_training_gives_it(tiny, sides):
    latents, (z, y) = tiny[0].latents, _symbols(*sides)
    numbers, y_hat = _numbers(latents, z, y)
    np.testing.assert_array_equal(y_hat, y)
    known = [latents.context(np.float32(y)), latents.features(z)]
    at_once = latents.mixture(keras.ops.concatenate(known, axis=-1))
    np.testing.assert_allclose(numbers, at_once.raw[0], rtol=1e-4, atol=1e-4)


def test_no_position_hangs_on_itself_or_on_what_follows_it(tiny):
    model, (z, y) = tiny[0], _symbols(4, 4)
    before, _ = _numbers(model, z, y)
    for h in range(4):
        for w in range(4):
            other = y.copy()
            other[0, h, w] += 7
            after, _ = _numbers(model, z, other)
            changed = np.any(before != after, axis=-1).ravel()
            assert not changed[: 4 * h + w + 1].any()
            near = [(h, w + 1), (h + 1, w), (h + 2, w), (h + 1, w - 2)]
            for row, column in near:
                if 0 <= row < 4 and 0 <= column < 4:
                    assert changed[4 * row + column]


def test_every_weight_receives_a_gradient(tiny):
    model = tiny[0]
    x = np.random.default_rng(0).integers(0, 256, [4, 64, 64, 3], dtype=np.uint8)
    rung, keys = np.float32([0, 2.5, 5, 7]), np.uint32([1, 2, 3, 4])
    last = model.latents.hyper_analysis.layers[-1].kernel
    kept = last.numpy()
    last.assign(20 * kept)  # z that rounds to more than zeros
    found = gradients(
        lambda: losses.rate_distortion(model, x, rung, keys)[0], model.trainable_weights
    )
    last.assign(kept)
    for weight, gradient in zip(model.trainable_weights, found, strict=True):
        assert gradient is not None and np.all(np.isfinite(gradient)), weight.path
        assert np.any(gradient), f"{weight.path} receives no gradient"


@pytest.mark.parametrize("name", ["gllmm", "octave"])
def test_training_starts_with_latents_and_pictures_of_a_sound_size(name):
    model = models.build(name, "compact", filters=16, lambdas=(0.01,)).build_weights()
    x = np.random.default_rng(0).random([4, 128, 128, 3], dtype=np.float32)
    model.prepare(x)
    x_hat, _ = model(x)
    assert 0.1 < np.std(x_hat) < 1 and abs(np.mean(x_hat) - 0.5) < 0.5
    assert 0.3 < np.std(model.analysis(x, np.zeros([4], np.float32))[-1]) < 6


@pytest.mark.parametrize("name", ["gllmm", "octave"])
def test_in_bfloat16_all_that_rates_hang_on_stays_float32(name):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = models.build(name, "compact", filters=8).build_weights()
        x = np.random.default_rng(0).random([2, 128, 128, 3], dtype=np.float32)
        objective, metrics = losses.rate_distortion(
            model, np.uint8(255 * x), np.zeros([2], np.float32), np.uint32([0, 1]), progress=0.0
        )
        seen = [*model.analysis(x, np.zeros([2], np.float32)), objective, *metrics.values()]
        layers = [v for v in model._flatten_layers() if not isinstance(v, keras.Sequential)]
        low = [v.path for v in layers if v.compute_dtype == "bfloat16" and v.weights]
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert {keras.backend.standardize_dtype(v.dtype) for v in seen} == {"float32"}
    assert np.isfinite(float(objective))
    assert {path.split("/")[1] for path in low} == {"analysis", "synthesis"}


def test_what_is_decoded_is_what_training_rounds_to(tiny):
    model = tiny[0]
    x = np.random.default_rng(0).random([1, 64, 128, 3], dtype=np.float32)
    latents = model.analysis(x, np.float32([3.0]))
    y_hat, code = model.rate(latents)
    np.testing.assert_array_equal(y_hat, round_straight_through(latents[1]))
    assert list(code.bits) == ["z", "y"] and len(code.decoded) == 2


@pytest.mark.parametrize("size", SIZES)
def test_pictures_come_back_from_their_files(info, size):
    tiny = codec.Codec(info)
    encoded = tiny.encode(_picture(*size), 6)
    container = unpack(encoded.data)
    np.testing.assert_array_equal(tiny.decode(container).rgb, encoded.reconstruction().rgb)
    assert 8 * len(container.streams[0]) == pytest.approx(encoded.estimated_bits, rel=0.005, abs=40)
    lanes = tiny.encode(_picture(*size), 6, lanes=4)
    np.testing.assert_array_equal(tiny.decode(unpack(lanes.data)).rgb, encoded.reconstruction().rgb)


def test_a_process_with_another_number_of_threads_decodes_the_same(info, tmp_path):
    """Files of this process, decoded by one with a single thread, and the reverse."""
    code = """
import pathlib, sys, tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
from tfcodec import codec
from tfcodec.exports import installed
from tfcodec.coding import container as box
folder, tiny = pathlib.Path(sys.argv[1]), codec.Codec(installed.read_info(sys.argv[2]))
for path in folder.glob("*.tfcd"):
    picture = tiny.decode(box.unpack(path.read_bytes()))
    path.with_suffix(".again").write_bytes(tiny.encode(picture, 6).data)
"""
    assert tf.config.threading.get_intra_op_parallelism_threads() != 1
    tiny = codec.Codec(info)
    for k, size in enumerate(SIZES):
        (tmp_path / f"{k}.tfcd").write_bytes(tiny.encode(_picture(*size), 6).data)
    subprocess.run([sys.executable, "-c", code, tmp_path, info.path], check=True)
    for k, size in enumerate(SIZES):
        again = unpack((tmp_path / f"{k}.again").read_bytes())
        assert tiny.decode(again).rgb.shape == (*size, 3)
