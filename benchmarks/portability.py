"""Files of one runtime, decoded in others: the frozen model, and its float form as the control.

    python benchmarks/portability.py kodak/*.png

Needs JAX and PyTorch beside TensorFlow (`pip install jax==0.5.3 torch==2.13.0`); runtimes that are
missing are said to be. The pictures are encoded by the export in TensorFlow with two threads. Every
other runtime is a process of its own, which decodes the files and, told the right symbols, counts
the table indexes and the means (in 1/64) that come out otherwise. JAX and PyTorch compute the
Keras model with the export's weights, numpy the specification of `exact.specification`.

The float form has the weights that the integers mean, and is exported and run like the other.
Prints a table, and exits with 1 if the frozen model fails anywhere.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

RUNTIMES = {
    "TensorFlow, 2 threads": {"TF_NUM_INTRAOP_THREADS": "2"},
    "TensorFlow, 1 thread": {"TF_NUM_INTRAOP_THREADS": "1"},
    "TensorFlow, oneDNN off": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "TensorFlow, AVX2 only": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "TensorFlow, XLA": {"RUNTIME_XLA": "1"},
    "JAX": {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1"},
    "JAX, AVX2 only": {
        "KERAS_BACKEND": "jax",
        "JAX_ENABLE_X64": "1",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    },
    "PyTorch": {"KERAS_BACKEND": "torch"},
    "PyTorch, AVX2, oneDNN off": {
        "KERAS_BACKEND": "torch",
        "ATEN_CPU_CAPABILITY": "avx2",
        "RUNTIME_NO_MKLDNN": "1",
    },
    "numpy, int64": {"RUNTIME_SPECIFICATION": "1"},
}


def main():
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("images", nargs="*")
    flags.add_argument("--model", help="a frozen model, name or folder; default: the bundled one")
    flags.add_argument("--quality", type=float, default=4.0)
    flags.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    flags.add_argument("--worker", help=argparse.SUPPRESS)
    args = flags.parse_args()
    if args.worker:
        return work(args.worker)
    from tfcodec.exports import installed

    info = installed.find(args.model)
    with tempfile.TemporaryDirectory() as folder:
        job = {"models": {"frozen": info.path, "float": f"{folder}/float"}}
        job |= {"images": args.images, "quality": args.quality}
        pathlib.Path(folder, "job.json").write_text(json.dumps(job))
        run("encoder", RUNTIMES["TensorFlow, 2 threads"], folder)
        print(f"{info.name}, {len(args.images)} pictures at quality {args.quality:g}\n")
        print("| runtime | form | files that decode | same latents | indexes, means that differ |")
        print("|---|---|---|---|---|")
        failed = False
        for name in args.runtimes:
            for form, row in run(name, RUNTIMES[name], folder).items():
                if isinstance(row, str):
                    print(f"| {name} | {form} | {row} | | |", flush=True)
                    continue
                print(
                    f"| {name} | {form} | {row['decoded']} of {len(args.images)} "
                    f"| {row['same']} of {len(args.images)} "
                    f"| {row['indexes']}, {row['means']} of {row['latents']} |",
                    flush=True,
                )
                failed |= form == "frozen" and row["same"] < len(args.images)
    return failed


def run(name, settings, folder):
    """What a worker process says."""
    command = [sys.executable, __file__, "--worker", f"{name}:{folder}"]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    if done.returncode:
        return {"both": f"not run: {(done.stderr.strip() or 'killed').splitlines()[-1]}"}
    return json.loads(done.stdout.splitlines()[-1])


def work(task):
    name, _, folder = task.partition(":")
    import numpy as np

    from tfcodec.coding import open_decoder
    from tfcodec.coding.container import symbols_checksum, unpack
    from tfcodec.entropy.walk import StepDecoder, walk
    from tfcodec.errors import TfcodecError
    from tfcodec.exports import installed

    job = json.loads(pathlib.Path(folder, "job.json").read_text())
    if name == "encoder":
        encode(job, folder)
        print("{}")
        return 0
    rows = {}
    for form, path in job["models"].items():
        info = installed.read_info(path)
        # XLA compiles and the specification multiplies slowly; the float form has no specification.
        if form == "float" and "RUNTIME_SPECIFICATION" in os.environ:
            continue
        model = runtime(info)
        row = dict(decoded=0, same=0, indexes=0, means=0, latents=0)
        for k, _ in enumerate(job["images"]):
            container = unpack(pathlib.Path(folder, f"{form}{k}.tfcd").read_bytes())
            truth = np.load(f"{folder}/{form}{k}.npz")
            decoder = open_decoder(
                container.coder, model.tables, container.streams, container.escapes, "file"
            )
            shapes = model.shapes(container.height, container.width)
            visitor = StepDecoder(shapes, decoder)
            try:
                y_hat = walk(model, visitor)
                decoder.finish()
                right = symbols_checksum(visitor.symbols) == container.checksum
                row["decoded"] += right
                row["same"] += right and checksum(y_hat) == int(truth["y_hat"])
            except TfcodecError:
                pass
            told = Told([truth[f"symbols{k}"] for k, _ in enumerate(shapes)])
            walk(model, told)
            for k, (means, indexes) in enumerate(told.seen):
                row["indexes"] += int((indexes != truth[f"indexes{k}"]).sum())
                row["means"] += int((means != truth[f"means{k}"]).sum())
                row["latents"] += indexes.size
        rows[form] = row
    print(json.dumps(rows))
    return 0


def encode(job, folder):
    """Writes the float form's export, all files, and what they are made of."""
    import numpy as np

    from tfcodec import codec, pictures
    from tfcodec.entropy.walk import StepEncoder, walk
    from tfcodec.exports import installed
    from tfcodec.exports.rebuild import rebuild
    from tfcodec.exports.write import write as write_write

    info = installed.read_info(job["models"]["frozen"])
    model, config = rebuild(info, as_float=True)
    write_write(
        model, job["models"]["float"], info.config["model"], "control", config, weights="float32"
    )
    for form, path in job["models"].items():
        coder = codec.Codec(installed.read_info(path))
        for k, image in enumerate(job["images"]):
            picture = pictures.read(image)
            encoded = coder.encode(picture, job["quality"] if coder.qualities else None)
            pathlib.Path(folder, f"{form}{k}.tfcd").write_bytes(encoded.data)
            latents = coder.exported.analysis(picture.rgb, encoded.rung)
            symbols = StepEncoder(latents, Nothing())
            walk(coder.exported, symbols)
            told = Told(symbols.symbols)
            y_hat = walk(coder.exported, told)
            arrays = {"y_hat": checksum(y_hat)}
            for step, (means, indexes) in enumerate(told.seen):
                arrays |= {f"means{step}": means, f"indexes{step}": indexes}
                arrays |= {f"symbols{step}": symbols.symbols[step]}
            np.savez(f"{folder}/{form}{k}.npz", **arrays)


class Nothing:
    """A coder that writes nothing."""

    def write(self, indexes, symbols):
        pass


class Told:
    """Visitor that is told the symbols of each step, and keeps (means in 1/64, indexes)."""

    def __init__(self, symbols):
        self.symbols, self.num_steps, self.seen = symbols, len(symbols), []

    def __call__(self, k, prior):
        import numpy as np

        shape = self.symbols[k].shape
        means = np.rint(np.float64(prior.mu) * 64).astype(np.int64)
        self.seen.append((np.broadcast_to(means, shape), np.broadcast_to(prior.indexes, shape)))
        return self.symbols[k]


def checksum(y_hat):
    """CRC-32 of decoded latents, which may be several."""
    import keras
    import numpy as np

    crc = 0
    for part in y_hat if isinstance(y_hat, (tuple, list)) else [y_hat]:
        crc = zlib.crc32(np.float32(keras.ops.convert_to_numpy(part)).tobytes(), crc)
    return crc


def runtime(info):
    """The export's walk as this process is set to compute it."""
    from tfcodec import freeze
    from tfcodec.exact import layers as exact
    from tfcodec.exports import loaded
    from tfcodec.exports.rebuild import rebuild

    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    # Its tables and the range coder serve the other backends, too.
    exported = loaded.Exported(info, os.environ.get("TFCODEC_RUNTIME", "tensorflow"))
    if exported.runtime == "litert":
        return exported
    if "RUNTIME_NO_MKLDNN" in os.environ:
        import torch

        torch.backends.mkldnn.enabled = False
    if "RUNTIME_XLA" in os.environ:
        import tensorflow as tf

        exported.functions.steps = [
            tf.function(step, jit_compile=True, autograph=False)
            for step in exported.functions.steps
        ]
        return exported
    if backend == "tensorflow" and "RUNTIME_SPECIFICATION" not in os.environ:
        return exported
    if "RUNTIME_SPECIFICATION" in os.environ:
        exact.by_the_specification().__enter__()  # for the rest of the process
    model = freeze.Walked(rebuild(info)[0])
    model.tables = exported.tables
    return model


if __name__ == "__main__":
    sys.exit(main())
