"""What a machine has proven of an export, so that it need not prove it at every start.

A proof holds for these very files, this version of everything that computes, and this processor.
All of it stands in the entry, and nothing is trusted but an entry that equals, byte for byte, what
would be written now. Entries lie in the user's cache and may be deleted at any time; where it
cannot be read or written, a model is proven at each start. So it is where the system does not say
what its processor is (anywhere but on Linux).
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import sys

import numpy as np

from tfcodec import __version__
from tfcodec.errors import InputError
from tfcodec.files import atomic_write

CACHE_VARIABLE = "TFCODEC_CACHE"  # the cache's folder; empty for none
MOST_ENTRIES = 64  # older ones are deleted
# The variables that choose or change kernels begin like this.
ENVIRONMENT = (
    "TF_ XLA_ ONEDNN_ DNNL_ MKL_ OMP_ GOMP_ KMP_ EIGEN_ OPENBLAS_ "
    "CUDA_ CUDNN_ CUBLAS_ NVIDIA_ ROCR_ HIP_ LD_ GLIBC_"
).split()
# Lines of /proc/cpuinfo that say what a processor is, on x86 and on Arm.
PROCESSOR = (
    "vendor_id",
    "cpu family",
    "model",
    "model name",
    "stepping",
    "microcode",
    "flags",
    "CPU implementer",
    "CPU architecture",
    "CPU variant",
    "CPU part",
    "CPU revision",
    "Features",
)
CPUINFO = "/proc/cpuinfo"


class Proof:
    """Whether this machine has proven an export, as it is now, to compute as it should.

    Args: as `describe`.
    """

    def __init__(self, config: dict, content: str, runtime: str = "tensorflow"):
        self._entry, self._path = None, None
        folder = cache_folder()
        described = None if folder is None else describe(config, content, runtime)
        if described is not None:
            self._entry = json.dumps(described, sort_keys=True, indent=1).encode()
            name = hashlib.sha256(self._entry).hexdigest()[:32]
            self._path = folder / "proofs" / f"{name}.json"

    def is_known(self) -> bool:
        """Whether an entry says so."""
        try:
            return self._path is not None and self._path.read_bytes() == self._entry
        except OSError:
            return False

    def remember(self) -> None:
        """Writes the entry, if there is a place for it."""
        if self._path is None:
            return
        with contextlib.suppress(OSError, InputError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            atomic_write(self._path, self._entry)
            entries = list(self._path.parent.glob("*.json"))
            entries.sort(key=os.path.getmtime, reverse=True)
            for entry in entries[MOST_ENTRIES:]:
                entry.unlink()


def cache_folder() -> pathlib.Path | None:
    """The cache's folder, which need not exist; None if there shall be none."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen is not None:
        return pathlib.Path(chosen) if chosen else None
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # to be ignored, the standard says
        base = os.path.expanduser("~/.cache")
    return pathlib.Path(base, "tfcodec") if os.path.isabs(base) else None


def describe(config: dict, content: str, runtime: str = "tensorflow") -> dict | None:
    """All that a proof depends on, for JSON; None where the system does not say it.

    Args:
        config: the export's config.json.
        content: SHA-256 of its graph and weights, see `functions.Functions`.
        runtime: what computes it, "tensorflow" or "litert".
    """
    processors = processor()
    if processors is None:
        return None
    described = json.dumps(config, sort_keys=True).encode()
    return {
        "fingerprint": config["fingerprint"],
        "config": hashlib.sha256(described).hexdigest(),
        "content": content,
        "versions": {"tfcodec": __version__, "numpy": np.__version__, "python": sys.version},
        "processor": processors,
        "system": [platform.system(), platform.release(), platform.machine()],
        "processors": {"all": os.cpu_count(), "allowed": len(os.sched_getaffinity(0))},
        "environment": _environment(),
        runtime: _tensorflow() if runtime == "tensorflow" else _litert(),
    }


def processor() -> list[dict] | None:
    """What the system says of its processors, each kind once; None if it says nothing."""
    try:
        text = pathlib.Path(CPUINFO).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    kinds = []
    for block in text.split("\n\n"):
        lines = (line.partition(":") for line in block.splitlines())
        said = {name.strip(): value.strip() for name, _, value in lines}
        kind = {name: said[name] for name in PROCESSOR if name in said}
        if kind and kind not in kinds:
            kinds.append(kind)
    known = all("flags" in kind or "Features" in kind for kind in kinds)
    return kinds if kinds and known else None


def _environment():
    """SHA-256 of the variables that choose or change kernels; what they say may be a secret."""
    chosen = [(n, v) for n, v in os.environ.items() if n.startswith(tuple(ENVIRONMENT))]
    return hashlib.sha256(json.dumps(sorted(chosen)).encode()).hexdigest()


def _libraries(folder, pattern):
    """Those of a runtime by size and time."""
    libraries = []
    for path in sorted(pathlib.Path(folder).glob(pattern)):
        state = path.stat()
        libraries.append([str(path), state.st_size, state.st_mtime_ns])
    return libraries


def _litert():
    """Its version and libraries; it has the threads that the process is allowed."""
    import ai_edge_litert

    return {
        "version": importlib.metadata.version("ai-edge-litert"),
        "libraries": _libraries(pathlib.Path(ai_edge_litert.__file__).parent, "*.so"),
    }


def _tensorflow():
    """Its versions, libraries and settings in this process, and the devices that it sees."""
    import tensorflow as tf

    threading, devices = tf.config.threading, []
    for device in tf.config.list_physical_devices():
        details = tf.config.experimental.get_device_details(device)
        devices.append([device.name, device.device_type, str(sorted(details.items()))])
    return {
        "versions": [tf.__version__, tf.version.GIT_VERSION, tf.version.COMPILER_VERSION],
        "libraries": _libraries(tf.sysconfig.get_lib(), "libtensorflow*"),
        "intra_op": threading.get_intra_op_parallelism_threads(),
        "inter_op": threading.get_inter_op_parallelism_threads(),
        "devices": devices,
        "jit": str(tf.config.optimizer.get_jit()),
        "optimizer": tf.config.optimizer.get_experimental_options(),
        "eager": tf.config.functions_run_eagerly(),
        "tensor_float_32": tf.config.experimental.tensor_float_32_execution_enabled(),
    }
