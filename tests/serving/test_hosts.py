"""Laws of served models on other hosts: the picture of tfcodec, or a sentence."""

import functools
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tiny_exports
from served import pixels, png_pixels, run_host

from tfcodec import codec, pictures
from tfcodec.coding.container import unpack
from tfcodec.errors import ModelError
from tfcodec.exports import installed, loaded
from tfcodec.serving import export

MAX_PIXELS = 128 * 128
HOSTS = {
    "without oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "with AVX2 at most": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
}


DEFAULT = installed.find().name
OTHERS = [
    info.name for info in installed.models() if info.config["portable"] and info.name != DEFAULT
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The (codec, served folder) of an installed model, or of a small one, by name; made once."""

    @functools.cache
    def serve(name):
        folder = tmp_path_factory.mktemp("served")
        if name == "tiny":
            info = tiny_exports.tiny_export(str(folder / "tiny"), lambdas=(0.001, 0.2))
        else:
            info = installed.find(name)
        export.export(info, str(folder / "served"), max_pixels=MAX_PIXELS)
        return codec.Codec(info), str(folder / "served")

    return serve


@pytest.mark.parametrize(
    "host", ["with AVX2 at most", pytest.param("without oneDNN", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "names", [["tiny"], pytest.param([DEFAULT, *OTHERS], marks=pytest.mark.slow)], ids=" ".join
)
def test_another_host_shows_the_picture_or_says_why_not(served, names, host):
    """Float networks of a portable model leave the symbols alone, so that pictures differ by one
    level at most; another model may refuse by the symbols' checksum, but shows nothing wrong."""
    pairs = [served(name) for name in names]
    run_host(pairs, pixels(9, 120, 130), **HOSTS[host])
    for there, folder in pairs:
        folder, portable = pathlib.Path(folder), there.info.config["portable"]
        shown, error = (folder / "p.there").read_bytes(), (folder / "p.error").read_text()
        expected = np.int16(there.decode(unpack((folder / "p.tfcd").read_bytes())).rgb)
        if error:
            assert not portable and not shown
            assert error.startswith("the decoded symbols differ from the encoder's")
        else:
            assert np.abs(expected - png_pixels(shown)).max() <= 1
        file = unpack((folder / "p.encoded").read_bytes())
        try:
            shown = there.decode(file).rgb
        except ModelError as refusal:
            assert not portable and "the decoded symbols differ from the encoder's" in str(refusal)
        else:  # rounding of latents may fall otherwise there: a near picture, not the same
            assert np.abs(expected - shown).mean() < 0.5


@pytest.mark.slow
def test_files_of_a_frozen_model_are_decoded_exactly(served):
    there, folder = served(DEFAULT)
    assert there.info.config["portable"]
    module = tf.saved_model.load(os.path.join(folder, "1"))
    data = there.encode(pictures.from_array(pixels(2)), 4, lanes="serving").data
    answer = module.signatures["decode_one"](files_bytes=tf.constant(data))
    expected = there.decode(unpack(data)).rgb
    np.testing.assert_array_equal(tf.io.decode_png(answer["png_bytes"]), expected)
    loaded.Exported(installed.read_info(folder))  # its integers and its answers are the same
