"""What keeps the graph of an export small: weights read where they are used, and a lean file.

A SavedModel repeats much that its reader infers or never asks for. What is left out here changes
no operation and no number; error messages name nodes by numbers.
"""

import os

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2


class WeightsScope(keras.StatelessScope):
    """Within it the variables of a model have other values, each made when it is first used.

    Args: value_of: gives the tensor for a variable, or None where its own value stands.
    """

    def __init__(self, value_of):
        super().__init__()
        # A variable that is first used inside a loop's body may be used after the loop.
        self._value_of, self._graph = value_of, tf.compat.v1.get_default_graph()

    def get_current_value(self, variable):
        if id(variable) not in self.state_mapping:
            with self._graph.as_default():
                self.state_mapping[id(variable)] = self._value_of(variable)
        return self.state_mapping[id(variable)]


def save(module, directory):
    """`tf.saved_model.save` of functions that are run as they are, never trained."""
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, directory, options=options)
    shrink(directory)


def shrink(directory):
    """Rewrites the graph of a SavedModel without what its readers infer."""
    path = os.path.join(directory, "saved_model.pb")
    saved = saved_model_pb2.SavedModel()
    with open(path, "rb") as file:
        saved.ParseFromString(file.read())
    for meta_graph in saved.meta_graphs:
        graph = meta_graph.graph_def
        for node in graph.node:
            node.attr.pop("_output_shapes", None)
        for function in graph.library.function:
            _shrink_function(function)
    with open(path, "wb") as file:
        file.write(saved.SerializeToString(deterministic=True))
    # It is TensorFlow's checksum of the file as it was; no reader asks for it.
    os.remove(os.path.join(directory, "fingerprint.pb"))


def _shrink_function(function):
    """Without shapes that are inferred; equal constants stand once, nodes are named by numbers.

    Numbers in the order of the names: TensorFlow's optimizer sorts terms of sums by them, and what
    is computed stays the same to the last bit.
    """
    for argument in function.arg_attr.values():
        argument.attr.pop("_output_shapes", None)
    nodes = [type(node).FromString(node.SerializeToString()) for node in function.node_def]
    del function.node_def[:]
    ranks = {name: rank for rank, name in enumerate(sorted(node.name for node in nodes))}
    digits = len(str(len(nodes)))
    # The shapes of results stay: inference loses some on the way, and callers see these.
    results = {tensor.split(":")[0] for tensor in function.ret.values()}
    renamed, constants = {}, {}
    for node in nodes:
        name, node.name = node.name, ""
        node.ClearField("experimental_debug_info")
        node.attr.pop("_gradient_op_type", None)  # names what is not saved
        if name not in results:
            node.attr.pop("_output_shapes", None)
        number = f"{ranks[name]:0{digits}}"  # no argument is named so
        if node.op == "Const" and not node.input:
            number = constants.setdefault(node.SerializeToString(deterministic=True), number)
        renamed[name] = node.name = number
        if int(number) == ranks[name]:
            function.node_def.append(node)

    def translated(tensor):
        """The new name of "node:output:k", "^node", or an argument, which keeps its name."""
        name, *output = tensor.removeprefix("^").split(":")
        control = "^" if tensor.startswith("^") else ""
        return control + ":".join([renamed.get(name, name), *output])

    for node in function.node_def:
        node.input[:] = [translated(tensor) for tensor in node.input]
    for returned in (function.ret, function.control_ret):
        for key, tensor in list(returned.items()):
            returned[key] = translated(tensor)
