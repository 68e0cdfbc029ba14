"""Laws of the Pillow plugin."""

import io
import subprocess
import sys

import numpy as np
import pytest
import tiny_exports
from drawn import profile_of_swapped_channels
from PIL import Image, ImageCms, UnidentifiedImageError

import tfcodec
import tfcodec.pillow


@pytest.fixture(scope="module", autouse=True)
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    patch = pytest.MonkeyPatch()
    patch.setenv("TFCODEC_MODELS", str(folder))
    yield tiny_exports.tiny_export(str(folder / "tiny-plugin")).path
    patch.undo()


def picture(mode="RGB", size=(90, 70)):
    rng = np.random.default_rng(5)
    channels = len(mode)
    shape = (size[1], size[0], channels) if channels > 1 else (size[1], size[0])
    return Image.fromarray(rng.integers(0, 256, shape, np.uint8))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_saving_and_opening_is_compress_and_decompress(tmp_path, model, mode):
    image = picture(mode)
    path = tmp_path / "x.tfcd"
    image.save(path, quality=3.5, model=model)
    data = tfcodec.compress(np.asarray(image), model, 3.5)
    assert path.read_bytes() == data
    with Image.open(path) as found:
        assert (found.format, found.mode, found.size) == ("TFCD", mode, (90, 70))
        np.testing.assert_array_equal(np.asarray(found), tfcodec.decompress(data))
    if mode.endswith("A"):
        assert found.getchannel("A").tobytes() == image.getchannel("A").tobytes()


def test_streams_and_other_formats(model):
    buffer = io.BytesIO()
    picture().save(buffer, "TFCD", model=model)
    buffer.seek(0)
    found = Image.open(buffer)
    assert found.convert("L").size == (90, 70)
    png = io.BytesIO()
    found.save(png, "PNG")
    assert Image.open(png).tobytes() == found.tobytes()


def test_opening_neither_needs_the_model_nor_tensorflow(tmp_path, model, monkeypatch):
    path = tmp_path / "x.tfcd"
    picture().save(path, model=model)
    code = (
        "import sys, tfcodec.pillow; from PIL import Image; image = Image.open(sys.argv[1]);"
        "assert image.size == (90, 70) and 'tensorflow' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code, path]).returncode == 0
    monkeypatch.setenv("TFCODEC_MODELS", "")
    image = Image.open(path)
    with pytest.raises(OSError, match="needs the model with fingerprint"):
        image.load()


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-9], lambda d: d[:40] + b"x" + d[41:], bytes.title]
)
def test_a_damaged_file_is_not_identified_and_says_why(tmp_path, model, damage):
    path = tmp_path / "x.tfcd"
    picture().save(path, model=model)
    data = path.read_bytes()
    path.write_bytes(b"tfcd" + damage(data)[4:])
    with pytest.raises(UnidentifiedImageError, match="x.tfcd: "):
        Image.open(path)


def test_pixels_that_do_not_come_out_are_an_os_error(tmp_path, model):
    from tfcodec.coding import container

    path = tmp_path / "x.tfcd"
    picture().save(path, model=model)
    packed = container.unpack(path.read_bytes())
    other = container.dataclasses.replace(packed, checksum=packed.checksum ^ 1)
    path.write_bytes(container.pack(other))
    image = Image.open(path)
    with pytest.raises(OSError, match="decoded symbols differ"):
        image.load()


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"quality": 9}, ValueError, "quality is from 1 to 8, not 9"),
        ({"quality": 90}, ValueError, "not 90; the scale is tfcodec's, not JPEG's"),
        ({"quality": "high"}, ValueError, "must be a number, received 'high'"),
        ({"model": "nobody"}, OSError, "there is no model 'nobody'"),
    ],
)
def test_what_cannot_be_saved_leaves_no_file(tmp_path, model, options, error, words):
    with pytest.raises(error, match=words):
        picture().save(tmp_path / "x.tfcd", **{"model": model, **options})
    assert not list(tmp_path.iterdir())


def test_samples_without_a_reading_are_refused(tmp_path, model):
    words = "cannot write mode F as TFCD: the image: has floating-point samples of 32 bits"
    with pytest.raises(OSError, match=words):
        Image.new("F", (9, 9)).save(tmp_path / "x.tfcd", model=model)
    assert not list(tmp_path.iterdir())


def opened(image, kind, **options):
    """The image as Pillow opens it from a file of that kind."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Image.open(buffer)


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return opened(picture(), "PNG", exif=exif)


KINDS = {
    "palette": lambda: opened(picture().quantize(16), "PNG"),
    "palette with a transparent entry": lambda: opened(
        picture().quantize(16), "PNG", transparency=3
    ),
    "palette with alpha": lambda: opened(
        picture().quantize(8), "PNG", transparency=bytes(range(0, 160, 20))
    ),
    "gray with a transparent level": lambda: opened(picture("L"), "PNG", transparency=96),
    "RGB with a transparent colour": lambda: opened(
        picture(), "PNG", transparency=picture().getpixel((7, 5))
    ),
    "GIF": lambda: opened(picture().quantize(8), "GIF", transparency=2),
    "1 bit": lambda: opened(picture("L").convert("1"), "PNG"),
    "16 bits": lambda: opened(Image.fromarray(np.uint16(np.mgrid[:70, :90][0] * 900)), "PNG"),
    "CMYK": lambda: opened(picture().convert("CMYK"), "JPEG"),
    "opaque": lambda: opened(picture().convert("RGBA"), "PNG"),
    "premultiplied": lambda: picture("RGBA").convert("RGBa"),
    "turned": turned,
    "profile": lambda: opened(picture(), "PNG", icc_profile=profile_of_swapped_channels()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_saving_does_what_encode_does(tmp_path, model, kind):
    """The file of a loaded image, of an unread one and of its PNG are one, whatever the mode."""
    from tfcodec import codec, pictures

    image = KINDS[kind]()
    if image.format is None:
        expected = tfcodec.compress(image, model)
    else:
        image.fp.seek(0)
        source = pictures.read(io.BytesIO(image.fp.read()))
        expected = codec.load(model).encode(source).data
        assert tfcodec.compress(image, model) == expected
    image.save(tmp_path / "x.tfcd", model=model)
    assert (tmp_path / "x.tfcd").read_bytes() == expected
    with Image.open(tmp_path / "x.tfcd") as found:
        assert found.mode.endswith("A") == (image.has_transparency_data and kind != "opaque")
        assert found.size == ((70, 90) if kind == "turned" else (90, 70))


def test_pixels_changed_after_opening_count(model):
    image = turned()
    image.paste((9, 9, 9), (0, 0, *image.size))
    assert tfcodec.compress(image, model) == tfcodec.compress(
        np.full([90, 70, 3], 9, np.uint8), model
    )


def test_exif_and_xmp_are_kept_when_they_are_given(tmp_path, model):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 8
    image = picture()
    image.save(tmp_path / "x.tfcd", model=model, exif=exif, xmp=b"<x:xmpmeta/>")
    with Image.open(tmp_path / "x.tfcd") as found:
        assert found.size == (70, 90)  # turned, as the tag asks
        assert found.getexif()[0x010F] == "Maker" and found.getexif()[0x0112] == 1
        assert found.info["xmp"] == b"<x:xmpmeta/>"
    image.info["exif"] = exif.tobytes()
    image.save(tmp_path / "y.tfcd", model=model)
    with Image.open(tmp_path / "y.tfcd") as found:
        assert found.size == (70, 90) and "exif" not in found.info


def test_save_all_takes_one_frame_and_refuses_several(tmp_path, model):
    picture().save(tmp_path / "x.tfcd", model=model)
    picture().save(tmp_path / "y.tfcd", model=model, save_all=True)
    assert (tmp_path / "x.tfcd").read_bytes() == (tmp_path / "y.tfcd").read_bytes()
    with pytest.raises(ValueError, match="holds one picture, not 3 frames"):
        frames = [picture(), picture()]
        picture().save(tmp_path / "z.tfcd", model=model, save_all=True, append_images=frames)
    assert not (tmp_path / "z.tfcd").exists()


def test_the_format_has_a_mime_type(tmp_path, model):
    picture().save(tmp_path / "x.tfcd", model=model)
    with Image.open(tmp_path / "x.tfcd") as found:
        assert found.get_format_mimetype() == "image/x-tfcd"


def test_pillows_own_limit_holds(tmp_path, model, monkeypatch):
    path = tmp_path / "x.tfcd"
    picture().save(path, model=model)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)


def test_colours_are_converted_to_srgb(tmp_path, model):
    image = picture("RGB")
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    image.save(tmp_path / "broken.tfcd", model=model, icc_profile=swapped)  # fits no RGB: ignored
    image.save(tmp_path / "plain.tfcd", model=model)
    assert (tmp_path / "broken.tfcd").read_bytes() == (tmp_path / "plain.tfcd").read_bytes()
