"""Rate-distortion objectives."""

import math
from collections.abc import Sequence

import numpy as np
from keras import ops

from tfcodec import metrics
from tfcodec.layers import Tensor
from tfcodec.models.base import CodecModel

SMALLEST_CONTRAST = 1e-4
_C1, _C2 = 0.01**2, 0.03**2


def ladder_lambda(lambdas: Sequence[float], rung: Tensor) -> Tensor:
    """Lagrangian weight [B] at `rung` [B] on a ladder, geometric between two of its rungs."""
    log_lambdas = ops.convert_to_tensor(np.log(np.float32(lambdas)))
    weight = ops.maximum(
        1.0 - ops.abs(rung[:, None] - ops.arange(len(lambdas), dtype="float32")[None, :]), 0.0
    )
    return ops.exp(ops.matmul(weight, log_lambdas[:, None])[:, 0])


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Multi-scale structural similarity [B] of pictures, differentiable and in float32.

    That of `metrics.ms_ssim`: five scales, an 11-tap Gaussian window, the mean over channels. A
    mean contrast below `SMALLEST_CONTRAST` counts as that: the gradient of a power below 1 is
    infinite at zero and not a number beneath.

    Args: a, b: [B, H, W, 3] in [0, 1]; sides of at least `metrics.MS_SSIM_MIN_SIDE`.
    """
    # Centred: variances are differences of large numbers. The mean is put back for the luminance.
    a, b = (ops.cast(v, "float32") - 0.5 for v in (a, b))
    product = 1.0
    for scale, weight in enumerate(metrics.SCALE_WEIGHTS):
        if scale:
            a, b = _halved(a), _halved(b)
        mean_a, mean_b = _windowed(a), _windowed(b)
        covariance = _windowed(a * b) - mean_a * mean_b
        squares = _windowed(ops.square(a) + ops.square(b))
        variances = squares - ops.square(mean_a) - ops.square(mean_b)
        similar = (2 * covariance + _C2) / (variances + _C2)
        if scale == len(metrics.SCALE_WEIGHTS) - 1:  # luminance counts on the coarsest scale alone
            mean_a, mean_b = mean_a + 0.5, mean_b + 0.5
            luminance = 2 * mean_a * mean_b + _C1
            similar *= luminance / (ops.square(mean_a) + ops.square(mean_b) + _C1)
        mean = ops.maximum(ops.mean(similar, axis=(1, 2)), SMALLEST_CONTRAST)  # [B, 3]
        product *= ops.power(mean, weight)
    return ops.mean(product, axis=-1)


def _windowed(x):
    """[B, H, W, C] to [B, H - 10, W - 10, C]: means under the Gaussian window.

    Sums of shifted pictures, because convolutions round to TF32 on many accelerators.
    """
    height, width = (side - len(metrics.WINDOW) + 1 for side in x.shape[1:3])
    x = sum(float(tap) * x[:, k : k + height] for k, tap in enumerate(metrics.WINDOW))
    return sum(float(tap) * x[:, :, k : k + width] for k, tap in enumerate(metrics.WINDOW))


def _halved(x):
    """Means of 2x2 pixels; an odd side repeats its last row or column first."""
    x = ops.pad(x, [(0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)], mode="symmetric")
    return ops.average_pool(x, 2, 2, data_format="channels_last")


def psnr(mse: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of a mean squared error on the 0-255 scale, a tensor."""
    return 20 * math.log10(255) - 10 / math.log(10) * ops.log(mse)


def rate_distortion(
    model: CodecModel,
    x: Tensor,
    rung: Tensor,
    keys: Tensor | None = None,
    rate_weights: dict[str, float] | None = None,
    progress: float | Tensor = 1.0,
    distortion: str = "mse",
) -> tuple[Tensor, dict[str, Tensor]]:
    """bpp + lambda * distortion, the Lagrangian of the field, over a batch.

    The distortion is 255^2 * MSE, or 1 - MS-SSIM.

    With a ladder of lambdas each example is weighed by lambda^-1/2, scaled to a mean weight of 1:
    its Lagrangian grows about as lambda^1/2, and unweighed the high rates would train alone.

    Args:
        model: a `CodecModel`.
        x: uint8 [B, H, W, 3].
        rung: float32 [B].
        keys: uint32 [B] in training, None in evaluation.
        rate_weights: factor of a part's bits in the loss, by name; 1 for those not in it. The
            metrics' bits are never weighted.
        progress: share of the training that is done; some models weigh a term by it.
        distortion: "mse" or "ms_ssim".
    Returns: (objective, metrics): scalar to minimise, the loss and the model's own terms; and
        a dictionary of scalars: the loss, bpp and bpp of each part, mse on the 0-255 scale, psnr in
        dB of the mean mse.
    """
    x = ops.cast(x, "float32") * (1.0 / 255.0)
    x_hat, code = model.forward(x, rung, keys)
    bits = code.bits
    pixels = x.shape[1] * x.shape[2]
    mse = ops.mean(ops.square(x_hat - x), axis=(1, 2, 3)) * 255.0**2  # [B]
    bpp = sum(bits.values()) / pixels  # [B]
    weighted = sum((rate_weights or {}).get(part, 1.0) * b for part, b in bits.items()) / pixels
    lmbda = ladder_lambda(model.lambdas, rung)
    weight = 1.0 / ops.sqrt(lmbda)
    weight = weight / float(np.mean(np.float64(model.lambdas) ** -0.5))
    similarity = ms_ssim(x_hat, x) if distortion == "ms_ssim" else None  # [B]
    loss = ops.mean(weight * (weighted + lmbda * (mse if similarity is None else 1 - similarity)))
    mean_mse = ops.mean(mse)
    measured = {
        "loss": loss,
        "bpp": ops.mean(bpp),
        "mse": mean_mse,
        "psnr": psnr(mean_mse),
        **({} if similarity is None else {"ms_ssim": ops.mean(similarity)}),
        **{f"bpp_{part}": ops.mean(value) / pixels for part, value in bits.items()},
    }
    own = model.auxiliary_loss() + model.latent_loss(code.decoded, progress)
    return loss + own, measured
