"""Rate-distortion curves: kept, published, compared in one number, read off at equal quality.

A curve is a sequence of points (bpp, quality in dB), one per rate, in any order. The quality is
PSNR, or MS-SSIM as `msssim_db`: the same formulas serve both.
"""

import dataclasses
import functools
import json
import math
import os
import pathlib
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfcodec.errors import InputError

Point = tuple[float, float]
METHODS = ("pchip", "cubic")
FACTS = pathlib.Path(__file__).parents[1] / "data_files" / "kodak_rd.json"


class BdRate(NamedTuple):
    """`percent` more bits (negative: fewer) at equal quality, the mean over `overlap`, in dB."""

    percent: float
    overlap: tuple[float, float]


def bd_rate(anchor: Sequence[Point], test: Sequence[Point], method: str = "pchip") -> BdRate:
    """Bjontegaard delta rate of `test` against `anchor`.

    The difference of ln(bpp) is averaged over the quality that both curves cover.

    Args:
        method: "pchip" goes through every point and does not overshoot between them (JVET
            practice); "cubic" fits one polynomial of third degree (Bjontegaard, VCEG-M33).
    Raises: ValueError if a curve has too few points (2; 4 for "cubic"), does not rise, or the two
        do not overlap.
    """
    if method not in METHODS:
        raise ValueError(f"the methods are {', '.join(METHODS)}, received {method!r}")
    curves = [_log_rate_over_quality(points) for points in (anchor, test)]
    low = max(quality[0] for quality, _ in curves)
    high = min(quality[-1] for quality, _ in curves)
    if low >= high:
        ranges = " and ".join(f"{q[0]:.2f} - {q[-1]:.2f} dB" for q, _ in curves)
        raise ValueError(f"the curves do not overlap: {ranges}")
    area = _pchip_area if method == "pchip" else _cubic_area
    anchor_area, test_area = (area(*curve, low, high) for curve in curves)
    ratio = math.exp((test_area - anchor_area) / (high - low))
    return BdRate(100 * (ratio - 1), (float(low), float(high)))


def rate_at(points: Sequence[Point], quality: float) -> float | None:
    """bpp at which a curve reaches that quality in dB, by PCHIP; None outside of the curve."""
    from scipy.interpolate import PchipInterpolator

    x, log_rate = _log_rate_over_quality(points)
    if not x[0] <= quality <= x[-1]:
        return None
    return float(np.exp(PchipInterpolator(x, log_rate)(quality)))


def msssim_db(value: float) -> float:
    """MS-SSIM in dB, -10 log10(1 - value); infinite for 1."""
    return math.inf if value >= 1 else -10 * math.log10(1 - value)


def _pchip_area(quality, log_rate, low, high):
    from scipy.interpolate import PchipInterpolator  # extra `eval`: the codec itself needs no scipy

    return float(PchipInterpolator(quality, log_rate).integrate(low, high))


def _cubic_area(quality, log_rate, low, high):
    if len(quality) < 4:
        raise ValueError(f"a cubic fit needs four points or more, received {len(quality)}")
    area = np.polynomial.Polynomial.fit(quality, log_rate, 3).integ()
    return float(area(high) - area(low))


def _log_rate_over_quality(points: Sequence[Point]) -> tuple[np.ndarray, np.ndarray]:
    if len(points) < 2:
        raise ValueError(f"a curve needs two points or more, received {len(points)}")
    bpp, quality = np.array(sorted(points), float).T
    if bpp[0] <= 0 or not np.all(np.diff(quality) > 0):
        raise ValueError(f"quality must rise with the rate, received {sorted(points)}")
    return quality, np.log(bpp)


# --------------------------------------------------------------------------------- named curves


@dataclasses.dataclass(frozen=True)
class Curve:
    """A named curve. `points`: (bpp, PSNR in dB, MS-SSIM), None for what is not known or infinite.

    `kind` is "model" or "pillow" if it was measured by `tfcodec evaluate`, else "published".
    """

    id: str
    name: str
    points: tuple[tuple[float, float | None, float | None], ...]
    kind: str = "published"
    source: str = ""

    @property
    def psnr(self) -> list[Point]:
        return [(bpp, psnr) for bpp, psnr, _ in self.points if psnr is not None]

    @property
    def ms_ssim(self) -> list[Point]:
        """MS-SSIM in dB."""
        found = [(bpp, msssim_db(value)) for bpp, _, value in self.points if value is not None]
        return [(bpp, db) for bpp, db in found if math.isfinite(db)]


@functools.cache
def _facts() -> dict:
    return json.loads(FACTS.read_text(encoding="utf-8"))


def published() -> dict[str, Curve]:
    """Curves that others published on Kodak, by id; sources in data_files/kodak_rd.json."""
    return {curve.id: curve for curve in _from_facts(_facts())}


def is_kodak(rgb: np.ndarray) -> bool:
    """Whether these pixels, uint8 [H, W, 3], are one of the 24 Kodak pictures."""
    return f"{zlib.crc32(np.ascontiguousarray(rgb)):08x}" in _facts()["pictures"].values()


def read(path: str | os.PathLike) -> list[Curve]:
    """The curves of a file: of an evaluation.json, or of one written like data_files/kodak_rd.json.

    Raises: InputError if it is neither.
    """
    name = os.fspath(path)
    try:
        data = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        return from_evaluation(data) if "codecs" in data else _from_facts(data)
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{name}: holds no rate-distortion curves") from error


def from_evaluation(data: dict) -> list[Curve]:
    """The mean curves of an evaluation, the contents of an evaluation.json."""
    return [
        Curve(
            id=name,
            name=codec["title"],
            points=tuple((p["bpp"], p["psnr"], p["ms_ssim"]) for p in codec["measured"]),
            kind=codec["kind"],
            source=codec["version"],
        )
        for name, codec in data["codecs"].items()
    ]


def _from_facts(data: dict) -> list[Curve]:
    return [
        Curve(
            id=curve["id"],
            name=curve.get("name", curve["id"]),
            points=tuple((float(bpp), psnr, ms_ssim) for bpp, psnr, ms_ssim in curve["points"]),
            source=curve.get("source", ""),
        )
        for curve in data["curves"]
    ]
