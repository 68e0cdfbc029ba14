"""What nobody sees costs nothing: alpha that is opaque, and colours under alpha 0."""

import numpy as np

_NOTHING_VISIBLE = 128  # any flat picture is as cheap


def without_hidden(
    rgb: np.ndarray, alpha: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """rgb uint8 [H, W, 3] and alpha uint8 [H, W] (or None) as they are worth coding.

    Alpha of 255 everywhere is None. Colours under alpha 0 go on smoothly from the nearest visible
    ones, which no model finds dear; visible ones stay. Doing so twice changes nothing more.
    """
    if alpha is None or (alpha == 255).all():
        return rgb, None
    hidden = alpha == 0
    if not hidden.any():
        return rgb, alpha
    rgb = np.array(rgb)
    if hidden.all():
        rgb[:] = _NOTHING_VISIBLE
        return rgb, alpha
    gray = bool((rgb[..., :1] == rgb).all())
    for channel in range(1 if gray else 3):  # one by one, for the memory of large pictures
        rgb[..., channel] = _filled(rgb[..., channel], hidden)
    if gray:
        rgb[..., 1:] = rgb[..., :1]
    return rgb, alpha


def _filled(values, hidden):
    """Pull and push (Gortler et al., "The Lumigraph", SIGGRAPH 1996, sec. 3.4): means of the known
    pixels at half the size, and so on until all is known; on the way back what is not known comes
    from the coarser picture, between whose pixels lies a line."""
    levels = [(np.where(hidden, 0, values).astype(np.float32), ~hidden)]
    while not levels[-1][1].all():
        levels.append(_halved(*levels[-1]))
    filled, _ = levels.pop()
    while levels:
        known_values, known = levels.pop()
        filled = np.where(known, known_values, _doubled(filled, known.shape))
    return np.where(hidden, np.round(filled), values).astype(np.uint8)


def _halved(values, known):
    """Means of the known pixels of each 2x2, and where there are any."""
    pad = [(0, side % 2) for side in values.shape]
    values, known = np.pad(values, pad), np.pad(known, pad)
    total = sum(values[y::2, x::2] for y in (0, 1) for x in (0, 1))
    count = sum(known[y::2, x::2].astype(np.float32) for y in (0, 1) for x in (0, 1))
    return total / np.maximum(count, 1), count > 0


def _doubled(values, shape):
    """At twice the size, cut to `shape`: 3/4 of the nearest pixel and 1/4 of the next, each way."""
    for axis in (0, 1):
        ahead = np.concatenate([values[:1], values[:-1]])
        behind = np.concatenate([values[1:], values[-1:]])
        doubled = np.stack([values * 0.75 + ahead * 0.25, values * 0.75 + behind * 0.25], 1)
        values = doubled.reshape(-1, values.shape[1])[: shape[axis]].T
    return values
