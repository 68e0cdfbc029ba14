"""Laws of frozen models: portable files, and no confusion with those of other arithmetic."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tiny_exports

from tfcodec import codec, freeze
from tfcodec.coding.container import unpack
from tfcodec.commands import main as cli
from tfcodec.entropy.walk import walk
from tfcodec.errors import InputError, ModelError
from tfcodec.exact import layers as exact
from tfcodec.exact import proof
from tfcodec.exports import installed, loaded
from tfcodec.exports.rebuild import rebuild
from tfcodec.exports.weights import read_weights, stored_weights
from tfcodec.pictures import from_array, write
from tfcodec.training.weights import initialise

ROOT = pathlib.Path(__file__).parent.parent
LISTED = list(exact.specification.PROFILES)


def smooth(height=80, width=120, seed=0):
    """A picture that an untrained model codes with some life."""
    random = np.random.RandomState(seed)
    coarse = random.randint(0, 256, [height // 8 + 1, width // 8 + 1, 3])
    return np.uint8(coarse.repeat(8, 0).repeat(8, 1)[:height, :width])


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """{"float" and the profiles: `ModelInfo`} of one tiny model."""
    folder = tmp_path_factory.mktemp("models")
    infos = {"float": tiny_exports.tiny_export(str(folder / "tiny"))}
    for profile in LISTED:
        path = str(folder / f"tiny-{profile}")
        infos[profile] = freeze.freeze(infos["float"], path, [smooth(seed=1)], profile)
    return infos


@pytest.mark.parametrize("profile", LISTED)
def test_a_frozen_model_codes_like_the_float_one(frozen, profile):
    picture = from_array(smooth())
    sizes = []
    for info in (frozen["float"], frozen[profile]):
        model = codec.Codec(info)
        encoded = model.encode(picture, 4)
        container = unpack(encoded.data)
        assert container.profile == info.config["profile"]
        np.testing.assert_array_equal(model.decode(container).rgb, encoded.reconstruction().rgb)
        assert encoded.estimated_bits > 0
        sizes.append(len(encoded.data))
    assert abs(sizes[1] / sizes[0] - 1) < 0.03
    assert frozen[profile].config["portable"] and not frozen["float"].config["portable"]


def test_means_of_a_frozen_model_are_on_the_grid(frozen):
    exported = loaded.Exported(frozen["exact-10"])
    z = np.random.RandomState(0).randint(-8, 9, exported.shapes(64, 128)[0])
    state, prior = exported.step(1, {}, np.int32(z))
    np.testing.assert_array_equal(prior.mu * 64, np.rint(prior.mu * 64))
    assert len(np.unique(prior.mu)) > 10 and prior.indexes.dtype == np.int32


def test_no_arithmetic_reads_the_files_of_another(frozen):
    data = {
        name: codec.Codec(info).encode(from_array(smooth()), 4).data
        for name, info in frozen.items()
    }
    assert len({info.fingerprint for info in frozen.values()}) == len(frozen) == 4
    for reader, info in frozen.items():
        model = codec.Codec(info)
        for writer, file in data.items():
            container = unpack(file)
            if reader == writer:
                model.decode(container)
                continue
            with pytest.raises(ModelError, match="k: was written by the model with fingerprint"):
                model.decode(container, "k")
            forged = dataclasses.replace(container, fingerprint=info.fingerprint)
            expected = f"k: needs arithmetic profile {container.profile}, {info.name} has"
            with pytest.raises(ModelError, match=expected):
                model.decode(forged, "k")


WORKER = """
import os, sys, zlib, numpy as np
from tfcodec.coding import container as box, open_decoder
from tfcodec.exports import installed, loaded
from tfcodec.entropy.walk import StepDecoder, walk
info, data = installed.read_info(sys.argv[1]), open(sys.argv[2], "rb").read()
exported = model = loaded.Exported(info)
if os.environ.get("REBUILD"):
    from tfcodec.exports.rebuild import rebuild
    from tfcodec.freeze import Walked
    model = Walked(rebuild(info)[0])
container = box.unpack(data)

def decode():
    coded = container.coder, exported.tables, container.streams, container.escapes, "k"
    visitor = StepDecoder(model.shapes(container.height, container.width), open_decoder(*coded))
    y_hat = walk(model, visitor)
    assert box.symbols_checksum(visitor.symbols) == container.checksum
    import keras
    arrays = map(keras.ops.convert_to_numpy, keras.tree.flatten(y_hat))
    print(zlib.crc32(b"".join(np.float32(array).tobytes() for array in arrays)))

decode()
if os.environ.get("XLA"):
    import tensorflow as tf
    steps = exported.functions.steps
    exported.functions.steps = [tf.function(s, jit_compile=True, autograph=False) for s in steps]
    decode()
"""
RUNTIMES = {
    "one thread, oneDNN off": {"TF_NUM_INTRAOP_THREADS": "1", "TF_ENABLE_ONEDNN_OPTS": "0"},
    "AVX2 only, then XLA": {"ONEDNN_MAX_CPU_ISA": "AVX2", "XLA": "1"},
    "jax": {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1", "REBUILD": "1"},
    "torch": {"KERAS_BACKEND": "torch", "REBUILD": "1"},
}


@pytest.mark.parametrize(
    "runtime", [pytest.param(r, marks=[pytest.mark.slow] * (r == "jax")) for r in RUNTIMES]
)  # JAX compiles every operation of the chains by itself
def test_every_runtime_decodes_the_same_latents(frozen, tmp_path, runtime):
    profile = "exact-12" if runtime == "jax" else "exact-10"
    check_elsewhere(frozen[profile], RUNTIMES[runtime], tmp_path)


@pytest.mark.parametrize(
    "runtime", [pytest.param(r, marks=[pytest.mark.slow] * (k > 0)) for k, r in enumerate(RUNTIMES)]
)
def test_every_runtime_decodes_the_same_pair_of_latents(tmp_path, runtime):
    info = tiny_exports.tiny_export(str(tmp_path / "float"), "octave", gain_level=4.0)
    frozen = freeze.freeze(info, str(tmp_path / "frozen"), [smooth(128, 192, 1)])
    check_elsewhere(frozen, RUNTIMES[runtime], tmp_path)


def check_elsewhere(info, settings, tmp_path):
    """A file of this process has the same latents in another one with these settings."""
    import zlib

    if "KERAS_BACKEND" in settings:
        pytest.importorskip(settings["KERAS_BACKEND"])
    encoded = codec.Codec(info).encode(from_array(smooth(150, 200)), 6)
    (tmp_path / "k.tfcd").write_bytes(encoded.data)
    command = [sys.executable, "-c", WORKER, info.path, str(tmp_path / "k.tfcd")]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    latents = exact.keras.tree.flatten(encoded._y_hat)
    expected = str(zlib.crc32(b"".join(each.numpy().tobytes() for each in latents)))
    assert done.stdout.split() == [expected] * (1 + ("XLA" in settings))


@pytest.mark.parametrize("profile", LISTED)
def test_the_specification_decodes_the_same_latents(frozen, profile):
    """numpy's integers in place of every kernel."""
    info = frozen[profile]
    exported, visitor = loaded.Exported(info), _Keeping(info)
    expected = walk(exported, visitor)
    with exact.by_the_specification():
        found = walk(freeze.Walked(rebuild(info)[0]), visitor)
    np.testing.assert_array_equal(found, expected)
    assert visitor.seen[0] == visitor.seen[1]


class _Keeping:
    """Visitor of given symbols; `seen` holds the bytes of all indexes of each walk."""

    def __init__(self, info):
        self.shapes = [(1, 2, 3, 6), (1, 8, 12, 8)]
        self.num_steps, self.seen = 2, []

    def __call__(self, k, prior):
        if k:
            self.seen.append(prior.indexes.tobytes())
        return np.random.RandomState(k).randint(-20, 20, self.shapes[k]).astype(np.int32)


def test_the_float_form_depends_on_the_machine(frozen):
    """The negative control: another order of summation moves outputs of the float network."""
    model, _ = rebuild(frozen["float"])
    z_hat = np.random.RandomState(0).standard_normal([1, 16, 24, 6]).astype(np.float32) * 5
    layer = model.latents.hyper_synthesis.layers[2].conv
    x = np.repeat(z_hat, 4, axis=-1)[..., : layer.kernel.shape[2]]
    kernel = layer.kernel.numpy()
    first = np.array(exact.ops.conv(x, kernel, padding="same"))
    order = np.random.RandomState(1).permutation(x.shape[-1])
    second = np.array(exact.ops.conv(x[..., order], kernel[:, :, order], padding="same"))
    assert np.any(first != second)
    integers, whole = np.rint(x), np.rint(kernel * 500)
    first = np.array(exact.ops.conv(integers, whole, padding="same"))
    second = np.array(exact.ops.conv(integers[..., order], whole[:, :, order], padding="same"))
    np.testing.assert_array_equal(first, second)


def test_training_starts_from_a_frozen_export(frozen):
    """With what the integers mean: to the bits of the profile, the float model's weights."""
    outputs, z_hat = [], np.float32(np.random.RandomState(0).randint(-3, 4, [1, 4, 6, 6]))
    for info in (frozen["float"], frozen["exact-12"]):
        model, _ = tiny_exports.tiny_model()
        initialise(model, info.path)
        outputs.append(np.array(model.latents.hyper_synthesis(z_hat)))
        weights = read_weights(info.path)
        assert set(weights) == {variable.path for variable in model.variables}
    assert np.abs(outputs[1] - outputs[0]).mean() < 0.02 * outputs[0].std()


def copied(info, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(info.path, path)
    return path, json.loads((path / "config.json").read_text())


def test_damaged_integers_are_found_at_load(frozen, tmp_path):
    path, config = copied(frozen["exact-10"], tmp_path)
    place = next(p for name, p in config["weights"].items() if name.endswith("/exact/kernel"))
    data = path / "1/variables/variables.data-00000-of-00001"
    blob = bytearray(data.read_bytes())
    blob[place["offset"]] ^= 1
    data.write_bytes(blob)
    with pytest.raises(ModelError, match="copy: the model's integers are damaged"):
        loaded.Exported(installed.read_info(path))


def test_integers_of_another_model_are_found_at_load(frozen, tmp_path):
    path, config = copied(frozen["exact-10"], tmp_path)
    config["exact"]["convolutions"][0]["slope"] = [1, 2]
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="copy: the model's integers are damaged"):
        loaded.Exported(installed.read_info(path))


def test_weights_beyond_the_bound_are_refused_at_load(frozen, tmp_path, monkeypatch):
    path, config = copied(frozen["exact-10"], tmp_path)
    config["exact"]["convolutions"][0]["groups"] = [6]
    config["exact"]["convolutions"][1]["groups"] = [8]
    (path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(exact.specification, "FLOAT32_MAX", 2**16)
    info = installed.read_info(path)
    convs = proof.frozen_convolutions(info.config, stored_weights(info))
    config["exact"]["sha256"] = proof.integers_hash(convs)
    (path / "config.json").write_text(json.dumps(config))
    expected = r"its arithmetic is not exact: .*conv: channels 0 to 6: a sum can reach 2\^"
    with pytest.raises(ModelError, match=expected):
        loaded.Exported(installed.read_info(path))


def test_a_machine_that_computes_otherwise_is_found_at_load(frozen, tmp_path):
    path, config = copied(frozen["exact-10"], tmp_path)
    config["exact"]["known_answer"] = "00000000"
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="copy|tiny.* its integer arithmetic is not exact here"):
        loaded.Exported(installed.read_info(path))


def test_an_unknown_profile_is_refused(frozen, tmp_path):
    path, config = copied(frozen["exact-10"], tmp_path)
    (path / "config.json").write_text(json.dumps({**config, "profile": 77}))
    with pytest.raises(ModelError, match="needs arithmetic profile 77, which this version does"):
        loaded.Exported(installed.read_info(path))


@pytest.mark.parametrize(
    "name, preset, changes",
    [
        ("ms2020", "compact", {"slices": 2, "hyper_latents": 6}),
        pytest.param(
            "weconvene",
            "compact",
            {"low_slices": 2, "high_slices": 1, "hyper_latents": 6},
            marks=pytest.mark.slow,
        ),
        ("quad", "small", {}),
        ("octave", "compact", {}),
        pytest.param("octave", "compact", {"hyper_layers": 1}, marks=pytest.mark.slow),
        pytest.param("octave", "compact", {"cross_resolution": False}, marks=pytest.mark.slow),
    ],
)
def test_steps_that_see_earlier_ones_freeze(tmp_path, name, preset, changes):
    """Decoded latents, in 1/64, feed the networks of later steps."""
    changes = {"gain_level": 4.0, **changes}
    info = tiny_exports.tiny_export(str(tmp_path / "float"), name, preset, **changes)
    frozen = freeze.freeze(info, str(tmp_path / "frozen"), [smooth(128, 192, 1)])
    blocks = [c["blocks"] for c in frozen.config["exact"]["convolutions"]]
    assert any(len(each) == 2 for each in blocks)
    picture, sizes = from_array(smooth(128, 192)), []
    for each in (info, frozen):
        model = codec.Codec(each)
        encoded = model.encode(picture, 5)
        model.decode(unpack(encoded.data))
        sizes.append(len(encoded.data))
    assert abs(sizes[1] / sizes[0] - 1) < 0.03


@pytest.mark.parametrize(
    "name, preset, reason",
    [
        ("ms2020", "n192", "its latent residual prediction, a tanh, feeds later slices"),
        ("tcm", "n64", "its slices are behind an attention of swin blocks"),
        ("octave", "n256", "up_means has a GDN between z and an index"),
        ("octave", "compact-gllmm", "its mixtures are snapped from real numbers"),
        ("gllmm", "compact", "its mixtures are snapped from real numbers"),
    ],
)
def test_a_model_that_cannot_be_frozen_says_why(name, preset, reason):
    from tfcodec import models

    with pytest.raises(ValueError, match=reason):
        models.build(name, preset).entropy_chains()


def test_freezing_on_the_command_line(frozen, tmp_path, capfd):
    write(str(tmp_path / "p.png"), from_array(smooth()))
    out, pictures = str(tmp_path / "out"), ["--calibrate", str(tmp_path / "p.png")]
    assert cli.main(["freeze", frozen["float"].path, "-o", out, *pictures]) == 0
    printed = capfd.readouterr().out
    assert "portable: yes  exact-10, 3 convolutions" in printed and out in printed
    assert cli.main(["freeze", out, "-o", str(tmp_path / "again"), *pictures]) == 1
    assert "out is frozen already, to profile 2" in capfd.readouterr().err
    with pytest.raises(InputError, match="no pictures to calibrate with"):
        freeze.freeze(frozen["float"], out, [])


def test_the_bundled_model_is_portable():
    info = installed.find()
    assert info.config["portable"] and info.config["profile"] in exact.specification.NUMBERS
    assert "| portable | yes" in (pathlib.Path(info.path) / "card.md").read_text()
