"""The default's kind of model, served: steps of a quarter of the positions each."""

import pathlib

import pytest
import tiny_exports
from served import check_same

from tfcodec import codec, freeze, pictures
from tfcodec.serving.signatures import Server

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("frozen", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_files_and_pictures_are_those_of_tfcodec(tmp_path, frozen):
    info = tiny_exports.tiny_export(str(tmp_path / "quad"), "quad", "small")
    if frozen:
        photograph = pictures.read(str(ROOT / "examples/kodim23.png")).rgb[:128, :192]
        info = freeze.freeze(info, str(tmp_path / "frozen"), [photograph])
    there = codec.Codec(info)
    server = Server(there, 128 * 256, 10**6, False)
    check_same(there, {"encode": server.encode, "decode": server.decode}, 6.5, 6.5)
