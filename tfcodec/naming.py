"""What files are called: the .tfcd file of a picture, and the picture of a .tfcd file.

Knows names alone. May be imported by every room.
"""

import os

SUFFIX = ".tfcd"


def compressed_name(name: str) -> str:
    """The file of a picture: `photo.tfcd` of `photo.png`."""
    return os.path.splitext(name)[0] + SUFFIX


def decoded_name(name: str, suffix: str) -> str:
    """The picture of a file: `photo.tfcd.png` of `photo.tfcd`.

    The whole name stays, so that a decoded picture never takes the place of the original, which is
    `photo.png` perhaps, nor passes for it.
    """
    stem, end = os.path.splitext(name)
    return (stem if end.lower() == SUFFIX else name) + SUFFIX + suffix


def is_decoded(name: str) -> bool:
    """Whether a picture is called as those that were decoded are."""
    return os.path.splitext(name.lower())[0].endswith(SUFFIX)
