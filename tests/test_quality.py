"""Laws of qualities: bytes and rungs, and the search for the best one within a size."""

import math

import pytest

from tfcodec.errors import InputError
from tfcodec.quality import Ladder, best_within, of_byte, smallest_of_psnr

EIGHT = Ladder("eight", 1, 8, 5, rungs=8)
SINGLE = Ladder("single", None, None, None, rungs=1)


def test_every_quality_of_a_file_is_a_byte_and_back():
    assert [EIGHT.byte(quality) for quality in EIGHT.steps()] == list(range(225))
    assert [of_byte(EIGHT.byte(quality)) for quality in EIGHT.steps()] == EIGHT.steps()
    assert EIGHT.byte(None) == EIGHT.byte(5)


def test_rungs_are_even_from_the_first_lambda_to_the_last_and_end_there():
    assert [EIGHT.rung(EIGHT.byte(quality)) for quality in (1, 4.5, 8)] == [0, 3.5, 7]
    assert EIGHT.rung(255) == 7


@pytest.mark.parametrize("quality", [0.99, 8.01, float("nan")])
def test_a_quality_out_of_range_is_refused(quality):
    with pytest.raises(InputError, match="quality is from 1 to 8, not "):
        EIGHT.byte(quality)


def test_a_model_of_one_rate_has_one_step():
    assert SINGLE.steps() == [None] and SINGLE.byte(None) == 0 and SINGLE.rung(0) == 0.0
    with pytest.raises(InputError, match="single has one rate; it takes no quality"):
        SINGLE.byte(5)


@pytest.mark.parametrize("limit", [1, 2, 31, 32, 33, 1000])
def test_the_best_within_a_size_is_found_in_few_turns(limit):
    asked = []

    def encode(quality):
        asked.append(quality)
        return bytes(quality)

    quality, file = best_within(limit, range(1, 101), encode)
    assert quality == len(file) == min(limit, 100) and len(asked) <= 7


def test_where_nothing_fits_the_smallest_is_shown():
    assert best_within(4, range(5, 20), bytes) == (None, bytes(5))


@pytest.mark.parametrize("limit", [0.5, 1, 1.5, 40, 99.5, 100])
def test_the_smallest_of_a_psnr_is_found_in_few_turns(limit):
    asked = []

    def encode(quality):
        asked.append(quality)
        return quality

    quality, file = smallest_of_psnr(limit, range(1, 101), encode, psnr=float)
    assert quality == file == math.ceil(limit) and len(asked) <= 7


def test_where_no_psnr_is_as_high_the_best_is_shown():
    assert smallest_of_psnr(30, range(5, 20), lambda q: q, psnr=float) == (None, 19)
