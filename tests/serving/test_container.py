"""Laws of the file inside a graph: what container.py reads and writes, and refuses."""

import dataclasses
import zlib

import numpy as np
import pytest
import tensorflow as tf

from tfcodec.coding.container import Container, symbols_checksum
from tfcodec.coding.container import pack as container_pack
from tfcodec.coding.container import unpack as container_unpack
from tfcodec.coding.format import TFC
from tfcodec.errors import ContainerError
from tfcodec.serving import container as stock_container

MAX_PIXELS, MAX_BYTES = 2**22, 2**22
FIELDS = {
    "fingerprint": tf.TensorSpec([4], tf.int64),
    "profile": tf.TensorSpec([], tf.int64),
    "quality": tf.TensorSpec([], tf.int64),
    "gray": tf.TensorSpec([], tf.bool),
    "height": tf.TensorSpec([], tf.int32),
    "width": tf.TensorSpec([], tf.int32),
    "payload": tf.TensorSpec([None], tf.uint8),
    "lengths": tf.TensorSpec([None], tf.int64),
    "escapes": tf.TensorSpec([None], tf.int32),
    "alpha": tf.TensorSpec([], tf.string),
    "checksum": tf.TensorSpec([], tf.int64),
}


def graph(*specs):
    return lambda function: tf.function(function, autograph=False, input_signature=specs)


@graph(tf.TensorSpec([], tf.string))
def unpack(data):
    return stock_container.unpack(data, MAX_PIXELS, MAX_BYTES)


pack = graph(FIELDS)(stock_container.pack)
crc32 = graph(tf.TensorSpec([None], tf.uint8))(stock_container.crc32)


def random_container(rng):
    lanes = int(2 ** rng.integers(0, 11))
    lengths = rng.integers(0, rng.choice([0, 2, 50, 400]) + 1, lanes)
    if rng.random() < 0.2:  # unlike each other, so that the Rice parameter must grow
        lengths = np.minimum(rng.integers(0, 20, lanes) ** 5, 2**19 // lanes)
    return Container(
        fingerprint=rng.bytes(4),
        profile=int(rng.integers(256)),
        quality=int(rng.integers(256)),
        height=int(rng.integers(1, 2000)),
        width=int(rng.integers(1, 2000)),
        gray=bool(rng.integers(2)),
        coder=TFC,
        streams=tuple(rng.bytes(int(length)) for length in lengths),
        escapes=tuple(rng.integers(-32767, 32768, rng.integers(0, 5)).tolist()),
        alpha=rng.bytes(int(rng.integers(1, 300))) if rng.random() < 0.5 else None,
        checksum=int(rng.integers(2**32)),
        metadata=rng.bytes(int(rng.integers(0, 300))) if rng.random() < 0.3 else None,
    )


def check_same(data):
    """Both readers take the file for the same, or both refuse it; returns the two sentences."""
    fields, error = unpack(data)
    error = error.numpy().decode()
    try:
        there = container_unpack(data, "k.tfcd", MAX_PIXELS)
    except ContainerError as refusal:
        assert error, f"the graph takes what container.py refuses: {refusal}"
        return str(refusal).removeprefix("k.tfcd: "), error
    if there.coder != TFC:
        assert "this server decodes the coder 0" in error
        return error, error
    assert not error
    here = {name: value.numpy() for name, value in fields.items()}
    assert here["payload"].tobytes() == b"".join(there.streams)
    assert here["lengths"].tolist() == [len(stream) for stream in there.streams]
    assert here["fingerprint"].astype(np.uint8).tobytes() == there.fingerprint
    assert tuple(here["escapes"]) == there.escapes and (here["alpha"] or None) == there.alpha
    for name in ("profile", "quality", "gray", "height", "width", "checksum"):
        assert here[name] == getattr(there, name), name
    return "", ""


def mutate(rng, data):
    """One of the ways in which files go wrong; every second one gets a sound CRC again."""
    data = bytearray(data)
    start, size = int(rng.integers(len(data))), int(rng.integers(1, 40))
    kind = rng.integers(6)
    if kind == 0:
        del data[start:]
    elif kind == 1:
        data += rng.bytes(size)
    elif kind == 2:
        data[start] ^= 1 << int(rng.integers(8))
    elif kind == 3:
        data[start : start + size] = bytes([rng.choice([0, 255])]) * size
    elif kind == 4:
        del data[start : start + size]
    else:  # the header and the table of lanes, where the claims are made
        data[int(rng.integers(4, min(60, len(data))))] = int(rng.integers(256))
    if rng.random() < 0.6 and len(data) > 4:
        data[-4:] = zlib.crc32(data[:-4]).to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize("size", [4, 5, 1023, 1024, 1025, 70_000])
def test_the_crc_is_that_of_zlib(size):
    data = np.random.default_rng(size).integers(0, 256, size).astype(np.uint8)
    assert int(crc32(data)) == zlib.crc32(data.tobytes())


@pytest.mark.parametrize("seed", range(2))
def test_both_readers_and_writers_agree_on_sound_files(seed):
    rng = np.random.default_rng(seed)
    for _ in range(30):
        container = random_container(rng)
        data = container_pack(container)
        assert check_same(data) == ("", "")
        bare = container_pack(dataclasses.replace(container, metadata=None))  # passed over
        assert pack(unpack(data)[0]).numpy() == bare


@pytest.mark.parametrize("seed", range(2))
def test_both_readers_refuse_the_same_files_mostly_in_the_same_words(seed):
    rng = np.random.default_rng(100 + seed)
    sentences = [check_same(mutate(rng, container_pack(random_container(rng)))) for _ in range(200)]
    refused = [pair for pair in sentences if pair[0] and "CRC" not in pair[0]]
    assert len(refused) > 40 and len({theirs.split()[0] for theirs, _ in refused}) > 7
    same = [theirs == ours for theirs, ours in refused]
    assert np.mean(same) > 0.6, [pair for pair in refused if pair[0] != pair[1]]


def test_every_truncation_is_refused():
    rng = np.random.default_rng(7)
    container = dataclasses.replace(random_container(rng), metadata=b"zlib")
    data = container_pack(container)[:300]
    for length in range(len(data)):
        check_same(data[:length])


def test_a_file_too_long_is_not_even_looked_at():
    _, error = unpack(bytes(MAX_BYTES + 1))
    assert error.numpy() == b"the file has 4194305 bytes, at most 4194304 are taken"


@pytest.mark.parametrize(
    "height,width,size,message",
    [
        (2**32, 2**32, 9, "claims 4294967296x4294967296 pixels, at most"),  # 0 in 64 bits
        (2**15, 1, 9, ""),
        (2**15 + 1, 1, 9, "claims 1x32769 pixels, at most"),
        (128, 128, 1_400_000, "has 1400028 bytes, more than any sound file of 128x128 pixels"),
        (256, 128, 1_400_000, ""),
    ],
)
def test_both_readers_refuse_what_a_picture_cannot_need(height, width, size, message):
    container = random_container(np.random.default_rng(0))
    changes = dict(coder=TFC, streams=(bytes(size),), escapes=(), alpha=None)
    data = container_pack(dataclasses.replace(container, height=height, width=width, **changes))
    there, here = check_same(data)
    assert here.startswith(message) and bool(here) == bool(there) == bool(message), here


def test_the_symbols_checksum_is_that_of_the_container():
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-32767, 32768, shape).astype(np.int32) for shape in ((3, 5), (70_000,))]
    specs = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]
    checksum = graph(*specs)(lambda *arrays: stock_container.symbols_checksum(arrays))
    assert int(checksum(*arrays)) == symbols_checksum(arrays)
