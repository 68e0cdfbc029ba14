"""Yesterday's files of the portable models decode today, on every runtime, to what they were.

They were written on TensorFlow 2.17 by TensorFlow Compression's ops.
"""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import tfcodec
from tfcodec.coding import range_coder
from tfcodec.exports import installed

DATA = pathlib.Path(__file__).parent / "data"
BENCHMARKS = pathlib.Path(__file__).parent.parent / "benchmarks"

# CRC-32 of the decoded latents, float32, as `benchmarks/portability.py` takes it.
LATENTS = {
    "quad-base": 3490320766,
    "quad-base-ms_ssim": 2572754013,
    "weconvene-compact": 320869711,
    "octave-compact": 655596411,
    "icwem-compact": 2925093182,
    "weconvene3d-compact": 2327681065,
}


def test_every_portable_model_has_a_golden_file():
    assert {info.name for info in installed.models() if info.config["portable"]} == set(LATENTS)


@pytest.mark.parametrize("body", range_coder.bodies())
@pytest.mark.parametrize("model", LATENTS)
def test_a_file_of_a_portable_model_decodes_to_what_it_was(model, body, monkeypatch):
    monkeypatch.setenv(range_coder.BODY_VARIABLE, body)
    decoded = tfcodec.decompress((DATA / f"{model}.tfcd").read_bytes())  # checks the symbols
    expected = np.asarray(Image.open(DATA / f"{model}.png"))
    assert np.abs(decoded.astype(int) - expected).max() <= 1


WORKER = """
import os, pathlib, sys
import portability  # this process is set up as one of its runtimes
from tfcodec.coding import container, open_decoder
from tfcodec.entropy.walk import StepDecoder, walk
from tfcodec.exports import installed

for name in sys.argv[2:]:
    model = portability.runtime(installed.find(name))
    file = container.unpack((pathlib.Path(sys.argv[1]) / f"{name}.tfcd").read_bytes())
    coded = file.coder, model.tables, file.streams, file.escapes
    visitor = StepDecoder(model.shapes(file.height, file.width), open_decoder(*coded))
    y_hat = walk(model, visitor)
    visitor.coder.finish()
    assert container.symbols_checksum(visitor.symbols) == file.checksum, name
    print(name, portability.checksum(y_hat))
"""
# As benchmarks/portability.py sets its processes up.
RUNTIMES = {
    "one thread, oneDNN off": {"TF_NUM_INTRAOP_THREADS": "1", "TF_ENABLE_ONEDNN_OPTS": "0"},
    "two threads, AVX2 only": {"TF_NUM_INTRAOP_THREADS": "2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "LiteRT": {"TFCODEC_RUNTIME": "litert"},
    "XLA": {"RUNTIME_XLA": "1"},
    "numpy": {"RUNTIME_SPECIFICATION": "1"},
    "jax": {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1"},
    "torch": {"KERAS_BACKEND": "torch"},
}
SLOW = ("XLA", "numpy", "jax", "torch")  # which compile, or multiply in integers


@pytest.mark.parametrize(
    "runtime", [pytest.param(r, marks=[pytest.mark.slow] * (r in SLOW)) for r in RUNTIMES]
)
def test_every_runtime_decodes_the_same_latents(runtime):
    settings = RUNTIMES[runtime]
    if runtime == "LiteRT":
        pytest.importorskip("ai_edge_litert")
    if "KERAS_BACKEND" in settings:
        pytest.importorskip(settings["KERAS_BACKEND"])
    path = os.pathsep.join([str(BENCHMARKS), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(DATA), *LATENTS],
        env={**os.environ, "PYTHONPATH": path, **settings},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = dict(line.split() for line in done.stdout.splitlines())
    assert found == {name: str(crc) for name, crc in LATENTS.items()}
