import keras
import numpy as np
import pytest
import tensorflow as tf
from harness import check_layer

from tfcodec.layers.attention import MASKED, SwinBlock, WindowAttention, window_mask


def _noise(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _layer(channels=8, randomised=1.0, **options):
    layer = WindowAttention(heads=2, window=4, **options)
    layer.build((1, None, None, channels))
    for k, weight in enumerate(layer.weights):
        weight.assign(randomised * _noise(weight.shape, k))
    return layer


@pytest.mark.parametrize(
    "layer,shape",
    [
        (WindowAttention(2, window=2), (2, 4, 6, 4)),
        (WindowAttention(2, window=4, shifted=True), (1, 9, 5, 4)),
        (SwinBlock(1, window=2, shifted=True), (1, 4, 4, 4)),
    ],
)
def test_the_layer_keeps_what_every_layer_owes(layer, shape):
    check_layer(layer, shape)


def _reference(layer, x, shift):
    """Attention pixel by pixel: each looks at those of its window that are near it in the map."""
    weights = {w.path.split("/", 1)[-1]: np.float64(w) for w in layer.weights}
    window, heads = layer.window, layer.heads
    _, height, width, channels = x.shape
    depth = channels // heads
    qkv = np.float64(x[0]) @ weights["qkv/kernel"] + weights["qkv/bias"]
    query, key, value = qkv.reshape(height, width, 3, heads, depth).transpose(2, 0, 1, 3, 4)
    out = np.zeros([height, width, heads, depth])
    for r in range(height):
        for c in range(width):
            near = [
                (i, j)
                for i in range(height)
                for j in range(width)
                if (i + shift[0]) // window == (r + shift[0]) // window
                and (j + shift[1]) // window == (c + shift[1]) // window
            ]
            for h in range(heads):
                logits = [
                    query[r, c, h] @ key[i, j, h] / depth**0.5
                    + weights["bias"][h, r - i + window - 1, c - j + window - 1]
                    for i, j in near
                ]
                p = np.exp(logits - np.max(logits))
                out[r, c, h] = sum(a * value[i, j, h] for a, (i, j) in zip(p, near, strict=True))
                out[r, c, h] /= p.sum()
    return out.reshape(1, height, width, channels) @ weights["out/kernel"] + weights["out/bias"]


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("height,width", [(8, 12), (4, 8), (3, 2), (9, 5), (1, 11)])
def test_every_pixel_attends_to_its_window_and_to_nothing_else(height, width, shifted):
    layer = _layer(shifted=shifted)
    x = _noise([1, height, width, 8])
    # Rolled by half a window, windows begin half a window later; single windows do not roll.
    shift = [2 if shifted and side > 4 else 0 for side in (height, width)]
    np.testing.assert_allclose(layer(x), _reference(layer, x, shift), atol=2e-5)


@pytest.mark.parametrize("aligned", [False, True])
def test_one_shared_mask_of_the_dynamic_size_changes_nothing(aligned):
    layers = [_layer(shifted=True, aligned=aligned), _layer(shifted=True, aligned=aligned)]

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 8])])
    def both(x):
        mask = window_mask(tf.shape(x)[1], tf.shape(x)[2], 4, shifted=True)
        return [layer(x, mask) for layer in layers]

    for shape in ((1, 8, 4, 8), (1, 12, 8, 8)):
        x = _noise(shape)
        for layer, found in zip(layers, both(x), strict=True):
            np.testing.assert_allclose(found, layer(x), atol=1e-5)
    operations = [op.type for op in both.get_concrete_function().graph.get_operations()]
    assert operations.count("Equal") <= 2  # of the one mask


def test_only_windows_at_the_seam_are_masked():
    mask = np.array(window_mask(12, 8, 4, shifted=True))[:, 0].reshape(3, 2, 16, 16)
    assert set(np.unique(mask)) == {np.float32(MASKED), 0}
    assert not mask[:2, :1].any()
    assert mask[2].any(axis=(1, 2)).all() and mask[:, 1].any(axis=(1, 2)).all()
    assert not np.array(window_mask(12, 8, 4, shifted=False)).any()


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="Received: heads=3, channels=8"):
        WindowAttention(3).build((1, 8, 8, 8))


def test_bfloat16_is_near_float32():
    x = _noise([1, 8, 8, 8])
    exact = _layer(randomised=0.3, shifted=True)
    low = WindowAttention(2, window=4, shifted=True, dtype="mixed_bfloat16")
    low.build(x.shape)
    for a, b in zip(low.weights, exact.weights, strict=True):
        a.assign(b)
    found = keras.ops.cast(low(x), "float32")
    np.testing.assert_allclose(found, exact(x), atol=0.05)
