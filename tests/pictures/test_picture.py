"""Pictures from arrays and back."""

import numpy as np
import pytest

from tfcodec import pictures
from tfcodec.errors import InputError


class TestArrays:
    @pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
    def test_to_array_inverts_from_array(self, rgb, alpha, channels):
        array = np.dstack([rgb, alpha])
        array = array[..., 0] if channels is None else array[..., -channels:]
        picture = pictures.from_array(array)
        assert picture.gray == (channels in (None, 1, 2))
        expected = array[..., 0] if channels == 1 else array
        np.testing.assert_array_equal(pictures.to_array(picture), expected)

    def test_the_picture_does_not_share_the_callers_memory(self, rgb):
        picture = pictures.from_array(rgb)
        before = picture.rgb.copy()
        rgb[:] = 0
        np.testing.assert_array_equal(picture.rgb, before)

    @pytest.mark.parametrize(
        "array, words",
        [
            (np.zeros((4, 5, 3), np.float32), "uint8, received float32"),
            (np.zeros((4,), np.uint8), r"[H, W, C], received (4,)"),
            (np.zeros((1, 4, 5, 3), np.uint8), "received (1, 4, 5, 3)"),
            (np.zeros((4, 5, 6), np.uint8), "1 to 4 channels, received 6"),
            (np.zeros((0, 5, 3), np.uint8), "empty: shape (0, 5, 3)"),
        ],
    )
    def test_other_arrays_are_refused(self, array, words):
        with pytest.raises(InputError) as caught:
            pictures.from_array(array)
        assert words in str(caught.value)
