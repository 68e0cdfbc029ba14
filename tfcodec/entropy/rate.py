"""The visitor of training and evaluation: what the latents would cost, in bits."""

from collections.abc import Sequence

from keras import ops

from tfcodec.coding.tables import PRECISION
from tfcodec.entropy.quantize import round_straight_through, uniform_noise
from tfcodec.entropy.walk import Prior
from tfcodec.layers import Tensor


class RateMeter:
    """Visitor of `walk.walk` that sums the bits of every step.

    In training the bits are those of noisy latents, while the symbols handed on are rounded with a
    straight-through gradient (Minnen and Singh, ICIP 2020, Sec. 3.3). In evaluation both round, and
    the bits are what the coder charges.

    Args:
        latents: one tensor [B, h, w, c] a step.
        names: name of each step's part; steps of one name are added up.
        keys: uint32 [B] for the noise of training; None for evaluation.
    `bits` maps each name to [B], the bits of each example; `decoded` lists each step's latents as a
    decoder has them, symbols + mu.
    """

    def __init__(self, latents: Sequence[Tensor], names: Sequence[str], keys: Tensor | None = None):
        self.latents, self.names, self.keys = latents, names, keys
        self.num_steps = len(latents)
        self.bits, self.decoded = {}, []

    def __call__(self, k: int, prior: Prior) -> Tensor:
        latent = ops.cast(self.latents[k], "float32")
        symbols = round_straight_through(latent - prior.mu)
        self.decoded.append(symbols + prior.mu)
        if self.keys is None:
            # Straight through, they are integers only to the last bit.
            bits = prior.coded_bits(ops.round(symbols))
        else:
            bits = _tempered(prior.bits(latent + uniform_noise(latent, self.keys, salt=k)))
        bits = ops.sum(bits, axis=(1, 2, 3))
        name = self.names[k]
        self.bits[name] = self.bits[name] + bits if name in self.bits else bits
        return symbols


def table_bits(bits: Tensor, symbols: Tensor, within: Tensor) -> Tensor:
    """What the coder charges for symbols that have tables, in bits.

    An entry of a table has at least one share of 2^16, however improbable the density finds it;
    what the table does not hold costs such a share and a varint of the file (docs/FORMAT.md).

    Args:
        bits: of the density, float32; symbols: integers, float32.
        within: bool, which symbols their tables hold. All three of one shape.
    """
    size = ops.abs(symbols + 0.5)  # zigzag: -64 to 63 take a byte
    varint = 8.0 + 8.0 * ops.cast(size > 64, "float32") + 8.0 * ops.cast(size > 8192, "float32")
    return ops.where(within, ops.minimum(bits, float(PRECISION)), PRECISION + varint)


def _tempered(bits):
    """What the coder charges for the improbable, see `table_bits`, as a curve: beyond 16 bits only
    the logarithm counts, four times, so that 100 bits are 23 and 2,000 are 35.

    The density's own charge, quadratic in the distance, would leave nothing of the clipped gradient
    for the rest of the batch; one that is alike at every distance would pull nothing back."""
    most = float(PRECISION)
    return ops.where(bits > most, most + 4.0 * ops.log(ops.maximum(bits, most) / most), bits)
