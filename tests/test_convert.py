"""Conversion of PyTorch checkpoints; parity with the authors' own code.

tests/data/NAME.npz holds, for weights that a rule makes of each tensor's name, what the authors'
PyTorch code computed from a smooth picture: of each latent map the first 8 channels, of the
reconstruction every fourth pixel, and sums and bits over everything. No checkpoint of the authors
was at hand.
"""

import collections
import json
import math
import pathlib
import zlib

import numpy as np
import pytest

from tfcodec import convert, models
from tfcodec.commands import main as cli
from tfcodec.entropy.rate import RateMeter
from tfcodec.entropy.walk import walk
from tfcodec.errors import InputError

DATA = pathlib.Path(__file__).parent / "data"


class Reference:
    """One fixture: the state dict by its rule, the picture, and what the authors' code made.

    only: tensors whose names begin with it.
    """

    def __init__(self, source, only=""):
        self.values = {}
        # Around its transforms ICWEM has every tensor of LIC-TCM: its file holds what differs.
        for name in ("tcm", source) if source == "icwem" else (source,):
            with np.load(DATA / f"{name}.npz") as file:
                self.values.update(file)
        self.gain = float(self.values["gain"])
        self.state = {
            name: self._fill(name, shape, fill)
            for key in ("tensors", "more_tensors")
            if key in self.values
            for name, shape, fill in json.loads(self.values[key].tobytes())
            if name.startswith(only)
        }

    def _fill(self, name, shape, fill):
        if f"prior/{name}" in self.values:
            return self.values[f"prior/{name}"]
        if fill == "default":
            return np.zeros(shape, np.float32)
        if fill == "init":  # GDN as it starts, stored as square roots
            value = np.ones(shape) if len(shape) == 1 else 0.1 * np.eye(shape[0])
            return np.float32(np.sqrt(value + 2.0**-36))
        seed = zlib.crc32(name.encode())
        noise = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
        if name.startswith("inv") and len(shape) == 2:
            return np.float32(np.eye(shape[0]) + 0.1 * noise)
        if len(shape) > 1:
            gain = {"inv": 0.1, "enh": 0.5}.get(name.split(".")[0], self.gain)
            return np.float32(noise * gain / np.sqrt(np.prod(shape[1:])))
        norm = ("norm" in name or "ln" in name) and name.endswith("weight")
        return np.float32(1 + 0.05 * noise if norm else 0.02 * noise)

    def picture(self):
        """Float32 [1, H, W, 3]."""
        rows, columns = (
            np.arange(self.values["height"]) % 128,
            np.arange(self.values["width"]) % 192,
        )
        r, c, k = np.meshgrid(rows, columns, np.arange(3), indexing="ij")
        x = 0.5 + 0.4 * np.sin(0.07 * c + 0.03 * r + k) * np.cos(0.05 * r - 0.5 * k)
        return np.float32(x)[None]


class Listener(RateMeter):
    """A meter that keeps mu and sigma, and floors likelihoods at 1e-9 as the authors do."""

    def __init__(self, latents, names):
        super().__init__(latents, names)
        self.mu, self.sigma, self.floored = [], [], collections.Counter()

    def __call__(self, k, prior):
        symbols = super().__call__(k, prior)
        if hasattr(prior, "log_scale"):
            self.mu.append(np.array(prior.mu))
            self.sigma.append(np.exp(np.array(prior.log_scale)))
        bits = np.array(prior.bits(symbols + prior.mu))
        self.floored[self.names[k]] += np.minimum(bits, 9 * math.log2(10)).sum(dtype=np.float64)
        return symbols


def _assert_near(found, expected, share=0.999):
    error = np.abs(np.array(found) - expected)
    assert np.mean(error < 1e-3 * max(expected.std(), 1e-6)) >= share


def _check_parity(source, model, reference):
    values, x, rung = reference.values, reference.picture(), np.zeros([1], np.float32)
    y = np.array(model.to_y(x, rung))
    scale = np.abs(values["para_y"]).max()
    assert np.abs(y[..., :8] - values["para_y"]).max() < 1e-4 * scale
    assert abs(y.sum(dtype=np.float64) - values["para_y_sum"]) < 1e-4 * np.abs(y).sum()

    meter = Listener(model.analysis(x, rung), [part.name for part in model.parts])
    y_hat = walk(model, meter)
    suffix = convert.SUFFIXES[meter.names[1]]
    mu, sigma = np.concatenate(meter.mu, -1), np.concatenate(meter.sigma, -1)
    _assert_near(mu[..., :8], values[f"para_means{suffix}"])
    _assert_near(sigma[..., :8], np.maximum(values[f"para_scales{suffix}"], 0.11))
    for name, bits in meter.floored.items():
        theirs = f"likelihood_{'z' if name == 'z' else 'y' + convert.SUFFIXES[name]}_bits"
        assert bits == pytest.approx(float(values[theirs]), rel=1e-3), name
    _assert_near(model.synthesis(y_hat, rung)[:, ::4, ::4], values["x_hat"])


@pytest.mark.parametrize(
    "source,parameters",
    [
        ("icwem", 45_812_770),
        # Is inside ICWEM.
        pytest.param("tcm", 45_180_752, marks=pytest.mark.slow),
        pytest.param("weconvene", 106_704_396, marks=pytest.mark.slow),
    ],
)
def test_a_converted_model_computes_what_the_authors_code_computes(source, parameters):
    reference = Reference(source)
    model, config = convert.build(source, reference.state)
    # The fixture's transforms have filters of their own: 8 sets of two times 16 taps.
    taps = 8 * 32 if source == "weconvene" else 0
    assert model.count_params() - taps == parameters
    assert config.latents == 320 and config.hyper_latents == 192
    _check_parity(source, model, reference)


def test_the_analysis_of_weconvene_computes_what_the_authors_code_computes():
    reference = Reference("weconvene", only="g_a.")
    config = models.module("weconvene").Config(wavelet="taps")
    analysis, _ = models.module("weconvene").transforms(config, levels=None)
    x = reference.picture()
    analysis.build(x.shape)
    for tensor in convert.net_tensors(analysis, "g_a"):
        tensor.variable.assign(tensor.convert(reference.state[tensor.name]))
    y, expected = np.array(analysis(x)), reference.values["para_y"]
    assert np.abs(y[..., :8] - expected).max() < 1e-4 * np.abs(expected).max()
    total = y.sum(dtype=np.float64)
    assert abs(total - reference.values["para_y_sum"]) < 1e-4 * np.abs(y).sum()


def test_every_learned_tensor_of_weconvene_has_its_place():
    names = {
        n for n, _, _ in json.loads(Reference("weconvene", only="-").values["tensors"].tobytes())
    }
    config = models.module("weconvene").Config(
        filters=2, latents=5, hyper_latents=2, wavelet="taps"
    )
    model = models.module("weconvene").build(config, name="weconvene").build_weights()
    found = {tensor.name for tensor in convert.tensors(model)}
    assert found <= names
    left = {name for name in names - found if not convert.NOT_LEARNED.search(name)}
    assert left == {
        f"{net}.conv2.{k}" for net in ("g_a.4", "g_a.8", "h_a.0") for k in ("weight", "bias")
    }


@pytest.mark.slow
@pytest.mark.parametrize("wrap", ["plain", "nested", "module"])
@pytest.mark.parametrize("source", convert.SOURCES)
def test_a_checkpoint_of_full_size_goes_through_the_command(source, wrap, tmp_path, capsys):
    from tfcodec.exports import installed
    from tfcodec.exports.weights import read_weights

    torch = pytest.importorskip("torch")
    reference = Reference(source)
    path, out = tmp_path / "model.pth.tar", tmp_path / "converted"
    torch.save(_wrapped(reference.state, wrap), path)
    assert cli.main(["convert", "--from", source, str(path), "-o", str(out)]) == 0
    info = installed.read_info(out)
    config = models.module(source).Config(**info.config["config"])
    model = models.module(source).build(config, name=source).build_weights()
    weights = read_weights(out)
    for variable in model.variables:
        variable.assign(weights[variable.path])
    _check_parity(source, model, reference)


def _wrapped(state, wrap):
    import torch

    state = {name: torch.tensor(value) for name, value in state.items()}
    if wrap == "module":
        return {f"module.{name}": value for name, value in state.items()}
    if wrap == "nested":  # with what a training loop leaves beside the weights
        schedule = {"milestones": collections.Counter([45, 48]), "gamma": 0.1}
        return {"epoch": 49, "loss": 0.5, "state_dict": state, "lr_scheduler": schedule}
    return state


SMALL = {
    "tcm": dict(filters=8, latents=8, slices=2, hyper_latents=6),
    "icwem": dict(filters=8, latents=8, slices=2, hyper_latents=6, enhancement=4, levels=2),
    "weconvene": dict(filters=8, latents=8, low_slices=2, high_slices=1, hyper_latents=6),
}


def _small_state(source, **changes):
    """A state dict of random weights for a narrow model, with the filters and buffers it has."""
    config = models.module(source).Config(**{**SMALL[source], **changes})
    model = models.module(source).build(config, name=source).build_weights()
    rng = np.random.default_rng(0)
    state = {
        t.name: np.float32(rng.normal(0, 0.05, t.shape)) + np.float32(t.name.endswith("beta"))
        for t in convert.tensors(model)
    }
    return {**state, "entropy_bottleneck._offset": np.zeros([6], np.int32)}


@pytest.fixture(scope="module")
def small():
    return {source: _small_state(source) for source in convert.SOURCES}


@pytest.mark.parametrize("source", convert.SOURCES)
def test_the_width_and_the_slices_are_read_from_the_tensors(source, small):
    _, config = convert.build(source, small[source], lmbda=0.05)
    expected = models.module(source).Config(**SMALL[source], lambdas=(0.05,))
    assert config == expected


@pytest.mark.parametrize("wrap", ["plain", "nested", "module"])
def test_every_form_of_file_is_read(wrap, small, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(_wrapped(small["tcm"], wrap), tmp_path / "model.pth.tar")
    state = convert.read_checkpoint(tmp_path / "model.pth.tar")
    assert set(state) == set(small["tcm"])
    for name, value in small["tcm"].items():
        np.testing.assert_array_equal(state[name], value)


@pytest.mark.slow
def test_the_command_makes_a_model_that_codes_pictures(tmp_path, capsys, monkeypatch):
    torch = pytest.importorskip("torch")
    from tfcodec import pictures

    path, out = tmp_path / "model.pth.tar", tmp_path / "converted"
    state = _small_state("weconvene", low_slices=1)
    torch.save(_wrapped(state, "nested"), path)
    assert cli.main(["convert", "--from", "weconvene", str(path), "-o", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{out}  converted  ")
    rgb = np.random.default_rng(0).integers(0, 256, [40, 70, 3], dtype=np.uint8)
    pictures.write(tmp_path / "x.png", pictures.Picture(rgb=rgb, gray=False, alpha=None))
    monkeypatch.setenv("TFCODEC_MODELS", str(tmp_path))
    code = ["encode", str(tmp_path / "x.png"), "--model", str(out), "-o", str(tmp_path / "x.tfcd")]
    assert cli.main([*code, "--reconstruction", str(tmp_path / "r.png")]) == 0
    assert cli.main(["decode", str(tmp_path / "x.tfcd"), "-o", str(tmp_path / "y.png")]) == 0
    decoded, shown = (pictures.read(str(tmp_path / name)).rgb for name in ("y.png", "r.png"))
    np.testing.assert_array_equal(decoded, shown)
    assert decoded.shape == rgb.shape


@pytest.mark.parametrize(
    "change,message",
    [
        (lambda s: s.pop("lrp_transforms.1.2.bias"), "lrp_transforms.1.2.bias is missing"),
        (
            lambda s: s.update({"g_s.9.0.bias": np.zeros([9])}),
            "g_s.9.0.bias should be [12], found [9]",
        ),
        (lambda s: s.update({"g_b.0.weight": np.zeros([9])}), "g_b.0.weight is not known"),
        (lambda s: s.pop("g_a.9.weight"), "g_a.9.weight is missing"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(change, message, small):
    state = dict(small["tcm"])
    change(state)
    with pytest.raises(InputError) as error:
        convert.build("tcm", state, "m.pth.tar")
    assert str(error.value) == f"m.pth.tar: not a checkpoint of tcm: {message}"


def test_every_tensor_that_does_not_fit_around_the_transforms_is_named(small):
    state = dict(small["icwem"])
    del state["inv.operations.5.G2.conv3.bias"]
    state["inv.operations.4.weight"] = np.eye(2)
    state["enh.back_enh.layers.5.weight"] = np.eye(2)
    with pytest.raises(InputError) as error:
        convert.build("icwem", state, "m.pth.tar")
    assert str(error.value) == (
        "m.pth.tar: not a checkpoint of icwem: inv.operations.4.weight should be [3, 3], found "
        "[2, 2], inv.operations.5.G2.conv3.bias is missing, "
        "enh.back_enh.layers.5.weight is not known"
    )


def test_only_three_of_many_problems_are_listed(small):
    state = {name: v for name, v in small["tcm"].items() if not name.startswith("atten_mean")}
    with pytest.raises(InputError, match=r"is missing, .*is missing, .*is missing, and \d+ more$"):
        convert.build("tcm", state)


def test_weights_that_the_authors_never_use_are_left_out(small):
    state = dict(small["weconvene"])
    state["g_a.4.conv2.weight"] = np.zeros([8, 8, 3, 3], np.float32)
    state["g_a.4.dwt.w_ll"] = np.full([1, 1, 2, 2], 0.5, np.float32)
    _, config = convert.build("weconvene", state)
    assert config.wavelet == "haar"
    state["g_a.5.conv3.weight"] = state["g_a.4.conv2.weight"]
    with pytest.raises(InputError, match="g_a.5.conv3.weight is not known"):
        convert.build("weconvene", state)


class Hostile:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_file_that_would_run_code_is_refused(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    torch.save({"state_dict": {"w": torch.zeros(1)}, "x": Hostile()}, tmp_path / "bad.pth")
    assert cli.main(["convert", "--from", "tcm", str(tmp_path / "bad.pth"), "-o", "out"]) == 1
    output = capsys.readouterr()
    assert "executed" not in output.out
    assert "bad.pth: not a checkpoint that can be read safely" in output.err
    assert len(output.err.splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_what_is_no_checkpoint_is_said(content, tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "file"
    if content is None:
        torch.save([1, 2], path)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match="file: (not a checkpoint that can|holds no state dict)"):
        convert.read_checkpoint(path)


def test_an_unknown_source_lists_the_known_ones():
    with pytest.raises(InputError) as error:
        convert.build("elic", {})
    assert str(error.value) == "there is no source 'elic'; the sources are weconvene, tcm, icwem"
