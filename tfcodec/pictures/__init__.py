"""Pictures in files and arrays: the only room that knows picture formats.

    file  ─► read ────────► Picture ─► write ────► file
    array ─► from_array ──►    │    ─► to_array ─► array
    image ─► from_pillow ─►    │               (any of the three ─► as_picture)
                               ├─ alpha ────► bytes inside a .tfcd ─► alpha
                               └─ metadata ─► bytes inside a .tfcd ─► metadata

A `Picture` is what the codec codes: 8-bit sRGB, upright, with a lossless alpha beside it. `read`
brings every supported file to that form and says in `notices` where it had to give something up.
Within, each format's reader hands on a `Decoded`: pixels as they lie, and what the file says of
them; `to_picture` is the one place where that becomes a `Picture`. EXIF and XMP stand in
`Picture.metadata`, for whoever asks for them.

Rules. May import: `errors`, `files`, `coding.format` and PIL. Imported by whoever has a picture in
a file: the codec, the commands, training, evaluation. Never knows: models, networks, TensorFlow.
"""

from tfcodec.pictures.accept import PictureLike, as_picture
from tfcodec.pictures.alpha import alpha_from_png, alpha_to_png
from tfcodec.pictures.formats import SUFFIXES
from tfcodec.pictures.image import from_pillow
from tfcodec.pictures.metadata import (
    Metadata,
    lost_metadata,
    metadata_from_bytes,
    metadata_of_file,
    metadata_to_bytes,
)
from tfcodec.pictures.picture import Picture, from_array, to_array
from tfcodec.pictures.reader import read, read_bytes, read_size
from tfcodec.pictures.writer import WRITE_FORMATS, check_format, lost_in_file, to_bytes, write

__all__ = [
    "SUFFIXES",
    "WRITE_FORMATS",
    "Metadata",
    "Picture",
    "PictureLike",
    "alpha_from_png",
    "alpha_to_png",
    "as_picture",
    "check_format",
    "from_array",
    "from_pillow",
    "lost_in_file",
    "lost_metadata",
    "metadata_from_bytes",
    "metadata_of_file",
    "metadata_to_bytes",
    "read",
    "read_bytes",
    "read_size",
    "to_array",
    "to_bytes",
    "write",
]
