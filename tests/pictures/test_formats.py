"""Which format a file has, who reads it, and what is said of those that nobody reads."""

import importlib
import io
import struct

import numpy as np
import pytest
from drawn import exif
from PIL import Image

from tfcodec import pictures
from tfcodec.errors import InputError
from tfcodec.pictures import formats

PLUGINS = {"HEIF": "pillow_heif", "JXL": "pillow_jxl"}


def refusal(data, **options):
    with pytest.raises(InputError) as caught:
        pictures.read(io.BytesIO(data), name="a", **options)
    message = str(caught.value)
    assert message.startswith("a: ") and "\n" not in message
    return message


def plugin(kind):
    """Skips a test where the plugin of a format is not installed."""
    pytest.importorskip(PLUGINS[kind])
    formats.prepare(kind)


def encoded(kind, array, **options):
    plugin(kind)
    buffer = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def box(kind, body=b""):
    return struct.pack(">I4s", 8 + len(body), kind) + body


HEIC = box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
JXL = b"\xff\x0a" + bytes(20)


class TestWithoutPlugins:
    @pytest.mark.parametrize(
        "data, words",
        [
            (HEIC, "is a HEIC (HEIF) picture; install pillow-heif to read it"),
            (JXL, "is a JPEG XL picture; install pillow-jxl-plugin to read it"),
            (
                box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl "),
                "is a JPEG XL picture; install pillow-jxl-plugin to read it",
            ),
        ],
    )
    def test_the_plugin_to_install_is_named(self, data, words, monkeypatch):
        def nothing(name):
            raise ImportError(name)

        monkeypatch.setattr(importlib, "import_module", nothing)
        for kind in PLUGINS:
            monkeypatch.delitem(Image.OPEN, kind, raising=False)
        assert words in refusal(data)


class TestHeif:
    def test_colours_and_alpha(self, rgb, alpha):
        data = encoded("HEIF", np.dstack([rgb, alpha]), quality=95, chroma=444)
        picture = pictures.read(io.BytesIO(data))
        assert np.abs(picture.rgb.astype(int) - rgb).mean() < 6
        assert np.abs(picture.alpha.astype(int) - alpha).mean() < 6
        assert picture.notices == ()

    def test_it_is_turned_once_and_its_metadata_are_there(self, rgb):
        data = encoded("HEIF", rgb, quality=95, exif=b"Exif\0\0" + exif(Orientation=6, Make="M"))
        picture = pictures.read(io.BytesIO(data))
        assert np.abs(picture.rgb.astype(int) - np.rot90(rgb, -1)).mean() < 12
        assert b"M\0" in picture.metadata.exif

    def test_damage_is_a_sentence(self, rgb):
        data = encoded("HEIF", rgb)
        assert refusal(data[:200])
        assert "more than the limit of 588" in refusal(data, max_pixels=588)


class TestJpegXl:
    def test_colours_alpha_and_gray(self, rgb, alpha):
        data = encoded("JXL", np.dstack([rgb, alpha]), lossless=True)
        picture = pictures.read(io.BytesIO(data))
        np.testing.assert_array_equal(picture.rgb, rgb)
        np.testing.assert_array_equal(picture.alpha, alpha)
        assert pictures.read(io.BytesIO(encoded("JXL", rgb[..., 0], lossless=True))).gray

    def test_16_bits_have_a_notice(self, rgb):
        deep = Image.fromarray(rgb[..., 0].astype(np.uint16) * 257)
        picture = pictures.read(io.BytesIO(encoded("JXL", deep, lossless=True)))
        assert picture.gray and picture.notices == ("its 16-bit samples are reduced to 8 bits",)
        assert (np.diff(picture.rgb[..., 0].astype(int), axis=1) >= 0).all()  # as rgb[..., 0] is

    @pytest.mark.parametrize("height, width", [(1, 1), (64, 256), (19, 31), (600, 800), (9, 5000)])
    def test_the_size_is_known_before_it_is_decoded(self, height, width):
        data = encoded("JXL", np.zeros((height, width, 3), np.uint8))
        assert formats.jxl_size(io.BytesIO(data)) == (height, width)
        message = refusal(data, max_pixels=height * width - 1)
        assert f"{width}x{height} is {width * height} pixels" in message

    def test_damage_is_a_sentence(self, rgb):
        data = encoded("JXL", rgb)
        assert refusal(data[: len(data) // 2])


class TestStrangers:
    @pytest.mark.parametrize(
        "data, words",
        [
            (b"%PDF-1.7\n", "is a PDF document, not a picture in a known format (PNG, JPEG"),
            (b"8BPS\0\1", "is a Photoshop file"),
            (b"<svg xmlns=", "is an SVG drawing"),
            (b"\xef\xbb\xbf<svg xmlns=", "is an SVG drawing"),
            (b"tfcd\2", "is a .tfcd file: `tfcodec decode` reads it"),
            (b"\xff\x4f\xff\x51\0", "is a JPEG 2000 picture"),
            (b"PF\n3 4\n", "is a PFM picture of floating-point samples"),
            (b"Dear reader,", "is not a picture in a known format (PNG, JPEG"),
            (b"", "the file is empty"),
        ],
    )
    def test_they_are_called_by_their_names(self, data, words):
        assert words in refusal(data)

    @pytest.mark.parametrize(
        "marker, depth, channels, words",
        [
            (0xC1, 12, 3, "is a JPEG of 12-bit samples; convert it to 8 bits first"),
            (0xC3, 8, 3, "is a lossless or hierarchical JPEG"),
            (0xC0, 8, 2, "is a JPEG of 2 channels, which is not read"),
        ],
    )
    def test_jpegs_of_rare_kinds_say_which(self, marker, depth, channels, words):
        frame = bytes([depth, 0, 9, 0, 9, channels]) + bytes(3 * channels)
        data = b"\xff\xd8\xff\xe0\0\4ab\xff" + bytes([marker, 0, 2 + len(frame)]) + frame
        assert words in refusal(data + bytes(50))


class TestCmykJpeg:
    """All are taken for Adobe's, whose samples are negatives, as Pillow and browsers do."""

    def jpeg(self, adobe):
        cmyk = np.zeros((16, 16, 4), np.uint8)
        cmyk[..., 1] = 200  # magenta
        buffer = io.BytesIO()
        Image.frombytes("CMYK", (16, 16), cmyk.tobytes()).save(buffer, "JPEG", quality=100)
        data = buffer.getvalue()
        at = data.index(b"Adobe") - 4
        size = struct.unpack(">H", data[at + 2 : at + 4])[0]
        return data if adobe else data[:at] + data[at + 2 + size :]

    @pytest.mark.parametrize("adobe", [True, False])
    def test_with_and_without_the_marker_they_are_negatives(self, adobe):
        rgb = pictures.read(io.BytesIO(self.jpeg(adobe))).rgb
        assert np.abs(rgb.astype(int) - (255, 55, 255)).max() < 4

    def test_an_image_that_pillow_opened_is_read_alike(self):
        for adobe in (True, False):
            data = self.jpeg(adobe)
            image = Image.open(io.BytesIO(data))
            image.load()
            np.testing.assert_array_equal(
                pictures.from_pillow(image).rgb, pictures.read(io.BytesIO(data)).rgb
            )
