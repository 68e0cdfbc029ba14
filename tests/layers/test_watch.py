"""Laws of looking on: every call is seen, outputs may be replaced, nobody else notices."""

import threading

import keras
import numpy as np
import pytest

from tfcodec.layers.watch import watching

X = np.ones([1, 2], np.float32)


@pytest.fixture
def network():
    network = keras.Sequential([keras.layers.Dense(2, name="a"), keras.layers.Dense(3, name="b")])
    network(X)
    return network


def test_every_call_is_seen_the_innermost_first(network):
    seen = []
    with watching(lambda layer, inputs, output: seen.append((layer.name, output.shape))):
        network(X)
    assert [name for name, _ in seen if name in "ab"] == ["a", "b"] and seen[-1][1] == (1, 3)
    assert seen[-1][0] == network.name
    network(X)
    assert len(seen) == 3


def test_what_a_watcher_returns_takes_the_outputs_place(network):
    with watching(lambda layer, inputs, output: output * 0 if layer.name == "a" else None):
        np.testing.assert_array_equal(network(X), [[0, 0, 0]])


def test_blocks_are_nested_and_end_with_an_error(network):
    before, outer, inner = keras.layers.Layer.__call__, [], []
    with watching(lambda layer, *_: outer.append(layer.name)):
        with pytest.raises(ZeroDivisionError), watching(lambda layer, *_: inner.append(1 / 0)):
            network(X)
        network(X)
    assert outer.count("b") == 1 and not inner
    assert keras.layers.Layer.__call__ is before


def test_other_threads_do_not_notice(network):
    seen = []
    with watching(lambda layer, *_: seen.append(layer.name)):
        thread = threading.Thread(target=network, args=[X])
        thread.start()
        thread.join()
    assert seen == []
