"""Large pictures in tiles: which part of the picture each tile sees, and what of it is right.

    |<------------------------ side ------------------------->|
    [ tile 0                  ]                                    a tile sees `length` pixels; what
                       [ tile 1                  ]                 it says near a border inside the
                                   [ tile 2                  ]     picture is thrown away
    |<-- kept of 0 --->|<- 1 ->|<--------- kept of 2 -------->|

A network of convolutions and windows sees a bounded neighbourhood of each position. `measure` finds
at export how far what lies beyond a tile's border reaches into its result: those are the margins
that are thrown away. At the borders of the picture nothing is: there a tile is padded with zeros
as the whole picture is. Tiles begin at multiples of the model's stride, so that subsampling and
windows fall as in the whole; and all tiles of a picture have one size. So tiles give what the whole
gives, up to the last bits of sums whose order a library may choose by the size of its input.

The module needs neither TensorFlow nor Keras but in `measure`.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:  # imports Keras
    from tfcodec.models.base import CodecModel

Progress: TypeAlias = Callable[[int, int], None]  # called with tiles done and their number

# Bytes of the largest activation of a tile; all that lives at once is some 7 times as much.
ACTIVATION_BYTES = 2**26
# Tiles are at least so many times as long as what is thrown away on both sides of them.
LEAST_SHARE = 3


@dataclasses.dataclass(frozen=True)
class Span:
    """Of one axis, in pixels: a tile sees `start` to `stop`, `first` to `last` of it are kept."""

    start: int
    stop: int
    first: int
    last: int


def spans(side: int, largest: int, margins: Sequence[int], stride: int) -> list[Span]:
    """The spans of an axis, in order, all equally long.

    Args:
        side: of the padded picture, a multiple of `stride`.
        largest: limit of a span's length, at least the margins and `stride` together.
        margins: (before, after), pixels that a border inside the picture spoils.
        stride: of the model; spans begin at multiples of it.
    """
    if side <= largest:
        return [Span(0, side, 0, side)]
    lost = sum(margins)
    step = (largest - lost) // stride * stride
    count = math.ceil((side - lost) / step)
    step = _up((side - lost) / count, stride)  # equal shares: the last span shall not be a sliver
    length = step + _up(lost, stride)
    all_spans, first = [], 0
    for k in range(count):
        start = min(k * step, side - length)
        last = side if k == count - 1 else start + length - margins[1]
        all_spans.append(Span(start, start + length, first, last))
        first = last
    return all_spans


def grid(
    height: int, width: int, tiling: dict[str, Any], margins: str, stride: int
) -> list[tuple[Span, Span]]:
    """(rows, columns) of each tile of a picture, pairs of `Span`, row by row.

    Args:
        height, width: of the padded picture.
        tiling: what `measure` found.
        margins: "analysis" or "synthesis", whose margins count.
    """
    margins = tiling[margins]
    pixels = ACTIVATION_BYTES // tiling["bytes_per_pixel"]
    if height * width <= pixels:
        return [(Span(0, height, 0, height), Span(0, width, 0, width))]
    least = _up(LEAST_SHARE * sum(margins) + stride, stride)
    rows = spans(height, max(least, math.isqrt(pixels) // stride * stride), margins, stride)
    length = rows[0].stop  # what a low picture leaves of the pixels goes to the width
    columns = spans(width, max(least, pixels // length // stride * stride), margins, stride)
    return [(row, column) for row in rows for column in columns]


def _up(number, multiple):
    """The next multiple from `number` on."""
    return math.ceil(number / multiple) * multiple


# ------------------------------------------------------------------------------------- measuring


def measure(model: "CodecModel") -> dict[str, Any] | None:
    """What a model needs its tiles to be, for config.json.

    All pixels on one side of a border become not-a-number, which no layer takes back: how far it
    reaches beyond the border is what a tile loses there. It is not-a-number rather than another
    value so that neither small weights nor rectifiers hide a path.

    Args: model: a built `CodecModel`.
    Returns: {"analysis": [before, after], "synthesis": [before, after], in pixels,
        "bytes_per_pixel": of the largest activation}; None if the model sees the whole picture.
    """
    from keras import ops, tree

    from tfcodec.layers.watch import watching

    side, rung, sizes = model.stride, np.zeros([1], np.float32), []

    def size(layer, inputs, output):
        sizes.extend(4 * math.prod(tensor.shape) for tensor in tree.flatten(output))

    with watching(size):
        y = model.to_y(np.full([1, side, side, 3], 0.5, np.float32), rung)
        y_hat, _ = model.rate(model.to_latents(y))
        model.synthesis(y_hat, rung)
    latents = [(side // a.shape[1], a.shape[-1]) for a in tree.flatten(y_hat)]

    def analysis(spoiled):
        x = np.full([1, side, spoiled.size, 3], 0.5, np.float32)
        x[:, :, spoiled] = np.nan
        return [ops.convert_to_numpy(a) for a in tree.flatten(model.to_y(x, rung))]

    def synthesis(spoiled):
        y_hats = []
        for stride, channels in latents:
            y_hats.append(np.zeros([1, side // stride, spoiled.size // stride, channels]))
            y_hats[-1][:, :, spoiled[::stride]] = np.nan
        y_hats = [ops.convert_to_tensor(np.float32(a)) for a in y_hats]
        return [ops.convert_to_numpy(model.synthesis(tree.pack_sequence_as(y_hat, y_hats), rung))]

    margins = {"analysis": _margins(analysis, side), "synthesis": _margins(synthesis, side)}
    if None in margins.values():
        return None
    coarsest = max(side // a.shape[1] for a in tree.flatten(y))  # what is kept are whole positions
    margins["analysis"] = [_up(margin, coarsest) for margin in margins["analysis"]]
    return {**margins, "bytes_per_pixel": -(-max(sizes) // side**2)}


def _margins(network, stride, longest=2**13):
    """[before, after] in pixels, of a network from a mask of spoiled columns to its outputs; None
    if they are not found in a picture of `longest` pixels."""
    length = 4 * max(stride, 128)
    while length <= longest:
        middle = length // 2
        right_of_it = np.arange(length) >= middle
        before = _reach(network(~right_of_it), middle, length)
        # Mirrored, the pixels before a spoiled right half are those behind a spoiled left one.
        after = _reach([a[:, :, ::-1] for a in network(right_of_it)], middle, length)
        # Behind a quarter, what windows roll from one end to the other may be seen.
        if max(before, after) < length // 4:
            return [before, after]
        length *= 2
    return None


def _reach(outputs, middle, length):
    """Pixels behind the middle, up to a quarter of the length, that any output has spoiled."""
    reach = 0
    for output in outputs:
        stride = length // output.shape[2]
        spoiled = ~np.isfinite(output).all(axis=(0, 1, 3))
        behind = spoiled[middle // stride : (middle + length // 4) // stride]
        reach = max(reach, (np.flatnonzero(behind).max(initial=-1) + 1) * stride)
    return int(reach)
