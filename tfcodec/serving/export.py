"""The folder for TF Serving: an export like any other, with signatures beside the steps."""

import contextlib
import json
import math
import os
import shutil
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfcodec import codec
from tfcodec.errors import InputError, ModelError
from tfcodec.exports import installed, runtimes
from tfcodec.exports.weights import places, stored_weights
from tfcodec.files import replaced_folder
from tfcodec.serving.signatures import Server

DEFAULT_MAX_PIXELS = 2**23  # a decode takes some 210 bytes of memory a pixel
DEFAULT_MAX_TURNS = 2**19  # of the decoder's loop: about 10 s of one core
WARMUP = "assets.extra/tf_serving_warmup_requests"


def export(
    info: installed.ModelInfo,
    directory: str,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    max_turns: int = DEFAULT_MAX_TURNS,
    xla: bool = False,
    progress: Callable = lambda what, done=None, count=None: None,
) -> installed.ModelInfo:
    """Writes the export `info` with signatures for TF Serving; `directory` must not exist.

    Args:
        max_pixels: larger pictures are refused.
        max_turns: files of few lanes need many turns of the decoder's loop; beyond, they are
            refused. A turn takes 15 to 30 microseconds.
        xla: compile the coder's loops. TF Serving then needs `--xla_cpu_compilation_enabled=true`,
            and every new size of pictures compiles for a second.
        progress: called with what is done now.
    Returns: the `ModelInfo` of the new folder.
    Raises: ModelError if `info` is incomplete; InputError if the folder exists or cannot be made.
    """
    directory = os.path.normpath(directory)
    if os.path.exists(directory):
        raise InputError(f"{directory}: exists already; remove it or choose another folder")
    progress("loading")
    server = Server(codec.Codec(info, runtimes.TENSORFLOW), max_pixels, max_turns, xla)
    signatures = {
        name: getattr(server, name) for name in ("decode", "encode", "decode_one", "encode_one")
    }
    with replaced_folder(directory) as partial:
        version = os.path.join(partial, "1")
        progress("tracing and writing")
        tf.saved_model.save(server, version, {"serving_default": server.decode, **signatures})
        progress("warming up")
        _write_warmup(os.path.join(version, WARMUP), info.name, server, max_pixels)
        described = {
            **info.config,
            "serving": {"max_pixels": max_pixels, "max_turns": max_turns, "xla": xla},
            "weights": places(version, stored_weights(info)),
        }
        described.pop("default", None)
        _write(os.path.join(partial, "config.json"), json.dumps(described, indent=1) + "\n")
        _write(os.path.join(partial, "models.config"), _MODELS_CONFIG.format(name=info.name))
        _write(os.path.join(partial, "batching.config"), _BATCHING_CONFIG)
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(os.path.join(info.path, "card.md"), partial)
    return installed.read_info(directory)


_MODELS_CONFIG = """\
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
  }}
}}
"""

# Pictures of a batch are coded one after the other: a batch saves no work, so none is waited for.
# What the batcher gives is a bounded queue. No allowed_batch_sizes: their padding would be coded.
_BATCHING_CONFIG = """\
max_batch_size { value: 4 }
batch_timeout_micros { value: 0 }
num_batch_threads { value: 2 }
max_enqueued_batches { value: 64 }
"""


def _write_warmup(path, name, server, max_pixels):
    """Requests that TF Serving plays to itself before it says that the model is ready."""
    side = min(64, math.isqrt(max_pixels))
    ramp = np.add.outer(np.arange(side), 2 * np.arange(side)).astype(np.uint8)
    picture = tf.io.encode_png(np.stack([ramp, ramp.T, 255 - ramp], 2))
    inputs = {"images_bytes": picture[None], "quality": tf.constant([0.0])}
    outputs = server.encode(**inputs)
    if outputs["error"][0] != b"":
        raise ModelError(f"{name}: the signatures do not work here ({outputs['error'][0].numpy()})")
    requests = [
        _prediction_log(name, "encode", inputs),
        _prediction_log(name, "decode", {"files_bytes": outputs["files_bytes"]}),
    ]
    os.makedirs(os.path.dirname(path))
    with tf.io.TFRecordWriter(path) as writer:
        for request in requests:
            writer.write(request)


def _prediction_log(name, signature, inputs):
    """A serialized tensorflow.serving.PredictionLog, without the package that defines it."""

    def field(number, content):
        size, length = len(content), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    request = field(1, field(1, name.encode()) + field(3, signature.encode()))  # ModelSpec
    for key, value in inputs.items():
        tensor = tf.make_tensor_proto(value.numpy()).SerializeToString()
        request += field(2, field(1, key.encode()) + field(2, tensor))
    return field(6, field(1, request))  # PredictionLog.predict_log.request


def _write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
