"""Laws of coder 1 alone; tests/coding/test_range_coder.py holds those of both coders."""

import sys

import numpy as np
import pytest

from tfcodec.coding import RANGE_CODER, CodingTables, open_decoder, open_encoder
from tfcodec.errors import ContainerError, ModelError

pytest.importorskip("range_coder")  # of which there is no build for every Python

TABLES = CodingTables.build([([0.5, 0.25, 0.125, 0.125], -1), ([0.2] * 5, 0)])
INDEXES = np.int32([[1, 2, 1], [2, 1, 1]])
SYMBOLS = np.int32([[-1, 3, 1], [0, 0, 500]])


def encode(indexes, symbols):
    encoder = open_encoder(RANGE_CODER, TABLES)
    encoder.write(indexes, symbols)
    return encoder.finish()


def test_the_stream_is_pinned_to_the_byte():
    assert encode(INDEXES, SYMBOLS) == ((bytes.fromhex("6bcb"),), (500,))


def test_a_step_is_coded_table_by_table():
    order = [0, 2, 4, 5, 1, 3]  # row 1, then row 2; each in C order
    by_table = INDEXES.reshape(-1)[order], SYMBOLS.reshape(-1)[order]
    assert encode(INDEXES, SYMBOLS) == encode(*by_table)


def test_there_is_one_lane():
    with pytest.raises(ValueError, match="one lane, got 16"):
        open_encoder(RANGE_CODER, TABLES, 16)
    for streams in ((), (b"", b"")):
        with pytest.raises(ContainerError, match=f"^k.tfcd: .* one lane, found {len(streams)}"):
            open_decoder(RANGE_CODER, TABLES, streams, (), "k.tfcd")


def test_no_temporary_file_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    coded = encode(INDEXES, SYMBOLS)
    decoder = open_decoder(RANGE_CODER, TABLES, *coded)
    assert np.array_equal(decoder.read(INDEXES), SYMBOLS)
    decoder.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "tfcodec.coding.reference_coder", raising=False)
    monkeypatch.setitem(sys.modules, "range_coder", None)
    with pytest.raises(
        ModelError, match="the coder range-coder cannot be loaded here .*range_coder"
    ):
        open_encoder(RANGE_CODER, TABLES)
