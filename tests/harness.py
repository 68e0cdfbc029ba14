"""What tests share: the obligations of every layer, and gradients in numpy."""

import keras
import numpy as np
import tensorflow as tf


def gradients(function, sources):
    """Gradients of sum(function()) to variables or tensors as numpy; None where none arrives."""
    with tf.GradientTape() as tape:
        for source in sources:
            tape.watch(source.value if isinstance(source, keras.Variable) else source)
        total = tf.reduce_sum(function())
    values = [s.value if isinstance(s, keras.Variable) else s for s in sources]
    return [None if g is None else np.array(g) for g in tape.gradient(total, values)]


def check_layer(layer, *shapes):
    """Asserts what every layer owes, for inputs of the given shapes (batch first).

    Config round trip; symbolic shape = eager shape = compute_output_shape, with unknown sides too;
    every weight receives a finite gradient that is not zero; runs under the policy mixed_bfloat16,
    with float32 variables. Returns the output for random inputs, as numpy.
    """
    rng = np.random.default_rng(0)
    inputs = [rng.uniform(0.1, 1.0, shape).astype(np.float32) for shape in shapes]

    config = layer.get_config()
    clone = type(layer).from_config(config)
    assert clone.get_config() == config

    output = layer(*inputs)
    symbolic = layer(*(keras.Input(batch_shape=shape) for shape in shapes))
    assert symbolic.shape == output.shape
    assert tuple(layer.compute_output_shape(shapes[0])) == output.shape
    if len(shapes[0]) == 4:
        unknown = (shapes[0][0], None, None, shapes[0][3])
        rest = [keras.Input(batch_shape=shape) for shape in shapes[1:]]
        dynamic = clone(keras.Input(batch_shape=unknown), *rest)
        assert dynamic.shape == (output.shape[0], None, None, output.shape[3])
    assert [w.shape for w in clone.weights] == [w.shape for w in layer.weights]

    weigh = rng.standard_normal(output.shape).astype(np.float32)
    found = gradients(lambda: layer(*inputs) * weigh, layer.trainable_weights)
    for weight, gradient in zip(layer.trainable_weights, found, strict=True):
        assert gradient is not None, f"{weight.path} receives no gradient"
        assert np.all(np.isfinite(gradient)) and np.any(gradient), f"{weight.path}: {gradient}"

    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        mixed = type(layer).from_config({k: v for k, v in config.items() if k != "dtype"})
        low = mixed(*inputs)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert np.all(np.isfinite(keras.ops.convert_to_numpy(low).astype(np.float32)))
    assert {keras.backend.standardize_dtype(w.dtype) for w in mixed.weights} <= {"float32"}
    return keras.ops.convert_to_numpy(output)
