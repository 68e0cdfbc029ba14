"""A picture and an alpha channel for the tests of this room."""

import numpy as np
import pytest
from drawn import HEIGHT, WIDTH


@pytest.fixture
def rgb():
    """Smooth and asymmetric in every direction: turned, swapped or mirrored pixels show."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([7 * x, 12 * y, 4 * x + 5 * y], axis=-1).astype(np.uint8)


@pytest.fixture
def alpha():
    """Of nearly all levels, but nothing is quite hidden."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return (1 + (x * y) % 255).astype(np.uint8)
