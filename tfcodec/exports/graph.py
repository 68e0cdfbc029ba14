"""The functions of an export, traced into a graph that is kept small.

Weights are read where they are used, and the file is lean: a SavedModel repeats much that its
reader infers or never asks for. What is left out here changes no operation and no number; error
messages name nodes by numbers.
"""

import os
from collections.abc import Callable

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfcodec.coding.format import padded
from tfcodec.coding.tables import CodingTables
from tfcodec.exports.weights import SCALE
from tfcodec.models.base import CodecModel

PICTURE = tf.TensorSpec([1, None, None, 3], tf.uint8)
RUNG = tf.TensorSpec([1], tf.float32)


def build_module(model: CodecModel, stored: dict[str, tf.Variable]) -> tf.Module:
    """The tf.Module that is saved. Its functions see the stored weights, cast to float32.

    Args:
        model: a built `CodecModel`; its weights become what is stored of them.
        stored: {path: tf.Variable}, see `weights.stored_arrays`.
    """

    def value_of(variable):
        if variable.path not in stored:
            return None
        value, scale = (stored.get(variable.path + end) for end in ("", SCALE))
        if scale is not None:
            return tf.cast(value, tf.float32) * scale
        return tf.cast(value, tf.float32) if value.dtype.is_floating else tf.identity(value)

    def with_weights(function):
        def call(*args):
            with WeightsScope(value_of):
                return function(*args)

        return call

    for variable in model.variables:  # the tables are made from the weights as they are stored
        variable.assign(value_of(variable))
    module = tf.Module()
    module.weights = list(stored.values())
    _trace_analysis(module, model, with_weights)
    y_hat = _trace_steps(module, model, with_weights)

    synthesis = with_weights(synthesis_of(model))
    module.synthesis, _ = _trace(synthesis, _spec_of(y_hat), RUNG)
    tables = CodingTables.build(model.table_rows())
    module.tables = {
        key: tf.Variable(getattr(tables, key), trainable=False)
        for key in ("lookup", "offsets", "sizes")
    }
    return module


def synthesis_of(model: CodecModel) -> Callable[..., tf.Tensor]:
    """The function (decoded latents, rung) to the picture uint8 [1, H, W, 3]."""

    def synthesis(y_hat, rung):
        x_hat = tf.cast(model.synthesis(y_hat, rung), tf.float32)
        return tf.cast(tf.round(tf.clip_by_value(x_hat, 0.0, 1.0) * 255.0), tf.uint8)

    return synthesis


def _trace_analysis(module, model, with_weights):
    """Sets the functions from a picture to its latents, and the estimate of their bits."""

    def prepare(x):
        """uint8 [1, H, W, 3] to float32 in [0, 1], edges repeated to multiples of the stride."""
        for axis in (1, 2):
            side = tf.shape(x)[axis]
            whole = padded(side, model.stride)
            x = tf.gather(x, tf.minimum(tf.range(whole), side - 1), axis=axis)
        return tf.cast(x, tf.float32) * (1.0 / 255.0)

    def to_y(x, rung):
        return model.to_y(prepare(x), rung)

    def estimate(latents):
        _, meter = model.rate(latents)
        return meter.bits

    module.to_y, y = _trace(with_weights(to_y), PICTURE, RUNG)
    module.to_latents, latents = _trace(with_weights(model.to_latents), _spec_of(y))
    module.estimate, _ = _trace(with_weights(estimate), _spec_of(latents))


def _trace_steps(module, model, with_weights):
    """Sets the functions of the walk; returns the decoded latents that its end gives."""

    def on_cpu(function):
        # Rates depend on the last bits of what is computed between z and an index: one device.
        def call(*args):
            with tf.device("CPU"):
                return function(*args)

        return call

    def step(k, state, symbols):
        state, prior = model.step(k, state, symbols)
        return state, prior.mu, prior.indexes()

    steps, previous, parts = [], [], model.parts
    if parts[-1].wavefront:
        parts = (*parts, parts[-1])  # the second wavefront's step serves all that follow
    for k, part in enumerate(parts):

        def step_k(*previous, k=k):
            return step(k, *(previous or ({}, None)))

        function, (state, _, _) = _trace(on_cpu(with_weights(step_k)), *previous)
        steps.append(function)
        symbols = tf.TensorSpec([1, None, None, part.channels], tf.int32)
        previous = [_spec_of(state), symbols]
    module.steps = steps
    module.finish, y_hat = _trace(on_cpu(with_weights(model.finish)), *previous)
    return y_hat


def _trace(function, *specs):
    """(the function traced for these inputs alone, the structure of its outputs)."""
    # Without an input signature a restored function would trace anew for every size.
    function = tf.function(function, autograph=False, input_signature=specs)
    return function, function.get_concrete_function().structured_outputs


def _spec_of(outputs):
    return tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), outputs)


class WeightsScope(keras.StatelessScope):
    """Within it the variables of a model have other values, each made when it is first used.

    Args: value_of: gives the tensor for a variable, or None where its own value stands.
    """

    def __init__(self, value_of: Callable[[keras.Variable], tf.Tensor | None]):
        super().__init__()
        # A variable that is first used inside a loop's body may be used after the loop.
        self._value_of, self._graph = value_of, tf.compat.v1.get_default_graph()

    def get_current_value(self, variable: keras.Variable) -> tf.Tensor | None:
        if id(variable) not in self.state_mapping:
            with self._graph.as_default():
                self.state_mapping[id(variable)] = self._value_of(variable)
        return self.state_mapping[id(variable)]


def save(module: tf.Module, directory: str) -> None:
    """`tf.saved_model.save` of functions that are run as they are, never trained."""
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, directory, options=options)
    shrink(directory)


def shrink(directory: str) -> None:
    """Rewrites the graph of a SavedModel without what its readers infer."""
    path = os.path.join(directory, "saved_model.pb")
    saved = saved_model_pb2.SavedModel()
    with open(path, "rb") as file:
        saved.ParseFromString(file.read())
    for meta_graph in saved.meta_graphs:
        graph = meta_graph.graph_def
        _drop_saving(graph, meta_graph.saver_def)
        for node in graph.node:
            node.attr.pop("_output_shapes", None)
        for function in graph.library.function:
            _shrink_function(function)
        _shrink_restoring(graph, meta_graph.saver_def)
    with open(path, "wb") as file:
        file.write(saved.SerializeToString(deterministic=True))
    # It is TensorFlow's checksum of the file as it was; no reader asks for it.
    os.remove(os.path.join(directory, "fingerprint.pb"))


def _drop_saving(graph, saver):
    """Without the function that would write the weights again: readers ask for its twin alone."""
    call, function = _called(graph, saver.save_tensor_name)
    graph.node.remove(call)
    graph.library.function.remove(function)
    saver.save_tensor_name = saver.filename_tensor_name


def _called(graph, tensor):
    """(the node of a tensor, the function that it calls)."""
    call = next(node for node in graph.node if node.name == tensor.split(":")[0])
    name = call.attr["f"].func.name
    return call, next(f for f in graph.library.function if f.signature.name == name)


def _shrink_restoring(graph, saver):
    """The function that reads the weights, nobody's but the loader's: a tenth of a large graph."""
    _, function = _called(graph, saver.restore_op_name)
    short = {arg.name: f"a{k}" for k, arg in enumerate(function.signature.input_arg)}
    for arg in function.signature.input_arg:
        arg.name = short[arg.name]
    for node in function.node_def:
        node.input[:] = [short.get(name, name) for name in node.input]
        node.ClearField("device")
        node.attr.pop("_has_manual_control_dependencies", None)


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

    def translate(tensor):
        """The new name of "node:output:k", "^node", or an argument, which keeps its name."""
        name, *output = tensor.removeprefix("^").split(":")
        control = "^" if tensor.startswith("^") else ""
        return control + ":".join([renamed.get(name, name), *output])

    for node in function.node_def:
        node.input[:] = [translate(tensor) for tensor in node.input]
    for returned in (function.ret, function.control_ret):
        for key, tensor in list(returned.items()):
            returned[key] = translate(tensor)
