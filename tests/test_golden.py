"""Yesterday's file decodes today, on every TensorFlow, to the picture that it decoded to then.

`ms2020-compact.tfcd` was written on TensorFlow 2.17 by TensorFlow Compression's ops.
"""

import pathlib

import numpy as np
import pytest
from PIL import Image

import tfcodec
from tfcodec.coding import range_coder

DATA = pathlib.Path(__file__).parent / "data"


@pytest.mark.parametrize("body", range_coder.bodies())
def test_a_file_of_a_portable_model_decodes_to_what_it_was(body, monkeypatch):
    monkeypatch.setenv(range_coder.BODY_VARIABLE, body)
    decoded = tfcodec.decompress((DATA / "ms2020-compact.tfcd").read_bytes())  # checks the latents
    expected = np.asarray(Image.open(DATA / "ms2020-compact.png"))
    assert np.abs(decoded.astype(int) - expected).max() <= 1
