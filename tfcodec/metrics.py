"""How near a decoded picture is to its original: PSNR and MS-SSIM on 8-bit RGB.

Grayscale pictures are compared as RGB with three equal channels, which gives the same PSNR.
"""

import math
from collections.abc import Callable

import numpy as np

MS_SSIM_MIN_SIDE = 161  # five scales, each half the last, and an 11-tap window on the smallest
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest first (Wang et al., Sec. 3.2)
WINDOW = np.exp(-np.square(np.arange(-5, 6)) / (2 * 1.5**2))
WINDOW /= WINDOW.sum()
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(a: np.ndarray, b: np.ndarray, alpha: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB: 10 log10(255^2 / MSE), the MSE over all samples of all
    channels. Infinite for equal pictures.

    Args:
        a, b: uint8 of one shape, such as [H, W, 3].
        alpha: uint8 [H, W]; pixels where it is 0 are invisible and do not count.
    Raises: ValueError for another dtype, different shapes or no samples.
    """
    _check_pair(a, b)
    if alpha is not None:
        a, b = a[alpha > 0], b[alpha > 0]
    # Row by row in integers: exact, and without float copies of a whole large picture.
    squares = sum(
        int(np.square(np.subtract(row, other, dtype=np.int32)).sum(dtype=np.int64))
        for row, other in zip(a, b, strict=True)
    )
    return math.inf if squares == 0 else 10 * math.log10(255**2 * a.size / squares)


def ms_ssim(
    a: np.ndarray, b: np.ndarray, progress: Callable[[int, int], None] | None = None
) -> float | None:
    """Multi-scale structural similarity (Wang, Simoncelli, Bovik 2003), 1 for equal pictures.

    As `tf.image.ssim_multiscale` defines it: five scales, 11x11 Gaussian window of sigma 1.5, the
    mean over the channels R, G and B. Computed in float64, since that function's float32 was
    measured to be off by 2e-4 on JPEG files of quality 95. In dB it is -10 log10(1 - value).

    Args:
        a, b: uint8 [H, W, 3].
        progress: called with windowed planes done and their number.
    Returns: None if a side is shorter than 161 pixels, for which five scales do not exist.
    Raises: ValueError for another dtype or different shapes.
    """
    _check_pair(a, b)
    if min(a.shape[:2]) < MS_SSIM_MIN_SIDE:
        return None
    done, count = 0, _WINDOWED * len(SCALE_WEIGHTS) * a.shape[2]

    def windowed(x: np.ndarray) -> np.ndarray:
        nonlocal done
        done += 1
        if progress:
            progress(done, count)
        return _windowed(x)

    # One channel after the other: less memory.
    channels = [_ms_ssim_of_channel(a[..., c], b[..., c], windowed) for c in range(a.shape[2])]
    return float(np.mean(channels))


_WINDOWED = 4  # planes of each scale of a channel


def _ms_ssim_of_channel(x: np.ndarray, y: np.ndarray, windowed: Callable) -> float:
    x, y, product = x.astype(np.float64), y.astype(np.float64), 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        if scale:
            x, y = _halved(x), _halved(y)
        mean_x, mean_y = windowed(x), windowed(y)
        mean_xy, squares = mean_x * mean_y, mean_x**2 + mean_y**2
        similar = 2 * (windowed(x * y) - mean_xy) + _C2
        similar /= windowed(x**2 + y**2) - squares + _C2
        if scale == len(SCALE_WEIGHTS) - 1:  # luminance counts on the coarsest scale alone
            similar *= (2 * mean_xy + _C1) / (squares + _C1)
        product *= max(similar.mean(), 0.0) ** weight
    return product


def _windowed(x: np.ndarray) -> np.ndarray:
    """[H, W] to [H - 10, W - 10], its means under the Gaussian window."""
    height, width = (side - len(WINDOW) + 1 for side in x.shape)
    rows = sum(tap * x[k : k + height] for k, tap in enumerate(WINDOW))
    return sum(tap * rows[:, k : k + width] for k, tap in enumerate(WINDOW))


def _halved(x: np.ndarray) -> np.ndarray:
    """Means of 2x2 pixels; an odd side repeats its last row or column first."""
    x = np.pad(x, [(0, side % 2) for side in x.shape], mode="edge")
    return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4


def _check_pair(a: np.ndarray, b: np.ndarray) -> None:
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"expected uint8 pictures, received {a.dtype} and {b.dtype}")
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"expected pictures of one shape, received {a.shape} and {b.shape}")
