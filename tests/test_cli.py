"""Laws of the command line: what it prints, refuses and leaves behind.

A codec without networks stands in for the real one, so that these laws take no time: a file of
quality q has 100 bytes a quality step, and decodes to flat gray.
"""

import dataclasses
import importlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tfcodec import cli, images, quiet
from tfcodec.coding import container
from tfcodec.errors import ModelError

ROOT = pathlib.Path(__file__).parent.parent
FINGERPRINT = bytes.fromhex("0badcafe")
STEP_BYTES = 7  # of the stand-in's payload, per 1/32 of quality


@dataclasses.dataclass
class StandInEncoded:
    data: bytes
    picture: images.Picture

    def reconstruction(self):
        return dataclasses.replace(self.picture, rgb=np.full_like(self.picture.rgb, 128))


class StandIn:
    """Counts what it is asked for; `trouble`, if set, is raised by `encode`."""

    def __init__(self):
        self.loads, self.qualities = 0, []
        self.trouble = None

    def load(self, path=None):
        self.loads += 1
        return self

    def encode(self, picture, quality=None, coder="tfc"):
        if self.trouble:
            raise self.trouble
        quality = 5 if quality is None else quality
        self.qualities.append(quality)
        byte = round((quality - 1) * 32)
        data = container.pack(
            container.Container(
                fingerprint=FINGERPRINT,
                profile=0,
                quality=byte,
                height=picture.height,
                width=picture.width,
                gray=picture.gray,
                coder=container.CODER_NAMES.index(coder),
                streams=(bytes(100 + STEP_BYTES * byte),),
                escapes=(),
                alpha=None if picture.alpha is None else images.alpha_to_png(picture.alpha),
                checksum=0,
            )
        )
        return StandInEncoded(data, picture)

    def decode(self, packed, name):
        rgb = np.full((packed.height, packed.width, 3), 128, np.uint8)
        alpha = packed.alpha
        if alpha is not None:
            alpha = images.alpha_from_png(alpha, packed.height, packed.width, name)
        return images.Picture(rgb, packed.gray, alpha)


@pytest.fixture
def codec(monkeypatch):
    codec = StandIn()
    monkeypatch.setattr(cli, "_codec", lambda: codec)
    return codec


def install(folder, name, fingerprint=FINGERPRINT, qualities=(1, 8), **more):
    """A model that can be listed and found, though not loaded."""
    (folder / name).mkdir(parents=True)
    config = {
        "name": name,
        "fingerprint": fingerprint.hex(),
        "profile": 0,
        "portable": False,
        "qualities": qualities,
        "default_quality": 5.0 if qualities else None,
        "measured": [],
        **more,
    }
    (folder / name / "config.json").write_text(json.dumps(config))


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    point = {"quality": 5, "bpp": 0.5, "psnr": 33.333, "ms_ssim": 0.97654}
    install(folder, "standin", default=True, measured=[point])
    install(folder, "fixed", bytes(4), qualities=None)
    monkeypatch.setenv("TFCODEC_MODELS", str(folder))
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, so that tests may speak of plain file names."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def tfcodec(capsys, codec, here):
    """Runs a command line; returns (status, stdout, stderr)."""

    def tfcodec(*argv):
        status = cli.main(
            ["encode", "--model", "standin", *argv[1:]] if argv[0] == "encode" else [*argv]
        )
        return status, *capsys.readouterr()

    return tfcodec


def photograph(name, height=40, width=60, channels=3):
    rng = np.random.default_rng(height)
    shape = (height, width, channels)[: 2 if channels == 1 else 3]
    Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(name)


def listing(folder="."):
    return sorted(os.listdir(folder))


class TestEncodeAndDecode:
    def test_a_file_beside_the_input_and_one_line(self, tfcodec):
        photograph("a.png")
        status, out, err = tfcodec("encode", "a.png")
        assert (status, err) == (0, "") and listing() == ["a.png", "a.tfcd"]
        size = os.path.getsize("a.tfcd")
        assert re.fullmatch(
            rf"a\.png  60x40  {size} bytes  {8 * size / 2400:.3f} bpp  \d+\.\d\d s\n", out
        )
        status, out, err = tfcodec("decode", "a.tfcd", "-o", "b.png")
        assert (status, err) == (0, "")
        assert out.startswith(f"a.tfcd  60x40  {size} bytes  ")
        assert images.read("b.png").rgb.shape == (40, 60, 3)

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp", "ppm"])
    def test_the_suffix_chooses_the_format(self, tfcodec, suffix):
        photograph("a.png")
        tfcodec("encode", "a.png")
        assert tfcodec("decode", "a.tfcd", "-o", f"b.{suffix}")[0] == 0
        with Image.open(f"b.{suffix}") as image:
            assert image.format == images.WRITE_FORMATS[f".{suffix}"][0]

    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_gray_and_alpha_come_back(self, tfcodec, channels):
        photograph("a.png", channels=channels)
        assert tfcodec("encode", "a.png")[0] == 0
        assert tfcodec("decode", "a.tfcd", "-o", "b.png")[0] == 0
        before, after = images.read("a.png"), images.read("b.png")
        assert after.gray == before.gray
        if channels in (2, 4):
            np.testing.assert_array_equal(after.alpha, before.alpha)

    def test_many_files_share_a_directory_that_is_made(self, tfcodec):
        names = [f"{name}.png" for name in "abc"]
        for name in names:
            photograph(name)
        status, out, err = tfcodec("encode", *names, "--output_dir", "new/out")
        assert (status, err) == (0, "") and listing("new/out") == ["a.tfcd", "b.tfcd", "c.tfcd"]
        assert [line.split()[0] for line in out.splitlines()] == names
        files = [f"new/out/{name}" for name in listing("new/out")]
        assert tfcodec("decode", *files)[0] == 0
        assert "a.png" in listing("new/out")

    def test_the_reconstruction_is_what_decoding_shows(self, tfcodec):
        photograph("a.png", channels=4)
        assert tfcodec("encode", "a.png", "--reconstruction", "r.png")[0] == 0
        tfcodec("decode", "a.tfcd", "-o", "b.png")
        np.testing.assert_array_equal(
            images.to_array(images.read("r.png")), images.to_array(images.read("b.png"))
        )

    def test_check_prints_the_quality_of_what_will_be_shown(self, tfcodec):
        photograph("a.png", 161, 170)
        _, out, _ = tfcodec("encode", "a.png", "--check")
        assert re.search(r" s  \d+\.\d\d dB PSNR  0\.\d{4} MS-SSIM\n$", out)

    def test_check_leaves_out_ms_ssim_of_small_pictures(self, tfcodec):
        photograph("a.png")
        assert re.search(r" s  \d+\.\d\d dB PSNR\n$", tfcodec("encode", "a.png", "--check")[1])

    def test_notices_go_to_stderr(self, tfcodec):
        Image.fromarray(np.arange(2400).reshape(40, 60).astype(np.uint16)).convert("I;16").save(
            "a.png"
        )
        status, out, err = tfcodec("encode", "a.png")
        assert status == 0 and out.count("\n") == 1
        assert err == "tfcodec: a.png: its 16-bit samples are reduced to 8 bits\n"

    def test_the_coder_is_written_to_the_file(self, tfcodec):
        photograph("a.png")
        tfcodec("encode", "a.png", "--coder", "range-coder")
        assert "coder   range-coder" in tfcodec("info", "a.tfcd")[1]


class TestRates:
    def size(self, quality, height=40, width=60):
        rgb = np.zeros((height, width, 3), np.uint8)
        return len(StandIn().encode(images.Picture(rgb), quality).data)

    def test_quality_is_passed_on_and_none_means_the_models(self, tfcodec, codec):
        photograph("a.png")
        tfcodec("encode", "a.png", "--quality", "2.25")
        tfcodec("encode", "a.png", "--overwrite")
        assert codec.qualities == [2.25, 5]

    @pytest.mark.parametrize("quality", [1, 1 + 1 / 32, 3.5, 8 - 1 / 32, 8])
    @pytest.mark.parametrize("spare", [0, STEP_BYTES - 1])
    def test_target_bytes_is_used_as_far_as_quality_allows(self, tfcodec, codec, quality, spare):
        photograph("a.png")
        target = self.size(quality) + spare
        assert tfcodec("encode", "a.png", "--target_bytes", str(target))[0] == 0
        assert os.path.getsize("a.tfcd") == self.size(quality)
        assert len(codec.qualities) <= 8 and codec.loads == 1

    def test_bpp_counts_the_whole_file(self, tfcodec):
        photograph("a.png")
        bpp = 8 * self.size(3) / (40 * 60)
        tfcodec("encode", "a.png", "--bpp", f"{bpp:.9f}")
        assert os.path.getsize("a.tfcd") in (self.size(3), self.size(3 - 1 / 32))
        assert 8 * os.path.getsize("a.tfcd") / (40 * 60) <= bpp + 1e-9

    @pytest.mark.parametrize("flag", ["--target_bytes", "--bpp"])
    def test_what_cannot_be_reached_is_refused_with_the_smallest_size(self, tfcodec, flag):
        photograph("a.png")
        smallest = self.size(1)
        value = str(smallest - 1) if flag == "--target_bytes" else "0.1"
        status, out, err = tfcodec("encode", "a.png", flag, value)
        assert (status, out) == (1, "") and listing() == ["a.png"]
        assert err.startswith(f"tfcodec: a.png: the smallest possible file has {smallest} bytes")

    @pytest.mark.parametrize("flag", ["--quality", "--target_bytes", "--bpp"])
    def test_a_model_of_one_rate_takes_no_wishes(self, tfcodec, codec, flag):
        photograph("a.png")
        status, _, err = tfcodec("encode", "a.png", "--model", "fixed", flag, "3")
        assert status == 1 and codec.loads == 0
        assert err == f"tfcodec: the model fixed has one rate; it takes no {flag}\n"


class TestWrongCommandLines:
    """Refused with status 2 before any work."""

    @pytest.mark.parametrize(
        "argv, words",
        [
            ((), "required"),
            (("transmogrify",), "invalid choice"),
            (("encode",), "required: IN"),
            (("encode", "a.png", "--quality", "0.9"), "from 1 (smallest file) to 8 (best)"),
            (("encode", "a.png", "--quality", "8.1"), "from 1 (smallest file) to 8 (best)"),
            (("encode", "a.png", "--quality", "nan"), "from 1 (smallest file) to 8 (best)"),
            (("encode", "a.png", "--quality", "high"), "must be a number, received 'high'"),
            (("encode", "a.png", "--bpp", "0"), "more than 0, received 0"),
            (("encode", "a.png", "--bpp", "inf"), "more than 0, received inf"),
            (("encode", "a.png", "--target_bytes", "1.5"), "must be a whole number"),
            (("encode", "a.png", "--target_bytes", "-3"), "more than 0, received -3"),
            (("encode", "a.png", "--max_pixels", "0"), "more than 0"),
            (("encode", "a.png", "--bpp", "1", "--quality", "3"), "not allowed with"),
            (("encode", "a.png", "--target_bytes", "9", "--bpp", "3"), "not allowed with"),
            (("encode", "a.png", "--coder", "huffman"), "invalid choice: 'huffman'"),
            (("encode", "a.png", "-o", "k", "--output_dir", "d"), "not allowed with"),
            (("encode", "a.png", "b.png", "-o", "k.tfcd"), "-o takes one input, received 2"),
            (("encode", "a.png", "b.png", "--reconstruction", "r.png"), "takes one input"),
            (("decode", "a.tfcd", "b.tfcd", "-o", "k.png"), "-o takes one input, received 2"),
            (("encode", "d/a.png", "a.jpg", "--output_dir", "."), "an output of d/a.png, too"),
            (("encode", "a.png", "./a.png"), "is an output of a.png, too"),
            (("encode", "a.png", "a.jpg"), "a.tfcd, an output of a.jpg, is an output of a.png"),
            (("encode", "a.png", "-o", "a.png"), "a.png, an output of a.png, is an input, too"),
            (("encode", "a.tfcd"), "is an input, too"),
            (("encode", "b.png", "-o", "d/../b.png", "--overwrite"), "is an input, too"),
            (("encode", "a.png", "--reconstruction", "a.png"), "is an input, too"),
            (("encode", "a.png", "-o", "k", "--reconstruction", "k"), "k, an output of a.png"),
            (("decode", "b.png", "a.tfcd"), "is an input, too"),
        ],
    )
    def test_is_refused(self, codec, here, capsys, argv, words):
        (here / "d").mkdir()
        for name in ("a.png", "b.png", "d/a.png", "a.jpg"):
            photograph(name)
        before = listing()
        assert cli.main(list(argv)) == 2
        out, err = capsys.readouterr()
        assert words in err.splitlines()[-1] and out == ""
        assert codec.loads == 0 and listing() == before

    @pytest.mark.parametrize("argv", [["--help"], ["encode", "-h"], ["--version"]])
    def test_help_is_no_failure(self, argv, capsys):
        assert cli.main(argv) == 0
        assert capsys.readouterr().out


class TestFailures:
    """Status 1, one sentence on stderr, nothing half-written; the other files go on."""

    def test_existing_outputs_are_refused_before_any_work(self, tfcodec, codec):
        photograph("a.png")
        pathlib.Path("a.tfcd").write_bytes(b"precious")
        status, out, err = tfcodec("encode", "a.png")
        assert (status, out) == (1, "") and codec.loads == 0
        assert err == "tfcodec: a.tfcd: exists already; --overwrite replaces it\n"
        assert pathlib.Path("a.tfcd").read_bytes() == b"precious"
        assert tfcodec("encode", "a.png", "--overwrite")[0] == 0
        assert pathlib.Path("a.tfcd").read_bytes() != b"precious"

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
        other = images.alpha_to_png(np.zeros((9, 9), np.uint8))
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
            file.write(container.MAGIC)
        _, _, err = tfcodec("decode", "huge.tfcd", "--max_pixels", "10000")
        assert "larger than any sound file of 10000 pixels" in err

    @pytest.mark.parametrize("command", ["decode", "info"])
    def test_missing_files_and_directories(self, tfcodec, here, command):
        assert "k.tfcd: no such file" in tfcodec(command, "k.tfcd")[2]
        (here / "k.tfcd").mkdir()
        assert "k.tfcd: this is a directory" in tfcodec(command, "k.tfcd")[2]

    def test_an_interrupt_is_status_130(self, tfcodec, codec):
        photograph("a.png")
        codec.trouble = KeyboardInterrupt()
        assert tfcodec("encode", "a.png") == (130, "", "")
        assert listing() == ["a.png"]


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
        encode = codec.encode
        monkeypatch.setattr(cli, "PATIENCE", patience)
        monkeypatch.setattr(
            codec, "encode", lambda *a, **k: (codec.on_tile(6, 8), encode(*a, **k))[1]
        )
        drawn = self.encode(monkeypatch, tfcodec, 1)
        assert ("[##################......] 6/8  tiles  0.png" in drawn) == (patience < 0)
        assert drawn.endswith("\r\x1b[K") == (patience < 0)


class TestLooking:
    def test_info_says_what_the_header_says(self, tfcodec, codec):
        photograph("a.png", channels=4)
        tfcodec("encode", "a.png", "--quality", "2.5")
        codec.loads = 0
        status, out, err = tfcodec("info", "a.tfcd")
        size = os.path.getsize("a.tfcd")
        assert (status, err, codec.loads) == (0, "", 0)
        for line in (
            "a.tfcd",
            "  picture 60x40, RGB with alpha",
            f"  size    {size} bytes, {8 * size / 2400:.3f} bpp",
            "  quality 2.5",
            "  model   fingerprint 0badcafe, standin (installed)",
            "  coder   tfc",
        ):
            assert line in out.splitlines()

    def test_info_without_the_model(self, tfcodec, models):
        photograph("a.png")
        tfcodec("encode", "a.png")
        (models / "standin" / "config.json").unlink()
        status, out, _ = tfcodec("info", "a.tfcd")
        assert status == 0 and "fingerprint 0badcafe, not installed here" in out

    def test_models_lists_what_is_installed(self, tfcodec):
        status, out, err = tfcodec("models")
        assert (status, err) == (0, "")
        assert re.search(
            r"^standin.*  quality 1 - 8, default 5  0\.0 MiB  fingerprint 0badcafe  portable: no$",
            out,
            re.MULTILINE,
        )
        assert "  quality 5  0.500 bpp  33.33 dB PSNR  0.9765 MS-SSIM\n" in out
        assert re.search(r"^fixed  one rate  ", out, re.MULTILINE)

    @pytest.mark.parametrize("argv", ["['info', 'a.tfcd']", "['models']", "['decode', 'no.tfcd']"])
    def test_looking_imports_neither_tensorflow_nor_keras(self, tfcodec, argv):
        photograph("a.png")
        tfcodec("encode", "a.png")
        code = (
            f"import sys, tfcodec.cli as cli; cli.main({argv}); "
            "sys.exit(bool({'tensorflow', 'keras', 'scipy'} & set(sys.modules)))"
        )
        assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


class TestProcess:
    """The script itself, in a process of its own."""

    def run(self, *argv, **options):
        return subprocess.run(
            [sys.executable, ROOT / "encode_decode.py", *argv],
            capture_output=True,
            text=True,
            **options,
        )

    def test_one_sentence_and_no_traceback(self, here):
        (here / "k.tfcd").write_bytes(b"tfcd\x01garbage")
        done = self.run("decode", "k.tfcd")
        assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
        assert done.stderr.startswith("tfcodec: k.tfcd: ")

    def test_a_wrong_command_line_is_status_2(self):
        assert self.run("encode").returncode == 2

    def test_a_reader_that_leaves_is_no_traceback(self, models):
        for k in range(300):
            install(models, f"model-{k}-{'x' * 100}", k.to_bytes(4))
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [sys.executable, ROOT / "encode_decode.py", "models"],
            stdout=write,
            stderr=subprocess.PIPE,
        )
        os.close(write)
        assert done.stderr == b"" and done.returncode == 141


def test_the_codec_is_loaded_with_tensorflow_kept_quiet(monkeypatch):
    seen = []
    monkeypatch.setattr(quiet, "import_tensorflow", lambda: seen.append("tensorflow"))
    monkeypatch.setattr(importlib, "import_module", seen.append)
    cli._codec()
    assert seen == ["tensorflow", "tfcodec.codec"]
