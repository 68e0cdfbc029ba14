"""What a model is worth so far: points of rate and distortion, and pictures to look at."""

from collections.abc import Sequence

import numpy as np
from keras import ops

from tfcodec import metrics
from tfcodec.models.base import CodecModel
from tfcodec.training.backends import backend


def validate(
    model: CodecModel,
    pictures: Sequence[np.ndarray],
    crop: int,
    batch_size: int = 8,
    ms_ssim: bool = False,
) -> list[dict[str, float]]:
    """Rate and distortion of each rung over centre crops, with rounded latents and 8-bit pixels.

    Returns: a list with one {"rung", "lambda", "bpp", "psnr"} a rung; psnr in dB, the mean over
        pictures of each one's own; also "ms_ssim", if it is asked for.
    """
    points = []
    forward = backend().forward(model)
    for rung, lmbda in enumerate(model.lambdas):
        bpp, psnr, similarity = [], [], []
        for first in range(0, len(pictures), batch_size):
            x = _centres(pictures, range(first, min(first + batch_size, len(pictures))), crop)
            x_hat, bits = _reconstruct(forward, x, rung)
            mse = np.mean(np.square(x_hat - x), axis=(1, 2, 3))
            psnr += list(10 * np.log10(255**2 / np.maximum(mse, 1e-9)))
            if ms_ssim:
                similarity += [
                    metrics.ms_ssim(*pair) for pair in zip(np.uint8(x_hat), x, strict=True)
                ]
            bpp += list(ops.convert_to_numpy(sum(bits.values())) / crop**2)
        points.append(
            {
                "rung": rung,
                "lambda": lmbda,
                "bpp": float(np.mean(bpp)),
                "psnr": float(np.mean(psnr)),
                **({"ms_ssim": float(np.mean(similarity))} if ms_ssim else {}),
            }
        )
    return points


def samples(
    model: CodecModel, pictures: Sequence[np.ndarray], crop: int, count: int = 4
) -> np.ndarray:
    """Centre crops above what the middle rung makes of them, to look at: uint8 [n, 2 c, c, 3]."""
    x = _centres(pictures, range(min(count, len(pictures))), crop)
    x_hat, _ = _reconstruct(backend().forward(model), x, len(model.lambdas) // 2)
    return np.concatenate([x, np.uint8(x_hat)], axis=1)


def _centres(pictures, indexes, crop):
    """Centre crops of some pictures, uint8 [n, crop, crop, 3]."""
    chosen = [pictures[k] for k in indexes]
    offsets = [((p.shape[0] - crop) // 2, (p.shape[1] - crop) // 2) for p in chosen]
    return np.stack(
        [p[t : t + crop, s : s + crop] for p, (t, s) in zip(chosen, offsets, strict=True)]
    )


def _reconstruct(forward, x, rung):
    """(8-bit pixels as float, bits of each part) for crops uint8 [n, c, c, 3]."""
    x_hat, bits = forward(np.float32(x) / 255, np.full([len(x)], rung, np.float32))
    return np.rint(np.clip(ops.convert_to_numpy(x_hat), 0, 1) * 255), bits
