"""Rate-distortion objectives."""

import math

import numpy as np
from keras import ops


def ladder_lambda(lambdas, rung):
    """Lagrangian weight [B] at `rung` [B] on a ladder, geometric between two of its rungs."""
    log_lambdas = ops.convert_to_tensor(np.log(np.float32(lambdas)))
    weight = ops.maximum(
        1.0 - ops.abs(rung[:, None] - ops.arange(len(lambdas), dtype="float32")[None, :]), 0.0
    )
    return ops.exp(ops.matmul(weight, log_lambdas[:, None])[:, 0])


def rate_distortion(model, x, rung, keys=None, rate_weights=None, progress=1.0):
    """bpp + lambda * 255^2 * MSE, the Lagrangian of the field, over a batch.

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
    loss = ops.mean(weight * (weighted + lmbda * mse))
    mean_mse = ops.mean(mse)
    metrics = {
        "loss": loss,
        "bpp": ops.mean(bpp),
        "mse": mean_mse,
        "psnr": 20 * math.log10(255) - 10 / math.log(10) * ops.log(mean_mse),
        **{f"bpp_{part}": ops.mean(value) / pixels for part, value in bits.items()},
    }
    own = model.auxiliary_loss() + model.latent_loss(code.decoded, progress)
    return loss + own, metrics
