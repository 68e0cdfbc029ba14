"""What is written is read back, and what cannot be written is a sentence."""

import os

import numpy as np
import pytest

from tfcodec import pictures
from tfcodec.errors import InputError
from tfcodec.pictures import Picture


class TestWriting:
    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    @pytest.mark.parametrize("suffix", ["png", "PNG", "webp", "tif", "tiff", "bmp", "ppm"])
    def test_what_is_written_is_read_back(self, tmp_path, rgb, alpha, channels, suffix):
        picture = pictures.from_array(np.dstack([rgb, alpha])[..., :channels])
        path = tmp_path / f"a.{suffix}"
        if suffix in ("bmp", "ppm") and picture.alpha is not None:
            with pytest.raises(InputError, match="cannot hold the picture's alpha channel"):
                pictures.write(path, picture)
            assert os.listdir(tmp_path) == []
            return
        pictures.write(path, picture)
        back = pictures.read(path)
        np.testing.assert_array_equal(back.rgb, picture.rgb)
        if picture.alpha is not None:
            np.testing.assert_array_equal(back.alpha, picture.alpha)
        assert back.gray == (picture.gray and suffix != "webp")

    def test_jpeg_keeps_gray_and_stays_near(self, tmp_path, rgb):
        pictures.write(tmp_path / "a.jpg", pictures.from_array(rgb))
        assert np.abs(pictures.read(tmp_path / "a.jpg").rgb.astype(int) - rgb).mean() < 3
        pictures.write(tmp_path / "g.jpg", pictures.from_array(rgb[..., 0]))
        assert pictures.read(tmp_path / "g.jpg").gray

    def test_an_unknown_suffix_lists_the_known_ones(self, tmp_path, rgb):
        for name in ("a.xyz", "a"):
            with pytest.raises(InputError, match="choose one of .png, .jpg"):
                pictures.write(tmp_path / name, pictures.from_array(rgb))

    def test_a_picture_larger_than_the_format_is_refused(self, tmp_path):
        long = Picture(np.zeros((1, 17_000, 3), np.uint8))
        with pytest.raises(InputError, match="WEBP cannot hold a picture of 17000x1"):
            pictures.write(tmp_path / "a.webp", long)
        assert os.listdir(tmp_path) == []
