"""A Pillow image of any mode to 8-bit colour and alpha."""

import numpy as np
from PIL import Image

from tfcodec.pictures.decoded import Unreadable


def separate(image: Image.Image, notices: list[str]) -> tuple[Image.Image, Image.Image | None]:
    """Colour (mode L, RGB or CMYK) and alpha (mode L) or None of an image, which is loaded.

    Raises: Unreadable for samples that have no reading as levels.
    """
    layout, peak = _raw_samples(image)  # Pillow forgets it while loading
    image.load()
    key = image.info.get("transparency")
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        kind = "floating-point samples" if image.mode == "F" else "samples"
        raise Unreadable(f"has {kind} of 32 bits; convert it to unsigned 8 or 16 bits first")
    peak = 65535 if image.mode.startswith("I") and peak == 255 else peak
    if peak > 255:
        notices.append(f"its {peak.bit_length()}-bit samples are reduced to 8 bits")
    if image.mode.startswith("I"):  # scaled here, since convert("L") clips
        return _deep_gray(image, key, peak)
    alpha = None
    if image.mode in ("1", "L", "RGB") and key is not None:
        alpha = _keyed(image, key, peak)
        # A copy that convert() does not apply it to a second time; the caller's image stays.
        image = image.copy()
        image.info.pop("transparency", None)
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert(image.mode.upper())
    if image.mode in ("LA", "RGBA"):
        alpha = image.getchannel("A")
        # Pillow reads a PNG of 16-bit gray with alpha as RGBA.
        gray = image.mode == "LA" or layout.startswith("LA")
        return image.convert("RGB").getchannel("G") if gray else image.convert("RGB"), alpha
    return image if image.mode in ("L", "CMYK") else image.convert("RGB"), alpha


def _raw_samples(image: Image.Image) -> tuple[str, int]:
    """Layout and largest value of the samples in the file, such as ("RGB;16B", 65535)."""
    tile = getattr(image, "tile", ())
    args = tile[0].args if tile else ""
    args = args if isinstance(args, tuple) else (args,)
    layout = str(args[0]) if args else ""
    if image.format == "PPM":  # Pillow scales its deep samples to 16 bits; args end in the peak
        deep = image.mode == "I" or (isinstance(args[-1], int) and args[-1] > 255)
        return layout, 65535 if deep else 255
    if image.format not in ("PNG", "TIFF"):
        return layout, 255  # no others are deep; the 16 of a BMP's "BGR;16" is a whole pixel
    bits = "".join(filter(str.isdigit, layout.partition(";")[2])) or 8
    return layout, 2 ** int(bits) - 1


def _deep_gray(image, key, peak):
    samples = np.asarray(image).astype(np.uint32)
    alpha = _opaque_unless(samples == key) if isinstance(key, int) else None
    if image.format == "TIFF" and image.tag_v2.get(262) == 0:  # WhiteIsZero
        samples = peak - np.minimum(samples, peak)
    levels = (np.minimum(samples, peak) * 255 + peak // 2) // peak
    return Image.fromarray(levels.astype(np.uint8)), alpha


def _keyed(image, key, peak):
    """Alpha of a transparent colour, which Pillow gives at the depth of the file."""
    key = np.array(key, np.int64)
    if image.mode == "1":
        key = np.where(key > 0, 255, 0)
    elif peak != 255:
        key = key * 255 // peak
    pixels = np.asarray(image.convert("L") if image.mode == "1" else image)
    return _opaque_unless(np.all(np.atleast_3d(pixels) == key, axis=2))


def _opaque_unless(transparent: np.ndarray) -> Image.Image:
    """Boolean [H, W] to alpha of mode L."""
    return Image.fromarray(np.where(transparent, 0, 255).astype(np.uint8))
