"""Laws of `tfcodec info` and `tfcodec models`."""

import os
import re
import subprocess
import sys

import pytest
from standin import install, photograph


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

    def test_a_model_is_found_by_its_alias(self, tfcodec, models):
        install(models, "swift", bytes(3) + b"x", aliases=["fast"])
        assert re.search(r"^swift \(fast\)  quality", tfcodec("models")[1], re.MULTILINE)
        photograph("a.png")
        assert tfcodec("encode", "a.png", "--model", "fast")[0] == 0
        _, _, err = tfcodec("encode", "a.png", "--model", "faster")
        assert "there is no model 'faster'; installed: " in err and "swift, fast" in err

    def test_folders_of_models_that_are_none_are_told(self, tfcodec, models, monkeypatch):
        photograph("a.png")
        tfcodec("encode", "a.png")
        os.mkdir("empty")
        monkeypatch.setenv("TFCODEC_MODELS", f"{models}{os.pathsep}nowhere{os.pathsep}empty")
        words = (
            "TFCODEC_MODELS names nowhere, which does not exist and empty, which holds no export"
        )
        assert words in tfcodec("models")[2]
        assert words in tfcodec("encode", "a.png", "--model", "nonesuch")[2]
        assert tfcodec("decode", "a.tfcd")[0] == 0
        (models / "standin" / "config.json").unlink()
        assert words in tfcodec("decode", "a.tfcd", "--overwrite")[2]

    def test_a_folder_that_is_no_export_is_told_so(self, tfcodec):
        photograph("a.png")
        os.mkdir("folder")
        _, _, err = tfcodec("encode", "a.png", "--model", "folder")
        assert err == "tfcodec: folder: this folder is no exported model, it has no config.json\n"

    @pytest.mark.parametrize(
        "argv",
        [
            "['info', 'a.tfcd']",
            "['verify', '.']",
            "['models']",
            "['decode', 'no.tfcd']",
            "['encode', '--help']",
        ],
    )
    def test_looking_imports_neither_tensorflow_nor_keras(self, tfcodec, argv):
        photograph("a.png")
        tfcodec("encode", "a.png")
        code = (
            f"import sys, tfcodec.commands.main as cli; cli.main({argv}); "
            "sys.exit(bool({'tensorflow', 'keras', 'scipy', 'rich'} & set(sys.modules)))"
        )
        assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
