"""What the server's reader makes of a picture, without a model."""

import io

import numpy as np
import pytest
import tensorflow as tf
from drawn import as_png
from PIL import Image
from served import pixels

from tfcodec.serving.pictures import read_picture


@pytest.fixture(scope="module")
def read():
    """Bytes of a picture to pixels [H, W, C], traced as in the signatures."""
    spec = [tf.TensorSpec([], tf.string)]
    graph = tf.function(lambda data: read_picture(data, 2**20), spec, autograph=False)

    def read(data):
        shown, _, error = graph(data)
        assert error.numpy() == b""
        return shown.numpy()

    return read


@pytest.mark.parametrize("marker", ["with", "without"])
def test_a_cmyk_jpeg_is_read_as_adobes(read, marker):
    buffer = io.BytesIO()
    Image.fromarray(pixels(0)).convert("CMYK").save(buffer, "JPEG")
    data = buffer.getvalue()
    expected = np.asarray(Image.open(buffer).convert("RGB"))
    at = data.index(b"\xff\xee\0\x0eAdobe")
    shown = read(data if marker == "with" else data[:at] + data[at + 16 :])
    assert np.abs(np.int16(expected) - shown).max() <= 1


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_dropped_where_it_is_opaque_everywhere(read, channels):
    array = pixels(1, channels=channels)
    array[..., -1] = 255
    np.testing.assert_array_equal(read(as_png(array)), array[..., :-1])
    array[-1, -1, -1] = 254
    np.testing.assert_array_equal(read(as_png(array)), array)
