"""Laws of what nobody sees: opaque alpha goes, hidden colours are cheap, visible ones stay."""

import io

import numpy as np
import pytest
from drawn import as_png
from PIL import Image

from tfcodec import pictures
from tfcodec.pictures.hidden import without_hidden

SHAPES = [(1, 1), (1, 9), (8, 8), (19, 31), (33, 64), (100, 3)]


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def masks(height, width):
    """Alpha channels of many kinds, none of them opaque everywhere."""
    random = np.random.default_rng(1)
    y, x = np.mgrid[:height, :width]
    yield np.where((y + x) % 2, 255, 0)
    yield np.where((abs(y - height / 2) < height / 4) & (abs(x - width / 2) < width / 4), 255, 0)
    yield np.where(random.random((height, width)) < 0.03, random.integers(1, 256), 0)
    yield np.where(x == width - 1, 1, 0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
class TestEveryMask:
    def test_visible_colours_and_alpha_stay_and_twice_is_once(self, shape):
        for mask in masks(*shape):
            rgb, alpha = noise(*shape), mask.astype(np.uint8)
            before = rgb.copy()
            filled, kept = without_hidden(rgb, alpha)
            np.testing.assert_array_equal(rgb, before)
            np.testing.assert_array_equal(kept, alpha)
            np.testing.assert_array_equal(filled[alpha > 0], rgb[alpha > 0])
            again, _ = without_hidden(filled, alpha)
            np.testing.assert_array_equal(again, filled)

    def test_what_was_hidden_has_no_say(self, shape):
        for mask in masks(*shape):
            alpha = mask.astype(np.uint8)
            other = np.where(alpha[..., None] > 0, noise(*shape), noise(*shape, seed=2))
            np.testing.assert_array_equal(
                without_hidden(noise(*shape), alpha)[0], without_hidden(other, alpha)[0]
            )

    def test_hidden_colours_lie_among_the_visible_ones(self, shape):
        for mask in masks(*shape):
            rgb, alpha = noise(*shape), mask.astype(np.uint8)
            if (alpha > 0).any():
                filled, _ = without_hidden(rgb, alpha)
                visible = rgb[alpha > 0]
                assert (filled >= visible.min(0)).all() and (filled <= visible.max(0)).all()


def test_one_visible_colour_goes_on_everywhere():
    rgb, alpha = noise(40, 50), np.zeros((40, 50), np.uint8)
    alpha[7:9, 20:30] = 255
    rgb[alpha > 0] = (200, 30, 90)
    filled, _ = without_hidden(rgb, alpha)
    assert (filled == (200, 30, 90)).all()


def test_a_hidden_picture_is_flat_and_keeps_its_alpha():
    filled, alpha = without_hidden(noise(9, 12), np.zeros((9, 12), np.uint8))
    assert len(np.unique(filled)) == 1 and (alpha == 0).all()


def test_a_gray_picture_stays_gray():
    gray = np.repeat(noise(20, 30)[..., :1], 3, axis=2)
    alpha = np.where(np.arange(30) < 9, 255, 0)[None].repeat(20, 0).astype(np.uint8)
    filled, _ = without_hidden(gray, alpha)
    assert (filled == filled[..., :1]).all()


def test_noise_that_is_hidden_costs_a_png_no_more_than_flat_gray_does_ten_times():
    """PNG stands in for a codec: it has no taste, and finds smooth pictures cheap."""
    alpha = np.zeros((96, 128), np.uint8)
    alpha[32:64, 40:80] = 255
    y, x = np.mgrid[:96, :128]
    rgb = np.stack([x, y, x + y], -1).astype(np.uint8)
    rgb[alpha == 0] = noise(96, 128)[alpha == 0]
    flat = np.where(alpha[..., None] > 0, rgb, 128)
    filled, _ = without_hidden(rgb, alpha)
    assert len(as_png(filled)) < len(as_png(rgb)) / 4
    assert len(as_png(filled)) < 10 * len(as_png(flat))


@pytest.mark.parametrize("channels", [2, 4])
def test_arrays_files_and_images_agree(channels):
    array = np.dstack([noise(24, 30), np.where(noise(24, 30)[..., 0] < 99, 0, 255)])
    array = array[..., -channels:].astype(np.uint8)
    of_array = pictures.from_array(array)
    image = Image.fromarray(array, "LA" if channels == 2 else "RGBA")
    for other in (pictures.read(io.BytesIO(as_png(image))), pictures.from_pillow(image)):
        np.testing.assert_array_equal(other.rgb, of_array.rgb)
        np.testing.assert_array_equal(other.alpha, of_array.alpha)


def test_opaque_arrays_have_no_alpha():
    opaque = np.dstack([noise(5, 6), np.full((5, 6), 255, np.uint8)])
    for array in (opaque, opaque[..., 2:], opaque[:1, :1]):
        assert pictures.from_array(array).alpha is None
        assert pictures.from_array(array).gray == (array.shape[2] == 2)
