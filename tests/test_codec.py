"""Laws of the road from a picture to bytes and back."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tiny_exports

import tfcodec
from tfcodec import codec, pictures
from tfcodec.coding.container import pack, unpack
from tfcodec.coding.format import CODER_NAMES
from tfcodec.errors import InputError, ModelError
from tfcodec.exports import installed, runtimes

PHOTOGRAPH = pathlib.Path(__file__).parent.parent / "examples" / "kodim23.png"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return codec.Codec(tiny_exports.tiny_export(str(folder / "tiny")))


@pytest.fixture(scope="module")
def single_rate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return codec.Codec(tiny_exports.tiny_export(str(folder / "single"), lambdas=(0.01,)))


def noise(height, width, channels=3, seed=0):
    """Smooth and noisy parts, so that latents are neither all zero nor all escaped."""
    random = np.random.RandomState(seed)
    ramp = np.linspace(0, 200, width)[None, :, None] * np.ones([height, 1, channels])
    return np.uint8(ramp + random.randint(0, 50, [height, width, channels]))


@pytest.mark.parametrize("model", ["bmshj2018", "mbt2018_mean"])
@pytest.mark.parametrize("preset", ["compact", "factorized-compact"])
@pytest.mark.parametrize("coder", ["tfc", "range-coder"])
def test_decoding_gives_exactly_the_reconstruction(tmp_path, model, preset, coder):
    if model == "mbt2018_mean" and preset == "factorized-compact":
        pytest.skip("mbt2018_mean has no factorized preset")
    if coder == "range-coder":
        pytest.importorskip("range_coder")
    tiny = codec.Codec(tiny_exports.tiny_export(str(tmp_path / "m"), model, preset))
    encoded = tiny.encode(pictures.from_array(noise(70, 90)), 3.5, coder=coder)
    decoded = tiny.decode(unpack(encoded.data))
    assert decoded.rgb.shape == (70, 90, 3)
    np.testing.assert_array_equal(decoded.rgb, encoded.reconstruction().rgb)


@pytest.mark.parametrize(
    "size",
    [(1, 1), (17, 31), (1, 200), (300, 1), (97, 131), (64, 64), (65, 63), (1500, 2000)],
)
def test_any_size_comes_back_as_it_was(tiny, size):
    encoded = tiny.encode(pictures.from_array(noise(*size)), 2)
    assert tiny.decode(unpack(encoded.data)).rgb.shape == (*size, 3)


@pytest.mark.parametrize("lanes", [1, 4, 64])
def test_lanes_change_the_bytes_and_not_the_picture(tiny, lanes):
    picture = pictures.from_array(noise(64, 96))
    one = tiny.decode(unpack(tiny.encode(picture, 4).data))
    many = tiny.decode(unpack(tiny.encode(picture, 4, lanes=lanes).data))
    np.testing.assert_array_equal(one.rgb, many.rgb)


def test_both_coders_code_the_same_symbols(tiny):
    pytest.importorskip("range_coder")
    picture = pictures.from_array(noise(64, 64))
    first, second = (unpack(tiny.encode(picture, 4, coder=c).data) for c in CODER_NAMES)
    assert first.checksum == second.checksum
    assert abs(len(first.streams[0]) - len(second.streams[0])) <= 8


def test_alpha_and_gray_survive(tiny):
    rgba = noise(40, 50, 4)
    decoded = pictures.to_array(tiny.decode(unpack(tiny.encode(pictures.from_array(rgba)).data)))
    np.testing.assert_array_equal(decoded[..., 3], rgba[..., 3])
    gray = noise(40, 50, 1)[..., 0]
    encoded = tiny.encode(pictures.from_array(gray))
    decoded = pictures.to_array(tiny.decode(unpack(encoded.data)))
    assert decoded.shape == (40, 50)
    np.testing.assert_array_equal(decoded, pictures.to_array(encoded.reconstruction()))


def test_encoding_is_deterministic_and_quality_is_one_byte(tiny):
    picture = pictures.from_array(noise(64, 64))
    assert tiny.encode(picture, 3.25).data == tiny.encode(picture, 3.25).data
    assert unpack(tiny.encode(picture, 3.25).data).quality == 72


def test_a_gain_of_more_quality_spends_more_bits(tiny):
    picture = pictures.from_array(noise(64, 64))
    sizes = [len(tiny.encode(picture, q).data) for q in (1, 2.5, 4, 6, 8)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


def test_the_header_takes_28_bytes(tiny):
    container = unpack(tiny.encode(pictures.from_array(np.zeros([64, 64, 3], np.uint8)), 1).data)
    assert len(pack(container)) - len(container.streams[0]) <= 28


def test_a_quality_out_of_range_names_the_range(tiny):
    with pytest.raises(InputError, match="quality is from 1 to 8, not 9"):
        tiny.encode(pictures.from_array(noise(16, 16)), 9)


def test_a_model_of_one_rate_takes_no_quality(single_rate):
    picture = pictures.from_array(noise(16, 16))
    decoded = single_rate.decode(unpack(single_rate.encode(picture).data))
    assert decoded.rgb.shape == (16, 16, 3)
    with pytest.raises(InputError, match="single has one rate; it takes no quality"):
        single_rate.encode(picture, 3)


def test_another_models_file_is_refused_by_name(tiny, single_rate):
    container = unpack(single_rate.encode(pictures.from_array(noise(16, 16))).data)
    expected = f"fingerprint {container.fingerprint.hex()}, tiny has"
    with pytest.raises(ModelError, match=expected):
        tiny.decode(container, "k.tfcd")


def test_symbols_that_differ_from_the_encoders_are_found(tiny):
    import dataclasses

    container = unpack(tiny.encode(pictures.from_array(noise(64, 64))).data)
    wrong = dataclasses.replace(container, checksum=container.checksum ^ 1)
    with pytest.raises(ModelError, match="k.tfcd: the decoded symbols differ"):
        tiny.decode(wrong, "k.tfcd")


def test_the_file_is_as_long_as_the_model_says(tiny):
    encoded = tiny.encode(pictures.from_array(noise(256, 256)), 1)
    container = unpack(encoded.data)
    # Escapes are what an untrained model has and a trained one has not: they are left out.
    payload = len(container.streams[0])
    if not container.escapes:
        assert abs(payload - encoded.estimated_bits / 8) <= 0.005 * payload + 32


def test_the_bundled_model_codes_a_photograph_in_another_process(tmp_path):
    """The file's pixels come out of a second process exactly as the encoder promised, on the same
    runtime."""
    picture = pictures.read(PHOTOGRAPH)
    bundled = tfcodec.load()
    encoded = bundled.encode(picture, 4)
    assert len(encoded.data) <= encoded.estimated_bits / 8 * 1.005 + 32
    (tmp_path / "k.tfcd").write_bytes(encoded.data)
    code = (
        "import sys, numpy as np, tfcodec;"
        "np.save(sys.argv[2], tfcodec.decompress(open(sys.argv[1], 'rb').read()))"
    )
    arguments = [str(tmp_path / "k.tfcd"), str(tmp_path / "k.npy")]
    same = {**os.environ, runtimes.RUNTIME_VARIABLE: bundled.runtime}
    command = [sys.executable, "-c", code, *arguments]
    subprocess.run(command, check=True, capture_output=True, env=same)
    decoded = np.load(tmp_path / "k.npy")
    np.testing.assert_array_equal(decoded, encoded.reconstruction().rgb)
    error = np.mean(np.square(decoded.astype(float) - picture.rgb))
    assert 10 * np.log10(255**2 / error) > 30


def test_compress_and_decompress_take_arrays():
    array = noise(40, 60)
    data = tfcodec.compress(array, quality=8)
    assert isinstance(data, bytes)
    assert tfcodec.decompress(data).shape == (40, 60, 3)


def test_compress_takes_a_size():
    array = noise(40, 60)
    sizes = [len(tfcodec.compress(array, quality=quality)) for quality in (1, 4, 8)]
    data = tfcodec.compress(array, target_bytes=sizes[1])
    assert data == tfcodec.compress(array, quality=1 + unpack(data).quality / 32)
    assert sizes[0] < len(data) <= sizes[1]
    with pytest.raises(InputError, match=f"the smallest possible file has {sizes[0]} bytes"):
        tfcodec.compress(array, target_bytes=sizes[0] - 1)
    with pytest.raises(InputError, match="not to several: received quality=4 and target"):
        tfcodec.compress(array, quality=4, target_bytes=sizes[1])


def test_an_export_that_was_replaced_is_loaded_anew(tmp_path):
    folder = str(tmp_path / "model")
    first = tfcodec.load(tiny_exports.tiny_export(folder).path)
    assert tfcodec.load(folder) is first
    info = tiny_exports.tiny_export(folder, gain_level=2.0)
    assert info.fingerprint != first.info.fingerprint
    assert tfcodec.load(folder).info.fingerprint == info.fingerprint


def test_a_missing_model_lists_the_installed_ones():
    with pytest.raises(ModelError, match=f"no model 'none'; installed: .*{tfcodec.load().name}"):
        tfcodec.load("none")


def test_files_of_a_model_found_by_the_environment_decode(tmp_path, monkeypatch):
    info = tiny_exports.tiny_export(str(tmp_path / "mine"))
    data = codec.Codec(info).encode(pictures.from_array(noise(20, 30))).data
    with pytest.raises(
        ModelError, match=f"k.tfcd: needs the model with .* {info.config['fingerprint']}"
    ):
        codec.decode_file_bytes(data, "k.tfcd")
    monkeypatch.setenv(installed.MODELS_VARIABLE, str(tmp_path))
    assert codec.decode_file_bytes(data, "k.tfcd").rgb.shape == (20, 30, 3)
