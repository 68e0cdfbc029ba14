"""Laws of coder 0 in each of its bodies, and those that both coders share."""

import math

import numpy as np
import pytest

from tfcodec.coding import RANGE_CODER, TFC, CodingTables, open_decoder, open_encoder, range_coder
from tfcodec.coding.format import MAX_LANES
from tfcodec.errors import ContainerError

BODIES = ("plain", "compiled", "tfc")
CODERS = pytest.mark.parametrize(
    ("coder", "lanes"),
    [*((body, lanes) for body in BODIES for lanes in (1, 16, 256)), ("range-coder", 1)],
    indirect=["coder"],
)
EITHER = pytest.mark.parametrize("coder", [*BODIES, "range-coder"], indirect=True)
EVERY_BODY = pytest.mark.parametrize("coder", BODIES, indirect=True)


@pytest.fixture
def coder(request, monkeypatch):
    """The number of the coder that a test names, or that of coder 0 in the body that it names."""
    if request.param not in BODIES:
        pytest.importorskip("range_coder")
        return RANGE_CODER
    if request.param not in range_coder.bodies():
        pytest.skip(f"the body {request.param} is not installed")
    monkeypatch.setenv(range_coder.BODY_VARIABLE, request.param)
    return TFC


def laplace_row(scale):
    values = np.arange(-math.ceil(4 * scale), math.ceil(4 * scale) + 1)
    pmf = np.exp(-np.abs(values) / scale)
    return np.append(pmf / pmf.sum() * 0.99, 0.01), int(values[0])


TABLES = CodingTables.build([laplace_row(scale) for scale in np.geomspace(0.2, 30, 20)])
SHAPES = [(1, 3, 5, 7), (0,), (1,), (4000,), (1, 16, 24, 32), ()]  # the steps of a walk


def sample(seed, shapes=SHAPES):
    """Steps of (indexes, symbols): drawn from the tables, some far outside."""
    rng = np.random.default_rng(seed)
    steps = []
    for shape in shapes:
        indexes = np.asarray(rng.integers(1, 21, shape), np.int32)
        scales = np.geomspace(0.2, 30, 20)[indexes - 1]
        symbols = np.asarray(np.rint(rng.laplace(0, scales)), np.int32)
        far = rng.random(shape) < 0.002
        steps.append(
            (indexes, np.where(far, rng.integers(-32767, 32768), symbols).astype(np.int32))
        )
    return steps


def encode(coder, steps, lanes=1, tables=TABLES):
    encoder = open_encoder(coder, tables, lanes)
    for indexes, symbols in steps:
        encoder.write(indexes, symbols)
    return encoder.finish()


def decode(coder, coded, steps, tables=TABLES):
    decoder = open_decoder(coder, tables, *coded, name="k.tfcd")
    symbols = [decoder.read(indexes) for indexes, _ in steps]
    decoder.finish()
    return symbols


@CODERS
@pytest.mark.parametrize("seed", range(3))
def test_decoding_gives_the_symbols_that_were_written(coder, lanes, seed):
    steps = sample(seed)
    streams, escapes = encode(coder, steps, lanes)
    assert len(streams) == lanes and all(isinstance(stream, bytes) for stream in streams)
    assert len(escapes) > 10
    for decoded, (indexes, symbols) in zip(
        decode(coder, (streams, escapes), steps), steps, strict=True
    ):
        assert decoded.dtype == np.int32 and decoded.shape == indexes.shape
        assert np.array_equal(decoded, symbols)


@CODERS
def test_the_length_is_what_the_tables_charge(coder, lanes):
    steps = sample(5, [(100_000,)])
    streams, _ = encode(coder, steps, lanes)
    ideal = TABLES.ideal_bits(*steps[0]).sum() / 8
    # Zeros past the end need no bytes, hence up to one less than the ideal.
    assert ideal - 1 < sum(map(len, streams)) <= ideal * 1.001 + 3 * lanes


@CODERS
def test_nothing_written_is_nothing_read(coder, lanes):
    streams, escapes = encode(coder, [], lanes)
    assert sum(map(len, streams)) <= 1 and escapes == ()
    assert decode(coder, (streams, escapes), []) == []


@EITHER
def test_the_order_in_memory_does_not_matter(coder):
    ((indexes, symbols),) = sample(6, [(30, 40)])
    by_columns = [(np.asfortranarray(indexes), np.asfortranarray(symbols))]
    coded = encode(coder, by_columns)
    assert coded == encode(coder, [(indexes, symbols)])
    assert np.array_equal(decode(coder, coded, by_columns)[0], symbols)


@EITHER
def test_arrays_may_be_reused_after_a_write(coder):
    ((indexes, symbols),) = sample(7, [(500,)])
    expected = encode(coder, [(indexes, symbols)])
    encoder = open_encoder(coder, TABLES)
    reused = indexes.copy(), symbols.copy()
    encoder.write(*reused)
    reused[0][:], reused[1][:] = 1, 0
    assert encoder.finish() == expected


@EITHER
def test_the_largest_escapes_come_back(coder):
    steps = [(np.int32([1, 20, 1]), np.int32([32767, -32767, 0]))]
    coded = encode(coder, steps)
    assert coded[1] == (32767, -32767)
    assert decode(coder, coded, steps)[0].tolist() == [32767, -32767, 0]


@EITHER
def test_unsound_symbols_and_rows_are_refused_before_they_reach_the_coder(coder):
    encoder = open_encoder(coder, TABLES)
    with pytest.raises(ValueError, match="clamp"):
        encoder.write(np.int32([1]), np.int32([40_000]))
    for row in (0, -1, 21):
        with pytest.raises(ValueError, match="indexes must be from 1 to 20"):
            encoder.write(np.int32([row]), np.int32([0]))
        with pytest.raises(ValueError, match="indexes must be from 1 to 20"):
            open_decoder(coder, TABLES, (b"",)).read(np.int32([row]))


@EITHER
def test_too_few_or_too_many_escapes_are_a_container_error(coder):
    steps = sample(8)
    streams, escapes = encode(coder, steps)
    with pytest.raises(ContainerError, match="^k.tfcd: decoding needs .* 0 remain"):
        decode(coder, (streams, ()), steps)
    with pytest.raises(ContainerError, match="^k.tfcd: 1 of .* escapes left over"):
        decode(coder, (streams, (*escapes, 5)), steps)
    with pytest.raises(ContainerError, match="^k.tfcd: escapes must be within"):
        decode(coder, (streams, (*escapes, 32768)), steps)


@CODERS
@pytest.mark.parametrize("damage", ["empty", "half", "zeros", "ones", "noise", "appended"])
def test_a_hostile_stream_ends_in_symbols_or_a_container_error(coder, lanes, damage):
    steps = sample(9)
    streams, escapes = encode(coder, steps, lanes)
    rng = np.random.default_rng(0)
    change = {
        "empty": lambda stream: b"",
        "half": lambda stream: stream[: len(stream) // 2],
        "zeros": lambda stream: bytes(len(stream)),
        "ones": lambda stream: b"\xff" * len(stream),
        "noise": lambda stream: rng.bytes(len(stream)),
        "appended": lambda stream: stream + b"more",
    }[damage]
    many = tuple(range(1000)) * 20  # enough for most of what may come out
    for spare in (escapes, many):
        decoder = open_decoder(coder, TABLES, tuple(map(change, streams)), spare, "k.tfcd")
        try:
            for indexes, _ in steps:
                symbols = decoder.read(indexes)
                assert symbols.shape == indexes.shape
                assert not symbols.size or np.abs(symbols).max() <= 32767
            decoder.finish()
        except ContainerError as error:
            assert str(error).startswith("k.tfcd: ")


@EVERY_BODY
def test_one_lane_is_the_bare_op(coder):
    tfc = pytest.importorskip("tensorflow_compression_ops")
    ((indexes, symbols),) = sample(10, [(3000,)])
    entries, _ = TABLES.to_entries(indexes, symbols)
    handle = tfc.create_range_encoder([], TABLES.lookup)
    handle = tfc.entropy_encode_index(handle, indexes, entries)
    stream = tfc.entropy_encode_finalize(handle).numpy()
    assert encode(coder, [(indexes, symbols)])[0] == (stream,)


@EVERY_BODY
def test_symbols_go_to_the_lanes_in_turn(coder):
    ((indexes, symbols),) = sample(11, [(1000,)])
    streams, _ = encode(coder, [(indexes, symbols)], lanes=16)
    for lane in range(16):
        alone = [(indexes[lane::16], symbols[lane::16])]
        assert encode(coder, alone)[0] == (streams[lane],)


@EVERY_BODY
def test_the_number_of_steps_does_not_change_the_stream(coder):
    ((indexes, symbols),) = sample(12, [(960,)])
    for lanes in (1, 16):
        parts = [(indexes[at : at + 96], symbols[at : at + 96]) for at in range(0, 960, 96)]
        assert encode(coder, parts, lanes) == encode(coder, [(indexes, symbols)], lanes)


@EVERY_BODY
def test_the_stream_is_pinned_to_the_byte(coder):
    tables = CodingTables.build([([0.5, 0.25, 0.125, 0.125], -1), ([0.2] * 5, 0)])
    steps = [
        (np.int32([1, 1, 2, 1, 2, 2]), np.int32([-1, 1, 3, 0, 0, 2])),
        (np.int32([2, 1, 1, 1]), np.int32([1, 500, -1, 0])),
    ]
    assert encode(coder, steps, tables=tables) == ((bytes.fromhex("6b46bb"),), (500,))
    streams, _ = encode(coder, steps, lanes=4, tables=tables)
    assert [stream.hex() for stream in streams] == ["06", "d3", "9a", "a0"]


@pytest.mark.parametrize("lanes", [0, -1, 3, 2 * MAX_LANES])
def test_lanes_are_a_power_of_two(lanes):
    with pytest.raises(ValueError, match=f"power of two from 1 to 1024, got {lanes}"):
        open_encoder(TFC, TABLES, lanes)


def test_a_decoder_without_lanes_is_refused():
    with pytest.raises(ContainerError, match="^k.tfcd: found 0 lanes"):
        open_decoder(TFC, TABLES, (), (), "k.tfcd")


def test_an_unknown_coder_is_refused():
    with pytest.raises(ValueError, match="coders 0 and 1, got 2"):
        open_encoder(2, TABLES)
