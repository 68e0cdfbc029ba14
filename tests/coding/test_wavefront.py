import numpy as np
import pytest
from keras import ops

from tfcodec.coding import wavefront

SIZES = [(1, 1), (1, 7), (7, 1), (4, 4), (5, 13), (13, 5), (3, 2)]


@pytest.mark.parametrize("height,width", SIZES)
def test_every_position_is_in_one_step_after_all_that_its_context_sees(height, width):
    step = np.full([height, width], -1)
    for t in range(wavefront.count(height, width)):
        row, column, valid = wavefront.positions(t, height, width)
        assert len(row) == wavefront.rows(height, width)
        assert np.all(step[row[valid], column[valid]] == -1)
        step[row[valid], column[valid]] = t
    assert step.min() == 0
    for h in range(height):
        for w in range(width):
            above = step[max(h - 2, 0) : h, max(w - 2, 0) : w + 3]
            left = step[h, max(w - 2, 0) : w]
            assert np.all(above < step[h, w]) and np.all(left < step[h, w])


def test_a_latent_of_32_by_48_takes_141_steps_of_16_rows():
    assert wavefront.count(32, 48) == 141 and wavefront.rows(32, 48) == 16


@pytest.mark.parametrize("height,width", SIZES)
def test_a_graph_finds_the_same_positions(height, width):
    for t in (0, 1, wavefront.count(height, width) - 1):
        there = wavefront.positions(ops.convert_to_tensor(t), height, width, xp=ops)
        for found, expected in zip(there, wavefront.positions(t, height, width), strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("height,width", SIZES)
def test_steps_hold_the_whole_latent_and_zeros(height, width):
    latent = np.arange(1.0, height * width * 2 + 1, dtype=np.float32).reshape(1, height, width, 2)
    steps = wavefront.split(latent)
    assert [step.shape for step in steps] == wavefront.shapes(height, width, 2)
    values = np.concatenate([step.ravel() for step in steps])
    np.testing.assert_array_equal(np.sort(values[values > 0]), latent.ravel())
