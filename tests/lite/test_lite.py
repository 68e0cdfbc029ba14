"""Laws of the codec on TensorFlow and on LiteRT: one walk, one file, the same latents."""

import json
import os
import pathlib
import re
import subprocess
import sys
import zipfile

import mutations
import numpy as np
import pytest
import tiny_exports

import tfcodec
from tfcodec import codec, lite, pictures
from tfcodec.coding import container, open_decoder
from tfcodec.commands import main as cli
from tfcodec.entropy.walk import StepDecoder, walk
from tfcodec.errors import InputError, ModelError
from tfcodec.exports import installed, litert, loaded, remembered, runtimes, tiles, weights
from tfcodec.exports.structures import flatten
from tfcodec.lite import export

pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")

ROOT = pathlib.Path(__file__).parents[2]
ROADS = runtimes.RUNTIMES
SIZES = (1, 1), (17, 33), (64, 64), (100, 140)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The `ModelInfo` of a tiny frozen model with both forms."""
    return copy(tmp_path_factory.mktemp("models"))


def copy(folder):
    """Another export of it; it is made once, with files that have escapes, as mutations need."""
    return tiny_exports.lite_export(folder / "tiny", lambdas=mutations.LADDERS[True])


@pytest.fixture(scope="module")
def networks(tiny):
    """What `export.convert` makes of it."""
    return export.convert(tiny, lambda what: None)


@pytest.fixture(scope="module")
def codecs(tiny):
    """{runtime: codec} of it."""
    return {road: codec.Codec(tiny, road) for road in ROADS}


def picture(height, width, channels=3):
    """A picture whose pixels all differ from their neighbours."""
    random = np.random.RandomState(height + width)
    return pictures.from_array(random.randint(0, 256, [height, width, channels]).astype(np.uint8))


def latents(model, data):
    """The decoded latents of a file, a list of arrays, after its checksum."""
    packed = container.unpack(data)
    exported = model.exported
    decoder = open_decoder(packed.coder, exported.tables, packed.streams, packed.escapes)
    visitor = StepDecoder(exported.shapes(packed.height, packed.width), decoder)
    y_hat = walk(exported, visitor)
    decoder.finish()
    assert container.symbols_checksum(visitor.symbols) == packed.checksum
    return [np.asarray(each) for each in flatten(y_hat)]


PORTABLE = [info for info in installed.models() if info.config["portable"]]


@pytest.mark.parametrize("info", PORTABLE, ids=lambda info: info.name)
def test_a_network_computes_the_same_again(info):
    model, original = codec.Codec(info, "litert"), picture(128, 192)
    rung, functions, results = np.float32([3]), litert.Functions(info), []
    inputs = {
        "to_y": [np.asarray(original.rgb)[None], rung],
        "synthesis": [*latents(model, model.encode(original, 4).data), rung],
    }
    for _ in range(12):  # XNNPACK erred in one network of seven, when it ran again
        networks = {name: functions.network(name) for name in inputs}
        for _ in range(3):
            results.append([y for name in inputs for y in networks[name].run(inputs[name])])
    for arrays in results[1:]:
        for first, again in zip(results[0], arrays, strict=True):
            np.testing.assert_array_equal(again, first)


def networks_of(info):
    """(name, its model by LiteRT's schema) of each network."""
    from ai_edge_litert import schema_py_generated as schema

    functions = litert.Functions(info)
    for name, filled in functions._described["filled"].items():
        content = np.empty(filled["bytes"], np.uint8)
        functions.fill(name, content)
        yield name, schema.Model.GetRootAsModel(content, 0)


def operations_of(network):
    """(builtin code, tensors that it takes) of each operation of a network."""
    graph = network.Subgraphs(0)
    for k in range(graph.OperatorsLength()):
        operation = graph.Operators(k)
        code = network.OperatorCodes(operation.OpcodeIndex()).BuiltinCode()
        yield code, [graph.Tensors(place) for place in operation.InputsAsNumpy()]


@pytest.mark.parametrize("info", PORTABLE, ids=lambda info: info.name)
def test_networks_compute_no_shapes(info):
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    for name, network in networks_of(info):
        computed = BuiltinOperator.SHAPE in [code for code, _ in operations_of(network)]
        # octave's transposed convolutions ask how large their results are.
        assert not computed or info.config["model"] == "octave", name


@pytest.mark.parametrize("info", PORTABLE, ids=lambda info: info.name)
def test_kernels_are_known_before_a_network_runs(info):
    """Else LiteRT computes a convolution several times slower: `ExactConv2D.hold_constant`."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    count = 0
    for name, network in networks_of(info):
        for code, tensors in operations_of(network):
            if code in (BuiltinOperator.CONV_2D, BuiltinOperator.DEPTHWISE_CONV_2D):
                known = network.Buffers(tensors[1].Buffer()).DataLength()
                # icwem inverts the matrices of its 1x1 convolutions where it runs.
                assert known or (info.config["model"], name) == ("icwem", "synthesis"), name
                count += 1
    assert count > 10


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_decoding_gives_exactly_the_reconstruction_of_the_same_road(codecs, road, channels, size):
    model, original = codecs[road], picture(*size, channels)
    encoded = model.encode(original, 4)
    decoded = model.decode(container.unpack(encoded.data))
    np.testing.assert_array_equal(decoded.rgb, encoded.reconstruction().rgb)
    assert decoded.gray == (channels == 1)
    if channels == 4:
        np.testing.assert_array_equal(decoded.alpha, original.alpha)


@pytest.mark.parametrize("writer, reader", [ROADS, ROADS[::-1]])
@pytest.mark.parametrize("quality", [1, 4.5, 8])
def test_a_file_of_one_road_has_the_same_latents_on_the_other(codecs, writer, reader, quality):
    for size in SIZES:
        data = codecs[writer].encode(picture(*size), quality).data
        first, second = (latents(codecs[road], data) for road in (writer, reader))
        np.testing.assert_array_equal(first, second)
        shown = [codecs[road].decode(container.unpack(data)).rgb.astype(int) for road in ROADS]
        assert np.abs(shown[0] - shown[1]).max() <= 1


def test_latents_of_two_resolutions_are_the_same_on_both_roads(tmp_path):
    """Of octave convolutions, whose integers are added on the way."""
    info = tiny_exports.lite_export(tmp_path / "octave", "octave", "compact", gain_level=4.0)
    models = {road: codec.Codec(info, road) for road in ROADS}
    for writer in ROADS:
        data = models[writer].encode(picture(100, 140), 4).data
        assert len(data) > 500
        high, low = zip(*(latents(models[road], data) for road in ROADS), strict=True)
        np.testing.assert_array_equal(*high)
        np.testing.assert_array_equal(*low)
        shown = [models[road].decode(container.unpack(data)).rgb.astype(int) for road in ROADS]
        assert np.abs(shown[0] - shown[1]).max() <= 1


@pytest.mark.parametrize("road", ROADS)
def test_tiles_give_what_the_whole_gives(codecs, road, monkeypatch):
    model, original = codecs[road], picture(300, 420)
    whole = model.encode(original, 4)
    monkeypatch.setattr(tiles, "ACTIVATION_BYTES", 2**17)
    seen = []
    tiled = model.encode(original, 4, progress=lambda done, count: seen.append(count))
    assert max(seen) > 1, "the picture was not tiled"
    shown = [each.reconstruction().rgb.astype(int) for each in (whole, tiled)]
    assert np.abs(shown[0] - shown[1]).max() <= 1
    assert abs(len(whole.data) - len(tiled.data)) <= 0.001 * len(whole.data) + 4


@pytest.mark.parametrize("lanes", [1, 8])
def test_both_roads_write_the_same_kinds_of_files(codecs, lanes):
    wide, small = picture(100, 140), picture(17, 33)
    for original in (wide, small):
        files = [codecs[road].encode(original, 3, lanes=lanes).data for road in ROADS]
        one, other = map(container.unpack, files)
        assert (one.fingerprint, one.profile, one.quality, len(one.streams)) == (
            other.fingerprint, other.profile, other.quality, len(other.streams)
        )  # fmt: skip
        assert abs(len(files[0]) - len(files[1])) <= 0.01 * len(files[0]) + 4


def test_300_mutated_files_come_to_the_same_on_both_roads(tmp_path):
    sound, files = mutations.originals(str(tmp_path), "quad-small", portable=True)
    run = mutations.Run(sound, files, 0, beside=codec.Codec(sound.info, "litert"))
    run.mutations(300)
    assert run.reached > 75 and run.outcomes["the picture"] > 0


def test_codecs_that_disagree_are_found(codecs):
    data = codecs["tensorflow"].encode(picture(64, 64), 4).data
    right = mutations.survive(codecs["tensorflow"], data)
    wrong = mutations.survive(codecs["tensorflow"], data)
    wrong[1].rgb[0, 0, 0] ^= 128
    with pytest.raises(AssertionError, match="more than a level"):
        mutations.check_alike(right, wrong)
    with pytest.raises(AssertionError, match="one codec says"):
        mutations.check_alike(right, "k.tfcd: no")


def test_threads_share_a_codec(codecs):
    import concurrent.futures

    model = codecs["litert"]
    many = [picture(32 + 16 * k, 64) for k in range(6)]
    alone = [model.encode(each, 4).data for each in many]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda each: model.encode(each, 4).data, many))
    assert together == alone


def test_memory_that_is_given_back_is_loaded_again(codecs):
    model, original = codecs["litert"], picture(64, 64)
    kept = model.encode(original, 4).data
    model.exported.keep_networks(False)
    try:
        assert model.encode(original, 4).data == kept
        assert all(step._network is None for step in model.exported.functions.steps[1:])
    finally:
        model.exported.keep_networks(True)


# ----------------------------------------------------------------------------------- the two forms


def test_the_form_beside_a_saved_model_has_no_weights(tiny):
    """Of the bundled default it is a share of a percent."""
    default = installed.find()
    size = os.path.getsize(os.path.join(default.path, litert.BUNDLE))
    assert size < 0.005 * os.path.getsize(os.path.join(default.path, weights.DATA_FILE))


def test_every_portable_model_of_ours_has_the_form():
    for info in installed.models():
        assert litert.has_form(info.path) == info.portable, info.name


def test_whole_networks_give_the_same_picture_without_a_saved_model(
    tiny, codecs, networks, tmp_path, monkeypatch
):
    monkeypatch.setattr(export, "convert", lambda *arguments: networks)
    whole = export.export(tiny, str(tmp_path / "whole"))
    assert not os.path.exists(os.path.join(whole.path, "1"))
    model = codec.Codec(whole)
    assert model.runtime == "litert"
    data = codecs["litert"].encode(picture(50, 70), 4).data
    assert model.encode(picture(50, 70), 4).data == data
    np.testing.assert_array_equal(
        model.decode(container.unpack(data)).rgb,
        codecs["litert"].decode(container.unpack(data)).rgb,
    )
    with pytest.raises(InputError, match="exists already"):
        export.export(tiny, whole.path)


def test_the_strides_of_outputs_are_those_of_their_networks(tiny, networks, codecs, monkeypatch):
    """Of a picture of three positions by two; the first step has one, whatever the size."""
    seen, call = {}, litert.Function.__call__

    def watched(self, *args):
        results = call(self, *args)
        pairs = zip(flatten(self._results), flatten(results), strict=True)
        seen[self._name] = {place: array.shape[1:3] for place, array in pairs if place >= 0}
        return results

    monkeypatch.setattr(litert.Function, "__call__", watched)
    sides = 3 * tiny.config["stride"], 2 * tiny.config["stride"]
    codecs["litert"].encode(picture(*sides), 4).reconstruction()
    strides = export.strides(tiny, networks[1])
    assert list(strides) == list(networks[0]) and set(strides) == set(seen)
    for name in set(seen) - {"step0"}:
        expected = [tuple(side // stride for side in sides) for stride in strides[name]]
        assert [seen[name][place] for place in range(len(seen[name]))] == expected, name


def test_the_form_of_bundled_models_has_no_second_copy_of_their_weights():
    for info in PORTABLE:
        with zipfile.ZipFile(pathlib.Path(info.path, litert.BUNDLE)) as bundle:
            # Compressed: operations shrink to a fifth, weights hardly.
            literal = sum(each.compress_size for each in bundle.infolist())
        assert literal < 0.15 * pathlib.Path(info.path, weights.DATA_FILE).stat().st_size, info.name


def test_a_network_that_computes_otherwise_is_not_exported(tiny, networks, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "convert", lambda *arguments: networks)
    monkeypatch.setattr(loaded, "known_answer", lambda model: "00000000")
    monkeypatch.setenv("TFCODEC_CACHE", "")
    with pytest.raises(ModelError, match="is not exact here"):
        export.export(tiny, str(tmp_path / "whole"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_portable_is_not_exported():
    info = installed.find("gllmm-compact")
    with pytest.raises(ModelError, match="is not portable: .* `tfcodec freeze`"):
        export.bundle(info)
    exact_12 = {**info.config, "profile": 1, "portable": True}
    with pytest.raises(
        ModelError, match="profile exact-12; LiteRT takes float32 and exact-10 or exact-8"
    ):
        export.bundle(installed.ModelInfo(info.name, info.path, exact_12))


def damaged(tiny, tmp_path, file, place):
    """A copy with one other byte."""
    info = copy(tmp_path)
    path = pathlib.Path(info.path, file)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    return info


@pytest.mark.parametrize(
    "file, place",
    [(litert.BUNDLE, 200), (litert.BUNDLE, 20000), (litert.BUNDLE, -3), (weights.DATA_FILE, 3000)],
)
def test_a_damaged_form_is_one_sentence(tiny, tmp_path, file, place):
    info = damaged(tiny, tmp_path, file, place)
    with pytest.raises(ModelError, match="incomplete|damaged"):
        codec.Codec(info, "litert")


def test_a_form_of_another_models_weights_is_refused(tiny, tmp_path):
    info = copy(tmp_path)
    path = os.path.join(info.path, litert.BUNDLE)
    with zipfile.ZipFile(path) as bundle:
        files = {name: bundle.read(name) for name in bundle.namelist()}
    described = json.loads(files[litert.DESCRIPTION])
    described["sha256"][weights.DATA_FILE] = "0" * 64
    files[litert.DESCRIPTION] = json.dumps(described).encode()
    with zipfile.ZipFile(path, "w") as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
    with pytest.raises(ModelError, match="incomplete, damaged"):
        codec.Codec(info, "litert")


def test_a_proof_of_one_runtime_is_none_of_the_other(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("TFCODEC_CACHE", str(tmp_path))
    config = tiny.config
    remembered.Proof(config, "content", "tensorflow").remember()
    assert remembered.Proof(config, "content", "tensorflow").is_known()
    assert not remembered.Proof(config, "content", "litert").is_known()
    remembered.Proof(config, "content", "litert").remember()
    assert remembered.Proof(config, "content", "litert").is_known()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99.0")
    assert not remembered.Proof(config, "content", "litert").is_known()


# -------------------------------------------------------------------------------------- which road


@pytest.mark.parametrize(
    "tensorflow, lite, form, decoding, expected",
    [
        (True, True, True, True, "litert"),
        (True, True, True, False, "tensorflow"),
        (True, True, False, True, "tensorflow"),
        (True, False, True, True, "tensorflow"),
        (False, True, True, True, "litert"),
        (False, True, True, False, "litert"),
        (False, True, False, True, 'needs TensorFlow, .*: pip install "tfcodec.tf."$'),
        (False, False, True, True, 'needs TensorFlow, .*tf.", or pip install "tfcodec.lite."'),
    ],
)
def test_the_road_follows_from_what_is_installed(
    tiny, monkeypatch, tensorflow, lite, form, decoding, expected
):
    monkeypatch.delenv(runtimes.RUNTIME_VARIABLE, raising=False)
    monkeypatch.setattr(runtimes, "tensorflow_is_installed", lambda: tensorflow)
    monkeypatch.setattr(litert, "is_installed", lambda: lite)
    monkeypatch.setattr(litert, "has_form", lambda path: form)
    if expected in ROADS:
        assert runtimes.choose(tiny, decoding) == expected
    else:
        with pytest.raises(ModelError, match=expected):
            runtimes.choose(tiny, decoding)


def test_a_variable_chooses_the_road(tiny, monkeypatch):
    for road in ROADS:
        monkeypatch.setenv(runtimes.RUNTIME_VARIABLE, road)
        assert runtimes.choose(tiny) == runtimes.choose(tiny, decoding=True) == road
    monkeypatch.setenv(runtimes.RUNTIME_VARIABLE, "abacus")
    with pytest.raises(InputError, match="is tensorflow or litert, received 'abacus'"):
        runtimes.choose(tiny)


def test_the_command_line_says_the_road(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv(runtimes.RUNTIME_VARIABLE, raising=False)
    file, shown = str(ROOT / "tests/data/icwem-compact.tfcd"), str(tmp_path / "k.png")
    assert cli.main(["decode", file, "-o", shown, "--verbose"]) == 0
    assert capsys.readouterr().err == "tfcodec: icwem-compact runs on LiteRT\n"
    monkeypatch.setenv(runtimes.RUNTIME_VARIABLE, "tensorflow")
    assert cli.main(["decode", file, "-o", shown, "--verbose", "--overwrite"]) == 0
    assert capsys.readouterr().err == "tfcodec: icwem-compact runs on TensorFlow\n"
    assert cli.main(["decode", file, "-o", shown, "--overwrite"]) == 0
    assert capsys.readouterr().err == ""


def test_the_functions_of_lite_are_those_of_the_package(tiny, monkeypatch):
    monkeypatch.setenv("TFCODEC_MODELS", str(pathlib.Path(tiny.path).parent))
    original = np.random.RandomState(0).randint(0, 256, [40, 60, 3]).astype(np.uint8)
    data = lite.compress(original, tiny.path, quality=3)
    np.testing.assert_array_equal(lite.decompress(data), tfcodec.decompress(data))
    with pytest.raises(tfcodec.ContainerError, match="CRC-32"):
        lite.decompress(data[:-1] + b"x")
    with pytest.raises(ModelError, match="has no form for LiteRT; `tfcodec export .* --litert`"):
        lite.compress(original, "gllmm-compact")


def test_the_example_of_the_page_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs/lite.md").read_text(encoding="utf-8")
    names = {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], names)
    assert names["array"].shape == (512, 768, 3) and len(names["data"]) < 20000


# A process in which neither TensorFlow nor Keras is found, as where they are not installed.
WITHOUT = """
import importlib.util, sys

MISSING = ("tensorflow", "keras", "jax", "absl", "scipy", "numba", "matplotlib", "tensorboard")
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name in MISSING else find_spec(name, *more)

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from tfcodec.commands.main import main

source, folder = sys.argv[1:]
assert main(["encode", source, "-o", f"{folder}/k.tfcd"]) == 0
for words in (["decode", f"{folder}/k.tfcd", "-o", f"{folder}/k.png"], ["info", f"{folder}/k.tfcd"],
              ["verify", "--decode", f"{folder}/k.tfcd"], ["models"]):
    assert main(words) == 0, words
for words in (["encode", source, "-o", f"{folder}/x", "--model", "gllmm-compact"],
              ["export", "quad-base", "-o", f"{folder}/y"],
              ["freeze", "quad-base", "-o", f"{folder}/y", "--calibrate", source],
              ["evaluate", source, "--output_dir", f"{folder}/z"],
              ["train", "--data", folder, "--run_dir", f"{folder}/run"]):
    assert main(words) == 1, words
    print("refused:", words[0], file=sys.stderr)
assert not set(MISSING) & {name.split(".")[0] for name in sys.modules}
"""


def test_without_tensorflow_files_are_coded_and_the_rest_is_refused_in_a_sentence(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != runtimes.RUNTIME_VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(ROOT / "examples/kodim23.png"), str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    sentences, refused = said[0::2], said[1::2]
    assert [line.startswith("refused: ") for line in refused] == [True] * 5, done.stderr
    for sentence, line in zip(sentences, refused, strict=True):
        extra = "eval" if line == "refused: evaluate" else "tf"
        assert f"tfcodec[{extra}]" in sentence, sentence
