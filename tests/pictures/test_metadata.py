"""EXIF and XMP: turned upright, carried, written, and never trusted."""

import io
import struct
import zlib

import numpy as np
import pytest
from drawn import exif, saved
from PIL import ExifTags, Image

from tfcodec import pictures
from tfcodec.coding.format import MAX_METADATA
from tfcodec.errors import ContainerError
from tfcodec.pictures import Metadata, lost_metadata, metadata_from_bytes, metadata_of_file
from tfcodec.pictures.metadata import metadata_to_bytes

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="%d"/></x:xmpmeta>'


def tags_of(block):
    found = Image.Exif()
    found.load(block)
    return dict(found)


class TestUpright:
    @pytest.mark.parametrize("order", "<>")
    @pytest.mark.parametrize("kind, form", [(3, "H"), (4, "I")])
    def test_the_tag_becomes_1_and_nothing_else_changes(self, order, kind, form):
        magic = b"II*\0" if order == "<" else b"MM\0*"
        value = struct.pack(order + form, 6).ljust(4, b"\0")
        camera = struct.pack(order + "HHI", 271, 2, 4) + b"abc\0"
        block = magic + struct.pack(order + "IH", 8, 2) + camera
        block += struct.pack(order + "HHI", 274, kind, 1) + value + bytes(4) + b"a maker's note"
        metadata, orientation = metadata_of_file(b"Exif\0\0" + block, b"")
        one = struct.pack(order + form, 1).ljust(4, b"\0")
        assert orientation == 6 and metadata.exif == block.replace(value, one)

    def test_an_orientation_alone_is_no_metadata(self):
        assert metadata_of_file(exif(Orientation=6), b"") == (None, 6)
        assert metadata_of_file(b"", b"") == (None, 1)

    def test_xmp_says_it_where_exif_does_not(self):
        metadata, orientation = metadata_of_file(b"", XMP % 8)
        assert orientation == 8 and metadata.xmp == XMP % 1
        metadata, orientation = metadata_of_file(exif(Orientation=3, Make="M"), XMP % 8)
        assert orientation == 3 and metadata.xmp == XMP % 1
        element = b"<tiff:Orientation>6</tiff:Orientation>"
        assert metadata_of_file(b"", element)[0].xmp == element.replace(b"6", b"1")

    @pytest.mark.parametrize("broken", [b"garbage", b"II*\0", b"MM\0*\xff\xff\xff\xff garbage"])
    def test_what_cannot_be_read_is_kept_as_it_is(self, broken):
        assert metadata_of_file(broken, b"") == (Metadata(exif=broken), 1)

    def test_an_orientation_that_does_not_exist_is_upright(self):
        assert metadata_of_file(exif(Orientation=9, Make="M"), b"")[1] == 1


class TestThePart:
    @pytest.mark.parametrize(
        "metadata", [Metadata(b"E"), Metadata(xmp=b"X"), Metadata(bytes(9000), b"<x/>" * 99)]
    )
    def test_it_comes_back(self, metadata):
        assert metadata_from_bytes(metadata_to_bytes(metadata)) == metadata

    @pytest.mark.parametrize(
        "part, words",
        [
            (b"", "is truncated"),
            (b"garbage", "does not inflate"),
            (zlib.compress(b"\1\0\0\0E")[:-1], "is truncated, or followed"),
            (zlib.compress(b"\1\0\0\0E") + b"x", "followed by unexpected bytes"),
            (zlib.compress(b"\2\0\0\0E"), "claims 2 bytes of EXIF in 5"),
            (zlib.compress(bytes(4)), "claims 0 bytes of EXIF in 4"),
            (zlib.compress(bytes(3)), "claims 0 bytes of EXIF in 3"),
            (zlib.compress(bytes(10**8)), "inflates to more than 524288 bytes"),
        ],
    )
    def test_hostile_bytes_are_a_sentence(self, part, words):
        with pytest.raises(ContainerError) as caught:
            metadata_from_bytes(part, "k.tfcd")
        assert str(caught.value).startswith("k.tfcd: the metadata part ")
        assert words in str(caught.value)

    def test_more_than_the_bound_is_left_out_and_said(self):
        most = Metadata(xmp=bytes(MAX_METADATA - 4))
        assert metadata_from_bytes(metadata_to_bytes(most)) == most
        more = Metadata(xmp=bytes(MAX_METADATA - 3))
        assert metadata_to_bytes(more) is None
        assert "(XMP 524285 bytes) are too large" in lost_metadata(more, keep=True)
        noise = Metadata(np.random.default_rng(0).bytes(MAX_METADATA - 9))  # deflates to more
        assert metadata_to_bytes(noise) is None

    def test_what_is_left_out_is_said_once(self):
        both = Metadata(b"E", b"X")
        assert lost_metadata(both, keep=False) == (
            "its EXIF and XMP metadata are left out; --keep_metadata keeps them"
        )
        assert lost_metadata(both, keep=True) is None
        assert lost_metadata(None, keep=False) is None


class TestFiles:
    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
    def test_what_is_written_is_read_back(self, tmp_path, rgb, suffix):
        metadata = Metadata(exif(Make="Maker", DateTime="2020:01:02 03:04:05"), XMP % 1)
        picture = pictures.Picture(rgb, metadata=metadata)
        pictures.write(tmp_path / f"a.{suffix}", picture)
        assert pictures.lost_in_file(f"a.{suffix}", picture) is None
        back = pictures.read(tmp_path / f"a.{suffix}")
        assert tags_of(back.metadata.exif) == tags_of(metadata.exif)
        assert back.metadata.xmp == metadata.xmp
        assert np.abs(back.rgb.astype(int) - rgb).mean() < 4

    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
    def test_directories_within_exif_are_kept(self, tmp_path, rgb, suffix):
        tags = Image.Exif()
        tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2020:01:02 03:04:05"
        tags.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
        source = saved(tmp_path / "a.png", rgb, exif=tags.tobytes())
        pictures.write(tmp_path / f"b.{suffix}", pictures.read(source))
        with Image.open(tmp_path / f"b.{suffix}") as image:
            back = image.getexif()
            assert back.get_ifd(ExifTags.IFD.Exif)[36867] == "2020:01:02 03:04:05"
            assert back.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
        assert np.abs(pictures.read(tmp_path / f"b.{suffix}").rgb.astype(int) - rgb).mean() < 4

    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
    def test_pixels_that_were_turned_are_not_turned_again(self, tmp_path, rgb, suffix):
        source = saved(tmp_path / "a.png", rgb, exif=b"Exif\0\0" + exif(Orientation=6, Make="M"))
        picture = pictures.read(source)
        pictures.write(tmp_path / f"b.{suffix}", picture)
        back = pictures.read(tmp_path / f"b.{suffix}")
        assert np.abs(back.rgb.astype(int) - np.rot90(rgb, -1)).mean() < 4

    @pytest.mark.parametrize("suffix", ["bmp", "ppm"])
    def test_formats_without_a_place_for_it_say_so(self, tmp_path, rgb, suffix):
        picture = pictures.Picture(rgb, metadata=Metadata(b"E", b"X"))
        pictures.write(tmp_path / f"a.{suffix}", picture)
        assert pictures.lost_in_file(f"a.{suffix}", picture).startswith(
            "its EXIF and XMP metadata do not fit in a "
        )

    def test_more_than_a_segment_of_jpeg_holds_is_said(self, tmp_path, rgb):
        long = Metadata(exif(Make="M" * 70_000), b"<x/>")
        picture = pictures.Picture(rgb, metadata=long)
        pictures.write(tmp_path / "a.jpg", picture)
        assert pictures.lost_in_file("a.jpg", picture) == (
            "its EXIF metadata do not fit in a JPEG and are left out"
        )
        assert pictures.read(tmp_path / "a.jpg").metadata == Metadata(xmp=b"<x/>")
        assert pictures.lost_in_file("a.png", picture) is None

    def test_exif_that_contradicts_a_tiff_does_not_spoil_it(self, tmp_path, rgb):
        told = exif(Make="M", ImageWidth=7, ImageLength=9, BitsPerSample=16, Compression=6)
        pictures.write(tmp_path / "a.tif", pictures.Picture(rgb, metadata=Metadata(told)))
        back = pictures.read(tmp_path / "a.tif")
        np.testing.assert_array_equal(back.rgb, rgb)
        assert tags_of(back.metadata.exif) == {271: "M"}

    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
    def test_broken_exif_spoils_no_file(self, tmp_path, rgb, suffix):
        metadata = Metadata(b"MM\0*\xff\xff\xff\xff garbage")
        pictures.write(tmp_path / f"a.{suffix}", pictures.Picture(rgb, metadata=metadata))
        assert pictures.read(tmp_path / f"a.{suffix}").rgb.shape == rgb.shape

    def test_xmp_of_a_webp(self, tmp_path, rgb):
        path = saved(tmp_path / "a.webp", rgb, lossless=True, xmp=XMP % 1)
        assert pictures.read(path).metadata == Metadata(xmp=XMP % 1)

    def test_a_jpeg_in_memory_tells_what_its_file_tells(self, tmp_path, rgb):
        path = saved(tmp_path / "a.jpg", rgb, exif=b"Exif\0\0" + exif(Orientation=6, Make="M"))
        with Image.open(path) as image:
            image.load()
            assert pictures.from_pillow(image).metadata == pictures.read(path).metadata
        assert pictures.read(io.BytesIO(path.read_bytes())).metadata == pictures.read(path).metadata
