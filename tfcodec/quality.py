"""What a person asks for: a quality from 1 to 8, or a size; what file and model make of it.

    quality 4.5  ─► byte 112 in the file ─► rung 3.5 on the model's ladder of lambdas

Knows numbers alone. May import the format's; imported by exports and by all above them.
"""

import dataclasses
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

from tfcodec.coding.format import QUALITY_STEPS
from tfcodec.errors import InputError

LOWEST, HIGHEST = 1, 8  # of every model of variable rate


@dataclasses.dataclass(frozen=True)
class Ladder:
    """The qualities of one model.

    Args:
        name: of the model, for errors.
        low, high, default: qualities; None for a model of one rate.
        rungs: how many lambdas it was trained for.
    """

    name: str
    low: float | None
    high: float | None
    default: float | None
    rungs: int

    @classmethod
    def read(cls, config: dict) -> "Ladder":
        """From an export's config.json."""
        low, high = config["qualities"] or (None, None)
        lambdas = config.get("lambdas", [None])
        return cls(config["name"], low, high, config.get("default_quality"), len(lambdas))

    @property
    def single(self) -> bool:
        """Whether the model has one rate."""
        return self.low is None

    def byte(self, quality: float | None) -> int:
        """The byte in the file of a quality; None is the default.

        Raises: InputError for one that the model does not have.
        """
        if self.single:
            if quality is not None:
                raise InputError(f"{self.name} has one rate; it takes no quality")
            return 0
        if quality is None:
            quality = self.default
        if not self.low <= quality <= self.high:
            raise InputError(f"quality is from {self.low} to {self.high}, not {quality:g}")
        return round((quality - LOWEST) * QUALITY_STEPS)

    def rung(self, byte: int) -> float:
        """Place on the ladder of lambdas; beyond its end, the end."""
        if self.single:
            return 0.0
        share = byte / QUALITY_STEPS / (self.high - self.low)
        return min(share, 1.0) * (self.rungs - 1)

    def steps(self) -> list[float | None]:
        """Every quality that a file can have, ascending; [None] for a model of one rate."""
        return [None] if self.single else steps(self.low, self.high)


def of_byte(byte: int) -> float:
    """The quality that a file's byte stands for."""
    return LOWEST + byte / QUALITY_STEPS


def steps(low: float = LOWEST, high: float = HIGHEST) -> list[float]:
    """Every quality from `low` to `high` that a file can have, ascending."""
    count = round((high - low) * QUALITY_STEPS)
    return [low + step / QUALITY_STEPS for step in range(count + 1)]


def check_wishes(**wishes: float | None) -> None:
    """Raises InputError unless at most one is not None, and that is a number: finite and
    not negative, but for a quality, whose range is the model's."""
    wishes = {name: wish for name, wish in wishes.items() if wish is not None}
    if len(wishes) > 1:
        received = " and ".join(f"{name}={wish!r}" for name, wish in wishes.items())
        raise InputError(f"a file is made to one wish, not to several: received {received}")
    for name, wish in wishes.items():
        if not isinstance(wish, numbers.Real) or isinstance(wish, bool):
            raise InputError(f"{name} is a number, received a {type(wish).__name__}")
        if name != "quality" and not wish >= 0:
            raise InputError(f"{name} is a number of 0 or more, received {wish:g}")
        if name != "quality" and math.isinf(wish):
            raise InputError(f"{name} is a finite number, received {wish:g}")


def bytes_of_bpp(bpp: float, height: int, width: int) -> int:
    """The largest file of at most `bpp` bits per pixel."""
    return math.floor(bpp * height * width / 8)


def border(
    qualities: Sequence, encode: Callable, low: Callable
) -> tuple[tuple | None, tuple | None]:
    """Bisects ascending qualities for the place where files stop to be low and start to be high.

    Args:
        encode: a quality to its file; called 8 times at most for the 225 qualities of a file.
        low: whether a file is still low; true up to some quality and false from there on.
    Returns: the last low (quality, file) and the first high one, None where there is none.
    """
    last, first = None, None
    start, end = 0, len(qualities)
    while start < end:
        middle = (start + end) // 2
        pair = qualities[middle], encode(qualities[middle])
        if low(pair[1]):
            last, start = pair, middle + 1
        else:
            first, end = pair, middle
    return last, first


def best_within(
    limit: int, qualities: Sequence, encode: Callable, size: Callable = len
) -> tuple[Any, Any]:
    """The last of ascending qualities whose file has at most `limit` bytes.

    Args:
        encode: a quality to its file, of which `size` gives the bytes; larger for better qualities.
    Returns: (quality, file), or (None, the file of the lowest quality) if even that is too large.
    """
    within, beyond = border(qualities, encode, lambda file: size(file) <= limit)
    return within or (None, beyond[1])


def smallest_of_psnr(
    limit: float, qualities: Sequence, encode: Callable, psnr: Callable
) -> tuple[Any, Any]:
    """The first of ascending qualities whose picture has a PSNR of at least `limit` dB.

    Args: encode: a quality to its file, whose dB `psnr` gives.
    Returns: (quality, file), or (None, the file of the highest quality) if even that has less.
    """
    below, reached = border(qualities, encode, lambda file: psnr(file) < limit)
    return reached or (None, below[1])
