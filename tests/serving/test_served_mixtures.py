"""Laws of served models that code by mixtures, in one step or in wavefronts."""

import math
import pathlib

import numpy as np
import pytest
import tiny_exports
from drawn import as_png
from served import check_same, decode, encode, pixels, png_pixels, run_host

from tfcodec import codec, pictures
from tfcodec.coding import container
from tfcodec.errors import TfcodecError
from tfcodec.serving import export
from tfcodec.serving.mixtures import MAX_QUESTIONS
from tfcodec.serving.signatures import Server

pytestmark = pytest.mark.slow  # loops over questions, traced; test_mixtures.py has their laws

MAX_PIXELS = 128 * 256
SMALL = {
    "octave": {**tiny_exports.TINY_OCTAVE, "likelihood": "gllmm"},
    "gllmm": {**tiny_exports.BLOCKS, "filters": 8, "latents": 6, "estimators": (12, 16)},
}


def small_codec(folder, name):
    return codec.Codec(tiny_exports.small_export(str(folder / name), name, SMALL[name]))


def most_turns(there):
    """Turns that a file of one lane of a 100x120 picture may need."""
    return MAX_QUESTIONS * sum(math.prod(shape) for shape in there.exported.shapes(100, 120))


@pytest.fixture(scope="module", params=["gllmm", "octave"])
def served(request, tmp_path_factory):
    """(codec of a small model, its signatures)"""
    there = small_codec(tmp_path_factory.mktemp("models"), request.param)
    server = Server(there, MAX_PIXELS, most_turns(there), False)
    return there, {"encode": server.encode, "decode": server.decode}


def test_files_and_pictures_are_those_of_tfcodec(served):
    check_same(*served, 6.5, 6.5)


@pytest.mark.parametrize("size", [(1, 1), (200, 64), (64, 200)])
def test_pictures_of_any_shape_are_coded_alike(served, size):
    there, signatures = served
    array = pixels(1, *size).reshape(*size, 3)
    ((file, error),) = encode(signatures, as_png(array), quality=3.0)
    assert error == b""
    assert file == there.encode(pictures.from_array(array), 3, lanes="serving").data


@pytest.mark.parametrize("lanes", [1, 4, 1024])
def test_the_server_decodes_what_tfcodec_wrote(served, lanes):
    there, signatures = served
    file = there.encode(pictures.from_array(pixels(2, 100, 120)), 8, lanes=lanes).data
    ((shown, error),) = decode(signatures, file)
    assert error == b""
    np.testing.assert_array_equal(png_pixels(shown), there.decode(container.unpack(file)).rgb)


def test_forged_files_end_in_a_sentence_or_the_picture_of_tfcodec(served):
    from mutations import mutate, with_valid_checksum

    there, signatures = served
    random = np.random.RandomState(3)
    file = there.encode(pictures.from_array(pixels(3, 60, 70)), 5, lanes=4).data
    files = [with_valid_checksum(mutate(random, file)) for _ in range(40)]
    for data, (shown, error) in zip(files, decode(signatures, *files), strict=True):
        try:
            picture = there.decode(container.unpack(data, "k", MAX_PIXELS), "k")
        except TfcodecError as refusal:
            assert error and not shown, refusal
        else:
            assert error == b""
            np.testing.assert_array_equal(png_pixels(shown), pictures.to_array(picture))


def test_questions_that_a_file_could_ask_are_bounded_before_it_is_decoded(served):
    there, signatures = served
    picture = pictures.from_array(pixels(0, 120, 250))
    files = [there.encode(picture, 4, lanes=lanes).data for lanes in (1, 64)]
    (_, slow), (shown, fast) = decode(signatures, *files)
    assert slow.startswith(b"its 1 lanes need ") and slow.endswith(b"encode it with more lanes")
    assert fast == b"" and shown


@pytest.mark.parametrize("name", SMALL)
def test_a_served_model_of_mixtures_needs_tensorflow_alone(name, tmp_path):
    there = small_codec(tmp_path, name)
    folder = str(tmp_path / "served")
    info = export.export(there.info, folder, max_pixels=MAX_PIXELS)
    assert info.fingerprint == there.info.fingerprint
    run_host([(there, folder)], pixels(0))
    file, shown = ((pathlib.Path(folder) / part).read_bytes() for part in ("p.tfcd", "p.there"))
    np.testing.assert_array_equal(png_pixels(shown), there.decode(container.unpack(file)).rgb)
