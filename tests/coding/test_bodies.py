"""Coder 0 has one stream, whatever body writes or reads it, and chooses its body without a word."""

import importlib.metadata
import pathlib
import subprocess
import sys

import fuzz
import numpy as np
import pytest
import streams

from tfcodec.coding import TFC, CodingTables, open_encoder, range_coder
from tfcodec.coding.arithmetic import PLAIN
from tfcodec.errors import ModelError

BODIES = range_coder.bodies()
TABLES = CodingTables.build([([0.5, 0.25, 0.125, 0.125], -1), ([0.2] * 5, 0)])


@pytest.mark.parametrize("seed", range(4))
def test_all_bodies_write_the_same_bytes_and_read_each_others(seed):
    random = np.random.RandomState(seed)
    for _ in range(15):
        streams.check_case(random, BODIES)


@pytest.mark.parametrize("seed", range(4))
def test_all_bodies_judge_mutated_streams_alike(seed):
    random, ends = np.random.RandomState(seed), 0
    for _ in range(10):
        case = streams.check_case(random, BODIES, most=7, most_lanes=8)
        ends += len(streams.check_mutations(random, BODIES, case, 50))
    assert ends > 10  # both kinds


@pytest.mark.parametrize("body", BODIES)
def test_an_interval_of_one_grows_with_the_symbol_that_fills_a_lane(body):
    """Shares of 3, a half and 1 leave an interval of 2^16; the certain entry that fills the second
    lane makes it grow, by a word of zeros."""
    rows = [[16, 0, cut, 65536] for cut in (3, 32768, 1)]
    sizes = np.int32([1, 2, 2, 2])
    tables = CodingTables(np.int32([16, 0, 65536, *sum(rows, [])]), np.zeros(4, np.int32), sizes)
    steps = [(np.int32([1, 1, 2, 2, 3, 3]), np.zeros(6, np.int32)), (np.int32([1]), np.int32([0]))]
    coded = streams.encode(body, tables, 2, steps)
    assert [stream.hex() for stream in coded[0]] == ["00000000", "00000000"]
    assert streams.verdict(body, tables, coded, steps) == ([[0] * 6, [0]], None)


def test_mixtures_are_one_stream_in_every_body():
    tables, prior = fuzz._mixture_prior()
    random = np.random.RandomState(0)
    steps = [np.int32(np.rint(random.laplace(0, 9, [1, 1, 5, 1]))) for _ in range(30)]

    def encode(body):
        encoder = streams.with_body(body, range_coder.RangeEncoder, tables)
        for symbols in steps:
            prior.encode(symbols, encoder)
        return encoder.finish()

    coded = encode("plain")
    for body in BODIES:
        assert encode(body) == coded
        decoder = streams.with_body(body, range_coder.RangeDecoder, tables, *coded)
        for symbols in steps:
            assert np.array_equal(prior.decode(symbols.shape, decoder), symbols)


def test_our_own_arithmetic_needs_neither_tensorflow_nor_keras():
    code = (
        "import sys, numpy as np\n"
        "sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from tfcodec.coding import CodingTables, open_decoder, open_encoder\n"
        "tables = CodingTables.build([([0.5, 0.25, 0.25], -1)])\n"
        "ones, symbols = np.ones(9, np.int32), np.int32([-1, 0, -1, 0, 0, 7, 0, -1, -1])\n"
        "del sys.modules['tensorflow'], sys.modules['keras']\n"
        "encoder = open_encoder(0, tables)\n"
        "encoder.write(ones, symbols)\n"
        "decoder = open_decoder(0, tables, *encoder.finish())\n"
        "assert decoder.read(ones).tolist() == symbols.tolist()\n"
        "assert not {'tensorflow', 'keras', 'numba'} & set(sys.modules)\n"
    )
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_process_compiles_once_it_has_much_to_code(monkeypatch):
    monkeypatch.delenv(range_coder.BODY_VARIABLE, raising=False)
    monkeypatch.setattr(range_coder, "_tfc", lambda: None)
    monkeypatch.setattr(range_coder, "_expected", 0)
    assert range_coder.choose_body(range_coder.WORTH_COMPILING - 1) is PLAIN
    assert range_coder.choose_body(1).name == ("compiled" if "compiled" in BODIES else "plain")


def test_the_ops_are_used_where_tensorflow_is_there_anyway(monkeypatch):
    monkeypatch.delenv(range_coder.BODY_VARIABLE, raising=False)
    monkeypatch.setattr(range_coder, "_expected", 0)
    monkeypatch.setattr(range_coder, "_tfc", lambda: "the ops")
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    assert range_coder.choose_body() == "the ops"
    monkeypatch.delitem(sys.modules, "tensorflow")
    assert range_coder.choose_body() is PLAIN


def test_ops_of_another_tensorflow_are_not_loaded(monkeypatch):
    releases = {"tensorflow": "2.21.0", "tensorflow-compression-ops": "2.17.0"}
    monkeypatch.setattr(importlib.metadata, "version", releases.__getitem__)
    assert "tfc" not in range_coder.bodies()
    assert range_coder._tfc.__wrapped__() is None


@pytest.mark.parametrize("wish", ["fortran", "tfc", "compiled"])
def test_a_body_that_is_not_there_is_one_sentence(monkeypatch, wish):
    monkeypatch.setenv(range_coder.BODY_VARIABLE, wish)
    monkeypatch.setattr(range_coder, "_BODIES", {"tfc": lambda: None, "compiled": lambda: None})
    with pytest.raises(ModelError, match=f"^TFCODEC_CODER_BODY={wish}: cannot be loaded here; .*"):
        open_encoder(TFC, TABLES)
