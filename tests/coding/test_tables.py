"""Laws of the integer tables: sound whatever the model says, and near the best a coder can do."""

import dataclasses
import heapq
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcodec.coding.tables import CodingTables, EscapeReader, quantize_pmf
from tfcodec.errors import ContainerError, ModelError

TABLES = CodingTables.build([([0.5, 0.25, 0.25], -1), ([0.1, 0.2, 0.3, 0.3, 0.1], 5)])


def best_frequencies(pmf):
    """The optimum, one unit at a time: the cost is convex, so greedy is exact."""
    frequencies = np.ones(pmf.size, np.int64)
    heap = [(-p * math.log(2), k) for k, p in enumerate(pmf)]
    heapq.heapify(heap)
    for _ in range(65536 - pmf.size):
        _, k = heap[0]
        frequencies[k] += 1
        heapq.heapreplace(heap, (-pmf[k] * math.log1p(1 / frequencies[k]), k))
    return frequencies


def divergence(pmf, frequencies):
    """Bits a symbol lost to rounding."""
    used = pmf > 0
    return np.sum(pmf[used] * np.log2(pmf[used] * 65536 / frequencies[used]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=50).filter(any))
def test_a_quantized_pmf_increases_strictly_from_0_to_65536(pmf):
    cdf = quantize_pmf(np.array(pmf))
    assert cdf.dtype == np.int32 and cdf.shape == (len(pmf) + 1,)
    assert cdf[0] == 0 and cdf[-1] == 65536
    assert np.diff(cdf).min() >= 1


@pytest.mark.parametrize(
    "pmf", [np.ones(65536), np.r_[1, np.zeros(65535)], [5e-324, 0], [1e308] * 9]
)
def test_extreme_pmfs_are_quantized_too(pmf):
    cdf = quantize_pmf(np.array(pmf, float))
    assert cdf[-1] == 65536 and np.diff(cdf).min() >= 1


@pytest.mark.parametrize("size", [2, 20, 300, 3000])
@pytest.mark.parametrize("evenness", [0.02, 1.0])
def test_quantizing_loses_no_more_than_the_best_rounding(size, evenness):
    pmf = np.random.default_rng(size).gamma(evenness, size=size) + 1e-200
    pmf /= pmf.sum()
    loss = divergence(pmf, np.diff(quantize_pmf(pmf)))
    assert loss <= divergence(pmf, best_frequencies(pmf)) * 1.001 + 1e-9
    assert loss <= size / 65536 * math.log2(math.e) + 1e-9  # one unit for each entry


@pytest.mark.parametrize(
    ("pmf", "message"),
    [
        ([], "1 to 65536 entries"),
        (np.ones(65537), "1 to 65536 entries"),
        (np.ones((2, 2)), "one axis"),
        ([0.5, np.nan], "finite"),
        ([0.5, np.inf], "finite"),
        ([0.5, -0.1], "none negative"),
        ([0.0, 0.0], "not all zero"),
    ],
)
def test_an_unsound_pmf_is_refused(pmf, message):
    with pytest.raises(ValueError, match=message):
        quantize_pmf(pmf)


def test_tables_are_packed_as_the_ops_want_them_after_a_certain_row():
    assert TABLES.lookup.tolist()[:8] == [16, 0, 65536, 16, 0, 32768, 49152, 65536]
    assert TABLES.offsets.tolist() == [0, -1, 5]
    assert TABLES.sizes.tolist() == [1, 3, 5]
    assert TABLES.cdf(0).tolist() == [0, 65536]
    assert TABLES.cdf(1).tolist() == [0, 32768, 49152, 65536]


def test_stored_arrays_give_the_same_tables():
    again = CodingTables(TABLES.lookup.astype(np.int64), list(TABLES.offsets), TABLES.sizes)
    for field in dataclasses.fields(CodingTables):
        assert getattr(again, field.name).dtype == np.int32
        assert np.array_equal(getattr(again, field.name), getattr(TABLES, field.name))


def changed(field, position, value):
    arrays = {f.name: getattr(TABLES, f.name).copy() for f in dataclasses.fields(TABLES)}
    arrays[field][position] = value
    return arrays


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (changed("lookup", 3, 15), "row 1 .* is not"),
        (changed("lookup", 3, -16), "row 1 .* is not"),
        (changed("lookup", 4, 1), "row 1 .* is not"),
        (changed("lookup", 5, 49152), "above zero"),
        (changed("lookup", 5, -1), "above zero"),
        (changed("lookup", 7, 65535), "row 1 .* is not"),
        (changed("lookup", -1, 65537), "row 2 .* is not"),
        (changed("lookup", 2, 65535), "row 0 .* is not"),
        (changed("sizes", 1, 4), "need 16 numbers for their sizes, got 15"),
        (changed("sizes", 1, 0), "1 to 65536 entries"),
        (changed("sizes", 1, 2**31 - 1), "1 to 65536 entries"),
        (changed("offsets", 0, 3), "row 0 .* certain"),
        (changed("offsets", 2, 32765), "within .-32767"),
        (changed("offsets", 2, -32768), "within .-32767"),
        ({"lookup": [16, 0, 65536], "offsets": [0], "sizes": [1]}, "rows of the model"),
        ({"lookup": [], "offsets": [], "sizes": []}, "must be integers"),
        ({"lookup": TABLES.lookup, "offsets": [0, 1], "sizes": [1, 3, 5]}, "2 offsets"),
        ({"lookup": TABLES.lookup * 1.0, "offsets": [0, 1, 1], "sizes": [1, 3, 5]}, "integers"),
        ({"lookup": TABLES.lookup, "offsets": [[0, 1, 1]], "sizes": [1, 3, 5]}, "one axis"),
        ({"lookup": TABLES.lookup, "offsets": [0, 1, 2**31], "sizes": [1, 3, 5]}, "32 bits"),
    ],
)
def test_malformed_arrays_are_refused_in_a_sentence(arrays, message):
    with pytest.raises(ModelError, match=message):
        CodingTables(**arrays)


def test_a_row_beyond_16_bits_is_not_built():
    with pytest.raises(ValueError, match="4 symbols from 32765"):
        CodingTables.build([(np.ones(5), 32765)])


@pytest.mark.parametrize("shape", [(0,), (), (7,), (3, 40, 5), (70_000,)])
def test_entries_bring_the_symbols_back(shape):
    rng = np.random.default_rng(1)
    indexes = np.asarray(rng.integers(1, 3, shape), np.int32)
    symbols = np.asarray(rng.integers(-3, 12, shape), np.int32)
    entries, escaped = TABLES.to_entries(indexes, symbols)
    assert entries.dtype == np.int32 and entries.shape == escaped.shape == shape
    inside = (symbols >= TABLES.offsets[indexes]) & (
        symbols < TABLES.offsets[indexes] + TABLES.sizes[indexes] - 1
    )
    assert np.array_equal(escaped, ~inside)
    assert np.all((entries >= 0) & (entries < TABLES.sizes[indexes]))

    back, escaped_back = TABLES.from_entries(indexes, entries)
    assert np.array_equal(escaped_back, escaped)
    assert np.array_equal(back[inside], symbols[inside])


def test_entries_follow_the_order_of_elements_not_of_memory():
    indexes = np.array([[1, 2, 1], [2, 1, 2]], np.int32)
    symbols = np.array([[0, 5, -1], [8, 0, 7]], np.int32)
    entries, _ = TABLES.to_entries(np.asfortranarray(indexes), np.asfortranarray(symbols))
    assert entries.tolist() == [[1, 0, 0], [3, 1, 2]]


def test_ideal_bits_are_the_information_of_the_tables_escapes_included():
    indexes = np.array([[1, 1], [1, 2]], np.int32)
    symbols = np.array([[-1, 0], [100, 6]], np.int32)
    bits = TABLES.ideal_bits(indexes, symbols)
    assert bits.dtype == np.float64
    np.testing.assert_allclose(bits, [[1, 2], [2, -math.log2(0.2)]], atol=1e-4)


@pytest.mark.parametrize(
    ("indexes", "symbols", "message"),
    [
        (np.int32([0]), np.int32([0]), "indexes must be from 1 to 2, got 0 to 0"),
        (np.int32([1, 3]), np.int32([0, 0]), "indexes must be from 1 to 2, got 1 to 3"),
        (np.int32([-1]), np.int32([0]), "indexes must be from 1 to 2"),
        (np.int64([1]), np.int32([0]), "indexes must be a numpy array of int32, got int64"),
        ([1], np.int32([0]), "indexes must be a numpy array of int32, got list"),
        (np.int32([1]), np.float32([0]), "symbols must be a numpy array of int32, got float32"),
        (np.int32([1, 1]), np.int32([0]), "one shape"),
        (np.int32([1]), np.int32([32768]), "clamp"),
        (np.int32([1]), np.int32([-(2**31)]), "clamp"),
    ],
)
def test_what_cannot_be_coded_is_refused(indexes, symbols, message):
    with pytest.raises(ValueError, match=message):
        TABLES.to_entries(indexes, symbols)


def test_escapes_are_filled_in_order_and_counted():
    reader = EscapeReader((7, -8, 9), "k.tfcd")
    symbols = np.zeros((2, 2), np.int32)
    reader.fill(symbols, np.array([[True, False], [False, True]]))
    assert symbols.tolist() == [[7, 0], [0, -8]]
    with pytest.raises(ContainerError, match="^k.tfcd: 1 of 3 escapes left over"):
        reader.finish()
    with pytest.raises(ContainerError, match="^k.tfcd: decoding needs 4 more escapes, 1 remain"):
        reader.fill(symbols, np.ones((2, 2), bool))
    with pytest.raises(ContainerError, match="^k.tfcd: escapes must be within"):
        EscapeReader((40_000,), "k.tfcd")
