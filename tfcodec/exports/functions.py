"""The functions of an export, each loaded with its weights when it is first called.

`tf.saved_model.load` makes Python objects of every node of every function and reads all weights,
though a decoder needs no analysis and an encoder no synthesis. Here a function is a graph of one
node, a call of the function in the file, which TensorFlow's runtime reads by itself.
"""

import contextlib
import hashlib
import os
import pathlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import function_pb2
from tensorflow.core.protobuf import saved_model_pb2

from tfcodec.errors import ModelError

Structure: TypeAlias = Any  # tensors, or their specs, in tuples, lists and dictionaries

NAMES = ("to_y", "to_latents", "finish", "synthesis")


@contextlib.contextmanager
def incomplete_exports_named(path: str | os.PathLike) -> Iterator[None]:
    """Raises ModelError in place of what TensorFlow says of a damaged SavedModel.

    Args: path: the export's folder.
    """
    try:
        yield
    except (
        OSError,
        ValueError,
        AttributeError,
        LookupError,
        DecodeError,
        tf.errors.OpError,
    ) as error:
        raise ModelError(
            f"{path}: the model cannot be loaded, it is incomplete, damaged, or of an older release"
        ) from error


class Functions:
    """Those that exports/__init__.py lists, as callables: `to_y`, `steps[k]` and so on.

    May be called by several threads, in functions that are traced, too.

    `content` is the SHA-256 of the graph and of the checksums of the weights, which TensorFlow
    compares with them when it reads them: so of all that is computed.

    Args: path: the export's folder.
    Raises: ModelError if the SavedModel cannot be read; a function raises it when it is first
        called and its weights are missing, damaged or no longer those that were there.
    """

    whole = False  # the integers lie beside the functions, too

    def __init__(self, path: str | os.PathLike):
        self._path, self._lock, self._variables = path, threading.RLock(), {}
        saved = pathlib.Path(path, "1")
        self._prefix = str(saved / "variables" / "variables")
        with incomplete_exports_named(path):
            self._state = self._state_of_weights()
            graph = (saved / "saved_model.pb").read_bytes()
            checksums = pathlib.Path(f"{self._prefix}.index").read_bytes()
            self.content = hashlib.sha256(
                hashlib.sha256(graph).digest() + hashlib.sha256(checksums).digest()
            ).hexdigest()
            self._graph = saved_model_pb2.SavedModel.FromString(graph).meta_graphs[0]
            self._library = {f.signature.name: f for f in self._graph.graph_def.library.function}
            self._names = _names_of_its_own(self._library, self.content)
            self._objects = self._graph.object_graph_def.nodes
            root = self._children(0)
            # Where the checkpoint has the value of each variable.
            self._keys = {
                node: f"{name}/{child}/.ATTRIBUTES/VARIABLE_VALUE"
                for name in ("weights", "tables")
                for child, node in self._children(root[name]).items()
            }
            for name in NAMES:
                setattr(self, name, Function(self, root[name]))
            # Exports for servers are without it.
            self.estimate = Function(self, root["estimate"]) if "estimate" in root else None
            steps = self._children(root["steps"])
            self.steps = [Function(self, steps[str(k)]) for k in range(len(steps))]
            self._tables = self._children(root["tables"])

    def tables(self) -> dict[str, np.ndarray]:
        """{name: array} of the coding tables. Raises: ModelError."""
        with incomplete_exports_named(self._path):
            values = self._restore(self._tables.values())
            return {name: value.numpy() for name, value in zip(self._tables, values, strict=True)}

    def load(self, node: int) -> tuple[Callable[..., list[tf.Tensor]], Structure, Structure]:
        """(callable of tensors, the specs of its arguments, those of its results), of the function
        that is this node of the SavedModel. Raises: ModelError."""
        with self._lock, tf.init_scope(), incomplete_exports_named(self._path):
            name = self._objects[node].function.concrete_functions[0]
            described = self._graph.object_graph_def.concrete_functions[name]
            arguments, _ = _structure(described.canonicalized_input_signature)
            results = _structure(described.output_signature)
            captured = self._handles(described.bound_inputs)
            graph = self._call_of(name)

            def call(*inputs):
                places = {f"in{k}": tensor for k, tensor in enumerate(inputs)}
                outputs = [f"call:{k}" for k in range(len(tf.nest.flatten(results)))]
                outputs = tf.graph_util.import_graph_def(graph, places, outputs, name="")
                for output, spec in zip(outputs, tf.nest.flatten(results), strict=True):
                    output.set_shape(spec.shape)
                return outputs

            specs = tf.nest.flatten(arguments)
            handles = [tf.TensorSpec([], tf.resource)] * len(captured)
            wrapped = tf.compat.v1.wrap_function(call, [*specs, *handles])
            return lambda *inputs: wrapped(*inputs, *captured), arguments, results

    def _children(self, node):
        """{name: node} of what an object of the SavedModel owns."""
        return {child.local_name: child.node_id for child in self._objects[node].children}

    def _restore(self, nodes):
        """The stored tensors of variables; TensorFlow compares the checksum of each."""
        nodes = list(nodes)
        if not nodes:
            return []
        tensors = tf.raw_ops.RestoreV2(
            prefix=self._prefix,
            tensor_names=[self._keys[node] for node in nodes],
            shape_and_slices=[""] * len(nodes),
            dtypes=[self._objects[node].variable.dtype for node in nodes],
        )
        if self._state_of_weights() != self._state:
            raise ModelError(
                f"{self._path}: the model was replaced after it had been loaded; load it again"
            )
        return tensors

    def _state_of_weights(self):
        """What changes when the files of the weights are replaced."""
        states = []
        for ending in ("index", "data-00000-of-00001"):
            found = os.stat(f"{self._prefix}.{ending}")
            states.append((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))
        return states

    def _handles(self, nodes):
        """Handles of the variables that a function reads; each variable is loaded once."""
        missing = [node for node in dict.fromkeys(nodes) if node not in self._variables]
        for node, value in zip(missing, self._restore(missing), strict=True):
            self._variables[node] = tf.Variable(value, trainable=False)
        return [self._variables[node].handle for node in nodes]

    def _call_of(self, name):
        """The graph of one node, `call`, of the inputs in0, in1 ... of that function."""
        graph = tf.compat.v1.GraphDef(versions=self._graph.graph_def.versions)
        graph.library.function.extend(self._reachable(name))
        signature = self._library[name].signature
        for k, argument in enumerate(signature.input_arg):
            graph.node.add(name=f"in{k}", op="Placeholder").attr["dtype"].type = argument.type
        node = graph.node.add(name="call", op="StatefulPartitionedCall")
        node.input.extend(node.name for node in graph.node[:-1])
        node.attr["f"].func.name = self._names[name]
        for key, arguments in (("Tin", signature.input_arg), ("Tout", signature.output_arg)):
            node.attr[key].list.type.extend(argument.type for argument in arguments)
        return graph

    def _reachable(self, name):
        """A function and those that it calls, such as bodies of loops, under names of their own."""
        found, left = {}, [name]
        while left:
            name = left.pop()
            if name not in self._library or name in found:
                continue
            found[name] = function = function_pb2.FunctionDef()
            function.CopyFrom(self._library[name])
            function.signature.name = self._names[name]
            for node in function.node_def:
                left.append(node.op)
                node.op = self._names.get(node.op, node.op)
                for attribute in node.attr.values():
                    for called in (attribute.func, *attribute.list.func):
                        left.append(called.name)
                        if called.name in self._names:
                            called.name = self._names[called.name]
        return found.values()


class Function:
    """One of `Functions`: takes and gives the structures that it was traced for.

    Args: owner: the `Functions`; node: its number in the SavedModel.
    """

    def __init__(self, owner: Functions, node: int):
        self._owner, self._node, self._loaded = owner, node, None

    def __call__(self, *args: Structure) -> Structure:
        if self._loaded is None:
            self._loaded = self._owner.load(self._node)
        call, arguments, results = self._loaded
        specs, values = tf.nest.flatten(arguments), tf.nest.flatten(args)
        tensors = [
            tf.convert_to_tensor(value, spec.dtype)
            for value, spec in zip(values, specs, strict=True)
        ]
        return tf.nest.pack_sequence_as(results, call(*tensors))


def _names_of_its_own(library, content):
    """{name in the file: name in this process}. Names in a file count what its writer had traced,
    and another function of this process may have the same."""
    return {name: f"tfcodec_{content[:16]}_{name.lstrip('_')}" for name in library}


def _structure(value):
    """Tuples, lists and dictionaries of `tf.TensorSpec`s, as a SavedModel describes them."""
    kind = value.WhichOneof("kind")
    if kind == "tensor_spec_value":
        spec = value.tensor_spec_value
        return tf.TensorSpec(tf.TensorShape(spec.shape), spec.dtype)
    if kind == "tuple_value":
        return tuple(_structure(each) for each in value.tuple_value.values)
    if kind == "list_value":
        return [_structure(each) for each in value.list_value.values]
    if kind == "dict_value":
        return {name: _structure(each) for name, each in value.dict_value.fields.items()}
    raise ValueError(f"a structure of tensors, lists, tuples and dictionaries, not {kind}")
