"""Whatever the bytes: a picture of the claimed size, or one sentence; no crash, hang or growth."""

import faulthandler
import resource
import struct
import zlib

import exports
import numpy as np
import pytest

from tfcodec import codec, images
from tfcodec.coding import container as box
from tfcodec.errors import TfcodecError

MAX_PIXELS = 64 * 64
SECONDS = 120  # after which a decoder that hangs is killed with a traceback


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of 32x32 pictures, with and without alpha, gray, escapes, lanes; and their codec."""
    folder = tmp_path_factory.mktemp("models")
    tiny = codec.Codec(exports.tiny_export(str(folder / "tiny"), lambdas=(0.001, 0.2)))
    random = np.random.RandomState(0)
    smooth = np.uint8(np.add.outer(np.arange(32), np.arange(32)) * 3)
    noisy = random.randint(0, 256, [32, 32, 4]).astype(np.uint8)
    tiny_files = [
        tiny.encode(images.from_array(smooth), 1).data,
        tiny.encode(images.from_array(noisy[..., :3]), 8).data,
        tiny.encode(images.from_array(noisy), 4).data,
        tiny.encode(images.from_array(noisy), 8, lanes=4).data,
        tiny.encode(images.from_array(noisy[..., :3]), 6, coder="range-coder").data,
    ]
    assert any(box.unpack(data).escapes for data in tiny_files)
    return tiny, tiny_files


def mutate(random, data):
    """One of the ways in which files go wrong, or are made to."""
    data = bytearray(data)
    kind = random.randint(8)
    if kind == 0:
        del data[random.randint(len(data)) :]
    elif kind == 1:
        data += random.bytes(random.randint(1, 40))
    elif kind == 2:
        for _ in range(random.randint(1, 8)):
            data[random.randint(len(data))] ^= 1 << random.randint(8)
    elif kind == 3:
        start = random.randint(len(data))
        length = min(random.randint(1, 64), len(data) - start)
        data[start : start + length] = random.bytes(length)
    elif kind == 4:
        start = random.randint(len(data))
        length = min(random.randint(1, 64), len(data) - start)
        data[start : start + length] = bytes([random.choice([0, 255])]) * length
    elif kind == 5:
        start = random.randint(len(data))
        del data[start : start + random.randint(1, 16)]
    elif kind == 6:  # the header, where the claims are made
        data[random.randint(4, min(24, len(data)))] = random.randint(256)
    else:
        start = random.randint(len(data))
        data[start:start] = random.bytes(random.randint(1, 16))
    return bytes(data)


def with_valid_checksum(data):
    """The CRC made right again, so that what lies behind it is reached."""
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4])) if len(data) > 4 else data


def survive(codec_, data):
    """Decodes; returns None for a picture, or the error's sentence."""
    try:
        container = box.unpack(data, "k.tfcd", MAX_PIXELS)
        picture = codec_.decode(container, "k.tfcd")
    except TfcodecError as error:
        sentence = str(error)
        assert sentence.startswith("k.tfcd: ") and "\n" not in sentence
        return sentence
    assert picture.rgb.shape == (container.height, container.width, 3)
    return None


def run_mutations(files, count, seed):
    tiny, originals = files
    random = np.random.RandomState(seed)
    sentences, reached = set(), 0
    for data in originals:  # warm up: what TensorFlow allocates once is not growth
        assert survive(tiny, data) is None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        data = mutate(random, originals[random.randint(len(originals))])
        if number % 2:
            data = with_valid_checksum(data)
        sentence = survive(tiny, data)
        reached += sentence is None or "CRC" not in sentence
        sentences.add(sentence)
    faulthandler.cancel_dump_traceback_later()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 * 1024, f"memory grew by {grown // 1024} MiB"
    assert reached > count // 4, "too few mutations got past the CRC to mean anything"
    return sentences


def test_500_mutated_files_give_a_picture_or_a_sentence(files):
    sentences = run_mutations(files, 500, seed=0)
    assert len(sentences) > 10


@pytest.mark.slow
def test_20000_mutated_files_give_a_picture_or_a_sentence(files):
    run_mutations(files, 20_000, seed=1)


def test_every_truncation_is_one_sentence(files):
    tiny, originals = files
    for data in originals[:2]:
        for length in range(len(data)):
            assert survive(tiny, data[:length]) is not None


def test_every_flipped_byte_is_one_sentence(files):
    tiny, originals = files
    for data in originals[:3]:
        for place in range(len(data)):
            broken = bytearray(data)
            broken[place] ^= 0xFF
            assert survive(tiny, bytes(broken)) is not None


def test_appended_bytes_are_refused(files):
    tiny, originals = files
    for tail in (b"\0", b"x" * 100):
        assert survive(tiny, originals[0] + tail) is not None


def test_a_huge_claim_is_refused_before_anything_is_allocated(files):
    import dataclasses

    tiny, originals = files
    container = box.unpack(originals[0])
    claim = box.pack(dataclasses.replace(container, height=2**31, width=2**31))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "max" in survive(tiny, claim)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024


def test_other_weights_and_unknown_versions_are_told_apart(files):
    import dataclasses

    tiny, originals = files
    other = dataclasses.replace(box.unpack(originals[0]), fingerprint=b"none")
    assert "fingerprint" in survive(tiny, box.pack(other))
    future = bytearray(originals[0])
    future[4] = 99
    assert "version 99" in survive(tiny, bytes(future))
