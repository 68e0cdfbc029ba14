"""The visitor of training and evaluation: what the latents would cost, in bits."""

from keras import ops

from tfcodec.entropy.quantize import round_straight_through, uniform_noise


class RateMeter:
    """Visitor of `slices.walk` that sums the bits of every step.

    In training the bits are those of noisy latents, while the symbols handed on are rounded with a
    straight-through gradient (Minnen and Singh, ICIP 2020, Sec. 3.3). In evaluation both round.

    Args:
        latents: one tensor [B, h, w, c] a step.
        names: name of each step's part; steps of one name are added up.
        keys: uint32 [B] for the noise of training; None for evaluation.
    `bits` maps each name to [B], the bits of each example; `decoded` lists each step's latents as a
    decoder has them, symbols + mu.
    """

    def __init__(self, latents, names, keys=None):
        self.latents, self.names, self.keys = latents, names, keys
        self.num_steps = len(latents)
        self.bits, self.decoded = {}, []

    def __call__(self, k, prior):
        latent = ops.cast(self.latents[k], "float32")
        symbols = round_straight_through(latent - prior.mu)
        self.decoded.append(symbols + prior.mu)
        if self.keys is None:
            values = self.decoded[-1]
        else:
            values = latent + uniform_noise(latent, self.keys, salt=k)
        bits = prior.bits(values)
        if self.keys is not None:
            bits = _tempered(bits)
        bits = ops.sum(bits, axis=(1, 2, 3))
        name = self.names[k]
        self.bits[name] = self.bits[name] + bits if name in self.bits else bits
        return symbols


def _tempered(bits):
    """Bits above 32 grow as the logarithm: a coder would escape them, and their gradient, quadratic
    in the distance, would leave nothing of the clipped gradient for the rest of the batch."""
    return ops.where(bits > 32.0, 32.0 + 32.0 * ops.log(ops.maximum(bits, 32.0) / 32.0), bits)
