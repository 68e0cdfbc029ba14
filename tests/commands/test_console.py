"""Laws of what is shown while work goes on."""

import io
import pathlib
import sys
import types

import pytest
from standin import photograph

from tfcodec import quiet
from tfcodec.commands import console, progress
from tfcodec.errors import ModelError
from tfcodec.exports import runtimes

ERASED = "\r\x1b[1A\x1b[2K"


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
        assert "0/3 0.png" in drawn and "2/3 2.png" in drawn
        assert drawn.endswith(ERASED)

    def test_no_bar_for_one_file(self, monkeypatch, tfcodec):
        assert self.encode(monkeypatch, tfcodec, 1) == ""

    @pytest.mark.parametrize("patience", [-1, 60])
    def test_a_bar_over_the_tiles_of_one_picture_that_takes_long(
        self, monkeypatch, tfcodec, codec, patience
    ):
        monkeypatch.setattr(console, "PATIENCE", patience)
        drawn = self.encode(monkeypatch, tfcodec, 1)
        assert ("6/8 tiles  0.png" in drawn) == (patience < 0)
        assert drawn.endswith(ERASED) == (patience < 0)

    def test_ms_ssim_that_takes_long_is_shown_too(self, monkeypatch, tfcodec):
        monkeypatch.setattr(console, "PATIENCE", -1)
        screen = Terminal()
        monkeypatch.setattr(sys, "stderr", screen)
        photograph("a.png", 161, 161)
        tfcodec("encode", "a.png", "--check")
        assert "60/60 MS-SSIM  a.png" in screen.getvalue()

    def test_without_rich_there_is_no_bar(self, monkeypatch, tfcodec):
        monkeypatch.setitem(sys.modules, "rich", None)
        assert self.encode(monkeypatch, tfcodec, 3) == ""

    @pytest.mark.parametrize("silence, told", [(-1, True), (60, False)])
    def test_where_nobody_sees_a_bar_a_line_comes_after_a_silence(
        self, monkeypatch, tfcodec, silence, told
    ):
        monkeypatch.setattr(progress, "SILENCE", silence)
        monkeypatch.setattr(console, "PATIENCE", -1)
        photograph("a.png")
        status, _, err = tfcodec("encode", "a.png")
        assert status == 0 and err == "tfcodec: tiles  a.png  6/8\n" * told


@pytest.mark.parametrize(
    "command, module, word",
    [
        ("freeze standin -o x --calibrate a.png", "tfcodec.freeze", "freeze"),
        ("export standin -o x", "tfcodec.serving.export", "export"),
    ],
)
def test_what_takes_a_minute_says_what_it_is_at(monkeypatch, tfcodec, command, module, word):
    def work(info, *_, progress=None):
        (progress or _[-1])("calibrating", 1, 3)
        raise ModelError("enough")

    photograph("a.png")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(quiet, "import_tensorflow", lambda: None)
    monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**{word: work}))
    assert tfcodec(*command.split())[0] == 1
    assert "1/3 calibrating  standin" in screen.getvalue()


def test_sentences_hold_no_commands_to_the_terminal(tfcodec):
    assert tfcodec("info", "a\n\x1b[2K")[2] == "tfcodec: a \\x1b[2K: no such file\n"


@pytest.mark.parametrize(
    "name, line", [("a\nb.png", r"a\nb.png"), ("a\x1b[2K", r"a\x1b[2K"), ("été 😀", "été 😀")]
)
def test_a_result_is_one_line_whatever_the_file_is_called(name, line, tfcodec):
    photograph("plain.png")
    pathlib.Path("plain.png").rename(name)
    status, out, _ = tfcodec("encode", name, "-o", "k.tfcd")
    assert status == 0 and out.startswith(f"{line}  60x40  ") and out.count("\n") == 1


@pytest.mark.parametrize("runtime, seen", [("tensorflow", ["lean"]), ("litert", [])])
def test_the_codec_is_loaded_with_tensorflow_kept_quiet_or_without_it(monkeypatch, runtime, seen):
    imported, kept = [], []
    monkeypatch.setattr(quiet, "import_tensorflow", lambda lean: imported.append("lean"))
    monkeypatch.setattr(runtimes, "choose", lambda info, decoding: runtime)
    exported = types.SimpleNamespace(keep_networks=kept.append)
    opened = types.SimpleNamespace(exported=exported)
    monkeypatch.setattr("tfcodec.codec.open_model", lambda info, runtime: opened)
    model = types.SimpleNamespace(name="model")
    for once in (False, True):
        assert console.load_codec(model, console.Console(), once=once) is opened
    assert imported == 2 * seen and kept == [True, False]
