"""Rate-distortion curves compared: one number for how many bits one codec saves over another.

A curve is a sequence of points (bpp, PSNR in dB), one per quality, in any order.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Point = tuple[float, float]


class BdRate(NamedTuple):
    """`percent` more bits (negative: fewer) at equal PSNR, the mean over `overlap`, in dB."""

    percent: float
    overlap: tuple[float, float]


def bd_rate(anchor: Sequence[Point], test: Sequence[Point]) -> BdRate:
    """Bjontegaard delta rate of `test` against `anchor`.

    Both curves are interpolated by PCHIP of ln(bpp) over PSNR, which does not overshoot between
    points, and the difference is averaged over the PSNR that both cover (Bjontegaard, VCEG-M33;
    PCHIP as in JVET practice).

    Raises: ValueError if a curve has fewer than two points, does not rise, or the two do not
        overlap in PSNR.
    """
    from scipy.interpolate import PchipInterpolator  # extra `eval`: the codec itself needs no scipy

    curves = [PchipInterpolator(*_log_rate_over_psnr(points)) for points in (anchor, test)]
    low = max(curve.x[0] for curve in curves)
    high = min(curve.x[-1] for curve in curves)
    if low >= high:
        ranges = " and ".join(f"{curve.x[0]:.2f} - {curve.x[-1]:.2f} dB" for curve in curves)
        raise ValueError(f"the curves do not overlap: {ranges}")
    anchor_area, test_area = (float(curve.integrate(low, high)) for curve in curves)
    ratio = np.exp((test_area - anchor_area) / (high - low))
    return BdRate(float(100 * (ratio - 1)), (float(low), float(high)))


def mean_curve(curves: Sequence[Sequence[Point]]) -> list[Point]:
    """The mean bpp and mean PSNR of several pictures, quality by quality.

    Args: curves, one per picture, all with the same qualities in the same order.
    """
    return [(float(bpp), float(psnr)) for bpp, psnr in np.mean(np.asarray(curves), axis=0)]


def _log_rate_over_psnr(points: Sequence[Point]) -> tuple[np.ndarray, np.ndarray]:
    if len(points) < 2:
        raise ValueError(f"a curve needs two points or more, received {len(points)}")
    bpp, psnr = np.array(sorted(points), float).T
    if bpp[0] <= 0 or np.any(np.diff(psnr) <= 0):
        raise ValueError(f"PSNR must rise with the rate, received {sorted(points)}")
    return psnr, np.log(bpp)
