"""Laws of the file: it says what was packed, and any damage is one ContainerError."""

import dataclasses
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcodec.coding.container import Container, pack, part_sizes, symbols_checksum, unpack
from tfcodec.coding.format import DEFAULT_MAX_PIXELS, MAX_METADATA, RANGE_CODER, TFC
from tfcodec.errors import ContainerError

PLAIN = Container(
    fingerprint=bytes.fromhex("0badcafe"),
    profile=1,
    quality=40,
    height=512,
    width=768,
    gray=False,
    coder=TFC,
    streams=(b"payload",),
    escapes=(),
    alpha=None,
    checksum=0x01020304,
)
FULL = dataclasses.replace(
    PLAIN,
    gray=True,
    streams=(b"one", b"two..", b"", b"four"),
    escapes=(300, -2, 0),
    alpha=b"PNG",
)
# docs/FORMAT.md explains this file byte by byte.
FULL_BYTES = bytes.fromhex(
    "74666364 02"  # magic, version
    "0badcafe 01 28"  # fingerprint, profile, quality
    "07 02"  # flags; coder and lanes
    "8004 8006 10 05 03"  # height, width; lengths of payload, escapes, alpha
    "01 03 3360"  # lengths of the lanes: Rice parameter, mean, bits
    "6f6e65 74776f2e2e 666f7572"  # lanes, the third is empty
    "03 d804 03 00"  # escapes: their number, 300, -2, 0
    "504e47"  # alpha
    "04030201 c0f7fcda"  # checksum of the symbols, CRC-32
)

KEPT = dataclasses.replace(FULL, metadata=b"zlib")  # a real part is a zlib stream

SOUND = {
    "plain": PLAIN,
    "full": FULL,
    "metadata": KEPT,
    "lanes": dataclasses.replace(PLAIN, streams=(b"ab", b"abc") * 8),
    "empty": dataclasses.replace(PLAIN, streams=(b"",), height=1, width=1),
}

containers = st.builds(
    Container,
    fingerprint=st.binary(min_size=4, max_size=4),
    profile=st.integers(0, 255),
    quality=st.integers(0, 255),
    height=st.integers(1, 5792),
    width=st.integers(1, 5792),
    gray=st.booleans(),
    coder=st.just(TFC),
    streams=st.integers(0, 5).flatmap(lambda log2: st.tuples(*[st.binary(max_size=40)] * 2**log2)),
    escapes=st.lists(st.integers(-32767, 32767), max_size=20).map(tuple),
    alpha=st.none() | st.binary(max_size=40),
    checksum=st.integers(0, 2**32 - 1),
    metadata=st.none() | st.binary(max_size=40),
)


def resealed(data):
    """With the CRC that the bytes should have, as a forger would write it."""
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


def outcome(data):
    """The container, or None after a ContainerError; any other exception is a failure."""
    try:
        return unpack(data, "k.tfcd")
    except ContainerError as error:
        assert str(error).startswith("k.tfcd: ") and "\n" not in str(error)
        return None


@settings(max_examples=150, deadline=None)
@given(containers)
def test_unpacking_gives_what_was_packed(container):
    assert unpack(pack(container)) == container


@pytest.mark.parametrize("log2", range(11))
@pytest.mark.parametrize("spread", [0, 3, 60])
def test_any_number_of_lanes_and_any_lengths_come_back(log2, spread):
    rng = np.random.default_rng(log2)
    lengths = rng.integers(0, spread + 1, 2**log2)
    container = dataclasses.replace(PLAIN, streams=tuple(rng.bytes(n) for n in lengths))
    assert unpack(pack(container)) == container


def test_one_long_lane_among_many_empty_ones_comes_back():
    container = dataclasses.replace(PLAIN, streams=(b"",) * 1023 + (bytes(100_000),))
    assert unpack(pack(container)) == container


def test_balanced_lanes_cost_a_few_bits_each():
    rng = np.random.default_rng(0)
    streams = tuple(bytes(n) for n in rng.normal(240, 8, 256).astype(int))
    one = dataclasses.replace(PLAIN, streams=(b"".join(streams),))
    many = dataclasses.replace(PLAIN, streams=streams)
    assert len(pack(many)) - len(pack(one)) <= 0.75 * 256


def test_the_file_is_pinned_to_the_byte():
    assert pack(FULL) == FULL_BYTES
    assert unpack(FULL_BYTES) == FULL


def test_metadata_cost_their_bytes_and_a_length_and_change_nothing_else():
    data = pack(KEPT)
    assert unpack(data) == KEPT and part_sizes(data)["metadata"] == 4
    head, body = FULL_BYTES[:11] + b"\x0f" + FULL_BYTES[12:20], FULL_BYTES[20:-8]
    assert data == resealed(head + b"\4" + body + b"zlib" + FULL_BYTES[-8:])


def test_metadata_beyond_the_bound_are_refused_both_ways():
    with pytest.raises(ValueError, match="metadata have at most 524288 bytes, got 524289"):
        dataclasses.replace(PLAIN, metadata=bytes(MAX_METADATA + 1))
    most = dataclasses.replace(PLAIN, metadata=bytes(MAX_METADATA))
    data = pack(most)
    assert unpack(data) == most
    at = data.index(bytes.fromhex("808020"))  # the length, a varint
    longer = data[:at] + bytes.fromhex("818020") + data[at + 3 : -8] + b"\0" + data[-8:]
    with pytest.raises(ContainerError, match="metadata have at most 524288 bytes, got 524289"):
        unpack(resealed(longer))


def test_a_large_picture_costs_at_most_28_bytes():
    container = dataclasses.replace(PLAIN, height=16383, width=16383, streams=(bytes(2**21 - 1),))
    assert len(pack(container)) == 28 + 2**21 - 1


def test_part_sizes_add_up_to_the_file():
    data = pack(FULL)
    sizes = part_sizes(data)
    assert list(sizes) == ["header", "payload", "escapes", "alpha", "checksums"]
    assert sum(sizes.values()) == len(data)
    assert sizes["alpha"] == 3


@pytest.mark.parametrize("container", SOUND.values(), ids=SOUND)
def test_every_truncation_is_refused(container):
    data = pack(container)
    for size in range(len(data)):
        assert outcome(data[:size]) is None, size
        if size > 4:
            assert outcome(resealed(data[:size])) is None, size


@pytest.mark.parametrize("container", SOUND.values(), ids=SOUND)
def test_every_flipped_byte_is_refused(container):
    data = pack(container)
    for position in range(len(data)):
        for flip in (1, 128, 255):
            damaged = bytearray(data)
            damaged[position] ^= flip
            assert outcome(bytes(damaged)) is None, position


@pytest.mark.parametrize("container", SOUND.values(), ids=SOUND)
def test_a_forged_byte_gives_a_sound_container_or_an_error(container):
    data = pack(container)
    for position in range(len(data) - 4):
        for value in range(256):
            forged = bytearray(data)
            forged[position] = value
            read = outcome(resealed(bytes(forged)))
            assert read is None or unpack(pack(read)) == read


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([0, 5, 13, 17]))
def test_any_forged_bytes_give_a_sound_container_or_an_error(tail, kept):
    read = outcome(resealed(FULL_BYTES[:kept] + tail + bytes(4)))
    assert read is None or unpack(pack(read)) == read


@pytest.mark.parametrize("appended", [b"\0", b"more", FULL_BYTES])
def test_appended_bytes_are_refused(appended):
    with pytest.raises(ContainerError, match=f"found more bytes: {len(appended)}; was something"):
        unpack(FULL_BYTES + appended, "k.tfcd")
    assert outcome(resealed(FULL_BYTES + appended)) is None


def edited(position, value, data=FULL_BYTES):
    """FULL_BYTES with other bytes at a position, CRC made to fit."""
    value = bytes.fromhex(value)
    return resealed(data[:position] + value + data[position + len(value) :])


FLAT = pack(PLAIN)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\x89PNG\r\n", r"not a tfcodec file, it begins with b'\\x89PNG', expected b'tfcd'"),
        (FLAT[:3], "header needs 13 bytes, 3 remain; is the file truncated\\?"),
        (edited(4, "07"), "has format version 7, this release reads version 2"),
        (edited(4, "01"), "has format version 1, this release reads version 2"),
        (FLAT[:20], "payload needs 7 bytes, 2 remain; is the file truncated\\?"),
        (FLAT[:-1], "checksums need 8 bytes, 7 remain; is the file truncated\\?"),
        (FLAT[:-1] + b"x", "damaged, its CRC-32 is [0-9a-f]{8} and should be [0-9a-f]{8}"),
        (edited(11, "10", FLAT), "has the flags 0x10, this release knows those up to 0x0f"),
        (edited(12, "20", FLAT), "this release knows the coders 0 and 1, got coder 2"),
        (edited(12, "0f"), "found 32768 lanes, expected at most 1024"),
        (edited(12, "12"), "the coder range-coder has one lane, got 4"),
        (edited(13, "80008006", FLAT), "height is not in its shortest form"),
        (edited(13, "ffffffffff7f", FLAT), "height is longer than 5 bytes"),
        (resealed(FLAT[:13] + b"\0" + FLAT[15:]), "a picture of 768x0 pixels does not exist"),
        (pack(dataclasses.replace(PLAIN, height=10**5, width=10**5)),
         "claims 100000x100000 pixels, max_pixels allows 134217728"),
        (edited(21, "04"), "its 4 lanes claim 16 bytes, 12 are there"),
        (edited(22, "ff" * 14), "the lengths of its 4 lanes are malformed"),
        (edited(23, "61"), "the lengths of its 4 lanes do not end in zero bits"),
        (edited(36, "06"), "claims 6 escapes in 4 bytes"),
        (edited(36, "02"), "expected the end of the escapes, found more bytes: 1"),
        (edited(36, "00"), "claims 0 escapes in 4 bytes"),
        (edited(36, "02ffff0300"), "escapes must be within .-32767, got -32768 to 0"),
        (edited(20, "20"), "found the Rice parameter 32, expected at most 31"),
    ],
)  # fmt: skip
def test_the_error_says_what_was_expected_and_found(data, message):
    with pytest.raises(ContainerError, match=f"^k.tfcd: {message}"):
        unpack(data, "k.tfcd")


def test_a_claimed_length_allocates_nothing():
    tracemalloc.start()
    for position in (15, 17, 18):  # width, payload length, escapes length
        claim = resealed(FULL_BYTES[:position] + b"\xff\xff\xff\xff\x7f" + FULL_BYTES[position:])
        assert outcome(claim) is None
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_the_caller_sets_the_largest_picture():
    data = pack(dataclasses.replace(PLAIN, height=10, width=11))
    assert unpack(data, max_pixels=110).height == 10
    with pytest.raises(ContainerError, match="claims 11x10 pixels, max_pixels allows 109"):
        unpack(data, max_pixels=109)
    assert unpack(pack(dataclasses.replace(PLAIN, height=2**13, width=2**14)))
    assert DEFAULT_MAX_PIXELS == 2**27


def test_a_line_of_pixels_counts_as_the_band_that_models_make_of_it():
    line = pack(dataclasses.replace(PLAIN, height=2**21, width=1))
    with pytest.raises(ContainerError, match="claims 1x2097152 pixels, where a side takes as much"):
        unpack(line)
    assert unpack(line, max_pixels=2**28).height == 2**21
    assert unpack(pack(dataclasses.replace(PLAIN, height=2**15, width=1)), max_pixels=2**15)


def test_a_file_is_not_longer_than_its_picture_allows():
    long = pack(dataclasses.replace(PLAIN, height=128, width=128, streams=(bytes(1_500_000),)))
    with pytest.raises(ContainerError, match="has 15000.. bytes, more than any sound file of 128x"):
        unpack(long)
    wide = dataclasses.replace(PLAIN, height=256, width=256, streams=(bytes(1_500_000),))
    assert unpack(pack(wide)).width == 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fingerprint": b"abc"}, "4 bytes, got 3"),
        ({"profile": 256}, "profile and quality are from 0 to 255, got 256"),
        ({"quality": -1}, "profile and quality are from 0 to 255"),
        ({"height": 0}, "does not exist"),
        ({"width": 2**35}, "does not exist"),
        ({"coder": 2}, "got coder 2"),
        ({"streams": ()}, "power of two from 1 to 1024, got 0"),
        ({"streams": (b"",) * 3}, "power of two from 1 to 1024, got 3"),
        ({"streams": (b"",) * 2048}, "power of two from 1 to 1024, got 2048"),
        ({"coder": RANGE_CODER, "streams": (b"", b"")}, "range-coder has one lane, got 2"),
        ({"escapes": (1, -32768)}, "within .-32767, got -32768 to 1"),
        ({"checksum": 2**32}, "32 bits"),
    ],
)
def test_a_container_out_of_range_is_not_made(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PLAIN, **change)


def test_the_checksum_is_its_formula():
    rng = np.random.default_rng(3)
    arrays = [
        rng.integers(-32767, 32768, shape, np.int32)
        for shape in [(5, 7), (0,), (2, 3, 4), (200, 300)]
    ]
    flat = [int(s) for array in arrays for s in array.reshape(-1)]

    def weight(i):
        x = i * 0x9E3779B1 % 2**32
        x = (x ^ x >> 15) * 0x2C1B3C6D % 2**32
        return x ^ x >> 13 | 1

    expected = sum((s + 2**15) * weight(i) for i, s in enumerate(flat)) % 2**32
    assert symbols_checksum(arrays) == expected
    assert symbols_checksum(iter([np.array(flat, np.int32)])) == expected
    assert symbols_checksum([]) == 0


def test_one_wrong_symbol_or_a_swap_changes_the_checksum():
    symbols = np.random.default_rng(4).integers(-9, 9, 100_000, np.int32)
    symbols[500:502] = 1, 2
    wrong, swapped = symbols.copy(), symbols.copy()
    wrong[77_777] += 1
    swapped[500:502] = 2, 1
    assert len({symbols_checksum([array]) for array in (symbols, wrong, swapped)}) == 3


def test_checksums_of_few_small_symbols_do_not_meet():
    # A small picture has few symbols of a few units: small weights would have small sums.
    pictures = np.random.default_rng(5).integers(-4, 5, [10_000, 40], np.int32)
    assert len({symbols_checksum([picture]) for picture in pictures}) == len(pictures)


def test_the_container_needs_neither_tensorflow_nor_keras():
    script = (
        "import sys, tfcodec.coding.container\n"
        "print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
