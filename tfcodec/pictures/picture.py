"""A picture as the codec codes it, from arrays and back."""

import dataclasses

import numpy as np

from tfcodec.errors import InputError
from tfcodec.pictures.hidden import without_hidden
from tfcodec.pictures.metadata import Metadata


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """An upright 8-bit sRGB picture.

    Args:
        rgb: uint8 [H, W, 3]; three equal channels if `gray`.
        gray: decode and write this picture as grayscale.
        alpha: uint8 [H, W], 255 is opaque; None if every pixel is opaque.
        notices: what was given up on the way in, half a sentence each ("16-bit samples ...").
        metadata: EXIF and XMP, for whoever asks for them; None if there are none.
    """

    rgb: np.ndarray
    gray: bool = False
    alpha: np.ndarray | None = None
    notices: tuple[str, ...] = ()
    metadata: Metadata | None = None

    @property
    def height(self) -> int:
        return self.rgb.shape[0]

    @property
    def width(self) -> int:
        return self.rgb.shape[1]


def from_array(array: np.ndarray) -> Picture:
    """A picture from uint8 [H, W] or [H, W, 1] (gray), [H, W, 2] (gray and alpha), [H, W, 3] (RGB)
    or [H, W, 4] (RGB and alpha).

    Alpha of 255 everywhere is dropped, and the colours under alpha 0 become what is cheapest.

    Raises: InputError for another dtype, rank or number of channels, or an empty array.
    """
    array = np.asarray(array)
    if array.dtype != np.uint8:
        raise InputError(f"the array must be uint8, received {array.dtype}")
    if array.ndim not in (2, 3):
        raise InputError(f"the array must have shape [H, W] or [H, W, C], received {array.shape}")
    if array.ndim == 2:
        array = array[..., None]
    channels = array.shape[2]
    if channels not in (1, 2, 3, 4):
        raise InputError(f"the array must have 1 to 4 channels, received {channels}")
    if array.size == 0:
        raise InputError(f"the array is empty: shape {array.shape}")
    gray = channels < 3
    rgb = np.repeat(array[..., :1], 3, axis=2) if gray else array[..., :3]
    alpha = array[..., -1] if channels in (2, 4) else None
    # Copies, so that the picture does not change when its maker reuses the array.
    rgb, alpha = without_hidden(
        np.array(rgb, order="C"), None if alpha is None else np.array(alpha, order="C")
    )
    return Picture(rgb=rgb, gray=gray, alpha=alpha)


def to_array(picture: Picture) -> np.ndarray:
    """uint8 [H, W], [H, W, 2], [H, W, 3] or [H, W, 4]: the inverse of `from_array`, but for what
    is not seen."""
    color = picture.rgb[..., :1] if picture.gray else picture.rgb
    if picture.alpha is not None:
        return np.concatenate([color, picture.alpha[..., None]], axis=2)
    return color[..., 0] if picture.gray else color
