"""TIFF by its tags: read right whatever the layout, or refused by what it is."""

import io

import numpy as np
import pytest
from drawn import HEIGHT, WIDTH, exif, saved, tiff
from PIL import Image

from tfcodec import pictures
from tfcodec.errors import InputError

DEPTH_NOTICE = "its {}-bit samples are reduced to 8 bits"


@pytest.fixture
def cmyk(rgb):
    return np.dstack([rgb, rgb[::-1, :, 1] // 3])


def read(data):
    return pictures.read(io.BytesIO(data), name="a.tif")


def refusal(data):
    with pytest.raises(InputError) as caught:
        read(data)
    assert str(caught.value).startswith("a.tif: ") and "\n" not in str(caught.value)
    return str(caught.value)


LAYOUTS = [
    {},
    {"planar": 2},
    {"order": ">"},
    {"order": ">", "planar": 2},
    {"tile": (16, 16)},
    {"tile": (16, 16), "planar": 2, "order": ">"},
    {"compression": 8},
    {"compression": 32773, "planar": 2},
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("depth", [8, 16])
class TestLayouts:
    def test_rgb(self, rgb, depth, layout):
        scale = 257 if depth == 16 else 1
        picture = read(tiff(rgb.astype(int) * scale, depth, 2, **layout))
        np.testing.assert_array_equal(picture.rgb, rgb)
        assert picture.notices == ((DEPTH_NOTICE.format(16),) if depth == 16 else ())

    def test_rgb_with_alpha(self, rgb, alpha, depth, layout):
        scale = 257 if depth == 16 else 1
        samples = np.dstack([rgb, alpha]).astype(int) * scale
        picture = read(tiff(samples, depth, 2, tags={338: [2]}, **layout))
        np.testing.assert_array_equal(picture.rgb, rgb)
        np.testing.assert_array_equal(picture.alpha, alpha)

    @pytest.mark.parametrize("photometric", [0, 1])
    def test_gray_of_either_polarity(self, rgb, depth, layout, photometric):
        scale = 257 if depth == 16 else 1
        gray = rgb[..., :1]
        picture = read(tiff(gray.astype(int) * scale, depth, photometric, **layout))
        assert picture.gray
        np.testing.assert_array_equal(
            picture.rgb, np.repeat(gray if photometric else 255 - gray, 3, 2)
        )

    def test_cmyk(self, cmyk, depth, layout):
        scale = 257 if depth == 16 else 1
        picture = read(tiff(cmyk.astype(int) * scale, depth, 5, **layout))
        image = Image.frombytes("CMYK", (WIDTH, HEIGHT), cmyk.tobytes())
        np.testing.assert_array_equal(picture.rgb, np.asarray(image.convert("RGB")))


class TestDepths:
    @pytest.mark.parametrize("depth", [1, 2, 3, 4, 6, 10, 12, 14])
    @pytest.mark.parametrize("order", "<>")
    def test_any_number_of_bits_is_scaled(self, rgb, depth, order):
        peak = 2**depth - 1
        levels = rgb[..., :1].astype(int) * peak // 255
        picture = read(tiff(levels, depth, 1, order=order))
        np.testing.assert_array_equal(picture.rgb[..., :1], np.round(levels * 255 / peak))
        assert picture.gray == (depth > 1)
        assert picture.notices == ((DEPTH_NOTICE.format(depth),) if depth > 8 else ())

    @pytest.mark.parametrize("depth", [1, 4, 8])
    def test_palette_of_16_bit_levels(self, rgb, depth):
        indexes = rgb[..., :1].astype(int) >> (8 - depth)
        levels = np.random.default_rng(0).integers(0, 65536, 3 << depth)
        picture = read(tiff(indexes, depth, 3, tags={320: levels.tolist()}))
        colors = (levels.reshape(3, -1).T >> 8).astype(np.uint8)
        np.testing.assert_array_equal(picture.rgb, colors[indexes[..., 0]])

    def test_lzw_of_16_bits_by_libtiff(self, tmp_path, rgb):
        deep = rgb[..., 0].astype(np.uint16) * 257
        path = saved(tmp_path / "a.tif", deep, mode="I;16", compression="tiff_lzw")
        np.testing.assert_array_equal(pictures.read(path).rgb[..., 0], rgb[..., 0])

    @pytest.mark.parametrize("depth", [8, 16])
    def test_differences_are_summed(self, rgb, depth):
        scale = 257 if depth == 16 else 1
        samples = rgb.astype(int) * scale
        steps = np.diff(samples, axis=1, prepend=0) % 2**depth
        picture = read(tiff(steps, depth, 2, compression=8, tags={317: [2]}))
        np.testing.assert_array_equal(picture.rgb, rgb)

    def test_premultiplied_colours_are_divided(self, rgb, alpha):
        deep = rgb.astype(int) * 257
        multiplied = np.dstack([deep * alpha[..., None] // 255, alpha.astype(int) * 257])
        picture = read(tiff(multiplied, 16, 2, tags={338: [1]}))
        some = alpha > 30
        assert np.abs(picture.rgb.astype(int) - rgb)[some].max() <= 1
        np.testing.assert_array_equal(picture.alpha, alpha)

    def test_bits_from_the_low_end(self, rgb):
        data = tiff(rgb, 8, 2)
        reverse = bytes(int(f"{k:08b}"[::-1], 2) for k in range(256))
        size = rgb.size
        turned = tiff(rgb, 8, 2, tags={266: [2]})
        turned = turned[:8] + data[8 : 8 + size].translate(reverse) + turned[8 + size :]
        np.testing.assert_array_equal(read(turned).rgb, rgb)


class TestRefusals:
    @pytest.mark.parametrize(
        "depth, photometric, channels, tags, words",
        [
            (16, 1, 1, {339: [2]}, "has signed samples of 16 bits, whose black is not said"),
            (8, 2, 3, {339: [2, 2, 2]}, "has signed samples of 8 bits"),
            (32, 1, 1, {339: [3]}, "has floating-point samples of 32 bits; convert it"),
            (32, 1, 1, {}, "has samples of 32 bits; convert it to unsigned 8 or 16 bits first"),
            (8, 2, 3, {258: [5, 6, 5]}, "has samples of 5, 6, 5 bits; they must be equal"),
            (16, 32803, 1, {}, "colours of the kind 32803 (a camera's raw samples)"),
            (8, 5, 4, {332: [2]}, "has inks other than CMYK"),
            (8, 1, 1, {259: [34712]}, "the TIFF compression 34712 (JPEG 2000) of 8-bit samples"),
            (16, 1, 1, {259: [7]}, "the TIFF compression 7 (JPEG) of 16-bit samples"),
            (8, 2, 9, {}, "has 9 samples a pixel; at most 8 are read"),
            (8, 6, 3, {}, "has uncompressed YCbCr of fewer colours"),
        ],
    )
    def test_the_true_reason_is_said(self, depth, photometric, channels, tags, words):
        samples = np.arange(HEIGHT * WIDTH * channels).reshape(HEIGHT, WIDTH, channels) % 250
        message = refusal(tiff(samples, depth, photometric, tags=tags))
        assert words in message and "known format" not in message

    @pytest.mark.parametrize(
        "tags",
        [
            {273: [8] * 2},  # too few strips
            {273: [10**9] * 3},  # beyond the end
            {278: [0]},
            {256: [0]},
            {273: None},
            {322: [16], 323: [2**30], 324: [8], 325: [9]},  # tiles much larger than the picture
            {277: [1]},
            {320: [1, 2, 3], 262: [3], 277: [1], 258: [8]},
        ],
        ids=str,
    )
    def test_tags_that_contradict_are_damage(self, rgb, tags):
        assert "damaged or truncated" in refusal(tiff(rgb, 8, 2, tags=tags))

    def test_a_tiny_file_that_claims_much_is_refused_at_once(self):
        samples = np.zeros((4, 4, 1), int)
        data = tiff(samples, 8, 1, tags={256: [11_000], 257: [11_000], 278: [1]})
        assert "damaged or truncated" in refusal(data)

    def test_damaged_bytes_are_read_or_refused_and_nothing_else(self, rgb, capfd):
        random = np.random.default_rng(3)
        deep = rgb.astype(int) * 257
        wholes = [tiff(deep, 16, 2, **layout) for layout in LAYOUTS]
        for trial in range(800):
            data = bytearray(wholes[trial % len(wholes)])
            for at in random.integers(0, len(data), 2):
                data[at] = random.integers(256)
            data[-random.integers(1, 190)] = random.integers(256)  # the directory
            try:
                assert pictures.read(io.BytesIO(data), 10**7, "a").rgb.dtype == np.uint8
            except InputError as error:
                assert str(error).startswith("a: ") and "\n" not in str(error)
        assert capfd.readouterr().err == ""


class TestBeside:
    def test_orientation_and_pages_and_metadata(self, rgb):
        tags = {274: [6], 271: b"Maker\0", 700: b'<x tiff:Orientation="6"/>'}
        picture = read(tiff(rgb.astype(int) * 257, 16, 2, planar=2, tags=tags))
        np.testing.assert_array_equal(picture.rgb, np.rot90(rgb, -1))
        assert picture.metadata.xmp == b'<x tiff:Orientation="1"/>'
        found = Image.Exif()
        found.load(picture.metadata.exif)
        assert dict(found) == {271: "Maker", 274: 1}

    def test_what_every_tool_writes_is_no_metadata(self, rgb):
        tags = {270: b"a caption\0", 305: b"a tool\0", 274: [1]}
        assert read(tiff(rgb, 8, 2, tags=tags)).metadata is None

    def test_a_channel_of_no_known_meaning_is_dropped_with_a_notice(self, rgb, alpha):
        picture = read(tiff(np.dstack([rgb, alpha]), 8, 2, tags={338: [0]}))
        assert picture.alpha is None
        assert picture.notices == ("its channels beside colour and alpha are dropped",)

    def test_several_pages_of_16_bits_are_two_notices(self, tmp_path, rgb):
        deep = Image.fromarray(rgb[..., 0].astype(np.uint16) * 257)
        deep.save(tmp_path / "a.tif", save_all=True, append_images=[deep])
        assert pictures.read(tmp_path / "a.tif").notices == (
            DEPTH_NOTICE.format(16),
            "it holds several pages; only the first one is taken",
        )

    @pytest.mark.parametrize("compression", ["jpeg", "group4", "tiff_ccitt"])
    def test_what_squeezes_pictures_is_pillows(self, tmp_path, rgb, compression):
        mode = "RGB" if compression == "jpeg" else "1"
        path = saved(tmp_path / "a.tif", rgb, mode=mode, compression=compression)
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(pictures.read(path).rgb, expected)

    def test_exif_of_a_pillow_tiff_comes_along(self, tmp_path, rgb):
        path = saved(tmp_path / "a.tif", rgb, exif=exif(Orientation=3, Artist="Somebody"))
        picture = pictures.read(path)
        np.testing.assert_array_equal(picture.rgb, rgb[::-1, ::-1])
        assert b"Somebody" in picture.metadata.exif
