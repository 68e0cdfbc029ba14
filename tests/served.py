"""Pictures and files for the tests of served models."""

import io
import os
import pathlib
import subprocess
import sys

import numpy as np
import tensorflow as tf
from drawn import as_png
from PIL import Image

from tfcodec.coding import container
from tfcodec.pictures import from_array


def pixels(seed, height=48, width=70, channels=3):
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, width)[None, :, None] * np.ones([height, 1, channels])
    return np.uint8(ramp + rng.integers(0, 50, [height, width, channels])).squeeze()


def png_pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def encode(signatures, *pictures, quality=0.0):
    quality = tf.fill([len(pictures)], tf.constant(quality))
    outputs = signatures["encode"](images_bytes=tf.constant(list(pictures)), quality=quality)
    return list(zip(*(outputs[key].numpy() for key in ("files_bytes", "error")), strict=True))


def decode(signatures, *files):
    outputs = signatures["decode"](files_bytes=tf.constant(list(files)))
    return list(zip(*(outputs[key].numpy() for key in ("png_bytes", "error")), strict=True))


def check_same(there, signatures, quality, server_quality):
    """tfcodec and the server write the same file and show the same picture."""
    array = pixels(3, 97, 121)
    ((file, error),) = encode(signatures, as_png(array), quality=server_quality)
    assert error == b""
    assert file == there.encode(from_array(array), quality, lanes="serving").data
    ((shown, error),) = decode(signatures, file)
    assert error == b""
    np.testing.assert_array_equal(png_pixels(shown), there.decode(container.unpack(file)).rgb)


HOST = """
import pathlib, sys
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import kernels

known = {}
for kernel in kernels.get_all_registered_kernels().kernel:
    known.setdefault(kernel.op, set()).add(kernel.device_type)

def stock(graphs):
    "Every operation has a kernel of TensorFlow's own on the CPU, and none asks for XLA."
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for graph in graphs for f in graph.library.function for node in f.node_def]
    functions = {f.signature.name for graph in graphs for f in graph.library.function}
    missing = {n.op for n in nodes if not known.get(n.op, set()) & {"CPU", "DEFAULT"}} - functions
    assert len(nodes) > 5000 and not missing, missing
    assert not [n.name for n in nodes if n.attr["_XlaMustCompile"].b], "XLA is off in TF Serving"

for folder in sys.argv[1:]:
    folder = pathlib.Path(folder)
    saved = saved_model_pb2.SavedModel.FromString((folder / "1/saved_model.pb").read_bytes())
    stock([meta.graph_def for meta in saved.meta_graphs])
    signatures = tf.saved_model.load(str(folder / "1")).signatures
    assert sorted(signatures) == ["decode", "decode_one", "encode", "encode_one", "serving_default"]
    picture, file = ((folder / name).read_bytes() for name in ("p.png", "p.tfcd"))
    there = signatures["serving_default"](files_bytes=tf.constant([file]))
    (folder / "p.there").write_bytes(there["png_bytes"][0].numpy())
    (folder / "p.error").write_bytes(there["error"][0].numpy())
    there = signatures["encode"](images_bytes=tf.constant([picture]), quality=tf.constant([0.0]))
    assert there["error"].numpy().tolist() == [b""], there["error"]
    (folder / "p.encoded").write_bytes(there["files_bytes"][0].numpy())
assert not [m for m in sys.modules if m.startswith(("tfcodec", "tensorflow_compression"))]
"""


def run_host(pairs, array, **settings):
    """Each (codec, served folder) decodes and encodes in a process that has only TensorFlow.

    It never sees this package or the ops, and leaves what it made as p.there, p.error (of the
    default signature) and p.encoded in the folder, beside p.png and p.tfcd that it had.
    """
    for there, folder in pairs:
        folder = pathlib.Path(folder)
        (folder / "p.png").write_bytes(as_png(array))
        (folder / "p.tfcd").write_bytes(there.encode(from_array(array), lanes=16).data)
    command = [sys.executable, "-c", HOST, *(folder for _, folder in pairs)]
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ | settings)
    assert run.returncode == 0, run.stderr[-2000:]
