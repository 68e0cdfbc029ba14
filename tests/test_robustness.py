"""Whatever the bytes: a picture of the claimed size, or one sentence; no crash, hang or growth."""

import dataclasses
import resource

import fuzz
import mutations
import pytest

from tfcodec.coding import container as container_file
from tfcodec.coding import range_coder
from tfcodec.coding.container import pack, unpack


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A codec and its files, see `mutations.originals`."""
    return mutations.originals(str(tmp_path_factory.mktemp("models")))


def survive(codec_, data):
    """None for a picture, or the error's sentence."""
    outcome = mutations.survive(codec_, data)
    return outcome if isinstance(outcome, str) else None


def run_mutations(files, count, seed):
    run = mutations.Run(*files, seed)
    run.mutations(count)
    assert run.reached > count // 4, "too few mutations got past the CRC to mean anything"
    return run


def test_500_mutated_files_give_a_picture_or_a_sentence(files):
    run = run_mutations(files, 500, seed=0)
    assert len(run.outcomes) > 10 and run.outcomes["the picture"] > 0


def test_a_picture_that_is_wrong_without_an_error_is_found(files, monkeypatch):
    tiny, originals = files
    run = mutations.Run(tiny, originals, seed=0)

    def wrong(*arguments):
        rgb = type(tiny.exported).synthesis(tiny.exported, *arguments)
        rgb[0, 0, 0] ^= 1
        return rgb

    monkeypatch.setattr(tiny.exported, "synthesis", wrong)
    with pytest.raises(AssertionError, match="a wrong picture without an error"):
        run.mutations(500)


@pytest.mark.parametrize("part", range(4))
def test_inputs_that_fuzzing_found_end_in_a_result_or_a_sentence(part):
    inputs = fuzz.kept()
    assert len(inputs) > 50
    for data in inputs[part::4]:
        fuzz.check(data)


def test_fuzzing_notices_what_escapes_a_reader(monkeypatch):
    def careless(data, name):
        raise IndexError("no such byte")

    monkeypatch.setattr(container_file, "_unpack_escapes", careless)
    with pytest.raises(IndexError):
        fuzz.check(b"\3\1\2")
    monkeypatch.setattr(container_file, "_unpack_escapes", lambda data, name: (5,))
    with pytest.raises(AssertionError):
        fuzz.check(b"\3\1\2")


@pytest.mark.slow
def test_20000_mutated_files_give_a_picture_or_a_sentence(files, monkeypatch):
    """`python tests/mutations.py` does a million."""
    # As there: the compiled body, loaded after so many symbols, would count as growth.
    monkeypatch.setenv(range_coder.BODY_VARIABLE, "plain")
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
    tiny, originals = files
    container = unpack(originals[0])
    claim = pack(dataclasses.replace(container, height=2**31, width=2**31))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "max" in survive(tiny, claim)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024


def test_other_weights_and_unknown_versions_are_told_apart(files):
    tiny, originals = files
    other = dataclasses.replace(unpack(originals[0]), fingerprint=b"none")
    assert "fingerprint" in survive(tiny, pack(other))
    future = bytearray(originals[0])
    future[4] = 99
    assert "version 99" in survive(tiny, bytes(future))
