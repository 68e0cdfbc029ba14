"""Wavefronts: positions of a latent that a raster-order context lets a decoder read together.

A 5x5 context in raster order sees two rows above and two positions to the left, so position (h, w)
depends only on positions with a smaller t = w + 3 h. All positions of one t are independent: a
latent of H x W takes W + 3 (H - 1) steps in place of H W, and the result is the raster order's,
exactly.

    t:  0  1  2  3  4  5        Every step holds the same number of rows, so that every step is the
        3  4  5  6  7  8        same computation on the same shape; what a step holds beyond the
        6  7  8  9 10 11        wavefront is not valid and not coded.

Functions take the arrays' namespace: numpy, or keras.ops for tensors of unknown size.
"""

from types import ModuleType

import numpy as np

from tfcodec.coding import Array

SLOPE = 3  # positions that a row trails the one above it


def count(height: int, width: int) -> int:
    """Steps of a latent of that size."""
    return width + SLOPE * (height - 1)


def rows(height: int, width: int, xp: ModuleType = np) -> int:
    """Rows that every step holds: the most that a wavefront can reach."""
    return xp.minimum(height, -(-width // SLOPE))


def positions(t: int, height: int, width: int, xp: ModuleType = np) -> tuple[Array, Array, Array]:
    """Where step t lies: rows, columns and validity, int32, int32, bool, each [rows()].

    What is not valid has row and column 0.
    """
    first = xp.maximum((t - width + SLOPE) // SLOPE, 0)
    row = xp.arange(rows(height, width, xp), dtype="int32") + first
    column = t - SLOPE * row
    valid = (row < height) & (column >= 0) & (column < width)
    return xp.where(valid, row, 0), xp.where(valid, column, 0), valid


def split(latent: np.ndarray) -> list[np.ndarray]:
    """numpy latent [1, H, W, C] to its steps, each [1, rows, 1, C], zero where not valid."""
    _, height, width, _ = latent.shape
    steps = []
    for t in range(count(height, width)):
        row, column, valid = positions(t, height, width)
        steps.append((latent[:, row, column] * valid[:, None])[:, :, None])
    return steps


def shapes(height: int, width: int, channels: int) -> list[tuple[int, int, int, int]]:
    """Shape of each step of a latent [1, height, width, channels], without the latent."""
    return [(1, int(rows(height, width)), 1, channels)] * count(height, width)
