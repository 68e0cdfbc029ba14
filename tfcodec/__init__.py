"""tfcodec: a learned image codec for TensorFlow and Keras 3, and for LiteRT.

    data = tfcodec.compress("photo.jpg", quality=4)      # an array, a path or a Pillow image
    array = tfcodec.decompress(data)

`encode_file` and `decode_file` go from file to file, `compress_batch` takes many pictures, `info`
says what a file says, `installed_models` which models there are, and `load` gives the codec of one.
All errors that input can cause are a `TfcodecError`. `tfcodec.keras` is the codec as a Keras layer,
`tfcodec.pillow` a plugin of Pillow; both are imported by name.

Importing this package imports nothing but a few lines: what a name needs comes with its first use,
TensorFlow or LiteRT with the first picture.
"""

import importlib
import os

# Where each name of the face stands.
_HOMES = {
    "tfcodec.api": (
        "FileInfo compress compress_batch decode_file decompress encode_file info installed_models "
        "load"
    ),
    "tfcodec.errors": "ContainerError InputError ModelError TfcodecError",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [  # noqa: F822, these names come with their first use
    "ContainerError",
    "FileInfo",
    "InputError",
    "ModelError",
    "TfcodecError",
    "__version__",
    "compress",
    "compress_batch",
    "decode_file",
    "decompress",
    "encode_file",
    "info",
    "installed_models",
    "load",
]

TYPE_CHECKING = False  # `typing.TYPE_CHECKING`, without importing `typing`
if TYPE_CHECKING:
    from tfcodec.api import (
        FileInfo,
        compress,
        compress_batch,
        decode_file,
        decompress,
        encode_file,
        info,
        installed_models,
        load,
    )
    from tfcodec.errors import ContainerError, InputError, ModelError, TfcodecError

    __version__: str


def __getattr__(name: str):
    if name == "__version__":
        with open(os.path.join(os.path.dirname(__file__), "version.txt"), encoding="ascii") as file:
            value = file.read().strip()
    elif name in _HOME_OF:
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
    else:
        raise AttributeError(f"module 'tfcodec' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
