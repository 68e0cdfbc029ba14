"""What a reader of a format hands on: pixels as they lie in the file, and what it says of them."""

import dataclasses

from PIL import Image

from tfcodec.pictures.color import Encoding


class Unreadable(Exception):
    """Why a sound file is not read: half a sentence that begins with what the file does."""


@dataclasses.dataclass
class Decoded:
    """Pixels of 8 bits, neither turned nor converted.

    Args:
        color: mode L, RGB or CMYK.
        alpha: mode L, or None.
        profile: an ICC profile, empty if there is none.
        encoding: what the samples mean where there is no profile.
        exif, xmp: bytes as in the file; empty if there are none.
        orientation: 1 to 8; None for what EXIF or XMP says.
        notices: what was given up on the way.
    """

    color: Image.Image
    alpha: Image.Image | None = None
    profile: bytes = b""
    encoding: Encoding = Encoding()
    exif: bytes = b""
    xmp: bytes = b""
    orientation: int | None = None
    notices: list[str] = dataclasses.field(default_factory=list)
