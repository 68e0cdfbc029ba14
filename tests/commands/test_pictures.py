"""Every kind of picture at the command line: coded, with one notice for each loss, or one sentence.

The laws of reading stand in tests/pictures; these are the promises of docs/pictures.md.
"""

import struct
import zlib

import numpy as np
import pytest
from drawn import as_png, exif, png, png_chunk, profile_of_swapped_channels, saved, tiff
from PIL import Image
from standin import listing

from tfcodec import pictures
from tfcodec.coding import container

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (40, 60, 3)).astype(np.uint8)
GRAY = RGB[..., :1]
DEEP = RGB.astype(int) * 257
OPAQUE = np.dstack([RGB, np.full((40, 60), 255, np.uint8)])
HIDDEN = np.dstack([RGB, np.where(np.arange(60) < 20, 0, 255)[None].repeat(40, 0)]).astype(np.uint8)
DEPTH = "its 16-bit samples are reduced to 8 bits"


def animation(name):
    frames = [Image.fromarray(np.dstack([frame, OPAQUE[..., 3]])) for frame in (RGB, 255 - RGB)]
    frames[0].save(name, save_all=True, append_images=frames[1:], lossless=True)


def write(data):
    return lambda name: open(name, "wb").write(data)


def save(array, **options):
    return lambda name: saved(name, array, **options)


def with_exif(**tags):
    return {"exif": b"Exif\0\0" + exif(**tags)}


# {kind: (name, writer, notices)}
SOUND = {
    "16-bit gray": ("a.png", write(png(DEEP[..., :1], 16, 0)), [DEPTH]),
    "16-bit RGB with alpha": (
        "a.png",
        write(png(np.dstack([DEEP, DEEP[..., 0] // 2 + 9]), 16, 6)),
        [DEPTH],
    ),
    "profile": ("a.png", save(RGB, icc_profile=profile_of_swapped_channels()), []),
    "broken profile": ("a.png", save(RGB, icc_profile=b"profile"), ["its colour profile is"]),
    "turned": ("a.jpg", save(RGB, **with_exif(Orientation=6)), []),
    "turned TIFF": ("a.tif", write(tiff(RGB, 8, 2, tags={274: [8]})), []),
    "planar 16-bit TIFF": ("a.tif", write(tiff(DEEP, 16, 2, planar=2)), [DEPTH]),
    "planar 16-bit CMYK TIFF": (
        "a.tif",
        write(tiff(np.dstack([DEEP, DEEP[..., 0] // 3]), 16, 5, planar=2, order=">")),
        [DEPTH],
    ),
    "tiled deflated TIFF": ("a.tif", write(tiff(RGB, 8, 2, tile=(16, 16), compression=8)), []),
    "white is zero": ("a.tif", write(tiff(DEEP[..., :1], 16, 0, order=">")), [DEPTH]),
    "12-bit TIFF": (
        "a.tif",
        write(tiff(DEEP[..., :1] >> 4, 12, 1)),
        ["its 12-bit samples are reduced to 8 bits"],
    ),
    "opaque": ("a.png", save(OPAQUE), []),
    "opaque TIFF": ("a.tif", save(OPAQUE), []),
    "animated": ("a.webp", animation, ["it is animated; only the first frame is taken"]),
    "hidden": ("a.png", save(HIDDEN), []),
    "long text": (
        "a.png",
        write(png(RGB, 8, 2, (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2_000_000))))),
        [],
    ),
    "linear": ("a.png", write(png(RGB, 8, 2, (b"gAMA", struct.pack(">I", 100_000)))), []),
    "Display P3": ("a.png", write(png(RGB, 8, 2, (b"cICP", bytes([12, 13, 0, 1])))), []),
    "HDR": (
        "a.png",
        write(png(RGB, 8, 2, (b"cICP", bytes([9, 16, 0, 1])))),
        ["its HDR samples (PQ) are taken for sRGB"],
    ),
    "CMYK": ("a.jpg", save(RGB, mode="CMYK"), []),
    "palette": ("a.png", write(as_png(Image.fromarray(RGB).quantize(9))), []),
    "transparent level": ("a.png", save(GRAY[..., 0], transparency=int(GRAY[0, 0, 0])), []),
    "1 bit": ("a.png", write(as_png(Image.fromarray(RGB).convert("1"))), []),
    "black": ("a.png", save(0 * RGB), []),
    "1x1": ("a.png", save(RGB[:1, :1]), []),
    "EXIF": (
        "a.jpg",
        save(RGB, **with_exif(Orientation=6, Make="Maker")),
        ["its EXIF metadata are left out; --keep_metadata keeps them"],
    ),
    "EXIF and XMP": (
        "a.webp",
        save(RGB, **with_exif(Make="Maker"), xmp=b"<x/>"),
        ["its EXIF and XMP metadata are left out; --keep_metadata keeps them"],
    ),
}

REFUSED = {
    "signed": (tiff(DEEP[..., :1], 16, 1, tags={339: [2]}), "has signed samples of 16 bits"),
    "float": (tiff(GRAY / 255, 32, 1, tags={339: [3]}), "has floating-point samples of 32 bits"),
    "lossless JPEG": (b"\xff\xd8\xff\xc3\0\x0b\x08\0\1\0\1\1\1\x11\0", "is a lossless or hier"),
    "PDF": (b"%PDF-1.4\n", "is a PDF document"),
    "Apple's PNG": (
        png(RGB, 8, 2)[:8] + png_chunk(b"CgBI", bytes(4)) + png(RGB, 8, 2)[8:],
        "has the critical chunk CgBI",
    ),
}


@pytest.mark.parametrize("kind", SOUND)
def test_it_is_coded_with_one_notice_for_each_loss(tfcodec, kind):
    name, make, notices = SOUND[kind]
    make(name)
    status, out, err = tfcodec("encode", name)
    assert status == 0 and out.startswith(f"{name}  ")
    lines = err.splitlines()
    assert len(lines) == len(notices)
    for line, notice in zip(lines, notices, strict=True):
        assert line.startswith(f"tfcodec: {name}: {notice}")


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_for_what_it_is(tfcodec, kind):
    data, words = REFUSED[kind]
    write(data)("a.xyz")
    status, out, err = tfcodec("encode", "a.xyz")
    assert (status, out) == (1, "") and err.count("\n") == 1
    assert err.startswith(f"tfcodec: a.xyz: {words}") and "known format (PNG" not in err[:40]
    assert listing() == ["a.xyz"]


def test_what_was_opaque_decodes_to_jpeg(tfcodec):
    saved("a.png", OPAQUE)
    tfcodec("encode", "a.png")
    assert tfcodec("decode", "a.tfcd", "-o", "b.jpg")[0] == 0


class TestMetadata:
    @pytest.fixture(autouse=True)
    def photograph(self, here):
        saved("a.jpg", RGB, **with_exif(Orientation=6, Make="Maker"), xmp=b"<x/>")

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
    def test_they_are_carried_and_written_upright(self, tfcodec, suffix):
        assert tfcodec("encode", "a.jpg", "--keep_metadata")[::2] == (0, "")
        status, _, err = tfcodec("decode", "a.tfcd", "-o", f"b.{suffix}")
        assert (status, err) == (0, "")
        with Image.open(f"b.{suffix}") as image:
            assert image.size == (40, 60)
            assert image.getexif()[0x010F] == "Maker" and image.getexif()[0x0112] == 1
            assert image.info["xmp"] == b"<x/>"

    def test_a_format_without_a_place_for_them_has_a_notice(self, tfcodec):
        tfcodec("encode", "a.jpg", "--keep_metadata")
        status, _, err = tfcodec("decode", "a.tfcd", "-o", "b.bmp")
        assert status == 0
        assert (
            err
            == "tfcodec: b.bmp: its EXIF and XMP metadata do not fit in a BMP and are left out\n"
        )

    def test_info_shows_their_sizes(self, tfcodec):
        tfcodec("encode", "a.jpg", "--keep_metadata")
        _, out, _ = tfcodec("info", "a.tfcd")
        metadata = pictures.read("a.jpg").metadata
        assert f"  keeps   EXIF {len(metadata.exif)} bytes, XMP 4 bytes" in out.splitlines()
        assert " metadata, 8 checksums" in out

    def test_without_the_flag_the_file_is_that_of_the_pixels(self, tfcodec):
        tfcodec("encode", "a.jpg")
        plain = open("a.tfcd", "rb").read()
        tfcodec("encode", "a.jpg", "--keep_metadata", "-o", "b.tfcd")
        kept = container.unpack(open("b.tfcd", "rb").read())
        bare = container.dataclasses.replace(kept, metadata=None)
        assert container.pack(bare) == plain != container.pack(kept)

    def test_a_part_that_is_no_metadata_is_one_sentence(self, tfcodec):
        tfcodec("encode", "a.jpg")
        packed = container.unpack(open("a.tfcd", "rb").read())
        packed = container.dataclasses.replace(packed, metadata=b"garbage")
        write(container.pack(packed))("a.tfcd")
        for argv in (["decode", "a.tfcd", "-o", "b.png"], ["info", "a.tfcd"]):
            status, _, err = tfcodec(*argv)
            assert status == 1 and err.count("\n") == 1
            assert "a.tfcd: the metadata part does not inflate" in err
