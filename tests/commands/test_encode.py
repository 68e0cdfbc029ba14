"""Laws of encoding and decoding: what is printed, and which rate is taken."""

import os
import re

import numpy as np
import pytest
from PIL import Image
from standin import LOWEST_PSNR, STEP_BYTES, StandIn, listing, photograph

from tfcodec import pictures
from tfcodec.pictures import writer


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
        assert pictures.read("b.png").rgb.shape == (40, 60, 3)

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp", "ppm"])
    def test_the_suffix_chooses_the_format(self, tfcodec, suffix):
        photograph("a.png")
        tfcodec("encode", "a.png")
        assert tfcodec("decode", "a.tfcd", "-o", f"b.{suffix}")[0] == 0
        with Image.open(f"b.{suffix}") as image:
            assert image.format == writer.WRITE_FORMATS[f".{suffix}"][0]

    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_gray_and_alpha_come_back(self, tfcodec, channels):
        photograph("a.png", channels=channels)
        assert tfcodec("encode", "a.png")[0] == 0
        assert tfcodec("decode", "a.tfcd", "-o", "b.png")[0] == 0
        before, after = pictures.read("a.png"), pictures.read("b.png")
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
        assert "a.tfcd.png" in listing("new/out")

    def test_the_reconstruction_is_what_decoding_shows(self, tfcodec):
        photograph("a.png", channels=4)
        assert tfcodec("encode", "a.png", "--reconstruction", "r.png")[0] == 0
        tfcodec("decode", "a.tfcd", "-o", "b.png")
        np.testing.assert_array_equal(
            pictures.to_array(pictures.read("r.png")), pictures.to_array(pictures.read("b.png"))
        )

    def test_check_prints_the_quality_of_what_will_be_shown(self, tfcodec):
        photograph("a.png", 161, 170)
        _, out, _ = tfcodec("encode", "a.png", "--check")
        assert re.search(r" s  \d+\.\d\d dB PSNR  0\.\d{4} MS-SSIM\n$", out)

    def test_check_leaves_out_ms_ssim_of_small_pictures(self, tfcodec):
        photograph("a.png")
        _, out, err = tfcodec("encode", "a.png", "--check")
        assert re.search(r" s  \d+\.\d\d dB PSNR\n$", out)
        assert err == "tfcodec: a.png: MS-SSIM needs 161 pixels a side and is left out\n"

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
        return len(StandIn().encode(pictures.Picture(rgb), quality, progress=lambda *_: None).data)

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

    @pytest.mark.parametrize("asked,told", [(1.01, False), (1.1, True)])
    def test_a_wish_for_more_than_the_model_can_give_is_noticed(self, tfcodec, asked, told):
        photograph("a.png")
        most, largest = round(asked * self.size(8)), self.size(8)
        status, _, err = tfcodec("encode", "a.png", "--target_bytes", str(most))
        notice = f"a.png: standin goes to quality 8: {largest} of at most {most} bytes"
        assert status == 0 and (notice in err) == told

    @pytest.mark.parametrize("quality", [1, 1 + 1 / 32, 3.5, 8 - 1 / 32, 8])
    @pytest.mark.parametrize("spare", [0, 0.9 / 32])
    def test_psnr_is_reached_by_the_smallest_quality_that_does(
        self, tfcodec, codec, quality, spare
    ):
        photograph("a.png")
        wish = LOWEST_PSNR + quality - 1 - spare
        status, _, err = tfcodec("encode", "a.png", "--psnr", str(wish))
        assert (status, err) == (0, "")
        assert os.path.getsize("a.tfcd") == self.size(quality)
        assert len(codec.qualities) <= 8 and codec.loads == 1

    @pytest.mark.parametrize("asked,told", [(LOWEST_PSNR - 0.4, False), (LOWEST_PSNR - 2, True)])
    def test_a_wish_for_less_psnr_than_the_model_can_give_is_noticed(self, tfcodec, asked, told):
        photograph("a.png")
        status, _, err = tfcodec("encode", "a.png", "--psnr", str(asked))
        notice = f"a.png: standin starts at quality 1: {LOWEST_PSNR:.2f} of {asked:g} dB"
        assert status == 0 and (notice in err) == told

    def test_a_psnr_that_cannot_be_reached_is_refused_with_the_best(self, tfcodec):
        photograph("a.png")
        status, out, err = tfcodec("encode", "a.png", "--psnr", "27.5")
        assert (status, out) == (1, "") and listing() == ["a.png"]
        assert err == "tfcodec: a.png: the best possible file has 27.00 dB, less than 27.5\n"

    @pytest.mark.parametrize("flag", ["--target_bytes", "--bpp"])
    def test_what_cannot_be_reached_is_refused_with_the_smallest_size(self, tfcodec, flag):
        photograph("a.png")
        smallest = self.size(1)
        value = str(smallest - 1) if flag == "--target_bytes" else "0.1"
        status, out, err = tfcodec("encode", "a.png", flag, value)
        assert (status, out) == (1, "") and listing() == ["a.png"]
        assert err.startswith(f"tfcodec: a.png: the smallest possible file has {smallest} bytes")

    @pytest.mark.parametrize("flag", ["--quality", "--target_bytes", "--bpp", "--psnr"])
    def test_a_model_of_one_rate_takes_no_wishes(self, tfcodec, codec, flag):
        photograph("a.png")
        status, _, err = tfcodec("encode", "a.png", "--model", "fixed", flag, "3")
        assert status == 1 and codec.loads == 0
        assert err == f"tfcodec: the model fixed has one rate; it takes no {flag}\n"
