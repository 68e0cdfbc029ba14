"""How near a decoded picture is to its original: PSNR and MS-SSIM on 8-bit RGB.

Grayscale pictures are compared as RGB with three equal channels, which gives the same PSNR.
"""

import math

import numpy as np

MS_SSIM_MIN_SIDE = 161  # five scales, each half the last, and an 11-tap window on the smallest


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB: 10 log10(255^2 / MSE), the MSE over all samples of all
    channels. Infinite for equal pictures.

    Args: a, b, uint8 of one shape, such as [H, W, 3].
    Raises: ValueError for another dtype, different shapes or no samples.
    """
    _check_pair(a, b)
    # Row by row in integers: exact, and without float copies of a whole large picture.
    squares = sum(
        int(np.square(np.subtract(row, other, dtype=np.int32)).sum(dtype=np.int64))
        for row, other in zip(a, b, strict=True)
    )
    return math.inf if squares == 0 else 10 * math.log10(255**2 * a.size / squares)


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float | None:
    """Multi-scale structural similarity (Wang, Simoncelli, Bovik 2003), 1 for equal pictures.

    As `tf.image.ssim_multiscale` computes it: five scales, 11x11 Gaussian window of sigma 1.5, the
    mean over the channels R, G and B. In dB it is -10 log10(1 - value).

    Args: a, b, uint8 [H, W, 3].
    Returns: None if a side is shorter than 161 pixels, for which five scales do not exist.
    Raises: ValueError for another dtype or different shapes.
    """
    _check_pair(a, b)
    if min(a.shape[:2]) < MS_SSIM_MIN_SIDE:
        return None
    import tensorflow as tf  # here, since PSNR alone should not cost seconds of start-up

    return float(tf.image.ssim_multiscale(tf.constant(a[None]), tf.constant(b[None]), 255)[0])


def _check_pair(a: np.ndarray, b: np.ndarray) -> None:
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"expected uint8 pictures, received {a.dtype} and {b.dtype}")
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"expected pictures of one shape, received {a.shape} and {b.shape}")
