"""Every row of the input table."""

import os
import struct
import warnings

import numpy as np
import pytest
from drawn import HEIGHT, WIDTH, png, png_chunk, profile_of_swapped_channels, saved
from PIL import Image, ImageCms

from tfcodec import pictures
from tfcodec.errors import InputError
from tfcodec.pictures import tags


def refusal(path, **options):
    """The sentence with which `read` refuses a file."""
    with pytest.raises(InputError) as caught:
        pictures.read(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


class TestColour:
    @pytest.mark.parametrize(
        "suffix, options",
        [
            ("png", {}),
            ("webp", {"lossless": True}),
            ("tiff", {}),
            ("tif", {"compression": "tiff_lzw"}),
            ("bmp", {}),
            ("ppm", {}),
        ],
    )
    def test_lossless_formats_give_their_pixels(self, tmp_path, rgb, suffix, options):
        picture = pictures.read(saved(tmp_path / f"a.{suffix}", rgb, **options))
        np.testing.assert_array_equal(picture.rgb, rgb)
        assert picture.rgb.dtype == np.uint8 and picture.alpha is None
        assert (picture.height, picture.width) == (HEIGHT, WIDTH)
        assert not picture.gray and picture.notices == ()

    @pytest.mark.parametrize("suffix", ["jpg", "webp", "avif"])
    def test_lossy_formats_are_near(self, tmp_path, rgb, suffix):
        if f".{suffix}" not in Image.registered_extensions():
            pytest.skip(f"this Pillow has no {suffix}")
        options = {"subsampling": 0} if suffix == "jpg" else {}
        picture = pictures.read(saved(tmp_path / f"a.{suffix}", rgb, quality=95, **options))
        assert np.abs(picture.rgb.astype(int) - rgb).mean() < 4
        assert not picture.gray and picture.notices == ()

    @pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "ppm"])
    def test_grayscale_is_flagged(self, tmp_path, rgb, suffix):
        gray = rgb[..., 0]
        picture = pictures.read(saved(tmp_path / f"a.{suffix}", gray))
        assert picture.gray
        np.testing.assert_array_equal(picture.rgb[..., 0], picture.rgb[..., 2])
        assert np.abs(picture.rgb[..., 1].astype(int) - gray).max() <= (8 if suffix == "jpg" else 0)

    def test_palette_becomes_rgb(self, tmp_path, rgb):
        image = Image.fromarray(rgb).quantize(16)
        image.save(tmp_path / "a.png")
        picture = pictures.read(tmp_path / "a.png")
        np.testing.assert_array_equal(picture.rgb, np.asarray(image.convert("RGB")))
        assert not picture.gray and picture.alpha is None

    def test_one_bit_becomes_rgb(self, tmp_path, rgb):
        saved(tmp_path / "a.png", rgb, mode="1")
        picture = pictures.read(tmp_path / "a.png")
        assert set(np.unique(picture.rgb)) == {0, 255} and not picture.gray

    @pytest.mark.parametrize("suffix", ["jpg", "tif"])
    def test_cmyk_becomes_rgb(self, tmp_path, rgb, suffix):
        options = {"quality": 95, "subsampling": 0} if suffix == "jpg" else {}
        saved(tmp_path / f"a.{suffix}", rgb, mode="CMYK", **options)
        picture = pictures.read(tmp_path / f"a.{suffix}")
        assert np.abs(picture.rgb.astype(int) - rgb).mean() < 4

    def test_the_bundled_photograph_reads(self):
        path = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "kodim23.png")
        picture = pictures.read(path)
        assert picture.rgb.shape == (512, 768, 3) and picture.notices == ()


class TestAlpha:
    @pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
    def test_rgba_is_kept(self, tmp_path, rgb, alpha, suffix):
        options = {"lossless": True, "exact": True} if suffix == "webp" else {}
        path = saved(tmp_path / f"a.{suffix}", np.dstack([rgb, alpha]), **options)
        picture = pictures.read(path)
        np.testing.assert_array_equal(picture.rgb, rgb)
        np.testing.assert_array_equal(picture.alpha, alpha)

    def test_gray_with_alpha_is_kept(self, tmp_path, rgb, alpha):
        picture = pictures.read(saved(tmp_path / "a.png", np.dstack([rgb[..., 0], alpha])))
        assert picture.gray
        np.testing.assert_array_equal(picture.rgb[..., 1], rgb[..., 0])
        np.testing.assert_array_equal(picture.alpha, alpha)

    @pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
    def test_an_opaque_alpha_channel_is_dropped(self, tmp_path, rgb, suffix):
        opaque = np.full((HEIGHT, WIDTH), 255, np.uint8)
        options = {"lossless": True} if suffix == "webp" else {}
        picture = pictures.read(
            saved(tmp_path / f"a.{suffix}", np.dstack([rgb, opaque]), **options)
        )
        assert picture.alpha is None
        np.testing.assert_array_equal(picture.rgb, rgb)

    @pytest.mark.parametrize("suffix", ["png", "gif"])
    @pytest.mark.filterwarnings("error")
    def test_a_transparent_palette_entry_becomes_alpha(self, tmp_path, rgb, suffix):
        image = Image.fromarray(rgb).quantize(8)
        image.save(tmp_path / f"a.{suffix}", transparency=3)
        picture = pictures.read(tmp_path / f"a.{suffix}")
        with Image.open(tmp_path / f"a.{suffix}") as stored:
            transparent = np.asarray(stored) == stored.info["transparency"]
        np.testing.assert_array_equal(picture.alpha, np.where(transparent, 0, 255))
        assert 0 < transparent.sum() < transparent.size

    def test_palette_alpha_by_entry_is_kept(self, tmp_path, rgb):
        image = Image.fromarray(rgb).quantize(8)
        levels = bytes(range(0, 160, 20))
        image.save(tmp_path / "a.png", transparency=levels)
        picture = pictures.read(tmp_path / "a.png")
        np.testing.assert_array_equal(picture.alpha, np.array(list(levels))[np.asarray(image)])

    def test_the_transparent_colour_of_an_rgb_png_becomes_alpha(self, tmp_path, rgb):
        colour = tuple(int(v) for v in rgb[4, 9])
        picture = pictures.read(saved(tmp_path / "a.png", rgb, transparency=colour))
        hidden = np.all(rgb == rgb[4, 9], axis=-1)
        np.testing.assert_array_equal(picture.alpha == 0, hidden)
        np.testing.assert_array_equal(picture.rgb[~hidden], rgb[~hidden])

    @pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
    def test_the_transparent_level_of_a_gray_png_becomes_alpha(self, tmp_path, depth):
        peak = 2**depth - 1
        levels = (np.arange(15) * (peak / 14)).astype(int).reshape(3, 5, 1)
        if depth == 16:
            levels[2, 4] = levels[0, 0] + 1  # the same 8-bit level, another 16-bit one
        (tmp_path / "a.png").write_bytes(
            png(levels, depth, 0, (b"tRNS", struct.pack(">H", int(levels[0, 0, 0]))))
        )
        picture = pictures.read(tmp_path / "a.png")
        np.testing.assert_array_equal(picture.alpha == 0, levels[..., 0] == levels[0, 0, 0])
        assert picture.gray == (depth > 1)

    def test_alpha_survives_the_embedded_png(self, alpha):
        data = pictures.alpha_to_png(alpha)
        np.testing.assert_array_equal(pictures.alpha_from_png(data, HEIGHT, WIDTH), alpha)


class TestDepth:
    RAMP = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)

    @pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
    def test_16_bit_gray_is_scaled_with_a_notice(self, tmp_path, suffix):
        Image.fromarray(self.RAMP).convert("I;16").save(tmp_path / f"a.{suffix}")
        picture = pictures.read(tmp_path / f"a.{suffix}")
        assert picture.gray and picture.notices == ("its 16-bit samples are reduced to 8 bits",)
        np.testing.assert_array_equal(picture.rgb[..., 0], np.round(self.RAMP / 257))

    @pytest.mark.parametrize("color_type, channels", [(0, 1), (2, 3), (4, 2), (6, 4)])
    def test_every_16_bit_png_is_scaled_with_a_notice(self, tmp_path, color_type, channels):
        samples = np.repeat(self.RAMP[..., None], channels, axis=2)
        (tmp_path / "a.png").write_bytes(png(samples, 16, color_type))
        picture = pictures.read(tmp_path / "a.png")
        assert picture.notices == ("its 16-bit samples are reduced to 8 bits",)
        assert picture.gray == (channels < 3)
        # Pillow itself keeps the upper byte of 16-bit colour: up to one level below the rounded.
        visible = np.s_[:] if picture.alpha is None else picture.alpha > 0
        assert np.abs(picture.rgb - self.RAMP[..., None] / 257)[visible].max() <= 1
        assert (picture.alpha is not None) == (channels in (2, 4))
        if picture.alpha is not None:
            assert np.abs(picture.alpha - self.RAMP / 257).max() <= 1

    def test_8_bits_repeated_to_16_come_back_exactly(self, tmp_path, rgb):
        (tmp_path / "a.png").write_bytes(png(rgb.astype(np.uint16) * 257, 16, 2))
        np.testing.assert_array_equal(pictures.read(tmp_path / "a.png").rgb, rgb)

    def test_float_samples_are_refused(self, tmp_path):
        Image.fromarray(np.ones((4, 5), np.float32)).save(tmp_path / "a.tif")
        assert "32 bits" in refusal(tmp_path / "a.tif")


class TestColourProfile:
    def test_an_srgb_profile_leaves_the_pixels_alone(self, tmp_path, rgb):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        picture = pictures.read(saved(tmp_path / "a.png", rgb, icc_profile=profile))
        np.testing.assert_array_equal(picture.rgb, rgb)
        assert picture.notices == ()

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
    def test_another_profile_is_converted_to_srgb(self, tmp_path, rgb, suffix):
        options = {"jpg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}
        profile = profile_of_swapped_channels()
        path = saved(tmp_path / f"a.{suffix}", rgb, icc_profile=profile, **options.get(suffix, {}))
        picture = pictures.read(path)
        assert np.abs(picture.rgb.astype(int) - rgb[..., ::-1]).mean() < 4
        assert picture.notices == ()

    def test_the_profile_of_a_transparent_picture_spares_the_alpha(self, tmp_path, rgb, alpha):
        profile = profile_of_swapped_channels()
        path = saved(tmp_path / "a.png", np.dstack([rgb, alpha]), icc_profile=profile)
        picture = pictures.read(path)
        np.testing.assert_array_equal(picture.alpha, alpha)
        assert np.abs(picture.rgb.astype(int) - rgb[..., ::-1]).max() <= 2

    def test_gray_with_an_rgb_profile_stays_gray(self, tmp_path, rgb):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        picture = pictures.read(saved(tmp_path / "a.png", rgb[..., 0], icc_profile=profile))
        assert picture.gray and picture.notices == ()
        np.testing.assert_array_equal(picture.rgb[..., 0], rgb[..., 0])

    @pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
    @pytest.mark.parametrize("profile", [b"not a profile", bytes(200)])
    def test_a_broken_profile_is_ignored_with_a_notice(self, tmp_path, rgb, mode, profile):
        path = saved(tmp_path / "a.jpg", rgb, mode=mode, icc_profile=profile)
        picture = pictures.read(path)
        assert picture.notices == ("its colour profile is broken or does not fit and is ignored",)
        assert picture.gray == (mode == "L")


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
    def test_exif_orientation_is_applied(self, tmp_path, rgb, alpha, orientation, suffix):
        stored = {  # how an upright picture lies in a file of each orientation
            1: lambda a: a,
            2: lambda a: a[:, ::-1],
            3: lambda a: a[::-1, ::-1],
            4: lambda a: a[::-1],
            5: lambda a: a.swapaxes(0, 1),
            6: lambda a: np.rot90(a, 1),
            7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
            8: lambda a: np.rot90(a, -1),
        }[orientation]
        exif = Image.Exif()
        exif[tags.ORIENTATION] = orientation
        options = {"lossless": True, "exact": True} if suffix == "webp" else {}
        pixels = np.ascontiguousarray(stored(np.dstack([rgb, alpha])))
        picture = pictures.read(saved(tmp_path / f"a.{suffix}", pixels, exif=exif, **options))
        np.testing.assert_array_equal(picture.rgb, rgb)
        np.testing.assert_array_equal(picture.alpha, alpha)

    @pytest.mark.filterwarnings("error")
    def test_broken_exif_is_ignored(self, tmp_path, rgb):
        path = saved(tmp_path / "a.jpg", rgb, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
        assert pictures.read(path).rgb.shape == rgb.shape


class TestAnimation:
    @pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
    def test_the_first_frame_is_taken_with_a_notice(self, tmp_path, rgb, suffix):
        frames = [Image.fromarray(np.full_like(rgb, level)) for level in (40, 120, 200)]
        options = {"lossless": True} if suffix == "webp" else {}
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
        picture = pictures.read(tmp_path / f"a.{suffix}")
        assert picture.notices == ("it is animated; only the first frame is taken",)
        assert np.all(picture.rgb == 40)

    def test_the_first_page_is_taken_with_a_notice(self, tmp_path, rgb):
        pages = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
        pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
        picture = pictures.read(tmp_path / "a.tif")
        assert picture.notices == ("it holds several pages; only the first one is taken",)
        np.testing.assert_array_equal(picture.rgb, rgb)


class TestRefusals:
    def test_an_empty_file(self, tmp_path):
        (tmp_path / "a.png").write_bytes(b"")
        assert refusal(tmp_path / "a.png").endswith("the file is empty")

    def test_a_missing_file(self, tmp_path):
        assert refusal(tmp_path / "a.png").endswith("no such file")

    def test_a_directory(self, tmp_path):
        assert "directory" in refusal(tmp_path)

    @pytest.mark.parametrize("data", [b"Dear reader,\n", b"tfcd\x01", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
    def test_what_is_not_an_image(self, tmp_path, data):
        (tmp_path / "a.png").write_bytes(data)
        assert "not a picture in a known format (PNG, JPEG, WEBP" in refusal(tmp_path / "a.png")

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp", "gif", "ppm"])
    @pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95])
    def test_a_truncated_picture(self, tmp_path, suffix, share):
        noise = np.random.default_rng(5).integers(0, 256, (60, 80, 3), np.uint8)
        data = saved(tmp_path / f"whole.{suffix}", noise).read_bytes()
        (tmp_path / f"a.{suffix}").write_bytes(data[: int(share * len(data))])
        message = refusal(tmp_path / f"a.{suffix}")
        assert "damaged or truncated" in message or "known format" in message

    @pytest.mark.filterwarnings("error")
    def test_damaged_bytes_are_refused_or_read_and_nothing_else(self, tmp_path, rgb, capfd):
        rng = np.random.default_rng(11)
        for suffix in ("png", "jpg", "webp", "tif", "bmp", "gif"):
            options = {"compression": "tiff_lzw"} if suffix == "tif" else {}
            whole = saved(tmp_path / f"whole.{suffix}", rgb, **options).read_bytes()
            path = tmp_path / f"a.{suffix}"
            for _ in range(60):
                data = bytearray(whole)
                for at in rng.integers(0, len(data), 3):
                    data[at] = rng.integers(256)
                path.write_bytes(data)
                try:
                    assert pictures.read(path, max_pixels=10**7).rgb.dtype == np.uint8
                except InputError as error:
                    assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        assert capfd.readouterr().err == ""  # the C libraries under Pillow are quiet too

    def test_more_pixels_than_allowed(self, tmp_path, rgb):
        path = saved(tmp_path / "a.png", rgb)
        assert pictures.read(path, max_pixels=HEIGHT * WIDTH).width == WIDTH
        message = refusal(path, max_pixels=HEIGHT * WIDTH - 1)
        assert f"31x19 is 589 pixels, more than the limit of {589 - 1}" in message

    @pytest.mark.filterwarnings("error")
    def test_a_huge_claim_is_refused_from_the_header(self, tmp_path):
        header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
        (tmp_path / "a.png").write_bytes(
            b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"")
        )
        assert "100000x100000 is 10000000000 pixels" in refusal(tmp_path / "a.png")

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp", "gif", "ppm", "avif"])
    def test_the_size_is_known_from_the_header(self, tmp_path, rgb, suffix):
        path = saved(tmp_path / f"a.{suffix}", rgb)
        assert pictures.read_size(path) == (HEIGHT, WIDTH)
        path.write_bytes(path.read_bytes()[:9])
        with pytest.raises(InputError, match="damaged or truncated|is not a picture"):
            pictures.read_size(path)

    def test_pillows_own_limit_is_neither_applied_nor_forgotten(self, tmp_path, rgb, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert pictures.read(saved(tmp_path / "a.png", rgb)).width == WIDTH
        assert Image.MAX_IMAGE_PIXELS == 10
