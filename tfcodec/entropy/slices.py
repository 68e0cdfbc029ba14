"""The one walk over the latents, and the two visitors that code them.

An entropy model visits its latents in coding order exactly once in the source. The model supplies
the steps, each a pure function of what was coded before it; the visitor decides what happens to a
step's latents: `rate.RateMeter` sums their bits (training, evaluation), `SliceEncoder` collects
their symbols, `SliceDecoder` reads them. The decoder is right because the encoder is.

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

import numpy as np

SYMBOL_LIMIT = (
    32767  # symbols are 16-bit; 2^15 on either side of mu is far beyond any trained model
)


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


class SliceEncoder:
    """Visitor that rounds each step's latents and hands symbols and table indexes to the coder.

    latents: one float32 array [1, h, w, c] a step, from the analysis.
    coder: `write(indexes, symbols)`, see tfcodec.coding.range_coder.
    `symbols` holds the int32 arrays in coding order afterwards.
    """

    def __init__(self, latents, coder):
        self.latents, self.coder = latents, coder
        self.num_steps = len(latents)
        self.symbols = []

    def __call__(self, k, prior):
        residual = np.asarray(self.latents[k]) - np.asarray(prior.mu)
        # Not-a-number (a broken model) would become an arbitrary integer: make it zero.
        rounded = np.nan_to_num(np.rint(residual), nan=0.0)
        symbols = np.clip(rounded, -SYMBOL_LIMIT, SYMBOL_LIMIT).astype(np.int32)
        self.coder.write(np.broadcast_to(prior.indexes, symbols.shape), symbols)
        self.symbols.append(symbols)
        return symbols


class SliceDecoder:
    """Visitor that reads each step's symbols from the coder.

    shapes: one (1, h, w, c) a step, derived from the picture's height and width alone.
    coder: `read(indexes)`, see tfcodec.coding.range_coder.
    `symbols` holds the int32 arrays in coding order afterwards.
    """

    def __init__(self, shapes, coder):
        self.shapes, self.coder = shapes, coder
        self.num_steps = len(shapes)
        self.symbols = []

    def __call__(self, k, prior):
        symbols = self.coder.read(np.broadcast_to(prior.indexes, self.shapes[k]))
        self.symbols.append(symbols)
        return symbols
