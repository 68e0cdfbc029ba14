"""Curves compared: BD-rate of known curves, and of the published ones."""

import json
import math
import pathlib

import numpy as np
import pytest
from PIL import Image

from tfcodec.errors import InputError
from tfcodec.evaluation import curves

PHOTOGRAPH = pathlib.Path(__file__).parents[2] / "examples" / "kodim23.png"
FACTS = json.loads(curves.FACTS.read_text(encoding="utf-8"))
CURVE = [(0.1, 27.0), (0.2, 29.5), (0.45, 32.1), (0.9, 35.2), (1.6, 38.9)]


@pytest.mark.parametrize("method", curves.METHODS)
@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.37, 3.0])
def test_bd_rate_of_a_scaled_curve_is_its_factor(factor, method):
    scaled = [(bpp * factor, psnr) for bpp, psnr in CURVE]
    result = curves.bd_rate(CURVE, scaled[::-1], method)  # the order of points does not matter
    assert result.percent == pytest.approx(100 * (factor - 1), abs=1e-9)
    assert result.overlap == (27.0, 38.9)


def test_bd_rate_is_the_mean_over_the_overlap():
    scaled = [(bpp * 0.7, psnr) for bpp, psnr in CURVE]
    result = curves.bd_rate(CURVE[:4], scaled[1:])
    assert result.overlap == (29.5, 35.2)
    # The shape of a curve near its ends depends a little on the points beyond.
    assert result.percent == pytest.approx(-30, abs=1)


@pytest.mark.parametrize(
    "points, words",
    [
        (CURVE[:1], "two points"),
        ([(0.1, 30.0), (0.2, 29.0)], "must rise"),
        ([(0.1, 50.0), (0.2, 51.0)], "do not overlap: 27.00 - 38.90 dB and 50.00 - 51.00 dB"),
    ],
)
def test_bd_rate_refuses_what_is_no_curve(points, words):
    with pytest.raises(ValueError, match=words):
        curves.bd_rate(CURVE, points)


def test_a_cubic_fit_needs_four_points_and_a_known_method():
    with pytest.raises(ValueError, match="four points or more, received 3"):
        curves.bd_rate(CURVE, CURVE[:3], "cubic")
    with pytest.raises(ValueError, match="pchip, cubic, received 'linear'"):
        curves.bd_rate(CURVE, CURVE, "linear")


def test_the_cubic_method_is_exact_for_a_cubic():
    """ln(bpp) of the test minus that of the anchor is known, hence its mean over the overlap."""
    psnr = np.linspace(28, 38, 7)
    anchor = [(math.exp(0.2 * q - 7), q) for q in psnr]
    test = [(math.exp(0.2 * q - 7 + 1e-4 * (q - 30) ** 3), q) for q in psnr]
    mean = 1e-4 * (8**4 - 2**4) / 4 / 10
    result = curves.bd_rate(anchor, test, "cubic")
    assert result.percent == pytest.approx(100 * (math.exp(mean) - 1), abs=1e-6)


def test_rate_at_goes_through_the_points_and_not_beyond():
    for bpp, psnr in CURVE:
        assert curves.rate_at(CURVE, psnr) == pytest.approx(bpp)
    assert 0.2 < curves.rate_at(CURVE, 31) < 0.45
    assert curves.rate_at(CURVE, 26.9) is None and curves.rate_at(CURVE, 39) is None


def test_ms_ssim_in_decibels():
    assert curves.msssim_db(0.99) == pytest.approx(20)
    assert curves.msssim_db(1.0) == math.inf


def with_figure(key):
    return [pytest.param(curve, id=curve["id"]) for curve in FACTS["curves"] if key in curve]


@pytest.mark.parametrize("curve", with_figure("bd_rate_psnr"))
def test_bd_rates_of_the_published_curves_are_reproduced(curve):
    published = curves.published()
    result = curves.bd_rate(published["vtm"].psnr, published[curve["id"]].psnr)
    assert result.percent == pytest.approx(curve["bd_rate_psnr"], abs=0.2)
    assert result.overlap == pytest.approx(curve["bd_psnr_overlap"], abs=0.01)


@pytest.mark.parametrize("curve", with_figure("bd_rate_msssim"))
def test_bd_rates_over_ms_ssim_are_reproduced(curve):
    published = curves.published()
    result = curves.bd_rate(published["vtm"].ms_ssim, published[curve["id"]].ms_ssim)
    assert result.percent == pytest.approx(curve["bd_rate_msssim"], abs=0.2)


@pytest.mark.parametrize("curve", with_figure("bd_rate_published"))
def test_bd_rates_that_papers_print_are_reproduced(curve):
    published = curves.published()
    result = curves.bd_rate(published["vtm"].psnr, published[curve["id"]].psnr)
    assert result.percent == pytest.approx(curve["bd_rate_published"], abs=0.2)


def test_every_published_curve_names_its_source():
    ids = [curve["id"] for curve in FACTS["curves"]]
    assert len(set(ids)) == len(ids) and {"vtm", "bpg", "weconvene", "hpcm-large"} <= set(ids)
    assert all(curve.source for curve in curves.published().values())
    assert len(FACTS["pictures"]) == 24


def test_kodak_is_known_by_its_pixels():
    rgb = np.asarray(Image.open(PHOTOGRAPH).convert("RGB"))
    assert curves.is_kodak(rgb)
    assert not curves.is_kodak(rgb[:, ::-1])


def test_a_file_of_curves_is_read_and_another_file_refused(tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"curves": [{"id": "mine", "points": [[0.1, 30, None]]}]}))
    [curve] = curves.read(path)
    assert curve.id == curve.name == "mine" and curve.psnr == [(0.1, 30)] and curve.ms_ssim == []
    for text in ("[]", "{}", "not JSON", '{"curves": [{"points": 3}]}'):
        path.write_text(text)
        with pytest.raises(InputError, match="holds no rate-distortion curves"):
            curves.read(path)
    with pytest.raises(InputError, match="cannot be read"):
        curves.read(tmp_path / "missing.json")
