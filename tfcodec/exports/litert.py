"""The functions of an export on LiteRT: `functions`, without TensorFlow.

Portable models only: between a symbol and a table's index are integers, which LiteRT computes as
TensorFlow does, and a known answer proves it where they are loaded. A model has one of two forms,
which `lite.export` writes:

    NAME/litert.zip    beside the SavedModel, a few hundred kB: networks without their weights, each
                       with a list of what belongs where, see `Filling`. They are filled from the
                       file of the SavedModel, so that no weight lies on the disk twice.
    FOLDER/*.tflite    whole networks, for programs that know nothing of tfcodec: docs/lite.md

Both have the same description, `litert.json`.
"""

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import mmap
import os
import pathlib
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tfcodec import quiet
from tfcodec.coding.format import padded
from tfcodec.errors import ModelError
from tfcodec.exports import weights
from tfcodec.exports.installed import ModelInfo
from tfcodec.exports.structures import Structure, flatten, map_leaves

PACKAGE = "ai_edge_litert"
DESCRIPTION, BUNDLE = "litert.json", "litert.zip"
NAMES = ("to_y", "to_latents", "finish", "synthesis")
TABLES = ("lookup", "offsets", "sizes")
# Memory of a network that saw larger inputs, in bytes, is some ten times as much: it is given back
# between two uses, and loading it again takes less time than computing so much.
LARGE_INPUTS = 2**23


def is_installed() -> bool:
    """Whether LiteRT is."""
    return importlib.util.find_spec(PACKAGE) is not None


def has_form(path: str | os.PathLike) -> bool:
    """Whether a model's folder holds what LiteRT takes."""
    return any(os.path.isfile(os.path.join(path, name)) for name in (DESCRIPTION, BUNDLE))


def is_whole(path: str | os.PathLike) -> bool:
    """Whether it is the folder of whole networks, without a SavedModel."""
    return os.path.isfile(os.path.join(path, DESCRIPTION))


@contextlib.contextmanager
def incomplete_exports_named(path: str | os.PathLike) -> Iterator[None]:
    """Raises ModelError in place of what reading a damaged form raises. Args: path: its folder."""
    try:
        yield
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        EOFError,
        struct.error,
        zlib.error,
        zipfile.BadZipFile,
    ) as error:
        raise ModelError(
            f"{path}: the model cannot be loaded, it is incomplete, damaged, or of an older release"
        ) from error


@dataclasses.dataclass(frozen=True)
class Filling:
    """A constant of a network that is made of a stored weight.

    Args:
        at: its first byte in the network's file.
        dtype: "float32" or "int32".
        weight: name of the stored weight.
        axes: those of the weight, in the constant's order.
        span: (axis of the weight, first, behind the last) of the part that it is; None for all.
        factor: of the constant over the weight.
    """

    at: int
    dtype: str
    weight: str
    axes: tuple[int, ...]
    span: tuple[int, int, int] | None = None
    factor: float = 1.0

    def take(self, stored: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
        """(the weight as it is stored, in the constant's order; its scale, None if it has none)."""
        weight, scale = stored[self.weight], stored.get(self.weight + weights.SCALE)
        last = weight.ndim - 1
        if self.span is not None:
            axis, part = self.span[0], slice(*self.span[1:])
            weight = weight[(slice(None),) * axis + (part,)]
            scale = scale[part] if scale is not None and axis == last else scale
        if scale is not None:
            scale = scale.reshape([-1 if axis == last else 1 for axis in self.axes])
        return weight.transpose(self.axes), scale

    def fill(self, network: np.ndarray, stored: Mapping[str, np.ndarray]) -> int:
        """Writes the constant into a network, uint8 [bytes]; returns the byte behind it."""
        weight, scale = self.take(stored)
        end = self.at + np.dtype(self.dtype).itemsize * weight.size
        place = network[self.at : end].view(self.dtype).reshape(weight.shape)
        place[...] = weight
        if scale is not None:
            place *= scale
        if self.factor != 1:
            place *= self.factor
        return end


class Functions:
    """Those that exports/__init__.py lists, as callables of numpy arrays: `to_y`, `steps[k]` ...

    As `functions.Functions`, which has them on TensorFlow, with the same `content` and `tables`.
    May be called by several threads, one at a time in each network. `estimate` is None.

    Args: info: the model's `ModelInfo`.
    Raises: ModelError if its form for LiteRT is missing, incomplete or damaged, or not made of
        these weights.
    """

    estimate = None
    whole: bool  # whether the integers are inside the networks alone

    def __init__(self, info: ModelInfo):
        self._info, self.whole, self.large_inputs = info, is_whole(info.path), LARGE_INPUTS
        self._stored = {} if self.whole else weights.StoredWeights(info)
        with incomplete_exports_named(info.path):
            self._described = json.loads(self._read(DESCRIPTION))
            self.content = self._checked_content()
            described = self._described["functions"]
            for name in NAMES:
                setattr(self, name, Function(self, name, described[name]))
            self.steps = [
                Function(self, f"step{k}", each) for k, each in enumerate(described["steps"])
            ]
            self._all = [self.to_y, self.to_latents, *self.steps, self.finish, self.synthesis]
            self.to_y = _Padded(self.to_y, info.config["stride"])

    def tables(self) -> dict[str, np.ndarray]:
        """{name: array} of the coding tables. Raises: ModelError."""
        with incomplete_exports_named(self._info.path):
            if self.whole:
                return {name: np.frombuffer(self._read(f"{name}.bin"), "<i4") for name in TABLES}
            places = self._described["tables"]
            return {name: self._stored.at(places[name]) for name in TABLES}

    def free_large(self) -> None:
        """Frees networks whose last inputs had more bytes than `large_inputs`."""
        for function in self._all:
            function.free(self.large_inputs)

    def network(self, name: str) -> "Network":
        """A network, which is loaded here. Raises: ModelError."""
        with incomplete_exports_named(self._info.path):
            if self.whole:
                return Network.read(os.path.join(self._info.path, f"{name}.tflite"))
            size = self._described["filled"][name]["bytes"]
            return Network.made(size, lambda content: self.fill(name, content))

    def fill(self, name: str, content: np.ndarray) -> None:
        """Writes a network's file, uint8 [bytes]: what the bundle has of it, and its weights."""
        literal, done, taken = np.frombuffer(self._read(f"{name}.tflite"), np.uint8), 0, 0
        for each in self._described["filled"][name]["constants"]:
            filling = Filling(**each)
            end = taken + filling.at - done
            content[done : filling.at] = literal[taken:end]
            done, taken = filling.fill(content, self._stored), end
        content[done:] = literal[taken:]

    def _read(self, name):
        """The bytes of a file of the form."""
        if self.whole:
            return pathlib.Path(self._info.path, name).read_bytes()
        with zipfile.ZipFile(os.path.join(self._info.path, BUNDLE)) as bundle:
            return bundle.read(name)

    def _checked_content(self):
        """SHA-256 of all that is computed, after it was compared with what was exported."""
        for name, expected in self._described["sha256"].items():
            if self.whole or name == weights.DATA_FILE:
                with open(os.path.join(self._info.path, name), "rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
            else:
                found = hashlib.sha256(self._read(name)).hexdigest()
            if found != expected:
                raise ValueError(f"{name} is damaged, or another's")
        return hashlib.sha256(self._read(DESCRIPTION)).hexdigest()


class Function:
    """One of `Functions`: takes and gives structures of numpy arrays.

    Args:
        owner: the `Functions`; name: of its network.
        described: its structures, of the places of the network's inputs and outputs.
    """

    def __init__(self, owner: Functions, name: str, described: dict[str, Structure]):
        self._owner, self._name = owner, name
        self._places, self._results = flatten(described["inputs"]), described["outputs"]
        self._lock, self._network, self._bytes = threading.Lock(), None, 0

    def __call__(self, *args: Structure) -> Structure:
        with self._lock:
            if self._network is None:
                self._network = self._owner.network(self._name)
            arrays = dict(zip(self._places, map(np.asarray, flatten(args)), strict=True))
            self._bytes = sum(array.nbytes for array in arrays.values())
            inputs = [arrays[place] for place in range(len(arrays))]
            outputs = self._network.run(inputs)
        handed_on = {-1 - place: array for place, array in enumerate(inputs)}
        arrays = {**handed_on, **dict(enumerate(outputs))}
        return map_leaves(arrays.get, self._results)

    def free(self, most: int) -> None:
        """Frees the network if its last inputs had more bytes; another call loads it again."""
        with self._lock:
            if self._bytes > most:
                self._network = None


class Network:
    """LiteRT's interpreter of a network, on as many threads as there are processors for us.

    Args: source: as LiteRT's `Interpreter` takes it, by its name there.
    """

    def __init__(self, **source: Any):
        from ai_edge_litert.interpreter import Interpreter

        with _greeting_held():
            self._interpreter = Interpreter(**source, num_threads=threads())
        self._greeted = False

    @staticmethod
    def read(path: str) -> "Network":
        """The network of a file, which is mapped into memory."""
        return Network(model_path=path)

    @staticmethod
    def made(size: int, fill: Callable[[np.ndarray], None]) -> "Network":
        """The network of a file that `fill` writes, uint8 [size], and that lies in memory once."""
        handle = os.memfd_create("network") if hasattr(os, "memfd_create") else None
        path = f"/proc/self/fd/{handle}"
        try:
            if handle is None or not os.path.exists(path):
                content = np.empty(size, np.uint8)
                fill(content)
                return Network(model_content=content.tobytes())
            os.ftruncate(handle, size)
            fill(np.frombuffer(mmap.mmap(handle, size), np.uint8))
            return Network(model_path=path)
        finally:
            if handle is not None:
                os.close(handle)

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """The outputs, for inputs of any shapes that the network takes, in the file's order."""
        interpreter = self._interpreter
        places = [each["index"] for each in interpreter.get_input_details()]
        # Memory is laid out anew each time, which takes a hundredth of computing: where shapes are
        # computed in the network, LiteRT 2.3 now and then gives wrong numbers if it runs a second
        # time in the same layout. A shape that an input has already changes nothing, hence the 2.
        for place, array in zip(places, inputs, strict=True):
            interpreter.resize_tensor_input(place, [2, *array.shape[1:]])
            interpreter.resize_tensor_input(place, array.shape)
        with contextlib.nullcontext() if self._greeted else _greeting_held():
            interpreter.allocate_tensors()
        self._greeted = True
        for place, array in zip(places, inputs, strict=True):
            interpreter.set_tensor(place, array)
        interpreter.invoke()
        return [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]


_greeting = threading.Lock()


@contextlib.contextmanager
def _greeting_held():
    """Within it the line stays unsaid that LiteRT prints when it first computes."""
    with _greeting, quiet.without_chatter():
        yield


def threads() -> int:
    """Threads of a network."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Padded:
    """`to_y` behind what the SavedModel does itself: edges repeated to multiples of the stride."""

    def __init__(self, function, stride):
        self._function, self._stride = function, stride

    def __call__(self, x: np.ndarray, rung: np.ndarray) -> Structure:
        more = [(0, padded(side, self._stride) - side) for side in x.shape[1:3]]
        return self._function(np.pad(x, [(0, 0), *more, (0, 0)], mode="edge"), rung)
