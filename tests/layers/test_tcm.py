import keras
import numpy as np
import pytest
from harness import check_layer

from tfcodec.layers.tcm import Bottleneck, ContextAttention, TCMBlock


@pytest.mark.parametrize(
    "make,shape",
    [
        (lambda: TCMBlock(2, window=2, shifted=True), (1, 4, 4, 8)),
        (Bottleneck, (1, 4, 4, 8)),
        (lambda: ContextAttention(5, body="residual", width=8), (1, 4, 5, 6)),
        (lambda: ContextAttention(5, body="swin", width=8), (1, 4, 5, 6)),
    ],
    ids=["block", "bottleneck", "residual", "swin"],
)
def test_the_layer_keeps_what_every_layer_owes(make, shape):
    keras.utils.set_random_seed(1)  # some starts leave a rectifier of four channels dead
    check_layer(make(), shape)


@pytest.mark.parametrize(
    "head_dim,window,count", [(8, 8, 628_624), (16, 8, 626_824), (32, 4, 625_220)]
)
def test_a_block_has_the_papers_parameters(head_dim, window, count):
    layer = TCMBlock(head_dim, window)
    layer.build((1, 16, 16, 256))
    assert layer.count_params() == count


@pytest.mark.parametrize(
    "k,count", [(0, 820_048), (1, 836_496), (2, 852_944), (3, 869_392), (4, 885_840)]
)
def test_context_attention_has_the_papers_parameters(k, count):
    channels = 320 + 64 * k
    layer = ContextAttention(channels)
    layer.build((1, 16, 16, channels))
    assert layer.count_params() == count


def test_what_cannot_be_built_is_said():
    with pytest.raises(ValueError, match="`body` must be 'swin' or 'residual'. Received: 'conv'"):
        ContextAttention(4, body="conv")
    with pytest.raises(ValueError, match="channels must be even"):
        TCMBlock(4)(np.zeros([1, 8, 8, 3], np.float32))
