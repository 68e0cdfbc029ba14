"""The whole road by the scripts that a user runs: train, export, encode, decode, damage."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).parent.parent


def run(script, *arguments, **environment):
    """A script of the checkout as a process of its own, in which TensorFlow is as by default."""
    quiet = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, str(ROOT / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**quiet, **environment},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with three pictures to train on."""
    folder = tmp_path_factory.mktemp("road")
    random = np.random.RandomState(0)
    for k in range(3):
        pixels = random.randint(0, 256, [9, 10, 3]).astype(np.uint8)
        Image.fromarray(pixels).resize((100, 90), Image.BICUBIC).save(folder / f"{k}.png")
    return folder


def test_two_training_steps_give_a_model_that_codes_files(folder):
    trained = run(
        "train_tf.py",
        *("--data", folder, "--validation", folder / "2.png", "--run_dir", folder / "run"),
        *("--steps", 2, "--crop", 64, "--batch_size", 2, "--precision", "float32"),
        *("--model", "mbt2018_mean", "--preset", "compact"),
        *("--export", folder / "models" / "mine"),
    )
    assert trained.returncode == 0, trained.stderr
    told = trained.stderr.splitlines()
    assert told[0].startswith("mbt2018_mean compact: ") and "2 pictures, 1 held out" in told[0]
    assert all(line.startswith("step ") for line in told[1:]), trained.stderr  # nobody else's
    models = str(folder / "models")
    encoded = run("encode_decode.py", "encode", folder / "0.png", "--model", "mine",
                  "--quality", "2.5", "--reconstruction", folder / "r.png",
                  TFCODEC_MODELS=models)  # fmt: skip
    assert (encoded.returncode, encoded.stderr) == (0, "")
    assert "0.png  100x90  " in encoded.stdout

    lonely = run("encode_decode.py", "decode", folder / "0.tfcd", "-o", folder / "d.png")
    assert lonely.returncode == 1 and "needs the model with fingerprint" in lonely.stderr
    decoded = run(
        "encode_decode.py",
        "decode",
        folder / "0.tfcd",
        "-o",
        folder / "d.png",
        TFCODEC_MODELS=models,
    )
    assert (decoded.returncode, decoded.stderr) == (0, "")
    with Image.open(folder / "d.png") as shown, Image.open(folder / "r.png") as promised:
        np.testing.assert_array_equal(np.asarray(shown), np.asarray(promised))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda data: data[: len(data) // 2], "is the file truncated?"),
        (lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:], "damaged, its CRC-32 is"),
        (lambda data: data + b"more", "CRC-32|after the end|bytes"),
        (lambda data: b"", "is empty"),
        (lambda data: b"\x89PNG\r\n\x1a\n" + data, "not a tfcodec file"),
        (lambda data: data[:4] + b"\x07" + data[5:], "version 7"),
    ],
)
def test_a_damaged_file_is_one_sentence_and_no_output(folder, damage, sentence):
    import re

    import tfcodec

    picture = np.asarray(Image.open(folder / "1.png"))
    (folder / "bad.tfcd").write_bytes(damage(tfcodec.compress(picture, quality=3)))
    failed = run("encode_decode.py", "decode", folder / "bad.tfcd", "-o", folder / "bad.png")
    assert failed.returncode == 1 and failed.stdout == ""
    assert re.fullmatch(f"tfcodec: .*bad.tfcd: .*({sentence}).*\n", failed.stderr), failed.stderr
    assert not (folder / "bad.png").exists()


def test_training_without_pictures_is_one_sentence(folder):
    failed = run("train_tf.py", "--data", folder / "*.gif", "--run_dir", folder / "none")
    assert failed.returncode == 1 and not (folder / "none").exists()
    assert failed.stderr == (
        f"tfcodec: --data {folder}/*.gif: there is no such file, folder or glob\n"
    )
