"""Laws of what is shown while work goes on."""

import io
import sys

import pytest
from standin import photograph

from tfcodec import quiet
from tfcodec.commands import console


class Terminal(io.StringIO):
    def isatty(self):
        return True


class TestProgress:
    def encode(self, monkeypatch, tfcodec, files):
        for k in range(files):
            photograph(f"{k}.png")
        screen = Terminal()
        monkeypatch.setattr(sys, "stderr", screen)
        tfcodec("encode", *(f"{k}.png" for k in range(files)))
        return screen.getvalue()

    def test_a_bar_over_several_files_on_a_terminal(self, monkeypatch, tfcodec):
        drawn = self.encode(monkeypatch, tfcodec, 3)
        assert "[........................] 0/3  0.png" in drawn
        assert "[################........] 2/3  2.png" in drawn
        assert drawn.endswith("\r\x1b[K")

    def test_no_bar_for_one_file(self, monkeypatch, tfcodec):
        assert self.encode(monkeypatch, tfcodec, 1) == ""

    @pytest.mark.parametrize("patience", [-1, 60])
    def test_a_bar_over_the_tiles_of_one_picture_that_takes_long(
        self, monkeypatch, tfcodec, codec, patience
    ):
        monkeypatch.setattr(console, "PATIENCE", patience)
        drawn = self.encode(monkeypatch, tfcodec, 1)
        assert ("[##################......] 6/8  tiles  0.png" in drawn) == (patience < 0)
        assert drawn.endswith("\r\x1b[K") == (patience < 0)


def test_the_codec_is_loaded_with_tensorflow_kept_quiet(monkeypatch):
    seen = []
    monkeypatch.setattr(quiet, "import_tensorflow", lambda lean: seen.append(lean))
    monkeypatch.setattr("tfcodec.codec.open_model", seen.append)
    console.load_codec("info")
    assert seen == [True, "info"]
