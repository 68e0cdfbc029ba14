import dataclasses
import functools
import importlib.util
import json
import math
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from harness import gradients

from tfcodec import models
from tfcodec.commands.main import main
from tfcodec.entropy.walk import walk
from tfcodec.errors import InputError
from tfcodec.models import ms2020, octave, tcm
from tfcodec.training import losses, outline

ROOT = pathlib.Path(__file__).parents[2]
ALL = [(name, preset) for name in models.MODELS for preset in models.module(name).PRESETS]
SHARED = [key for key in ALL if key[0] not in ("octave", "gllmm")]  # these have tests of their own
TINY = {"filters": 8, "latents": 12}
SLICES = ("slices", "low_slices", "high_slices")  # one more is one more of the same


def _narrow(name, preset):
    """The preset's `Config` with a few channels and at most two slices of each kind."""
    config = models.config(name, preset)
    slices = {key: 2 for key in SLICES if getattr(config, key, 0) not in (0, 1, 2)}
    widths = {"widths": (8,) * len(config.widths)} if hasattr(config, "widths") else {}
    if hasattr(config, "width"):
        widths = {"width": 8, "analysis_blocks": 1, "synthesis_blocks": 1}
    if name == "quad":
        widths["step_widths"] = (8, 8)
    return models.config(name, preset, **TINY, **slices, **widths)


@functools.cache
def _narrow_model(name, preset):
    """The model of that, to look at: two tests share it."""
    return models.module(name).build(_narrow(name, preset), name=name).build_weights()


# One preset of each that differ in their width alone.
KINDS = list({repr((key[0], _narrow(*key))): key for key in SHARED}.values())

# Trainable parameters as in CompressAI and in the authors' code, quantiles included.
PARAMETERS = {
    ("bmshj2018", "factorized-n128"): 2_998_147,
    ("bmshj2018", "factorized-n192"): 7_030_531,
    ("bmshj2018", "n128"): 5_075_843,
    ("bmshj2018", "n192"): 11_816_323,
    ("mbt2018_mean", "n128"): 7_028_003,
    ("mbt2018_mean", "n192"): 17_561_699,
    # TFC's factorized prior has 28 parameters a channel, CompressAI's and ours 61.
    ("ms2020", "n192"): 113_981_699 + 192 * (61 - 28),
    ("tcm", "n64"): 45_180_752,
    ("tcm", "n96"): 59_133_650,
    ("tcm", "n128"): 76_568_148,
    ("weconvene", "n128"): 106_704_396,
    # Counted from the layers of the papers and the authors' code.
    ("icwem", "n64"): 45_812_770,
    ("icwem", "n96"): 59_765_668,
    ("icwem", "n128"): 77_200_166,
    ("octave", "n256"): 30_774_506,
    ("octave", "n448"): 85_419_722,
    ("gllmm", "n128"): 17_850_124,
    ("gllmm", "n256"): 58_365_580,
}


# Of models of a thousand layers, the narrowest is looked at quickly and the others slowly.
WIDER = [(name, preset) for name in ("tcm", "icwem") for preset in ("n96", "n128")]


def _presets(keys):
    return [pytest.param(*k, marks=[pytest.mark.slow] if k in WIDER else []) for k in keys]


@functools.cache
def _described(name, preset):
    """`models.describe` of a preset.

    Nothing in it depends on the values of weights: some 10^9 random numbers are left out.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.initializers.VarianceScaling, "__call__", _zeros)
        return models.describe(name, preset, models.config(name, preset))


def _zeros(self, shape, dtype=None):
    return keras.ops.zeros(shape, dtype)


@pytest.mark.parametrize("name,preset", _presets(PARAMETERS))
def test_the_papers_presets_have_the_papers_parameters(name, preset):
    assert _described(name, preset)["parameters"] == PARAMETERS[name, preset]


@pytest.mark.parametrize("name,preset", _presets(ALL))
def test_a_description_is_json_and_its_parts_add_up(name, preset):
    found = _described(name, preset)
    assert json.loads(json.dumps(found))["latents"] == found["latents"]
    assert sum(found["parameters_of"].values()) == found["parameters"]


def test_multiply_accumulates_are_those_of_the_formula():
    # bmshj2018 factorized, N = 128, M = 192: a 5x5 layer costs 25 C_in C_out at its lower
    # resolution, GDN C^2 at each of its pixels.
    gdn = 128**2 * (1 / 4 + 1 / 16 + 1 / 64)
    convs = 25 * (3 * 128 / 4 + 128**2 / 16 + 128**2 / 64 + 128 * 192 / 256)
    for count in _described("bmshj2018", "factorized-n128")["kmac_per_pixel"].values():
        assert count == pytest.approx((gdn + convs) / 1000, abs=1e-3)


@pytest.mark.slow
def test_the_page_of_models_is_up_to_date():
    spec = importlib.util.spec_from_file_location("make_models", ROOT / "docs" / "make_models.py")
    make_models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_models)
    expected = make_models.page([_described(*key) for key in ALL])
    assert (ROOT / "docs" / "models.md").read_text(encoding="utf-8") == expected, (
        "run `python docs/make_models.py`"
    )


def test_the_list_has_a_line_a_model():
    run = subprocess.run(
        [sys.executable, ROOT / "train_tf.py", "--list"], capture_output=True, text=True, check=True
    )
    lines = dict(line.split(": ") for line in run.stdout.splitlines())
    assert {name: presets.split() for name, presets in lines.items()} == {
        name: list(models.module(name).PRESETS) for name in models.MODELS
    }


@pytest.mark.parametrize(
    "name,preset",
    [(name, preset) for name, preset in SHARED if len(models.config(name, preset).lambdas) > 1],
)
def test_every_weight_of_a_compact_model_receives_a_gradient(name, preset):
    model = models.module(name).build(_narrow(name, preset), name=name).build_weights()
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:  # away from the start, where some kernels are zero
        if weight.path.endswith("kernel"):
            weight.assign_add(rng.normal(0, 0.02, weight.shape))
    x = rng.integers(0, 256, [4, model.stride, model.stride, 3], dtype=np.uint8)
    rung = np.float32([0, 2.5, 5, 7])  # touches six of the eight rungs
    keys = np.uint32([1, 2, 3, 4])
    found = gradients(
        lambda: losses.rate_distortion(model, x, rung, keys)[0], model.trainable_weights
    )
    for weight, gradient in zip(model.trainable_weights, found, strict=True):
        assert gradient is not None and np.all(np.isfinite(gradient)), weight.path
        assert np.any(gradient), f"{weight.path} receives no gradient"


@pytest.mark.parametrize("name,preset", KINDS)
def test_latents_have_the_shapes_that_the_parts_promise(name, preset):
    model = _narrow_model(name, preset)
    height, width = model.stride, 2 * model.stride
    x = np.random.default_rng(0).random([1, height, width, 3], dtype=np.float32)
    x_hat, code = model.forward(x)
    assert len(code.latents) == len(model.parts)
    for latent, part in zip(code.latents, model.parts, strict=True):
        stride = part.stride
        assert latent.shape == (1, height // stride, width // stride, part.channels)
        assert keras.backend.standardize_dtype(latent.dtype) == "float32"
    assert x_hat.shape == x.shape and set(code.bits) == {part.name for part in model.parts}


@pytest.mark.parametrize("name,preset", KINDS)
def test_every_index_names_a_row_of_the_tables(name, preset):
    model = _narrow_model(name, preset)
    rows = len(model.table_rows())
    rng, seen = np.random.default_rng(0), []

    class Symbols:
        num_steps = len(model.parts)

        def __call__(self, k, prior):
            seen.append(np.array(prior.indexes()).reshape(-1))
            part = model.parts[k]
            side = model.stride // part.stride
            return np.int32(rng.normal(0, 30, [1, side, side, part.channels]))

    y_hat = walk(model, Symbols())
    seen = np.concatenate(seen)
    assert seen.min() == 1 and seen.max() <= rows  # row 0 is the codec's own
    coded = [part for part in model.parts if part.name != "z"]
    sizes = [part.channels * (model.stride // part.stride) ** 2 for part in coded]
    assert math.prod(y_hat.shape) == sum(sizes)


@pytest.mark.parametrize("name,preset", [("tcm", "n64"), ("weconvene", "n128"), ("ms2020", "n192")])
def test_the_papers_networks_start_where_training_is_possible(name, preset):
    slices = {key: 2 for key in SLICES if hasattr(models.config(name, preset), key)}
    model = models.build(name, preset, filters=32, latents=32, hyper_latents=32, **slices)
    model.build_weights()
    x = np.random.default_rng(0).random([1, model.stride, model.stride, 3], dtype=np.float32)
    model.prepare(x)
    kernels = [v for v in model.trainable_weights if v.path.endswith("kernel") and v.shape[-2] > 31]
    for kernel in kernels:
        fan_in = np.prod(kernel.shape[:-1])
        assert np.std(kernel) == pytest.approx((3 * fan_in) ** -0.5, rel=0.2), kernel.path
    x_hat, _ = model(x)
    assert np.abs(x_hat).max() < 30


@pytest.mark.parametrize("name", models.MODELS)
def test_an_outline_is_what_is_imported(name):
    found = {preset: list(fields) for preset, fields in outline.outline(name).items()}
    presets = models.module(name).PRESETS.items()
    assert found == {k: [f.name for f in dataclasses.fields(cfg)] for k, cfg in presets}


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(InputError) as error:
        models.config("gan", "compact")
    assert str(error.value) == f"there is no model 'gan'; the models are {', '.join(models.MODELS)}"
    with pytest.raises(InputError) as error:
        models.build("mbt2018_mean", "huge")
    assert str(error.value) == "mbt2018_mean has no preset 'huge'; it has compact, n128, n192"


@pytest.mark.parametrize(
    "flag,value,message",
    [
        (
            "--config",
            "wavelength=9",
            "--config cannot set 'wavelength'; it sets width, analysis_blocks",
        ),
        ("--config", "filters=many", "--config filters takes a number, received 'many'"),
    ],
)
def test_a_field_that_cannot_be_set_is_said(flag, value, message, capsys):
    assert main(["train", "--describe", "--model", "weconvene", flag, value]) == 1
    assert capsys.readouterr().err.startswith(f"tfcodec: {message}")


def test_fields_of_a_preset_are_replaced_on_the_command_line(capsys):
    fields = "wavelet=5/3,latents=12,filters=9"
    assert main(["train", "--describe", "--model", "weconvene", "--config", fields]) == 0
    config = json.loads(capsys.readouterr().out)["config"]
    assert (config["wavelet"], config["latents"], config["filters"]) == ("5/3", 12, 9)


PAPERS = {"widths": [], "lambdas": [0.013], "gain_level": 1.0, "latents": 320}
OCTAVE = {"filters": 64, "linear": [], "cross_kernel_size": 0, "gdn_order": 2, "up_gdn": True}


@pytest.mark.parametrize(
    "name,fields,expected",
    [
        ("ms2020", {**PAPERS, "wavelet": ""}, ms2020.Config()),
        ("ms2020", {"widths": [24], "wavelet": ""}, ms2020.CompactConfig(widths=(24,))),
        ("tcm", {**PAPERS, "filters": 64}, tcm.Config(64)),
        ("octave", {**OCTAVE, "latents": 0}, octave.Config(64)),
    ],
)
def test_configurations_of_before_classes_of_their_own_are_read(name, fields, expected):
    assert models.read_config(name, fields) == expected


@pytest.mark.parametrize("name,preset", ALL)
def test_a_configuration_comes_back_from_json(name, preset):
    config = models.config(name, preset)
    fields = json.loads(json.dumps(dataclasses.asdict(config)))
    assert models.read_config(name, fields) == config


def test_a_configuration_of_another_network_is_refused():
    with pytest.raises(InputError, match="no configuration of octave has the fields .*up_gdn"):
        models.read_config("octave", {"latents": 80, "linear": [8], "up_gdn": True})
    with pytest.raises(InputError, match="no configuration of tcm has the fields colour"):
        models.read_config("tcm", {"colour": "green"})


def test_a_model_of_ones_own_is_found_by_its_import_path(tmp_path, monkeypatch):
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "my_model.py").write_text(
        "from tfcodec.models.bmshj2018 import Config, PRESETS, build"
    )
    (tmp_path / "my_package" / "empty.py").write_text("PRESETS = {}")
    monkeypatch.syspath_prepend(tmp_path)
    config = models.config("my_package.my_model", "factorized-compact", filters=8)
    assert models.read_config("my_package.my_model", {"filters": 8, "lambdas": [1]}).lambdas == (1,)
    model = models.build_with_weights("my_package.my_model", config)
    assert model.name == "my_package.my_model"
    with pytest.raises(InputError, match="has no Config and no build"):
        models.module("my_package.empty")
    with pytest.raises(InputError, match="'my_package.none' cannot be imported"):
        models.module("my_package.none")
