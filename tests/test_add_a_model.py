"""The pages that say how to add a model are true: their code, as it stands, does what they say."""

import importlib
import os
import pathlib
import re
import subprocess
import sys
from functools import partial

import keras
import numpy as np
import pytest
from harness import gradients
from PIL import Image

from tfcodec.coding.range_coder import RangeDecoder, RangeEncoder
from tfcodec.coding.tables import CodingTables
from tfcodec.entropy.channelwise import ChARM, Group, even_slices
from tfcodec.entropy.latents.hyperprior import ContextLatents, HyperpriorLatents
from tfcodec.entropy.mixture import MixtureDensity
from tfcodec.entropy.quadtree import Quadtree
from tfcodec.entropy.walk import StepDecoder, StepEncoder, walk
from tfcodec.freeze import Walked
from tfcodec.models.base import CodecModel
from tfcodec.models.transforms import (
    ShortcutAnalysis,
    ShortcutSynthesis,
    compact_features,
    compact_hyper_features,
    conv,
    leaky,
    sequential,
    subpixel,
)
from tfcodec.training import losses

ROOT = pathlib.Path(__file__).parent.parent
N, M = 6, 8  # filters and latents of the small codecs


def _code_of(page, first_line):
    """The Python block of a page that begins with that line."""
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL
    )
    (found,) = (block for block in blocks if block.startswith(first_line))
    return found


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with `my_package`, which has the modules of the two pages."""
    folder = tmp_path_factory.mktemp("added")
    (folder / "my_package").mkdir()
    for name, page, line in (
        ("my_model", "README.md", '"""A mean-scale hyperprior around'),
        ("laplacian", "docs/add_a_model.md", '"""Laplacians of a mean'),
        ("halves", "docs/add_a_model.md", '"""y in two halves'),
    ):
        (folder / "my_package" / f"{name}.py").write_text(_code_of(page, line), encoding="utf-8")
    return folder


def _module(package, name, monkeypatch):
    monkeypatch.syspath_prepend(package)
    return importlib.import_module(f"my_package.{name}")


def test_the_readmes_model_is_trained_exported_encoded_and_decoded_exactly(package, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, [9, 10, 3], dtype=np.uint8)
    Image.fromarray(pixels).resize((100, 90), Image.BICUBIC).save(tmp_path / "p.png")
    environment = {**os.environ, "PYTHONPATH": str(package), "TF_CPP_MIN_LOG_LEVEL": "3"}

    def run(script, *arguments):
        command = [sys.executable, str(ROOT / script), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr

    model = tmp_path / "models" / "mine"
    flags = ["--data", tmp_path / "p.png", "--run_dir", tmp_path / "run", "--export", model]
    flags += ["--steps", 3, "--crop", 64, "--batch_size", 2]
    run("train_tf.py", "--model", "my_package.my_model", "--preset", "small", *flags)
    # From here on nobody needs the module.
    environment |= {"PYTHONPATH": "", "TFCODEC_MODELS": str(tmp_path / "models")}
    shown = ["--reconstruction", tmp_path / "r.png"]
    run("encode_decode.py", "encode", tmp_path / "p.png", "--model", model, *shown)
    run("encode_decode.py", "decode", tmp_path / "p.tfcd", "-o", tmp_path / "d.png")
    decoded, expected = (np.asarray(Image.open(tmp_path / name)) for name in ("d.png", "r.png"))
    np.testing.assert_array_equal(decoded, expected)
    assert decoded.shape == (90, 100, 3)


# --------------------------------------------------------------------------- densities and coders


def _codec(latents):
    keras.utils.set_random_seed(0)
    analysis = ShortcutAnalysis((4, 4, 4), M, name="analysis")
    synthesis = ShortcutSynthesis((4, 4, 4), name="synthesis")
    return CodecModel(analysis, synthesis, latents, (0.01, 0.1), 8.0, name="codec").build_weights()


def _check_codec(model):
    """Every weight learns, the loss falls, and files come back."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, [2, 64, 64, 3], dtype=np.uint8)
    for weight in model.trainable_weights:  # away from the start, where some kernels are zero
        if weight.path.endswith("kernel"):
            weight.assign_add(rng.normal(0, 0.05, weight.shape))
    model.start_rates(x / np.float32(255))
    for weight in model.trainable_weights:
        if weight.path.endswith("kernel"):
            weight.assign_add(rng.normal(0, 0.01, weight.shape))

    def loss():
        keys = np.uint32([1, 2])
        return losses.rate_distortion(model, x, np.float32([0.2, 0.8]), keys)[0]

    optimizer, first = keras.optimizers.Adam(2e-3), float(loss())
    for _ in range(8):
        found = gradients(loss, model.trainable_weights)
        for weight, gradient in zip(model.trainable_weights, found, strict=True):
            assert gradient is not None and np.all(np.isfinite(gradient)), weight.path
        pairs = zip(map(keras.ops.convert_to_tensor, found), model.trainable_weights, strict=True)
        optimizer.apply_gradients(pairs)
    assert float(loss()) < first

    tables = CodingTables.build(model.table_rows())
    latents = [np.array(v) for v in model.analysis(x[:1] / np.float32(255), np.float32([0.5]))]
    encoder, there = RangeEncoder(tables), Walked(model)
    sent = StepEncoder(latents, encoder)
    expected = walk(there, sent)
    streams, escapes = encoder.finish()
    received = StepDecoder(there.shapes(64, 64), RangeDecoder(tables, streams, escapes))
    np.testing.assert_array_equal(walk(there, received), expected)
    assert np.any(sent.symbols[-1])
    _, meter = model.rate([keras.ops.convert_to_tensor(v) for v in latents])
    estimated = sum(float(bits[0]) for bits in meter.bits.values())
    assert 8 * sum(map(len, streams)) == pytest.approx(estimated, rel=0.06, abs=100)


def _hyperprior(density):
    to_z = compact_hyper_features(N, 4).analysis
    up = [subpixel(N), leaky(0.125), subpixel(N), leaky(0.125), conv(density.numbers * M, 3)]
    return HyperpriorLatents(to_z, sequential(up, name="hyper_synthesis"), M, 4, density)


def _slices(density):
    group = Group.convolutions("y", even_slices(M, 2), widths=(6, 6))
    charm = partial(ChARM, [group], compact_features(N), 0, name="charm")
    return ContextLatents(compact_hyper_features(N, 4), charm, M, density=density)


def _quadtree(density):
    context = partial(Quadtree, M, compact_features(N), widths=(6, 6), name="context")
    return ContextLatents(compact_hyper_features(N, 4), context, M, density=density)


@pytest.mark.parametrize("coder", [_hyperprior, _slices, _quadtree])
@pytest.mark.parametrize("density", ["laplacian", pytest.param("mixture", marks=pytest.mark.slow)])
def test_any_coder_of_gaussians_takes_another_density(package, monkeypatch, coder, density):
    laplacian = _module(package, "laplacian", monkeypatch)
    density = laplacian.LaplacianDensity() if density == "laplacian" else MixtureDensity()
    _check_codec(_codec(coder(density)))


def test_a_coder_of_ones_own_is_all_that_a_codec_needs(package, monkeypatch):
    halves = _module(package, "halves", monkeypatch)
    network = sequential([conv(6, 3), leaky(0.125), conv(M, 3)], name="network")
    _check_codec(_codec(halves.HalvesLatents(network, M)))


def test_a_group_with_nets_of_means_and_scales_refuses_another_density():
    with pytest.raises(ValueError, match="'y' has nets of means and of scales.* needs joint=True"):
        ChARM([Group("y", (4,))], 4, 4, first_row=1, density=MixtureDensity())


def test_rows_that_are_not_as_many_as_were_kept_are_refused():
    model = _codec(_slices(MixtureDensity()))
    model.latents.rows.add(lambda: [1, 2], 3)
    with pytest.raises(ValueError, match="3 rows of tables were kept for 2 rows"):
        model.table_rows()
