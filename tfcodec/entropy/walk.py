"""The one walk over the latents, and the two visitors that code them.

An entropy model visits its latents in coding order exactly once in the source. The model supplies
the steps, each a pure function of what was coded before it; the visitor decides what happens to a
step's latents: `rate.RateMeter` sums their bits (training, evaluation), `StepEncoder` collects
their symbols, `StepDecoder` reads them. The decoder is right because the encoder is.

How the papers' orders map to steps (z's symbols are a step like any other, with the medians as mu):

    bmshj2018 factorized   y
    bmshj2018, mbt2018     z | y
    octave                 z2_high | z2_low | z_low | z_high | y_low | y_high
    ms2020, tcm, icwem     z | y slice 0 | .. | y slice k
    weconvene              z | low band slices | high band slices
    gllmm with context     z | wavefront 0 | .. | wavefront n, one function that reads its number
                           from the state; n follows from the size

This module imports neither TensorFlow nor Keras.
"""

import dataclasses

import numpy as np

from tfcodec.coding.format import MAX_SYMBOL


def walk(model, code):
    """Visits the steps in coding order; returns what `model.finish` makes of the last symbols.

    model: a Keras model in training, an exported one in the codec; the same two methods:
        step(k, state, symbols) -> (state, prior of step k), with the symbols of step k - 1 (None at
        first) and a dictionary of tensors as state (empty at first);
        finish(state, symbols) -> y_hat, or whatever the synthesis takes.
    code: visitor, called as code(k, prior), returns the symbols of step k; `code.num_steps` says
        how many there are.
    """
    state, symbols = {}, None
    for k in range(code.num_steps):
        state, prior = model.step(k, state, symbols)
        symbols = code(k, prior)
    return model.finish(state, symbols)


@dataclasses.dataclass(frozen=True)
class TablePrior:
    """A step's prior as the coding visitors see it: mu, and a row of the tables for each symbol.

    mu: float32 array, broadcasts to the latents; indexes: int32 array, too. Priors of other kinds
    have a mu and these two methods as well (see `mixtures.MixturePrior`).
    """

    mu: np.ndarray
    indexes: np.ndarray

    def encode(self, symbols, coder):
        """Writes int32 symbols of the step's shape."""
        coder.write(np.broadcast_to(self.indexes, symbols.shape), symbols)

    def decode(self, shape, coder):
        """Reads the int32 symbols of a step of that shape."""
        return coder.read(np.broadcast_to(self.indexes, shape))


class StepEncoder:
    """Visitor that rounds each step's latents and has the step's prior write the symbols.

    latents: one float32 array [1, h, w, c] a step, from the analysis.
    coder: an encoder, see tfcodec.coding.
    `symbols` holds the int32 arrays in coding order afterwards.
    """

    def __init__(self, latents, coder):
        self.latents, self.coder = list(latents), coder
        self.num_steps = len(latents)
        self.symbols = []

    def __call__(self, k, prior):
        residual = np.asarray(self.latents[k]) - np.asarray(prior.mu)
        self.latents[k] = None  # needed no longer, and large if the picture is
        np.rint(residual, out=residual)
        # Not-a-number (a broken model) would become an arbitrary integer: make it zero.
        np.nan_to_num(residual, copy=False, nan=0.0)
        np.clip(residual, -MAX_SYMBOL, MAX_SYMBOL, out=residual)
        symbols = residual.astype(np.int32)
        del residual
        prior.encode(symbols, self.coder)
        self.symbols.append(symbols)
        return symbols


class StepDecoder:
    """Visitor that has each step's prior read its symbols from the coder.

    shapes: one (1, h, w, c) a step, derived from the picture's height and width alone.
    coder: a decoder, see tfcodec.coding.
    `symbols` holds the int32 arrays in coding order afterwards.
    """

    def __init__(self, shapes, coder):
        self.shapes, self.coder = shapes, coder
        self.num_steps = len(shapes)
        self.symbols = []

    def __call__(self, k, prior):
        symbols = prior.decode(self.shapes[k], self.coder)
        self.symbols.append(symbols)
        return symbols
