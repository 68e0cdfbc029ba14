"""Pillow's images: as their file where it was not read yet, else by pixels and `info`."""

import concurrent.futures
import io

import numpy as np
import pytest
from drawn import as_png, exif, png, profile_of_swapped_channels, tiff
from PIL import Image, ImageOps

from tfcodec import pictures
from tfcodec.errors import InputError

LINEAR = b"gAMA", (100_000).to_bytes(4, "big")
P3 = b"cICP", bytes([12, 13, 0, 1])


def same(image, data):
    """Whether an image gives the pixels of `read` of its file."""
    ours, theirs = pictures.from_pillow(image), pictures.read(io.BytesIO(data))
    np.testing.assert_array_equal(ours.rgb, theirs.rgb)
    assert ours.gray == theirs.gray and ours.notices == theirs.notices
    assert (ours.alpha is None) == (theirs.alpha is None)
    if ours.alpha is not None:
        np.testing.assert_array_equal(ours.alpha, theirs.alpha)


def files(rgb, alpha):
    image = Image.fromarray(rgb)
    turned = {"exif": b"Exif\0\0" + exif(Orientation=7, Make="M")}
    return {
        "palette": as_png(image.quantize(20)),
        "palette with alpha": as_png(image.quantize(8), transparency=bytes(range(0, 160, 20))),
        "transparent level": as_png(rgb[..., 0], transparency=int(rgb[0, 0, 0])),
        "16-bit gray": png(rgb[..., :1].astype(int) * 257, 16, 0),
        "transparent 16-bit gray": png(rgb[..., :1].astype(int) * 257, 16, 0, (b"tRNS", bytes(2))),
        "profile": as_png(rgb, icc_profile=profile_of_swapped_channels()),
        "linear": png(rgb, 8, 2, LINEAR),
        "RGBA": as_png(np.dstack([rgb, alpha])),
        "turned": as_png(rgb, **turned),
        "turned TIFF": tiff(rgb, 8, 2, tags={274: [6]}),
        "16-bit TIFF": tiff(rgb[..., :1].astype(int) * 257, 16, 1),
    }


@pytest.mark.parametrize("loaded", [False, True])
def test_every_kind_is_read_as_its_file(rgb, alpha, loaded):
    for data in files(rgb, alpha).values():
        image = Image.open(io.BytesIO(data))
        if loaded:
            image.load()
        same(image, data)
        same(image, data)  # asking does not change it


def test_what_pillow_loses_is_there_before_it_has(rgb):
    for data in (png(rgb, 8, 2, P3), tiff(rgb.astype(int) * 257, 16, 2, planar=2)):
        same(Image.open(io.BytesIO(data)), data)


def test_planes_that_pillow_misread_are_refused(rgb):
    image = Image.open(io.BytesIO(tiff(rgb.astype(int) * 257, 16, 2, planar=2)))
    image.load()
    with pytest.raises(InputError, match="planes of deep samples, which Pillow misreads"):
        pictures.from_pillow(image)


def test_an_image_turned_by_its_owner_is_not_turned_again(rgb):
    data = as_png(rgb, exif=b"Exif\0\0" + exif(Orientation=6))
    same(ImageOps.exif_transpose(Image.open(io.BytesIO(data))), data)


def test_another_frame_and_a_draft_are_what_is_asked_for(rgb):
    frames = [Image.fromarray(np.full_like(rgb, level)) for level in (40, 120)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    image = Image.open(buffer)
    image.seek(1)
    assert (pictures.from_pillow(image).rgb == 120).all()

    large = io.BytesIO()
    Image.new("RGB", (640, 480)).save(large, "JPEG")
    draft = Image.open(large)
    draft.draft("RGB", (160, 120))
    assert pictures.from_pillow(draft).width == 160


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_modes_are_what_pillow_converts_them_to(rgb, mode):
    image = Image.fromarray(rgb).convert(mode)
    picture = pictures.from_pillow(image)
    np.testing.assert_array_equal(picture.rgb, np.asarray(image.convert("RGB")))
    assert picture.alpha is None and picture.gray == (mode == "L")


@pytest.mark.parametrize("mode", ["I", "F"])
def test_samples_without_a_reading_are_refused(mode):
    with pytest.raises(InputError, match="32 bits; convert it to unsigned 8 or 16 bits first"):
        pictures.from_pillow(Image.new(mode, (4, 5)))


@pytest.mark.parametrize(("kind", "depth", "words"), [(2, 16, "signed"), (3, 32, "floating-point")])
def test_a_tiff_of_samples_without_levels_is_refused_by_what_it_is(kind, depth, words):
    data = tiff(
        np.zeros((5, 4, depth // 16), np.uint16), 16, 1, tags={339: [kind], 258: [depth], 277: [1]}
    )
    image = Image.open(io.BytesIO(data))
    image.load()
    with pytest.raises(InputError, match=f"has {words} samples of {depth} bits"):
        pictures.from_pillow(image)


def test_an_empty_image_and_a_damaged_one_are_a_sentence(rgb):
    with pytest.raises(InputError, match="is empty, 0x3"):
        pictures.from_pillow(Image.new("RGB", (0, 3)))
    data = as_png(np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8))
    with pytest.raises(InputError, match="damaged or truncated"):
        pictures.from_pillow(Image.open(io.BytesIO(data[:5000])))


def test_a_profile_that_is_given_takes_the_place_of_the_images_own(rgb):
    image = Image.open(io.BytesIO(as_png(rgb, icc_profile=profile_of_swapped_channels())))
    np.testing.assert_array_equal(pictures.from_pillow(image, profile=b"").rgb, rgb)


def test_many_threads_read_at_once_and_leave_pillow_as_it_was(rgb, alpha):
    limit = Image.MAX_IMAGE_PIXELS
    datas = list(files(rgb, alpha).values()) * 8
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda data: pictures.read(io.BytesIO(data)).rgb, datas))
    for ours, data in zip(found, datas, strict=True):
        np.testing.assert_array_equal(ours, pictures.read(io.BytesIO(data)).rgb)
    assert Image.MAX_IMAGE_PIXELS == limit
