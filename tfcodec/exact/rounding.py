"""Weights as integers, rounded so that what a convolution computes changes least; numpy alone.

One after the other the rows of a kernel's matrix are rounded, and what each row's rounding does to
the outputs is made up for as far as the rows still to come can (GPTQ: Frantar et al., ICLR 2023,
algorithm 1; rows in order of their energy, as in its published code). The nearest integers minimise
the error of the weights; inputs of a convolution are correlated and of unlike energy, so that the
error of the outputs can be several times less with the same bits.
"""

from collections.abc import Sequence

import numpy as np

DAMPING = 0.01  # of the mean energy, added to every input's: pictures are a sample
BLOCK = 64  # rows whose errors reach the rows after them in one product


class Compensation:
    """How rows make up for each other's rounding.

    Args: gram: [R, R], products of the inputs of a kernel's rows, summed over pictures.
    """

    def __init__(self, gram: np.ndarray):
        energy = np.diag(gram)
        self.order = np.argsort(-energy, kind="stable")
        damping = DAMPING * (energy.mean() or 1.0)
        damped = np.float64(gram) + damping * np.eye(len(gram))
        inverse = np.linalg.inv(damped[np.ix_(self.order, self.order)])
        self._factor = np.linalg.cholesky((inverse + inverse.T) / 2).T  # upper

    def round(
        self, matrix: np.ndarray, steps: np.ndarray, most: int, kept: np.ndarray | None = None
    ) -> np.ndarray:
        """Integers, float64 [R, O], of which times `steps` computes about what a matrix does.

        Args:
            matrix: float64 [R, O]; steps: what an integer means, above 0, broadcasts to it.
            most: largest absolute integer.
            kept: bool [R, O], elements that are rounded by themselves, whatever the others need.
        """
        steps = np.broadcast_to(steps, matrix.shape)
        integers = np.clip(np.rint(matrix / steps), -most, most)
        left, factor = matrix[self.order], self._factor
        for first in range(0, len(left), BLOCK):
            last = min(first + BLOCK, len(left))
            errors = np.zeros([last - first, left.shape[1]])
            for i in range(first, last):
                row = self.order[i]
                found = np.clip(np.rint(left[i] / steps[row]), -most, most)
                integers[row] = found if kept is None else np.where(kept[row], integers[row], found)
                errors[i - first] = (left[i] - integers[row] * steps[row]) / factor[i, i]
                left[i + 1 : last] -= np.outer(factor[i, i + 1 : last], errors[i - first])
            left[last:] -= factor[first:last, last:].T @ errors
        return integers


def patches(
    x: np.ndarray,
    kernel_size: Sequence[int],
    pads: Sequence[tuple[int, int]],
    strides: Sequence[int],
) -> np.ndarray:
    """What each output of a convolution sees, [outputs, rows x columns x C], float32.

    The second axis is in the order of a kernel [rows, columns, C, O].

    Args: x: [B, H, W, C]; kernel_size, pads, strides: as those of `specification.Conv`.
    """
    x = np.pad(np.float32(x), [(0, 0), *pads, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel_size, axis=(1, 2))
    windows = windows[:, :: strides[0], :: strides[1]].transpose(0, 1, 2, 4, 5, 3)
    return windows.reshape(-1, np.prod(windows.shape[3:], dtype=int))


class Moments:
    """Sums over what outputs of a convolution see."""

    def __init__(self):
        self._count, self._sum, self._products = 0, 0.0, 0.0

    def add(self, rows: np.ndarray) -> None:
        """Counts more of them. Args: rows: of `patches`."""
        self._count += len(rows)
        self._sum = self._sum + rows.sum(0, dtype=np.float64)
        self._products = self._products + rows.T @ rows

    def second(self) -> np.ndarray:
        """Means of products, float64 [R, R]."""
        return np.float64(self._products) / self._count

    def covariance(self) -> np.ndarray:
        """The same about the means."""
        mean = self._sum / self._count
        return self.second() - np.outer(mean, mean)
