"""Every row of the input table, and the laws of writing: complete or not at all."""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw, PngImagePlugin

from tfcodec.errors import ContainerError, InputError
from tfcodec.pictures import reader as images
from tfcodec.pictures.reader import Picture

HEIGHT, WIDTH = 19, 31


@pytest.fixture
def rgb():
    """Smooth and asymmetric in every direction: turned, swapped or mirrored pixels show."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([7 * x, 12 * y, 4 * x + 5 * y], axis=-1).astype(np.uint8)


@pytest.fixture
def alpha():
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return ((x * y) % 256).astype(np.uint8)


def saved(path, array, *, mode=None, **options):
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(samples, depth, color_type, *chunks):
    """A PNG by hand, for what Pillow does not write; `samples` [H, W, C] have `depth` bits."""
    height, width, _ = samples.shape
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in samples]
    else:  # PNG packs small samples from the top bit
        bits = np.unpackbits(samples.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
        rows = [np.packbits(row).tobytes() for row in bits]
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


def refusal(path, **options):
    """The sentence with which `read` refuses a file."""
    with pytest.raises(InputError) as caught:
        images.read(path, **options)
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
        picture = images.read(saved(tmp_path / f"a.{suffix}", rgb, **options))
        np.testing.assert_array_equal(picture.rgb, rgb)
        assert picture.rgb.dtype == np.uint8 and picture.alpha is None
        assert (picture.height, picture.width) == (HEIGHT, WIDTH)
        assert not picture.gray and picture.notices == ()

    @pytest.mark.parametrize("suffix", ["jpg", "webp", "avif"])
    def test_lossy_formats_are_near(self, tmp_path, rgb, suffix):
        if f".{suffix}" not in Image.registered_extensions():
            pytest.skip(f"this Pillow has no {suffix}")
        options = {"subsampling": 0} if suffix == "jpg" else {}
        picture = images.read(saved(tmp_path / f"a.{suffix}", rgb, quality=95, **options))
        assert np.abs(picture.rgb.astype(int) - rgb).mean() < 4
        assert not picture.gray and picture.notices == ()

    @pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "ppm"])
    def test_grayscale_is_flagged(self, tmp_path, rgb, suffix):
        gray = rgb[..., 0]
        picture = images.read(saved(tmp_path / f"a.{suffix}", gray))
        assert picture.gray
        np.testing.assert_array_equal(picture.rgb[..., 0], picture.rgb[..., 2])
        assert np.abs(picture.rgb[..., 1].astype(int) - gray).max() <= (8 if suffix == "jpg" else 0)

    def test_palette_becomes_rgb(self, tmp_path, rgb):
        image = Image.fromarray(rgb).quantize(16)
        image.save(tmp_path / "a.png")
        picture = images.read(tmp_path / "a.png")
        np.testing.assert_array_equal(picture.rgb, np.asarray(image.convert("RGB")))
        assert not picture.gray and picture.alpha is None

    def test_one_bit_becomes_rgb(self, tmp_path, rgb):
        saved(tmp_path / "a.png", rgb, mode="1")
        picture = images.read(tmp_path / "a.png")
        assert set(np.unique(picture.rgb)) == {0, 255} and not picture.gray

    @pytest.mark.parametrize("suffix", ["jpg", "tif"])
    def test_cmyk_becomes_rgb(self, tmp_path, rgb, suffix):
        options = {"quality": 95, "subsampling": 0} if suffix == "jpg" else {}
        saved(tmp_path / f"a.{suffix}", rgb, mode="CMYK", **options)
        picture = images.read(tmp_path / f"a.{suffix}")
        assert np.abs(picture.rgb.astype(int) - rgb).mean() < 4

    def test_the_bundled_photograph_reads(self):
        path = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "kodim23.png")
        picture = images.read(path)
        assert picture.rgb.shape == (512, 768, 3) and picture.notices == ()


class TestAlpha:
    @pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
    def test_rgba_is_kept(self, tmp_path, rgb, alpha, suffix):
        options = {"lossless": True, "exact": True} if suffix == "webp" else {}
        path = saved(tmp_path / f"a.{suffix}", np.dstack([rgb, alpha]), **options)
        picture = images.read(path)
        np.testing.assert_array_equal(picture.rgb, rgb)
        np.testing.assert_array_equal(picture.alpha, alpha)

    def test_gray_with_alpha_is_kept(self, tmp_path, rgb, alpha):
        picture = images.read(saved(tmp_path / "a.png", np.dstack([rgb[..., 0], alpha])))
        assert picture.gray
        np.testing.assert_array_equal(picture.rgb[..., 1], rgb[..., 0])
        np.testing.assert_array_equal(picture.alpha, alpha)

    def test_an_opaque_alpha_channel_is_kept(self, tmp_path, rgb):
        opaque = np.full((HEIGHT, WIDTH), 255, np.uint8)
        picture = images.read(saved(tmp_path / "a.png", np.dstack([rgb, opaque])))
        np.testing.assert_array_equal(picture.alpha, opaque)

    @pytest.mark.parametrize("suffix", ["png", "gif"])
    @pytest.mark.filterwarnings("error")
    def test_a_transparent_palette_entry_becomes_alpha(self, tmp_path, rgb, suffix):
        image = Image.fromarray(rgb).quantize(8)
        image.save(tmp_path / f"a.{suffix}", transparency=3)
        picture = images.read(tmp_path / f"a.{suffix}")
        with Image.open(tmp_path / f"a.{suffix}") as stored:
            transparent = np.asarray(stored) == stored.info["transparency"]
        np.testing.assert_array_equal(picture.alpha, np.where(transparent, 0, 255))
        assert 0 < transparent.sum() < transparent.size

    def test_palette_alpha_by_entry_is_kept(self, tmp_path, rgb):
        image = Image.fromarray(rgb).quantize(8)
        levels = bytes(range(0, 160, 20))
        image.save(tmp_path / "a.png", transparency=levels)
        picture = images.read(tmp_path / "a.png")
        np.testing.assert_array_equal(picture.alpha, np.array(list(levels))[np.asarray(image)])

    def test_the_transparent_colour_of_an_rgb_png_becomes_alpha(self, tmp_path, rgb):
        colour = tuple(int(v) for v in rgb[4, 9])
        picture = images.read(saved(tmp_path / "a.png", rgb, transparency=colour))
        np.testing.assert_array_equal(picture.alpha == 0, np.all(rgb == rgb[4, 9], axis=-1))
        np.testing.assert_array_equal(picture.rgb, rgb)

    @pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
    def test_the_transparent_level_of_a_gray_png_becomes_alpha(self, tmp_path, depth):
        peak = 2**depth - 1
        levels = (np.arange(15) * (peak / 14)).astype(int).reshape(3, 5, 1)
        if depth == 16:
            levels[2, 4] = levels[0, 0] + 1  # the same 8-bit level, another 16-bit one
        (tmp_path / "a.png").write_bytes(
            png(levels, depth, 0, (b"tRNS", struct.pack(">H", int(levels[0, 0, 0]))))
        )
        picture = images.read(tmp_path / "a.png")
        np.testing.assert_array_equal(picture.alpha == 0, levels[..., 0] == levels[0, 0, 0])
        assert picture.gray == (depth > 1)

    def test_alpha_survives_the_embedded_png(self, alpha):
        data = images.alpha_to_png(alpha)
        np.testing.assert_array_equal(images.alpha_from_png(data, HEIGHT, WIDTH), alpha)


class TestDepth:
    RAMP = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)

    @pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
    def test_16_bit_gray_is_scaled_with_a_notice(self, tmp_path, suffix):
        Image.fromarray(self.RAMP).convert("I;16").save(tmp_path / f"a.{suffix}")
        picture = images.read(tmp_path / f"a.{suffix}")
        assert picture.gray and picture.notices == ("its 16-bit samples are reduced to 8 bits",)
        np.testing.assert_array_equal(picture.rgb[..., 0], np.round(self.RAMP / 257))

    @pytest.mark.parametrize("color_type, channels", [(0, 1), (2, 3), (4, 2), (6, 4)])
    def test_every_16_bit_png_is_scaled_with_a_notice(self, tmp_path, color_type, channels):
        samples = np.repeat(self.RAMP[..., None], channels, axis=2)
        (tmp_path / "a.png").write_bytes(png(samples, 16, color_type))
        picture = images.read(tmp_path / "a.png")
        assert picture.notices == ("its 16-bit samples are reduced to 8 bits",)
        assert picture.gray == (channels < 3)
        # Pillow itself keeps the upper byte of 16-bit colour: up to one level below the rounded.
        assert np.abs(picture.rgb - self.RAMP[..., None] / 257).max() <= 1
        assert (picture.alpha is not None) == (channels in (2, 4))
        if picture.alpha is not None:
            assert np.abs(picture.alpha - self.RAMP / 257).max() <= 1

    def test_8_bits_repeated_to_16_come_back_exactly(self, tmp_path, rgb):
        (tmp_path / "a.png").write_bytes(png(rgb.astype(np.uint16) * 257, 16, 2))
        np.testing.assert_array_equal(images.read(tmp_path / "a.png").rgb, rgb)

    def test_float_samples_are_refused(self, tmp_path):
        Image.fromarray(np.ones((4, 5), np.float32)).save(tmp_path / "a.tif")
        assert "32 bits" in refusal(tmp_path / "a.tif")


def swapped_channels_profile():
    """A profile that calls blue red: sRGB with two entries of its tag table swapped."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ", 128), profile.index(b"bXYZ", 128)
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


class TestColourProfile:
    def test_an_srgb_profile_leaves_the_pixels_alone(self, tmp_path, rgb):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        picture = images.read(saved(tmp_path / "a.png", rgb, icc_profile=profile))
        np.testing.assert_array_equal(picture.rgb, rgb)
        assert picture.notices == ()

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
    def test_another_profile_is_converted_to_srgb(self, tmp_path, rgb, suffix):
        options = {"jpg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}
        profile = swapped_channels_profile()
        path = saved(tmp_path / f"a.{suffix}", rgb, icc_profile=profile, **options.get(suffix, {}))
        picture = images.read(path)
        assert np.abs(picture.rgb.astype(int) - rgb[..., ::-1]).mean() < 4
        assert picture.notices == ()

    def test_the_profile_of_a_transparent_picture_spares_the_alpha(self, tmp_path, rgb, alpha):
        profile = swapped_channels_profile()
        path = saved(tmp_path / "a.png", np.dstack([rgb, alpha]), icc_profile=profile)
        picture = images.read(path)
        np.testing.assert_array_equal(picture.alpha, alpha)
        assert np.abs(picture.rgb.astype(int) - rgb[..., ::-1]).max() <= 2

    def test_gray_with_an_rgb_profile_stays_gray(self, tmp_path, rgb):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        picture = images.read(saved(tmp_path / "a.png", rgb[..., 0], icc_profile=profile))
        assert picture.gray and picture.notices == ()
        np.testing.assert_array_equal(picture.rgb[..., 0], rgb[..., 0])

    @pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
    @pytest.mark.parametrize("profile", [b"not a profile", bytes(200)])
    def test_a_broken_profile_is_ignored_with_a_notice(self, tmp_path, rgb, mode, profile):
        path = saved(tmp_path / "a.jpg", rgb, mode=mode, icc_profile=profile)
        picture = images.read(path)
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
        exif[images.EXIF_ORIENTATION] = orientation
        options = {"lossless": True, "exact": True} if suffix == "webp" else {}
        pixels = np.ascontiguousarray(stored(np.dstack([rgb, alpha])))
        picture = images.read(saved(tmp_path / f"a.{suffix}", pixels, exif=exif, **options))
        np.testing.assert_array_equal(picture.rgb, rgb)
        np.testing.assert_array_equal(picture.alpha, alpha)

    @pytest.mark.filterwarnings("error")
    def test_broken_exif_is_ignored(self, tmp_path, rgb):
        path = saved(tmp_path / "a.jpg", rgb, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
        assert images.read(path).rgb.shape == rgb.shape


class TestAnimation:
    @pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
    def test_the_first_frame_is_taken_with_a_notice(self, tmp_path, rgb, suffix):
        frames = [Image.fromarray(np.full_like(rgb, level)) for level in (40, 120, 200)]
        options = {"lossless": True} if suffix == "webp" else {}
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
        picture = images.read(tmp_path / f"a.{suffix}")
        assert picture.notices == ("it is animated; only the first frame is taken",)
        assert np.all(picture.rgb == 40)

    def test_the_first_page_is_taken_with_a_notice(self, tmp_path, rgb):
        pages = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
        pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
        picture = images.read(tmp_path / "a.tif")
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
                    assert images.read(path, max_pixels=10**7).rgb.dtype == np.uint8
                except InputError as error:
                    assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        assert capfd.readouterr().err == ""  # the C libraries under Pillow are quiet too

    def test_more_pixels_than_allowed(self, tmp_path, rgb):
        path = saved(tmp_path / "a.png", rgb)
        assert images.read(path, max_pixels=HEIGHT * WIDTH).width == WIDTH
        message = refusal(path, max_pixels=HEIGHT * WIDTH - 1)
        assert f"31x19 is 589 pixels, more than the limit of {589 - 1}" in message

    @pytest.mark.filterwarnings("error")
    def test_a_huge_claim_is_refused_from_the_header(self, tmp_path):
        header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
        (tmp_path / "a.png").write_bytes(
            b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"")
        )
        assert "100000x100000 is 10000000000 pixels" in refusal(tmp_path / "a.png")

    def test_pillows_own_limit_is_neither_applied_nor_forgotten(self, tmp_path, rgb, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert images.read(saved(tmp_path / "a.png", rgb)).width == WIDTH
        assert Image.MAX_IMAGE_PIXELS == 10


class TestArrays:
    @pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
    def test_to_array_inverts_from_array(self, rgb, alpha, channels):
        array = np.dstack([rgb, alpha])
        array = array[..., 0] if channels is None else array[..., :channels]
        picture = images.from_array(array)
        assert picture.gray == (channels in (None, 1, 2))
        expected = array[..., 0] if channels == 1 else array
        np.testing.assert_array_equal(images.to_array(picture), expected)

    def test_the_picture_does_not_share_the_callers_memory(self, rgb):
        picture = images.from_array(rgb)
        before = picture.rgb.copy()
        rgb[:] = 0
        np.testing.assert_array_equal(picture.rgb, before)

    @pytest.mark.parametrize(
        "array, words",
        [
            (np.zeros((4, 5, 3), np.float32), "uint8, received float32"),
            (np.zeros((4,), np.uint8), r"[H, W, C], received (4,)"),
            (np.zeros((1, 4, 5, 3), np.uint8), "received (1, 4, 5, 3)"),
            (np.zeros((4, 5, 6), np.uint8), "1 to 4 channels, received 6"),
            (np.zeros((0, 5, 3), np.uint8), "empty: shape (0, 5, 3)"),
        ],
    )
    def test_other_arrays_are_refused(self, array, words):
        with pytest.raises(InputError) as caught:
            images.from_array(array)
        assert words in str(caught.value)


class TestWriting:
    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    @pytest.mark.parametrize("suffix", ["png", "PNG", "webp", "tif", "tiff", "bmp", "ppm"])
    def test_what_is_written_is_read_back(self, tmp_path, rgb, alpha, channels, suffix):
        picture = images.from_array(np.dstack([rgb, alpha])[..., :channels])
        path = tmp_path / f"a.{suffix}"
        if suffix in ("bmp", "ppm") and picture.alpha is not None:
            with pytest.raises(InputError, match="cannot hold the picture's alpha channel"):
                images.write(path, picture)
            assert os.listdir(tmp_path) == []
            return
        images.write(path, picture)
        back = images.read(path)
        np.testing.assert_array_equal(back.rgb, picture.rgb)
        if picture.alpha is not None:
            np.testing.assert_array_equal(back.alpha, picture.alpha)
        assert back.gray == (picture.gray and suffix != "webp")

    def test_jpeg_keeps_gray_and_stays_near(self, tmp_path, rgb):
        images.write(tmp_path / "a.jpg", images.from_array(rgb))
        assert np.abs(images.read(tmp_path / "a.jpg").rgb.astype(int) - rgb).mean() < 3
        images.write(tmp_path / "g.jpg", images.from_array(rgb[..., 0]))
        assert images.read(tmp_path / "g.jpg").gray

    def test_an_unknown_suffix_lists_the_known_ones(self, tmp_path, rgb):
        for name in ("a.xyz", "a"):
            with pytest.raises(InputError, match="choose one of .png, .jpg"):
                images.write(tmp_path / name, images.from_array(rgb))

    def test_a_picture_larger_than_the_format_is_refused(self, tmp_path):
        long = Picture(np.zeros((1, 17_000, 3), np.uint8))
        with pytest.raises(InputError, match="WEBP cannot hold a picture of 17000x1"):
            images.write(tmp_path / "a.webp", long)
        assert os.listdir(tmp_path) == []

    def test_permissions_are_those_of_any_new_file(self, tmp_path):
        images.atomic_write(tmp_path / "a", b"data")
        (tmp_path / "b").write_bytes(b"data")
        assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode

    def test_a_failed_write_leaves_the_old_file_and_nothing_else(self, tmp_path, monkeypatch):
        (tmp_path / "a").write_bytes(b"old")

        def fail(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(InputError, match=r"a: cannot be written \(No space left"):
            images.atomic_write(tmp_path / "a", b"new")
        assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"

    def test_an_interrupt_leaves_nothing(self, tmp_path, monkeypatch):
        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            images.atomic_write(tmp_path / "a", b"new")
        assert os.listdir(tmp_path) == []

    def test_a_missing_directory_is_named(self, tmp_path):
        with pytest.raises(InputError, match="the directory .*none does not exist"):
            images.atomic_write(tmp_path / "none" / "a.png", b"data")

    def test_only_regular_files_are_replaced(self, tmp_path):
        with pytest.raises(InputError, match="this is a directory"):
            images.atomic_write(tmp_path, b"data")
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InputError, match="not a regular file"):
            images.atomic_write(tmp_path / "pipe", b"data")

    def test_a_link_stays_a_link(self, tmp_path):
        (tmp_path / "link").symlink_to("real")
        images.atomic_write(tmp_path / "link", b"data")
        assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"data"


class TestHostileAlpha:
    """`alpha_from_png` on bytes that a file may claim to be its alpha."""

    def refuse(self, data, height=HEIGHT, width=WIDTH):
        with pytest.raises(ContainerError) as caught:
            images.alpha_from_png(data, height, width, "k.tfcd")
        assert str(caught.value).startswith("k.tfcd: the alpha part ")
        return str(caught.value)

    def test_every_truncation(self, alpha):
        data = images.alpha_to_png(alpha)
        for size in range(len(data)):
            self.refuse(data[:size])

    def test_appended_bytes(self, alpha):
        assert "followed by 3 unexpected bytes" in self.refuse(images.alpha_to_png(alpha) + b"abc")

    def test_every_flipped_byte(self, alpha):
        data = images.alpha_to_png(alpha)
        for at in range(len(data)):
            self.refuse(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])

    def test_another_size(self, alpha):
        data = images.alpha_to_png(alpha)
        assert "not an 8-bit gray PNG of 32x19" in self.refuse(data, HEIGHT, WIDTH + 1)
        self.refuse(data, WIDTH, HEIGHT)

    def test_other_kinds_of_png(self, rgb):
        for mode in ("RGB", "1", "P", "LA", "I;16"):
            buffer = io.BytesIO()
            Image.fromarray(rgb).convert("L").convert(mode).save(buffer, "PNG")
            self.refuse(buffer.getvalue())

    @pytest.mark.parametrize("kind", ["JPEG", "GIF", "BMP"])
    def test_other_formats(self, alpha, kind):
        buffer = io.BytesIO()
        Image.fromarray(alpha).save(buffer, kind)
        assert "is not a PNG" in self.refuse(buffer.getvalue())

    def test_text_that_would_unfold_to_much_more(self, alpha):
        info = PngImagePlugin.PngInfo()
        info.add_text("bomb", "0" * 10_000_000, zip=True)
        buffer = io.BytesIO()
        Image.fromarray(alpha).save(buffer, "PNG", pnginfo=info)
        assert "unexpected chunk b'zTXt'" in self.refuse(buffer.getvalue())

    def test_an_animation(self, alpha):
        buffer = io.BytesIO()
        frame = Image.fromarray(alpha)
        other = frame.copy()
        ImageDraw.Draw(other).line((0, 0, 9, 9), fill=7)
        frame.save(buffer, "PNG", save_all=True, append_images=[other])
        assert "unexpected chunk" in self.refuse(buffer.getvalue())

    def test_pixels_that_do_not_inflate_or_are_missing(self):
        header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
        whole = zlib.compress(bytes((WIDTH + 1) * HEIGHT))
        few = zlib.compress(bytes(WIDTH))
        for pixels in ([b"garbage"], [few], [whole[:9]], [], [b""]):
            parts = [(b"IHDR", header), *((b"IDAT", body) for body in pixels), (b"IEND", b"")]
            self.refuse(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts))

    def test_two_headers(self, alpha):
        data = images.alpha_to_png(alpha)
        assert "unexpected chunk b'IHDR'" in self.refuse(data[:33] + data[8:])
