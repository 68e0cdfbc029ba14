"""Yesterday's files of the portable models decode today, on every TensorFlow, to what they were.

They were written on TensorFlow 2.17 by TensorFlow Compression's ops.
"""

import pathlib

import numpy as np
import pytest
from PIL import Image

import tfcodec
from tfcodec.coding import range_coder
from tfcodec.exports import installed

DATA = pathlib.Path(__file__).parent / "data"


PORTABLE = [info.name for info in installed.models() if info.config["portable"]]


@pytest.mark.parametrize("body", range_coder.bodies())
@pytest.mark.parametrize("model", PORTABLE)
def test_a_file_of_a_portable_model_decodes_to_what_it_was(model, body, monkeypatch):
    monkeypatch.setenv(range_coder.BODY_VARIABLE, body)
    decoded = tfcodec.decompress((DATA / f"{model}.tfcd").read_bytes())  # checks the latents
    expected = np.asarray(Image.open(DATA / f"{model}.png"))
    assert np.abs(decoded.astype(int) - expected).max() <= 1
