"""A portable model for LiteRT: its functions as networks, proven to compute its integers.

    Keras model ─► one TensorFlow function each ─► LiteRT's converter ─► to_y.tflite ...

`export` writes a folder of whole networks, `bundle` the same beside the model's SavedModel, without
what is stored there anyway; `exports.litert` reads both, and describes them.
"""

import dataclasses
import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from tfcodec import quiet
from tfcodec.coding.format import PROFILE_FLOAT32
from tfcodec.errors import InputError, ModelError
from tfcodec.exact import specification
from tfcodec.exports import installed, litert, loaded, runtimes, weights
from tfcodec.exports.installed import ModelInfo
from tfcodec.exports.structures import flatten, pack
from tfcodec.files import atomic_write, replaced_folder

FORMAT = 1
SMALLEST_FILLING = 512  # bytes; what is smaller stands in the bundle itself
Progress = Callable[..., None]


def export(
    info: ModelInfo, directory: str, progress: Progress = lambda *what: None
) -> installed.ModelInfo:
    """Writes a model as a folder of whole networks; `directory` must not exist.

    Args: progress: called with what is done now.
    Returns: the `ModelInfo` of the new folder.
    Raises: ModelError if the model is not portable in integers that LiteRT has, is incomplete, or
        computes otherwise there; InputError if the folder exists or cannot be made.
    """
    directory = os.path.normpath(directory)
    if os.path.exists(directory):
        raise InputError(f"{directory}: exists already; remove it or choose another folder")
    _check(info)
    networks, functions = convert(info, progress)
    tables = _tables(info)
    files = {f"{name}.tflite": content for name, content in networks.items()}
    files |= {f"{name}.bin": tables[name].astype("<i4").tobytes() for name in litert.TABLES}
    config = {k: v for k, v in info.config.items() if k not in ("weights", "default", "aliases")}
    with replaced_folder(directory) as partial:
        for name, content in files.items():
            _write(os.path.join(partial, name), content)
        described = {**_describe(functions, files), "strides": strides(info, functions)}
        _write(os.path.join(partial, litert.DESCRIPTION), _json(described))
        _write(os.path.join(partial, "config.json"), _json(config))
        for name in ("card.md", "LICENSE"):
            if os.path.exists(os.path.join(info.path, name)):
                shutil.copy(os.path.join(info.path, name), partial)
        progress("proving")
        loaded.Exported(installed.read_info(partial), runtimes.LITERT)
    return installed.read_info(directory)


def bundle(info: ModelInfo, progress: Progress = lambda *what: None) -> str:
    """Writes a model's form for LiteRT beside its SavedModel; returns the path of the file.

    Raises: as `export`.
    """
    _check(info)
    networks, functions = convert(info, progress)
    sources, files, filled = _Sources(info), {}, {}
    for name, content in networks.items():
        constants, literal = _without_weights(content, sources)
        files[f"{name}.tflite"] = literal
        filled[name] = {"bytes": len(content), "constants": constants}
    tables = _tables(info)
    with open(os.path.join(info.path, weights.DATA_FILE), "rb") as file:
        files[weights.DATA_FILE] = file.read()
    described = _describe(functions, files)
    described["filled"] = filled
    described["tables"] = weights.places(
        os.path.join(info.path, "1"), {name: tables[name] for name in litert.TABLES}
    )
    del files[weights.DATA_FILE]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        for name, content in {litert.DESCRIPTION: _json(described), **files}.items():
            member = zipfile.ZipInfo(name)  # of a fixed date: the same model, the same bytes
            target.writestr(member, content, zipfile.ZIP_DEFLATED, 9)
    path = os.path.join(info.path, litert.BUNDLE)
    atomic_write(path, archive.getvalue())
    progress("proving")
    try:
        read = litert.Functions(info)
        for name, content in networks.items():
            again = np.empty(len(content), np.uint8)
            read.fill(name, again)
            if again.tobytes() != content:
                raise ModelError(f"{path}: {name} is not read as it was written")
        loaded.Exported(info, runtimes.LITERT)
    except ModelError:
        os.remove(path)
        raise
    return path


def _tables(info):
    functions, _ = runtimes.open_functions(info, runtimes.TENSORFLOW)
    return functions.tables()


def _check(info):
    """Raises ModelError unless a model can be exported here."""
    profile = specification.NUMBERS.get(info.config["profile"])
    if info.config["profile"] == PROFILE_FLOAT32 or not info.portable:
        raise ModelError(
            f"{info.name} is not portable: LiteRT would not get its symbols; `tfcodec freeze` "
            "makes a portable model of one that can be frozen"
        )
    if profile is None or profile.kernel != "float32" or info.config.get("precision") != "float32":
        known = [p.name for p in specification.PROFILES.values() if p.kernel == "float32"]
        raise ModelError(
            f"{info.name} computes in {info.config.get('precision')} and profile "
            f"{profile.name if profile else info.config['profile']}; LiteRT takes float32 and "
            f"{' or '.join(known)}"
        )
    if not litert.is_installed():
        raise ModelError(f"LiteRT is needed to prove the export: {runtimes.CURES['litert']}")


# ---------------------------------------------------------------------------------- the networks


def convert(info: ModelInfo, progress: Progress) -> tuple[dict[str, bytes], dict[str, Any]]:
    """({name: file of a network}, what `litert.json` says of the functions) of a portable model."""
    quiet.import_tensorflow()
    import tensorflow as tf

    from tfcodec.exact.layers import ExactConv2D
    from tfcodec.exports import graph, rebuild

    model, _ = rebuild.rebuild(info)
    for layer in model._flatten_layers():
        if isinstance(layer, ExactConv2D):
            layer.hold_constant()
    networks, described = {}, {"steps": []}

    def add(name, function, *arguments):
        progress(f"converting {name}")
        networks[name], structure, results = _network(function, arguments)
        if name.startswith("step"):
            described["steps"].append(structure)
        else:
            described[name] = structure
        return results

    def to_y(x, rung):
        return model.to_y(tf.cast(x, tf.float32) * (1.0 / 255.0), rung)

    y = add("to_y", to_y, graph.PICTURE, graph.RUNG)
    add("to_latents", model.to_latents, y)
    state, symbols = {}, None
    for k, part in enumerate(model.parts):

        def step(*previous, k=k):
            state, prior = model.step(k, *(previous or ({}, None)))
            return state, prior.mu, prior.indexes()

        state, _, _ = add(f"step{k}", step, *([state, symbols] if k else []))
        symbols = tf.TensorSpec([1, None, None, part.channels], tf.int32)
    y_hat = add("finish", model.finish, state, symbols)
    add("synthesis", graph.synthesis_of(model), y_hat, graph.RUNG)
    return networks, described


def strides(info: ModelInfo, functions: dict[str, Any]) -> dict[str, list[int]]:
    """{network: pixels between two positions of each of its outputs}.

    For runtimes that do not infer the shapes of outputs from those of the inputs.

    Args: functions: as `convert` describes them.
    """
    quiet.import_tensorflow()
    import tensorflow as tf

    from tfcodec.exports import rebuild

    model, _ = rebuild.rebuild(info)
    side, found = model.stride, {}

    def add(name, structure, results):
        tensors = zip(flatten(structure["outputs"]), flatten(results), strict=True)
        of_place = {place: side // tensor.shape[1] for place, tensor in tensors if place >= 0}
        found[name] = [of_place[place] for place in sorted(of_place)]
        return results

    y = add("to_y", functions["to_y"], model.to_y(tf.zeros([1, side, side, 3]), tf.zeros([1])))
    latents = add("to_latents", functions["to_latents"], model.to_latents(y))
    state, symbols = {}, None
    for k, (structure, latent) in enumerate(zip(functions["steps"], latents, strict=True)):
        state, prior = model.step(k, state, symbols)
        add(f"step{k}", structure, (state, prior.mu, prior.indexes()))
        symbols = tf.zeros(latent.shape, tf.int32)
    y_hat = add("finish", functions["finish"], model.finish(state, symbols))
    add("synthesis", functions["synthesis"], model.synthesis(y_hat, tf.zeros([1])))
    return found


def _network(function, arguments):
    """(file, {"inputs", "outputs"}, specs of the results) of a function of these specs."""
    import tensorflow as tf

    flat = flatten(arguments)
    named = [tf.TensorSpec(spec.shape, spec.dtype, f"in{k}") for k, spec in enumerate(flat)]
    seen = {}

    def call(*tensors):
        results = function(*pack(arguments, tensors))
        places, outputs = _places(tensors, flatten(results))
        seen.update(results=results, outputs=pack(results, places))
        return outputs

    traced = tf.function(call, autograph=False, input_signature=named)
    concrete = traced.get_concrete_function()
    content = tf.lite.TFLiteConverter.from_concrete_functions([concrete], traced).convert()
    _check_inputs(content, len(named))
    inputs = pack(arguments, range(len(flat)))
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in flatten(seen["results"])]
    structure = {"inputs": inputs, "outputs": seen["outputs"]}
    return content, structure, pack(seen["results"], specs)


def _places(inputs, results):
    """(place of each result, the outputs): -1 - k is input k, which the function hands on, and
    what is given twice is one output."""
    places, outputs = [], []
    inputs = {id(tensor): -1 - k for k, tensor in enumerate(inputs)}
    for tensor in results:
        if id(tensor) not in inputs:
            inputs[id(tensor)] = len(outputs)
            outputs.append(tensor)
        places.append(inputs[id(tensor)])
    return places, outputs


def _check_inputs(content, count):
    """Raises ModelError unless a network has its inputs in their order, as nothing promises."""
    from ai_edge_litert.interpreter import Interpreter

    found = [each["name"] for each in Interpreter(model_content=content).get_input_details()]
    if found != [f"in{k}" for k in range(count)]:
        raise ModelError(f"LiteRT's converter gave the inputs {found}, {count} were expected")


# ------------------------------------------------------------------------- without their weights


class _Sources:
    """The stored weights of a model, by what they may have become in a network."""

    def __init__(self, info: ModelInfo):
        self.stored, self._of_size = weights.stored_weights(info), {}
        convolutions = info.config["exact"]["convolutions"]
        groups = {f"{each['name']}/exact/kernel": each["groups"] for each in convolutions}
        for name, array in self.stored.items():
            for span in _spans(array, groups.get(name, ())):
                share = 1 if span is None else (span[2] - span[1]) / array.shape[span[0]]
                for dtype in ("float32", "int32") if array.dtype == np.int32 else ("float32",):
                    size = np.dtype(dtype).itemsize * round(share * array.size)
                    self._of_size.setdefault(size, []).append((name, span, dtype))

    def find(self, constant: np.ndarray) -> dict[str, Any] | None:
        """What a constant, uint8 [bytes], is made of, as a `litert.Filling`; None if of nothing
        that is stored."""
        made = np.empty_like(constant)
        for name, span, dtype in self._of_size.get(constant.size, ()):
            for axes in _orders(self.stored[name].ndim):
                filling = litert.Filling(0, dtype, name, axes, span)
                filling.fill(made, self.stored)
                factor = _factor(constant.view(dtype), made.view(dtype))
                if factor is not None:
                    return vars(dataclasses.replace(filling, factor=factor))
        return None


def _spans(array, groups):
    """The parts of a weight that are constants: all of it, groups of input channels of frozen
    convolutions, halves of the outputs of wide ones."""
    spans = [None]
    if array.ndim == 4:
        spans += [(2, *ends) for ends in zip((0, *groups), groups, strict=False)]
        half = array.shape[3] // 2
        spans += [(3, 0, half), (3, half, array.shape[3])]
    return spans


def _orders(axes):
    """The orders of a weight's axes in which LiteRT's operations take it."""
    same = tuple(range(axes))
    # Kernels [rows, columns, in, out], [rows, columns, out, in] if transposed; of dense layers.
    return {4: (same, (3, 0, 1, 2), (2, 0, 1, 3)), 2: (same, (1, 0))}.get(axes, (same,))


def _factor(constant, made):
    """The number that makes one array the other to the last bit, None if there is none."""
    if constant.tobytes() == made.tobytes():
        return 1.0
    largest = np.argmax(np.abs(made))
    if made.dtype != np.float32 or not made[largest]:
        return None
    with np.errstate(all="ignore"):  # of a constant that is no multiple
        near = constant[largest] / made[largest]
        for factor in (near, np.nextafter(near, np.inf), np.nextafter(near, -np.inf)):
            if constant.tobytes() == (made * factor).tobytes():
                return float(factor)
    return None


def _without_weights(content, sources):
    """(descriptions of the `litert.Filling`s of a network, the bytes of all else)."""
    from ai_edge_litert import schema_py_generated as schema

    network, constants, ends = np.frombuffer(content, np.uint8), [], {}
    model = schema.Model.GetRootAsModel(content, 0)
    for k in range(model.BuffersLength()):
        buffer = model.Buffers(k)
        if buffer.DataLength() >= SMALLEST_FILLING:
            data = buffer.DataAsNumpy()
            described = sources.find(data)
            if described is not None:
                at = data.__array_interface__["data"][0] - network.__array_interface__["data"][0]
                constants.append({**described, "at": at})
                ends[at] = at + data.size
    constants.sort(key=lambda each: each["at"])
    literal, done = [], 0
    for each in constants:
        literal.append(content[done : each["at"]])
        done = ends[each["at"]]
    return constants, b"".join([*literal, content[done:]])


def _describe(functions, files):
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return {"format": FORMAT, "functions": functions, "sha256": sums}


def _json(value):
    return (json.dumps(value, indent=1) + "\n").encode()


def _write(path, content):
    with open(path, "wb") as file:
        file.write(content)
