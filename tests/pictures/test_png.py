"""PNG by its chunks: texts, profiles of any size, and the colours that they describe."""

import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from drawn import exif, png, png_chunk, png_file, png_header, profile_of_swapped_channels
from PIL import Image, ImageCms

from tfcodec import pictures
from tfcodec.errors import InputError


def read(data):
    return pictures.read(io.BytesIO(data), name="a.png")


def itxt(keyword, text, compressed=True):
    body = zlib.compress(text) if compressed else text
    return b"iTXt", keyword + b"\0" + bytes([compressed, 0]) + b"\0\0" + body


def iccp(profile):
    return b"iCCP", b"some\0\0" + zlib.compress(profile)


def srgb_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


class TestTexts:
    @pytest.mark.parametrize(
        "chunk",
        [
            itxt(b"Comment", b"word " * 300_000),
            (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(90_000_000))),
            (b"tEXt", b"Comment\0" + bytes(3_000_000)),
            (b"iTXt", b"no end of a keyword"),
            (b"zTXt", b"XML:com.adobe.xmp\0\0" + b"no zlib"),
            (b"prVt", bytes(2_000_000)),
        ],
        ids=lambda chunk: chunk[0].decode(),
    )
    def test_pixels_are_read_whatever_the_texts(self, rgb, chunk):
        picture = read(png(rgb, 8, 2, chunk))
        np.testing.assert_array_equal(picture.rgb, rgb)
        assert picture.notices == () and picture.metadata is None

    def test_many_texts_are_as_good_as_one(self, rgb):
        picture = read(png(rgb, 8, 2, *[itxt(b"Comment", bytes(900_000))] * 200))
        np.testing.assert_array_equal(picture.rgb, rgb)

    def test_many_pixel_chunks_with_texts_between_take_no_time(self, rgb):
        whole = png(rgb, 8, 2)
        at = whole.index(b"IDAT") - 4
        pixels = whole[at + 8 : -16]
        parts = [png_chunk(b"IDAT", pixels[k : k + 1]) for k in range(len(pixels))]
        parts += [png_chunk(b"IDAT", b"")] * 60_000
        data = whole[:at] + png_chunk(b"tEXt", b"a\0b").join(parts) + whole[-12:]
        start = time.perf_counter()
        np.testing.assert_array_equal(read(data).rgb, rgb)
        assert time.perf_counter() - start < 20  # of 120,000 chunks

    def test_a_wrong_checksum_of_a_text_is_no_reason(self, rgb):
        data = png(rgb, 8, 2, (b"tEXt", b"Comment\0word"))
        data = data.replace(b"word", b"Word")
        np.testing.assert_array_equal(read(data).rgb, rgb)

    @pytest.mark.parametrize("compressed", [True, False])
    def test_xmp_is_found_and_what_inflates_beyond_a_bound_is_not_kept(self, rgb, compressed):
        picture = read(png(rgb, 8, 2, itxt(b"XML:com.adobe.xmp", b"<x/>", compressed)))
        assert picture.metadata == pictures.Metadata(xmp=b"<x/>")
        large = read(png(rgb, 8, 2, itxt(b"XML:com.adobe.xmp", bytes(5_000_000), compressed)))
        assert "too large" in pictures.lost_metadata(large.metadata, keep=True)

    def test_exif_in_a_chunk_of_its_own_or_in_digits(self, rgb):
        made = exif(Orientation=6, Make="Maker")
        digits = (b"Exif\0\0" + made).hex().encode()
        text = b"\nexif\n%8d\n" % (len(digits) // 2) + digits
        for chunk in (
            (b"eXIf", made),
            (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)),
            (b"tEXt", b"Raw profile type APP1\0" + text),
        ):
            picture = read(png(rgb, 8, 2, chunk))
            np.testing.assert_array_equal(picture.rgb, np.rot90(rgb, -1))
            assert b"Maker" in picture.metadata.exif

    def test_a_critical_chunk_that_png_lacks_is_named(self, rgb):
        with pytest.raises(InputError, match="a.png: has the critical chunk CgBI, which is none"):
            read(png(rgb, 8, 2, (b"CgBI", bytes(4))))

    @pytest.mark.parametrize("size", range(8, 90, 3))
    def test_any_truncation_is_a_sentence(self, rgb, size):
        with pytest.raises(InputError, match="a.png: the picture is damaged or truncated"):
            read(png(rgb, 8, 2, (b"tEXt", b"Comment\0word"))[:size])


class TestProfiles:
    def test_a_profile_of_megabytes_is_used(self, rgb):
        profile = bytearray(profile_of_swapped_channels() + bytes(3_000_000))
        profile[:4] = struct.pack(">I", len(profile))
        picture = read(png(rgb, 8, 2, iccp(bytes(profile))))
        assert np.abs(picture.rgb.astype(int) - rgb[..., ::-1]).max() <= 2
        assert picture.notices == ()

    @pytest.mark.parametrize("chunk", [iccp(bytes(10**8)), (b"iCCP", b"some\0\0x"), (b"iCCP", b"")])
    def test_a_bomb_or_rubbish_is_ignored_with_one_notice(self, rgb, chunk):
        data = png(rgb, 8, 2, chunk)
        tracemalloc.start()
        start = time.perf_counter()
        picture = read(data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        np.testing.assert_array_equal(picture.rgb, rgb)
        assert len(picture.notices) == 1 and "is ignored" in picture.notices[0]
        assert peak < 2**26 and time.perf_counter() - start < 5


def chrm(*points):
    return b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in points))


GAMMA = b"gAMA", struct.pack(">I", 100_000)
SRGB_GAMMA = b"gAMA", struct.pack(">I", 45_455)
SRGB_PRIMARIES = chrm(0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
P3_PRIMARIES = chrm(0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
SRGB = b"sRGB", b"\0"
P3 = b"cICP", bytes([12, 13, 0, 1])


# Of linear light, https://www.w3.org/TR/css-color-4/#color-conversion-code (by way of XYZ).
P3_TO_SRGB = np.array([[1.2249, -0.2249, 0.0], [-0.0421, 1.0421, 0.0], [-0.0196, -0.0786, 1.0983]])


def light(x):
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def curve(light):
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


class TestColours:
    def test_linear_samples_become_srgb(self, rgb):
        picture = read(png(rgb, 8, 2, GAMMA))
        np.testing.assert_array_equal(picture.rgb, np.round(255 * curve(rgb / 255)))
        assert picture.notices == ()

    def test_linear_gray_stays_gray_whatever_its_primaries(self, rgb):
        picture = read(png(rgb[..., :1], 8, 0, GAMMA, P3_PRIMARIES))
        expected = np.round(255 * curve(rgb[..., 0] / 255))
        assert picture.gray
        np.testing.assert_array_equal(picture.rgb[..., 0], expected)

    def test_linear_colours_keep_their_alpha(self, rgb, alpha):
        picture = read(png(np.dstack([rgb, alpha]), 8, 6, GAMMA))
        np.testing.assert_array_equal(picture.rgb, np.round(255 * curve(rgb / 255)))
        np.testing.assert_array_equal(picture.alpha, alpha)

    def test_a_palette_is_converted(self, rgb):
        image = Image.fromarray(rgb).quantize(16)
        plain = io.BytesIO()
        image.save(plain, "PNG")
        data = plain.getvalue()[:33] + png_chunk(*GAMMA) + plain.getvalue()[33:]
        palette = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(read(data).rgb, np.round(255 * curve(palette / 255)))

    @pytest.mark.parametrize(
        "chunks",
        [
            (SRGB_GAMMA,),
            (SRGB_GAMMA, SRGB_PRIMARIES),
            ((b"gAMA", bytes(4)),),
            ((b"gAMA", b"\1"),),
            (SRGB, GAMMA),
            (SRGB, GAMMA, P3_PRIMARIES),
            (iccp(srgb_profile()), GAMMA),
            ((b"cICP", bytes([1, 13, 0, 1])), GAMMA),
            ((b"cICP", bytes([1, 13, 0, 1])), iccp(profile_of_swapped_channels()), SRGB, GAMMA),
        ],
        ids=lambda chunks: " ".join(kind.decode() for kind, _ in chunks),
    )
    def test_what_means_srgb_leaves_the_pixels_alone(self, rgb, chunks):
        picture = read(png(rgb, 8, 2, *chunks))
        np.testing.assert_array_equal(picture.rgb, rgb)
        assert picture.notices == ()

    @pytest.mark.parametrize(
        "chunks",
        [(SRGB_GAMMA, P3_PRIMARIES), (P3,), (P3, SRGB), (P3, iccp(srgb_profile()), GAMMA)],
        ids=lambda chunks: " ".join(kind.decode() for kind, _ in chunks),
    )
    def test_display_p3_becomes_srgb(self, chunks):
        samples = np.random.default_rng(0).integers(0, 256, (9, 50, 3)).astype(np.uint8)
        samples[0, :9] = np.arange(0, 255, 31)[:9, None]  # grays stay
        picture = read(png(samples, 8, 2, *chunks))
        expected = np.round(255 * curve(np.clip(light(samples / 255) @ P3_TO_SRGB.T, 0, 1)))
        assert np.abs(picture.rgb - expected).max() <= 1
        assert np.abs(picture.rgb[0, :9].astype(int) - samples[0, :9]).max() <= 1
        assert picture.notices == ()

    def test_a_profile_wins_over_srgb_and_gamma(self, rgb):
        picture = read(png(rgb, 8, 2, iccp(profile_of_swapped_channels()), SRGB, GAMMA))
        assert np.abs(picture.rgb.astype(int) - rgb[..., ::-1]).max() <= 2

    def test_the_narrow_range_is_widened(self):
        samples = np.uint8([[[16, 16, 16], [235, 235, 235], [0, 255, 126]]])
        picture = read(png(samples, 8, 2, (b"cICP", bytes([1, 13, 0, 0]))))
        expected = [[0, 0, 0], [255, 255, 255], [0, 255, 128]]
        np.testing.assert_array_equal(picture.rgb[0], expected)

    @pytest.mark.parametrize(
        "points, words",
        [
            ([9, 16, 0, 1], "its HDR samples (PQ) are taken for sRGB"),
            ([9, 18, 0, 1], "its HDR samples (HLG) are taken for sRGB"),
            ([77, 13, 0, 1], "its colour description (cICP 77, 13, 0, 1) is not known"),
            ([1, 13, 5, 1], "its colour description (cICP 1, 13, 5, 1) is not known"),
        ],
    )
    def test_code_points_without_a_reading_are_one_notice(self, rgb, points, words):
        picture = read(png(rgb, 8, 2, (b"cICP", bytes(points)), GAMMA))
        np.testing.assert_array_equal(picture.rgb, rgb)
        assert len(picture.notices) == 1 and words in picture.notices[0]

    @pytest.mark.parametrize("points", [(0.3, 0.3) * 4, (0,) * 8, (0.3127, 0.329) + (0.5, 0) * 3])
    def test_primaries_that_are_no_colours_are_ignored_with_a_notice(self, rgb, points):
        picture = read(png(rgb, 8, 2, chrm(*points)))
        np.testing.assert_array_equal(picture.rgb, rgb)
        assert picture.notices == ("its primaries (cHRM) are no colours and are ignored",)


def test_an_animated_png_gives_its_still_picture_with_a_notice(rgb):
    control = b"acTL", struct.pack(">II", 2, 0)
    assert read(png(rgb, 8, 2, control)).notices == (
        "it is animated; only the first frame is taken",
    )
    assert read(png(rgb, 8, 2, (b"acTL", struct.pack(">II", 1, 0)))).notices == ()


def test_damaged_chunks_are_read_or_refused_and_nothing_else(rgb):
    random = np.random.default_rng(4)
    chunks = [iccp(srgb_profile()), GAMMA, P3_PRIMARIES, P3, (b"eXIf", exif(Orientation=6))]
    for _ in range(200):
        some = [chunks[k] for k in random.permutation(len(chunks))[:3]]
        kind, body = some[0]
        body = bytearray(body)
        body[random.integers(len(body))] = random.integers(256)
        some[0] = kind, bytes(body[: random.integers(len(body) + 1)])
        data = png(rgb, 8, 2, *some)
        assert read(data).rgb.size == rgb.size


def test_a_pixel_chunk_with_a_wrong_checksum_is_damage(rgb):
    data = bytearray(png(rgb, 8, 2))
    data[data.index(b"IDAT") + 9] ^= 1
    with pytest.raises(InputError, match="damaged or truncated"):
        read(bytes(data))
    header = png_header(9, 9, 8, 2)
    with pytest.raises(InputError, match="damaged or truncated"):
        read(png_file((b"IHDR", header)))
