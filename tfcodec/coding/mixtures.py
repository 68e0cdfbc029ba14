"""Exact coding of symbols whose distributions are mixtures, a different one for each symbol.

There is no table for such a symbol. It is coded as a path of yes-or-no questions instead, away from
where it is most likely:

    is v = c, the centre of the heaviest component?   on which side?   at least 2 away? 4? 8? ..
    then the bracket so found is halved until one value is left

A question's probability is a ratio of masses of the mixture, rounded to one of 16383 static tables
of two entries: one stream passes through all symbols, questions and steps. Most symbols take one to
three questions. All symbols of a step answer their questions in rounds, and encoder and decoder run
the same rounds: only who answers differs.

Masses come from integers alone: means in 1/64, inverse scales in 2^-14, weights that sum to 2^15,
and cumulatives of the three families in units of 2^-24 on a grid of 1/1024. So every machine,
compiler and vector width finds the same ones, where float exponentials differ in the last bit.

This module imports neither TensorFlow nor Keras.
"""

import dataclasses
import functools
from collections.abc import Callable
from types import ModuleType
from typing import TypeAlias

import numpy as np

from tfcodec.coding import Array, Decoder, Encoder
from tfcodec.coding.format import MAX_SYMBOL

FAMILIES = ("gaussian", "laplacian", "logistic")
COMPONENTS = 9  # three of each family, in the order of FAMILIES
MEAN_BITS, INVERSE_BITS, WEIGHT_BITS = 6, 14, 15
GRID_BITS, REACH = 10, 24  # the cumulatives' arguments: steps of 2^-10 within +-24
MASS_BITS = 24
_HALF = 1 << (MEAN_BITS - 1)
MEAN_LIMIT = 1 << 15  # a mean beyond every symbol
TOTAL = 1 << (WEIGHT_BITS + MASS_BITS)  # the whole mass of a mixture

BINARY_BITS = 14
BINARY_ROWS = (1 << BINARY_BITS) - 1
FAR = 1 << 16  # no symbol is as far from any centre
_BLOCK = 2048  # symbols whose masses are found at once: the temporaries stay in the cache


def binary_rows() -> list[tuple[np.ndarray, int]]:
    """Rows for the codec's tables: in row k, entry 0 has probability (k + 1) / 2^14."""
    shares = np.arange(1, BINARY_ROWS + 1) / (BINARY_ROWS + 1)
    return [(np.array([share, 1.0 - share]), 0) for share in shares]


@functools.cache
def family_tables() -> np.ndarray:
    """Cumulatives of the families in units of 2^-24, int32 [3 * (2 * 24 * 1024 + 1)].

    Made with integers alone (128 fraction bits), because a table that differed in one bit between
    two machines would ruin decoding.
    """
    one, half_step = 1 << 128, GRID_BITS + 1
    decay = _exp_minus(1, GRID_BITS)
    steps = REACH << GRID_BITS
    laplacian, logistic = [], []
    power = one  # e^-t
    for _ in range(steps + 1):
        laplacian.append(power >> 1)
        logistic.append((power << 128) // (one + power))
        power = power * decay >> 128
    # The normal density at every half step, each from the one before, then Simpson's rule.
    density, ratio = [one], _exp_minus(1, 2 * half_step + 1)
    square = _exp_minus(1, 2 * half_step)
    for _ in range(2 * steps):
        density.append(density[-1] * ratio >> 128)
        ratio = ratio * square >> 128
    gaussian, tail = [0], 0
    for k in range(2 * steps, 0, -2):
        tail += density[k] + 4 * density[k - 1] + density[k - 2]
        gaussian.append(tail)
    gaussian = [(value << 127) // tail for value in gaussian[::-1]]
    tables = []
    for lower in (gaussian, laplacian, logistic):
        lower = [(value + (1 << 103)) >> 104 for value in lower]  # at 0, -1/1024, ..
        upper = [(1 << MASS_BITS) - value for value in lower]
        tables.append(np.array(lower[::-1] + upper[1:], np.int32))
    return np.concatenate(tables)


def _exp_minus(numerator, bits):
    """exp(-numerator / 2^bits) with 128 fraction bits, for a small argument."""
    total, term, k = 0, 1 << 128, 0
    while term:
        total += term
        k += 1
        term = -((abs(term) * numerator >> bits) // k) * (1 if term > 0 else -1)
    return total


def cumulative(
    edge: Array, means: Array, inverses: Array, weights: Array, tables: Array, xp: ModuleType = np
) -> Array:
    """Mass below `edge` of each mixture, int64, 0 to `TOTAL`.

    Args:
        edge: int64 [n], 64 times the point, which is a symbol and a half.
        means, inverses, weights: int64 [9, n], see the module's docstring.
        tables: `family_tables()`.
        xp: numpy, or keras.ops to find the same numbers in a graph.
    """
    size = 2 * (REACH << GRID_BITS) + 1
    shift = MEAN_BITS + INVERSE_BITS - GRID_BITS
    place = xp.right_shift((edge - means) * inverses, shift)
    place = xp.clip(place, -(REACH << GRID_BITS), REACH << GRID_BITS)
    family = np.arange(COMPONENTS, dtype=np.int64)[:, None] // (COMPONENTS // len(FAMILIES))
    place = place + (family * size + (REACH << GRID_BITS))
    mass = xp.take(tables, place)
    return xp.sum(weights * (mass if xp is np else xp.cast(mass, "int64")), axis=0)


@dataclasses.dataclass(frozen=True)
class MixturePrior:
    """A step's prior of mixtures, as the coding visitors see it; see `walk.TablePrior`.

    parameters: int32 [27, 1, h, w, c]: nine means, inverse scales and weights. An element whose
        weights are zero is not coded: its symbol is zero.
    first_row: row of the codec's tables where `binary_rows` begin.
    """

    parameters: np.ndarray
    first_row: int
    mu = np.zeros((1, 1, 1, 1), np.float32)  # symbols are plain roundings

    def encode(self, symbols: np.ndarray, coder: Encoder) -> None:
        flat = symbols.reshape(-1)

        def answer(indexes, live, question):
            answers = question(flat[live])
            coder.write_entries(indexes, answers.astype(np.int32))
            return answers

        self._rounds(answer)

    def decode(self, shape: tuple[int, ...], coder: Decoder) -> np.ndarray:
        if shape != self.parameters.shape[1:]:
            raise ValueError(f"mixtures of {self.parameters.shape[1:]} cannot code {shape}")
        return self._rounds(lambda indexes, live, question: coder.read_entries(indexes) > 0)

    def _rounds(self, answer):
        """Asks all questions; returns the symbols that the answers tell, int32.

        answer: called with table indexes int32 [n], the elements' flat positions [n], and the
            question as a function of their symbols; returns the answers, bool [n].
        """
        flat = self.parameters.reshape(3, COMPONENTS, -1)
        symbols = np.zeros(flat.shape[2], np.int32)
        live = np.flatnonzero(flat[2].any(axis=0))

        def ask(yes, whole, question):
            return answer(binary_row(yes, whole) + (self.first_row - 1), live, question)

        if live.size:
            mixtures = _Mixtures(flat[:, :, live] if live.size < symbols.size else flat)
            means, _, weights = mixtures.parameters
            differs, state = ask_centre(means, weights, mixtures.below, ask)
            symbols[live] = value(state)
            live, mixtures = live[differs], mixtures.of(differs)
            state = [v[differs] for v in state]
        if live.size:
            state = ask_side(state, ask)
        while live.size:
            state = ask_distance(state, mixtures.below, ask)
            symbols[live] = value(state)
            open_ = is_open(state)
            if not open_.all():
                live, mixtures = live[open_], mixtures.of(open_)
                state = [v[open_] for v in state]
        return symbols.reshape(self.parameters.shape[1:])


# The questions, of numpy arrays and of tensors (xp: numpy or keras.ops). `below` tells the mass
# below each symbol - 1/2, `ask(yes, whole, question)` the answers to a question with mass `yes` of
# `whole`. Between them goes the state, int64 [n] each: the centre; the side, 1 or -1; the distance
# from the centre, which is at least `near` and less than `far`; the masses beyond these two.

State: TypeAlias = tuple[Array, ...] | list[Array]
Below: TypeAlias = Callable[[Array], Array]
Ask: TypeAlias = Callable[[Array, Array, Callable], Array]


def ask_centre(
    means: Array, weights: Array, below: Below, ask: Ask, xp: ModuleType = np
) -> tuple[Array, State]:
    """Whether each symbol differs from the centre of the heaviest component; and the state, whose
    masses are those to the left and to the right of the centre."""
    component = np.arange(COMPONENTS, dtype=np.int32)[:, None]
    heaviest = xp.argmax(weights * COMPONENTS - component, axis=0)  # the first of equals
    mean = xp.take_along_axis(means, heaviest[None], axis=0)[0]
    centre = (xp.cast(mean, "int64") if xp is not np else mean.astype(np.int64)) + _HALF
    centre = xp.right_shift(centre, MEAN_BITS)
    left = below(centre)
    right = TOTAL - below(centre + 1)
    none = xp.zeros_like(centre)
    differs = ask(left + right, none + TOTAL, lambda v: v != centre)
    return differs, (centre, none + 1, none, none + 1, left, right)


def ask_side(state: State, ask: Ask, xp: ModuleType = np) -> State:
    centre, one, none, _, left, right = state
    rightward = ask(right, left + right, lambda v: v > centre)
    side = xp.where(rightward, one, -one)
    return centre, side, one, none + FAR, xp.where(rightward, right, left), none


def ask_distance(state: State, below: Below, ask: Ask, xp: ModuleType = np) -> State:
    """One question to each symbol, which doubles the distance or halves the bracket."""
    centre, side, near, far, beyond_near, beyond_far = state
    doubling = (far == FAR) & (2 * near < FAR)
    split = xp.where(doubling, 2 * near, (near + far) // 2)
    # To the left, the mass at least `split` away lies below centre - split + 1/2.
    mass = below(centre + xp.where(side > 0, split, 1 - split))
    beyond = xp.where(side > 0, TOTAL - mass, mass)
    further = ask(
        beyond - beyond_far, beyond_near - beyond_far, lambda v: side * (v - centre) >= split
    )
    return (
        centre,
        side,
        xp.where(further, split, near),
        xp.where(further, far, split),
        xp.where(further, beyond, beyond_near),
        xp.where(further, beyond_far, beyond),
    )


def is_open(state: State) -> Array:
    """Of which symbols more is to be asked."""
    _, _, near, far, *_ = state
    return far - near > 1


def value(state: State, xp: ModuleType = np) -> Array:
    """What the symbols are if their distance is `near`."""
    centre, side, near, *_ = state
    return xp.clip(centre + side * near, -MAX_SYMBOL, MAX_SYMBOL)


def binary_row(yes: Array, whole: Array, xp: ModuleType = np) -> Array:
    """Which of the `binary_rows`, from 1, has the nearest probability of no in entry 0, int32; the
    middle one where there is no mass."""
    share = (xp.left_shift(whole - yes, BINARY_BITS + 1) + whole) // xp.maximum(2 * whole, 1)
    share = xp.where(whole == 0, 1 << (BINARY_BITS - 1), xp.clip(share, 1, BINARY_ROWS))
    return xp.cast(share, "int32") if xp is not np else share.astype(np.int32)


class _Mixtures:
    """Mixtures of the elements that are still asked: int32 [3, 9, n]."""

    def __init__(self, parameters):
        self.parameters = parameters

    def of(self, kept):
        return _Mixtures(self.parameters[:, :, kept])

    def below(self, symbol):
        """Mass below symbol - 1/2, int64 [n]."""
        tables = family_tables()
        edge = (symbol << MEAN_BITS) - _HALF
        mass = np.empty(edge.shape, np.int64)
        for start in range(0, edge.size, _BLOCK):
            part = slice(start, start + _BLOCK)
            mass[part] = cumulative(
                edge[part], *self.parameters[:, :, part].astype(np.int64), tables
            )
        return mass
