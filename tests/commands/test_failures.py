"""What fails is one sentence, stops no other file and leaves nothing behind."""

import dataclasses
import pathlib

import numpy as np
import pytest
from standin import listing, photograph

from tfcodec import pictures
from tfcodec.coding import container
from tfcodec.coding.format import MAGIC
from tfcodec.errors import ModelError


class TestFailures:
    """Status 1, one sentence on stderr, nothing half-written; the other files go on."""

    def test_existing_outputs_are_refused_before_any_work(self, tfcodec, codec):
        photograph("a.png")
        pathlib.Path("a.tfcd").write_bytes(MAGIC + b"precious")
        status, out, err = tfcodec("encode", "a.png")
        assert (status, out) == (1, "") and codec.loads == 0
        words = "exists already; --overwrite replaces it, --skip_existing leaves it"
        assert err == f"tfcodec: a.tfcd: {words}\n"
        assert pathlib.Path("a.tfcd").read_bytes() == MAGIC + b"precious"
        assert tfcodec("encode", "a.png", "--overwrite")[0] == 0
        assert pathlib.Path("a.tfcd").read_bytes() != MAGIC + b"precious"

    def test_an_existing_reconstruction_is_refused_too(self, tfcodec, codec):
        photograph("a.png")
        photograph("r.png")
        status, _, err = tfcodec("encode", "a.png", "--reconstruction", "r.png")
        assert status == 1 and "r.png: exists already" in err and codec.loads == 0

    def test_a_failed_file_does_not_stop_the_others(self, tfcodec, codec):
        photograph("a.png")
        pathlib.Path("b.png").write_bytes(b"")
        photograph("c.png")
        pathlib.Path("d.png").write_text("Dear reader")
        status, out, err = tfcodec("encode", "a.png", "b.png", "c.png", "d.png", "e.png")
        assert status == 1
        assert [line.split()[0] for line in out.splitlines()] == ["a.png", "c.png"]
        assert [line.split(": ")[1] for line in err.splitlines()] == ["b.png", "d.png", "e.png"]
        assert "b.png: the file is empty" in err and "e.png: no such file" in err
        assert listing() == ["a.png", "a.tfcd", "b.png", "c.png", "c.tfcd", "d.png"]

    def test_an_unknown_model_lists_the_installed(self, tfcodec, codec):
        photograph("a.png")
        status, out, err = tfcodec("encode", "a.png", "--model", "nonesuch")
        assert (status, out) == (1, "") and codec.loads == 0 and err.count("\n") == 1
        assert "'nonesuch'" in err and "standin" in err

    def test_a_sentence_without_a_file_gets_the_input(self, tfcodec, codec):
        photograph("a.png")
        codec.trouble = ModelError("the weights\nare tired")
        _, _, err = tfcodec("encode", "a.png")
        assert err == "tfcodec: a.png: the weights are tired\n" and listing() == ["a.png"]

    def test_a_bug_keeps_its_traceback(self, tfcodec, codec):
        photograph("a.png")
        codec.trouble = ZeroDivisionError("oops")
        with pytest.raises(ZeroDivisionError):
            tfcodec("encode", "a.png")
        assert listing() == ["a.png"]

    def test_too_many_pixels(self, tfcodec):
        photograph("a.png")
        status, _, err = tfcodec("encode", "a.png", "--max_pixels", "2399")
        assert status == 1 and "a.png: 60x40 is 2400 pixels, more than the limit of 2399" in err
        assert tfcodec("encode", "a.png", "--max_pixels", "2400")[0] == 0
        status, _, err = tfcodec("decode", "a.tfcd", "-o", "b.png", "--max_pixels", "2399")
        assert status == 1 and "a.tfcd: claims 60x40 pixels" in err and "b.png" not in listing()

    @pytest.mark.parametrize("output", ["none/a.tfcd", "."])
    def test_outputs_that_cannot_be_are_refused_before_any_work(self, tfcodec, codec, output):
        photograph("a.png")
        status, _, err = tfcodec("encode", "a.png", "-o", output)
        assert status == 1 and err.startswith(f"tfcodec: {output}: ") and codec.loads == 0

    def test_an_output_directory_that_is_a_file(self, tfcodec, codec):
        photograph("a.png")
        status, _, err = tfcodec("encode", "a.png", "--output_dir", "a.png")
        assert status == 1 and err.startswith("tfcodec: a.png: is not a directory")
        assert err.count("\n") == 1

    def test_an_unknown_suffix_is_refused_before_any_work(self, tfcodec, codec):
        photograph("a.png")
        status, _, err = tfcodec("encode", "a.png", "--reconstruction", "r.xyz")
        assert status == 1 and "r.xyz: cannot write the format '.xyz'" in err and codec.loads == 0

    def test_alpha_is_not_lost_in_a_jpeg(self, tfcodec, codec):
        photograph("a.png", channels=4)
        status, _, err = tfcodec("encode", "a.png", "--reconstruction", "r.jpg")
        assert status == 1 and "r.jpg: JPEG cannot hold the picture's alpha" in err
        assert codec.loads == 0 and listing() == ["a.png"]
        tfcodec("encode", "a.png")
        codec.loads = 0
        status, _, err = tfcodec("decode", "a.tfcd", "-o", "r.jpg")
        assert status == 1 and "r.jpg: JPEG cannot hold the picture's alpha" in err
        assert codec.loads == 0 and listing() == ["a.png", "a.tfcd"]

    @pytest.mark.parametrize(
        "damage, words",
        [
            (lambda data: b"", "the file is empty"),
            (lambda data: b"\x89PNG\r\n\x1a\n", "not a tfcodec file"),
            (lambda data: data[:40], "truncated"),
            (lambda data: data[:60] + b"!" + data[61:], "CRC-32"),
            (lambda data: data + b"!", "appended"),
            (lambda data: data[:4] + b"\x09" + data[5:], "format version 9"),
        ],
    )
    def test_damaged_files(self, tfcodec, codec, damage, words):
        photograph("a.png")
        tfcodec("encode", "a.png", "-o", "k.tfcd")
        path = pathlib.Path("k.tfcd")
        path.write_bytes(damage(path.read_bytes()))
        codec.loads = 0
        for command in ("decode", "info"):
            status, out, err = tfcodec(command, "k.tfcd")
            assert (status, out, err.count("\n")) == (1, "", 1)
            assert err.startswith("tfcodec: k.tfcd: ") and words in err
        assert codec.loads == 0 and listing() == ["a.png", "k.tfcd"]

    def test_hostile_alpha(self, tfcodec, codec):
        photograph("a.png")
        tfcodec("encode", "a.png")
        packed = container.unpack(pathlib.Path("a.tfcd").read_bytes())
        other = pictures.alpha_to_png(np.zeros((9, 9), np.uint8))
        pathlib.Path("a.tfcd").write_bytes(container.pack(dataclasses.replace(packed, alpha=other)))
        status, _, err = tfcodec("decode", "a.tfcd", "-o", "b.png")
        assert status == 1 and "a.tfcd: the alpha part is not an 8-bit gray PNG of 60x40" in err
        assert "b.png" not in listing()

    def test_a_file_of_a_model_that_is_not_installed(self, tfcodec, codec, models):
        photograph("a.png")
        tfcodec("encode", "a.png")
        (models / "standin" / "config.json").unlink()
        codec.loads = 0
        status, _, err = tfcodec("decode", "a.tfcd", "-o", "b.png")
        assert status == 1 and codec.loads == 0 and "0badcafe" in err and err.count("\n") == 1

    def test_what_is_not_tfcd_is_not_read_to_its_end(self, tfcodec):
        with open("huge.tfcd", "wb") as file:
            file.truncate(2**40)  # a sparse terabyte
        _, _, err = tfcodec("decode", "huge.tfcd")
        assert "huge.tfcd: not a tfcodec file" in err
        with open("huge.tfcd", "r+b") as file:
            file.write(MAGIC)
        _, _, err = tfcodec("decode", "huge.tfcd", "--max_pixels", "10000")
        assert "larger than any sound file of 10000 pixels" in err

    @pytest.mark.parametrize("command", ["decode", "info"])
    def test_missing_files_and_directories(self, tfcodec, here, command):
        assert "k.tfcd: no such file" in tfcodec(command, "k.tfcd")[2]
        (here / "k.tfcd").mkdir()
        reason = {"decode": "folder holds no tfcodec files", "info": "is a directory"}[command]
        assert f"k.tfcd: this {reason}" in tfcodec(command, "k.tfcd")[2]

    def test_an_interrupt_is_status_130(self, tfcodec, codec):
        photograph("a.png")
        codec.trouble = KeyboardInterrupt()
        assert tfcodec("encode", "a.png") == (130, "", "")
        assert listing() == ["a.png"]
