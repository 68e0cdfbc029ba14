"""Laws of the package's face: what goes in, what comes out, and what is said of anything else."""

import concurrent.futures
import io
import multiprocessing
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import tiny_exports
from PIL import Image

import tfcodec
from tfcodec import metrics
from tfcodec.commands import main
from tfcodec.exports import installed

PHOTOGRAPH = pathlib.Path(__file__).parents[1] / "examples" / "kodim23.png"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Folder of a small model, found by the environment, too."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(installed.MODELS_VARIABLE, str(folder))
        yield tiny_exports.tiny_export(str(folder / "tiny")).path


@pytest.fixture(scope="module")
def photograph():
    return np.asarray(Image.open(PHOTOGRAPH))[200:264, 100:196]


def test_every_name_of_the_face_is_there_and_no_other():
    for name in tfcodec.__all__:
        assert getattr(tfcodec, name) is not None and name in dir(tfcodec)
    with pytest.raises(AttributeError, match="'tfcodec' has no attribute 'compres'"):
        _ = tfcodec.compres


def test_importing_is_light_and_looking_at_files_needs_no_tensorflow(tmp_path, tiny, photograph):
    (tmp_path / "k.tfcd").write_bytes(tfcodec.compress(photograph, tiny))
    code = (
        "import sys, tfcodec; assert 'numpy' not in sys.modules;"
        "tfcodec.info(sys.argv[1]); tfcodec.installed_models();"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "k.tfcd")], check=True)


def test_a_path_an_image_and_an_array_give_the_same_bytes(tmp_path, tiny, photograph):
    Image.fromarray(photograph).save(tmp_path / "a.png")
    data = tfcodec.compress(photograph, tiny, 4)
    assert tfcodec.compress(tmp_path / "a.png", tiny, 4) == data
    assert tfcodec.compress(str(tmp_path / "a.png"), tiny, 4) == data
    assert tfcodec.compress(Image.open(tmp_path / "a.png"), tiny, 4) == data
    assert tfcodec.compress(Image.fromarray(photograph), tiny, 4) == data
    assert tfcodec.load(tiny).encode(photograph, 4).data == data


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_an_image_of_any_mode_is_read_as_its_file(tmp_path, tiny, photograph, mode):
    image = Image.fromarray(photograph)
    image = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    assert tfcodec.compress(image, tiny) == tfcodec.compress(path, tiny)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind_and_paths_decompress(tmp_path, tiny, photograph, kind):
    data = tfcodec.compress(photograph, tiny)
    (tmp_path / "k.tfcd").write_bytes(data)
    shown = tfcodec.decompress(kind(data))
    assert shown.shape == photograph.shape
    np.testing.assert_array_equal(tfcodec.decompress(tmp_path / "k.tfcd"), shown)


def test_an_array_of_pictures_is_several(tiny, photograph):
    data = tfcodec.compress(photograph, tiny, 4)
    assert tfcodec.compress_batch(np.stack([photograph] * 2), model=tiny, quality=4) == [data] * 2


def test_an_encoded_picture_is_shown_in_few_words(tiny, photograph):
    assert repr(tfcodec.load(tiny).encode(photograph, 3)).startswith("Encoded(rung=")


def test_wishes_are_granted(tiny, photograph):
    sizes = [len(tfcodec.compress(photograph, tiny, quality)) for quality in (1, 4, 8)]
    bpp = 8 * sizes[1] / (64 * 96)
    assert sizes[0] < len(tfcodec.compress(photograph, tiny, bpp=bpp)) <= sizes[1]
    data = tfcodec.compress(photograph, tiny, psnr=(wish := _psnr(photograph, tiny, 3) - 1e-6))
    quality = tfcodec.info(data).quality
    assert _psnr(photograph, tiny, quality) >= wish > _psnr(photograph, tiny, quality - 1 / 32)


def _psnr(picture, model, quality):
    return metrics.psnr(picture, tfcodec.decompress(tfcodec.compress(picture, model, quality)))


def test_pixels_that_nobody_sees_have_no_psnr():
    a, b = np.zeros([2, 3, 3], np.uint8), np.zeros([2, 3, 3], np.uint8)
    b[0], alpha = 99, np.uint8([[0, 0, 0], [1, 255, 255]])
    assert metrics.psnr(a, b, alpha) == np.inf > metrics.psnr(a, b)
    b[1, 0] = 1
    assert metrics.psnr(a, b, alpha) == metrics.psnr(a[1:], b[1:])


WRONG = {
    "a model that is a number": (
        lambda a: tfcodec.compress(a, 4),
        r"a model is given by its name or folder, received 4 \(int\); a quality is given as q",
    ),
    "bytes as a picture": (
        lambda a: tfcodec.compress(b"PNG"),
        "an array, a path or a Pillow image, received bytes; open those of a picture file by PIL",
    ),
    "a number as a picture": (lambda a: tfcodec.compress(5), "received a int"),
    "floats": (lambda a: tfcodec.compress(a / 255), "must be uint8, received float64"),
    "no picture": (lambda a: tfcodec.compress("none.png"), "none.png: no such file"),
    "a quality in words": (
        lambda a: tfcodec.compress(a, quality="4"),
        "quality is a number, received a str",
    ),
    "no quality": (lambda a: tfcodec.compress(a, quality=0), "quality is from 1 to 8, not 0"),
    "a size below nothing": (
        lambda a: tfcodec.compress(a, bpp=-1),
        "bpp is a number of 0 or more, received -1",
    ),
    "no number": (lambda a: tfcodec.compress(a, psnr=float("nan")), "psnr is a number of 0 or"),
    "no end": (lambda a: tfcodec.compress(a, bpp=float("inf")), "bpp is a finite number, received"),
    "a truth as a quality": (
        lambda a: tfcodec.compress(a, quality=True),
        "quality is a number, received a bool",
    ),
    "a name with a null byte": (
        lambda a: tfcodec.compress("a\0.png"),
        r"'a\\x00.png': cannot be the name of a file",
    ),
    "a .tfcd with a null byte": (
        lambda a: tfcodec.decompress("a\0.tfcd"),
        r"'a\\x00.tfcd': cannot be the name of a file",
    ),
    "one array in place of several": (
        lambda a: tfcodec.compress_batch(a),
        r"takes several pictures, received one array of shape \(64, 96, 3\)",
    ),
    "one image in place of several": (
        lambda a: tfcodec.compress_batch(Image.fromarray(a)),
        "takes several pictures, received a value of type Image",
    ),
    "a number in place of several": (
        lambda a: tfcodec.compress_batch(5),
        r"takes several pictures, received 5 \(int\)",
    ),
    "no threads": (
        lambda a: tfcodec.compress_batch([a], threads=0),
        "threads is a whole number of 1 or more, received 0",
    ),
    "a .tfcd named as a picture": (
        lambda a: tfcodec.encode_file(a, "a.png"),
        "a.png: is named as a picture; name a .tfcd file",
    ),
    "two wishes": (
        lambda a: tfcodec.compress(a, bpp=1, psnr=30),
        "one wish, not to several: received bpp=1 and psnr=30",
    ),
    "too small": (lambda a: tfcodec.compress(a, bpp=1e-3), "the smallest possible file has"),
    "too good": (lambda a: tfcodec.compress(a, psnr=70), "file has .* dB, less than 70"),
    "a number as a file": (
        lambda a: tfcodec.decompress(5),
        r"given as its bytes or its path, received 5 \(int\)",
    ),
    "an array as a file": (lambda a: tfcodec.info(a), "received a value of type ndarray"),
    "no file": (lambda a: tfcodec.decompress("x.tfcd"), "x.tfcd: no such file"),
    "a folder": (lambda a: tfcodec.info("."), ".: this is a directory"),
    "one picture as several": (
        lambda a: tfcodec.compress_batch("a.png"),
        "takes several pictures, received the one 'a.png'",
    ),
    "no target": (lambda a: tfcodec.encode_file(a, 5), "the target is the path of a file"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_is_one_sentence(tmp_path, monkeypatch, photograph, wrong):
    monkeypatch.chdir(tmp_path)
    call, sentence = WRONG[wrong]
    with pytest.raises(tfcodec.InputError, match=sentence):
        call(photograph)


def test_the_limit_is_called_as_in_python(tmp_path, tiny, photograph):
    Image.fromarray(photograph).save(tmp_path / "a.png")
    with pytest.raises(tfcodec.InputError, match="raise it with max_pixels|, max_pixels allows 99"):
        tfcodec.compress(tmp_path / "a.png", tiny, max_pixels=99)
    with pytest.raises(tfcodec.ContainerError, match="96x64 pixels, max_pixels allows 99"):
        tfcodec.decompress(tfcodec.compress(photograph, tiny), max_pixels=99)


def test_files_are_the_command_lines(tmp_path, tiny, photograph):
    Image.fromarray(photograph).save(tmp_path / "a.png")
    source, file, other = (str(tmp_path / name) for name in ("a.png", "b.tfcd", "c.tfcd"))
    info = tfcodec.encode_file(source, file, model=tiny, quality=3.5)
    arguments = ["encode", source, "-o", other, "--model", tiny, "--quality", "3.5"]
    assert main.main(arguments) == 0
    data = pathlib.Path(file).read_bytes()
    assert data == pathlib.Path(other).read_bytes() == tfcodec.compress(source, tiny, 3.5)
    assert info == tfcodec.info(file) == tfcodec.info(data)
    assert (info.width, info.height, info.quality, info.bytes) == (96, 64, 3.5, len(data))
    assert info.model == "tiny" and info.fingerprint == tfcodec.load(tiny).info.fingerprint
    assert (info.gray, info.alpha, info.coder, info.lanes) == (False, False, "tfc", 1)
    assert info.bpp == 8 * len(data) / (96 * 64)
    tfcodec.decode_file(file, tmp_path / "d.png")
    assert main.main(["decode", other, "-o", str(tmp_path / "e.png")]) == 0
    assert (tmp_path / "d.png").read_bytes() == (tmp_path / "e.png").read_bytes()


def test_nothing_is_replaced_unasked_and_a_failure_leaves_nothing(tmp_path, tiny, photograph):
    target = tmp_path / "a.tfcd"
    target.write_bytes(b"mine")
    with pytest.raises(tfcodec.InputError, match="a.tfcd: exists already; overwrite=True replaces"):
        tfcodec.encode_file(photograph, target, model=tiny)
    assert target.read_bytes() == b"mine"
    tfcodec.encode_file(photograph, target, model=tiny, overwrite=True)
    with pytest.raises(tfcodec.InputError, match="is the source, too"):
        tfcodec.decode_file(target, target, overwrite=True)
    with pytest.raises(tfcodec.InputError, match="b.txt"):
        tfcodec.decode_file(target, tmp_path / "b.txt")
    with pytest.raises(tfcodec.ContainerError):
        tfcodec.decode_file(target.read_bytes()[:-1], tmp_path / "b.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tfcd"]


def test_a_file_of_a_model_that_is_not_installed_is_described(tmp_path, photograph):
    path = tiny_exports.tiny_export(str(tmp_path / "elsewhere"), gain_level=3.0).path
    info = tfcodec.info(tfcodec.compress(photograph, path))
    assert info.model is None and info.fingerprint == tfcodec.load(path).info.fingerprint


def test_models_are_listed_with_their_values():
    models = {model.name: model for model in tfcodec.installed_models()}
    default = models[tfcodec.load().name]
    assert default.qualities == (1, 8) and 1 <= default.default_quality <= 8
    assert default.portable and len(default.fingerprint) == 4
    assert any("fast" in model.aliases for model in models.values())


def test_a_batch_is_the_bytes_of_each(tmp_path, tiny, photograph):
    Image.fromarray(photograph[:50, :33]).save(tmp_path / "a.png")
    pictures = [photograph, tmp_path / "a.png", photograph[..., 0], photograph[::-1], photograph]
    batch = tfcodec.compress_batch(iter(pictures), model=tiny, quality=5, threads=3)
    assert batch == [tfcodec.compress(picture, tiny, 5) for picture in pictures]
    with pytest.raises(tfcodec.InputError, match="none.png"):
        tfcodec.compress_batch([photograph, "none.png"], model=tiny)


def test_a_codec_pickles_by_its_weights(tmp_path, monkeypatch, photograph):
    path = tmp_path / "model"
    codec = tfcodec.load(tiny_exports.tiny_export(str(path), gain_level=3.0).path)
    data = pickle.dumps(codec)
    assert len(data) < 300 and pickle.loads(data) is codec
    spawn = multiprocessing.get_context("spawn")
    # An executor says when its process died; a Pool would wait for ever.
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        file = pool.submit(codec.encode, photograph).result().data
    assert file == codec.encode(photograph).data
    tiny_exports.tiny_export(str(path))
    monkeypatch.delenv(installed.MODELS_VARIABLE, raising=False)
    with pytest.raises(tfcodec.ModelError, match="the codec model: needs the model with fing"):
        pickle.loads(data)


def test_an_image_in_memory_needs_no_file(tiny, photograph):
    file = io.BytesIO()
    Image.fromarray(photograph).save(file, "PNG")
    assert tfcodec.compress(Image.open(file), tiny) == tfcodec.compress(photograph, tiny)
