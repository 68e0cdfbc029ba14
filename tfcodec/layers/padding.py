"""Maps whose sides are not multiples of what a layer works in."""

from keras import ops

from tfcodec.layers import Tensor


def pad_to_multiple(x: Tensor, multiple: int, mode: str = "constant") -> Tensor:
    """Pads a map at the bottom and right until its sides are multiples of a number.

    Args:
        x: [B, H, W, C].
        multiple: positive integer.
        mode: "constant" (zeros) or "symmetric" (mirrored).
    Returns: the padded map; x itself if the static shape shows that it fits.
    """
    pads = [-side % multiple for side in ops.shape(x)[1:3]]
    if all(isinstance(pad, int) and pad == 0 for pad in pads):
        return x
    if mode == "constant":
        return ops.pad(x, [(0, 0), (0, pads[0]), (0, pads[1]), (0, 0)])
    for axis, pad in zip((1, 2), pads, strict=True):
        # A gather, because mirroring by `pad` cannot add more than there is.
        side = ops.shape(x)[axis]
        period = ops.arange(side + pad) % (2 * side)
        x = ops.take(x, ops.minimum(period, 2 * side - 1 - period), axis=axis)
    return x
