"""Colours of every description to sRGB: ICC profiles, gamma and primaries, code points (cICP)."""

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageCms

# Chromaticities (x, y) of white, red, green and blue: ITU-T H.273, table 2, by code point.
_D65, _C = (0.3127, 0.3290), (0.310, 0.316)
SRGB_PRIMARIES = (_D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_PRIMARIES = {
    1: SRGB_PRIMARIES,
    2: SRGB_PRIMARIES,  # unspecified
    4: (_C, (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: (_D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    8: (_C, (0.681, 0.319), (0.243, 0.692), (0.145, 0.049)),
    9: (_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: (_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    22: (_D65, (0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}
# Exponents from samples to light, None for sRGB's own curve. That of BT.709 and its kin is one of
# cameras, which screens show by nearly sRGB's.
_TRANSFERS = {1: None, 4: 2.2, 5: 2.8, 6: None, 8: 1.0, 13: None, 14: None, 15: None}
_HDR, _UNSPECIFIED = {16: "PQ", 18: "HLG"}, 2
_SRGB_GAMMA = 0.45455
_SAME_GAMMA, _SAME_PRIMARIES = 0.05, 0.005  # libpng's threshold; some 2 levels
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_BAND = 2**18  # pixels whose linear light is in memory at a time


@dataclasses.dataclass(frozen=True)
class Encoding:
    """What samples of 8 bits mean.

    Args:
        exponent: from samples to light; None for sRGB's curve.
        primaries: (x, y) of white, red, green and blue.
        full: whether samples fill 0 to 255, else 16 to 235.
    """

    exponent: float | None = None
    primaries: tuple = SRGB_PRIMARIES
    full: bool = True


def from_gamma(gamma: float | None, primaries: tuple | None) -> Encoding:
    """The encoding of PNG's gAMA and cHRM chunks, None for an absent one.

    A gamma within 5 % of 1/2.2 is what tools write for sRGB, and taken for it, as libpng does.
    """
    if not gamma or abs(gamma / _SRGB_GAMMA - 1) < _SAME_GAMMA:
        return Encoding(None, primaries or SRGB_PRIMARIES)
    return Encoding(1 / gamma, primaries or SRGB_PRIMARIES)


def from_code_points(points: Sequence[int], notices: list[str]) -> Encoding:
    """The encoding of primaries, transfer, matrix and range by ITU-T H.273.

    What has no reading is taken for sRGB and adds a notice; what is left unspecified adds none.
    """
    primaries, transfer, matrix, full = points
    if transfer == _UNSPECIFIED:
        return Encoding()
    if transfer in _HDR:
        notices.append(f"its HDR samples ({_HDR[transfer]}) are taken for sRGB")
        return Encoding()
    if matrix or full > 1 or primaries not in _PRIMARIES or transfer not in _TRANSFERS:
        notices.append(
            f"its colour description (code points {primaries}, {transfer}, {matrix}, {full}) "
            "is not known and is ignored"
        )
        return Encoding()
    return Encoding(_TRANSFERS[transfer], _PRIMARIES[primaries], bool(full))


def decode_encoding(color: Image.Image, encoding: Encoding, notices: list[str]) -> Image.Image:
    """Colour of mode L or RGB to sRGB; impossible primaries are ignored with a notice."""
    matrix = None
    if color.mode == "RGB" and not np.allclose(
        encoding.primaries, SRGB_PRIMARIES, atol=_SAME_PRIMARIES
    ):
        matrix = _to_srgb_primaries(encoding.primaries)
        if matrix is None:
            notices.append("its primaries (cHRM) are no colours and are ignored")
    if matrix is None and encoding.exponent is None and encoding.full:
        return color
    light = _light(encoding)
    if matrix is None:
        table = _samples(light)
        return color.point([int(level) for level in table] * len(color.getbands()))
    samples = np.array(color)
    rows = max(1, _BAND // samples.shape[1])
    for top in range(0, samples.shape[0], rows):
        samples[top : top + rows] = _samples(light[samples[top : top + rows]] @ matrix.T)
    return Image.fromarray(samples)


def _light(encoding):
    """Linear light of each of the 256 samples, float32 in [0, 1]."""
    x = np.arange(256) / 255
    if not encoding.full:
        x = np.clip((np.arange(256) - 16) / 219, 0, 1)
    if encoding.exponent is None:
        x = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    else:
        x = x**encoding.exponent
    return x.astype(np.float32)


def _samples(light):
    """sRGB's curve, IEC 61966-2-1: linear light to uint8."""
    light = np.clip(light, 0, 1)
    x = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.uint8(np.round(255 * x))


def _to_srgb_primaries(primaries):
    """Matrix [3, 3], float32, of linear light; None if the primaries are no colours."""
    try:
        here, there = _to_xyz(primaries), _to_xyz(SRGB_PRIMARIES)
        # White to white, as von Kries has it in Bradford's space.
        whites = [_BRADFORD @ matrix.sum(axis=1) for matrix in (here, there)]
        adapt = np.linalg.inv(_BRADFORD) @ np.diag(whites[1] / whites[0]) @ _BRADFORD
        matrix = np.linalg.inv(there) @ adapt @ here
    except (np.linalg.LinAlgError, ZeroDivisionError, FloatingPointError):
        return None
    sane = np.isfinite(matrix).all() and np.abs(matrix).max() < 100
    return matrix.astype(np.float32) if sane else None


def _to_xyz(primaries):
    """Matrix [3, 3] from linear light to XYZ."""
    xyz = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    return xyz[:, 1:] * np.linalg.solve(xyz[:, 1:], xyz[:, 0])


def to_srgb(color: Image.Image, profile: bytes, notices: list[str]) -> Image.Image:
    """Colour of mode L, RGB or CMYK through its ICC profile; gray stays gray."""
    gray = color.mode == "L"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if gray and source.profile.xcolor_space.strip() == "RGB":
            color = color.convert("RGB")  # tools often leave an RGB profile on a gray picture
        transform = ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), color.mode, "RGB"
        )
        if color.mode == "RGB" and _changes_nothing(transform):
            return color.getchannel("G") if gray else color
        color = ImageCms.applyTransform(color, transform)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        notices.append("its colour profile is broken or does not fit and is ignored")
        return color.getchannel("G") if gray and color.mode == "RGB" else color
    return color.getchannel("G") if gray else color


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether an RGB transform moves no colour by more than 2 levels.

    Most profiles in the wild are one of many spellings of sRGB: rounding must not touch the pixels.
    """
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    moved = np.asarray(ImageCms.applyTransform(Image.fromarray(cube), transform))
    return int(np.abs(moved.astype(int) - cube).max()) <= 2
