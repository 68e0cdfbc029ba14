"""Transposed convolutions as convolutions of their phases with depth to space, and back; numpy."""

import numpy as np


def to_phases(
    kernel: np.ndarray, strides: int
) -> tuple[np.ndarray, tuple[tuple[int, int], tuple[int, int]]]:
    """A transposed convolution as a convolution and depth to space.

    Args:
        kernel: [k, k, O, C], of `layers.conv.UpConv2D`: output n sums x[i] kernel[n + top - s i]
            with top = (k - 1) // 2.
    Returns: (kernel [t, t, C, s s O], pads): phase p of the output, at n = s m + p, sums
        x[m + d] kernel[p + top - s d] over d.
    """
    size, top = kernel.shape[0], (kernel.shape[0] - 1) // 2
    taps = _taps(size, strides)
    phases = np.zeros(
        [len(taps), len(taps), kernel.shape[3], strides, strides, kernel.shape[2]], kernel.dtype
    )
    for (i, j, p, q), (row, column) in _phase_taps(size, top, taps, strides):
        phases[i, j, :, p, q] = kernel[row, column].T
    pad = (-taps[0], taps[-1])
    return phases.reshape(*phases.shape[:3], -1), (pad, pad)


def from_phases(kernel: np.ndarray, size: int, strides: int) -> np.ndarray:
    """The reverse of `to_phases`, for a kernel of that size."""
    taps = _taps(size, strides)
    phases = kernel.reshape(*kernel.shape[:3], strides, strides, -1)
    original = np.zeros([size, size, phases.shape[-1], phases.shape[2]], kernel.dtype)
    for (i, j, p, q), (row, column) in _phase_taps(size, (size - 1) // 2, taps, strides):
        original[row, column] = phases[i, j, :, p, q].T
    return original


def _taps(size, strides):
    """The offsets d at which any phase has a weight."""
    top = (size - 1) // 2
    return range(-((size - 1 - top) // strides), (strides - 1 + top) // strides + 1)


def _phase_taps(size, top, taps, strides):
    for i, di in enumerate(taps):
        for j, dj in enumerate(taps):
            for p in range(strides):
                for q in range(strides):
                    row, column = p + top - strides * di, q + top - strides * dj
                    if 0 <= row < size and 0 <= column < size:
                        yield (i, j, p, q), (row, column)
