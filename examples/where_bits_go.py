"""Compresses a picture from Python and shows where its bits go.

python examples/where_bits_go.py examples/kodim23.png bits.png --quality 5

The figure holds the picture, a heat map of the bits over it, and for each part of the latents the
energy and the bits of its channels. A part is a step of the model's coding order: z and y, the
slices of a channel-wise model, or the subbands of a wavelet model.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import tfcodec
from tfcodec import pictures
from tfcodec.entropy.walk import StepEncoder, walk


class BitMeter:
    """A coder that writes nothing: it keeps what the model's tables charge for each symbol."""

    def __init__(self, tables):
        self.tables, self.bits = tables, []

    def write(self, indexes, symbols):
        indexes = np.ascontiguousarray(indexes, np.int32)
        self.bits.append(self.tables.ideal_bits(indexes, symbols))


def measure(codec, rgb, rung):
    """What `codec` makes of a picture, uint8 [H, W, 3], part by part in coding order.

    Args: rung: of the model's ladder of lambdas, see `tfcodec.codec.Encoded`.
    Returns: a list of {"name", "latents", "bits"}; latents and bits are float [h, w, c], the bits
        without escapes and header.
    """
    model = codec.exported
    latents = model.analysis(rgb, rung)
    meter = BitMeter(model.tables)
    walk(model, StepEncoder(latents, meter))
    return [
        {"name": part.name, "latents": latent[0], "bits": bits[0]}
        for part, latent, bits in zip(model.parts, latents, meter.bits, strict=True)
    ]


def bit_map(parts, stride, height, width):
    """Bits for each pixel, float [height, width]; a latent's bits are spread over its pixels.

    Args: stride: pixels for each latent, one number a part.
    """
    heat = np.zeros([height, width])
    for part, side in zip(parts, stride, strict=True):
        over_pixels = part["bits"].sum(axis=2) / side**2
        heat += np.kron(over_pixels, np.ones([side, side]))[:height, :width]
    return heat


def figure(rgb, heat, parts, path):
    """Picture and heat map above, energy and bits of each part's channels below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(13, 5 + 2.4 * len(parts)), layout="constrained")
    FigureCanvasAgg(sheet)
    grid = sheet.add_gridspec(1 + len(parts), 2, height_ratios=[5] + [2.4] * len(parts))
    axes = sheet.add_subplot(grid[0, 0])
    axes.imshow(rgb)
    axes.set(title="picture", xticks=[], yticks=[])
    axes = sheet.add_subplot(grid[0, 1])
    shown = axes.imshow(heat, cmap="inferno")
    axes.set(title=f"bits per pixel, mean {heat.mean():.3f}", xticks=[], yticks=[])
    sheet.colorbar(shown, ax=axes)
    for row, part in enumerate(parts, 1):
        energy = np.mean(np.square(part["latents"]), axis=(0, 1))
        bits = part["bits"].sum(axis=(0, 1))
        order = np.argsort(-energy)
        axes = sheet.add_subplot(grid[row, 0])
        axes.semilogy(np.maximum(energy[order], 1e-9))
        axes.set(title=f"{part['name']}: mean energy of its channels", xlabel="channel, sorted")
        axes = sheet.add_subplot(grid[row, 1])
        axes.bar(np.arange(len(bits)), bits[order] / 8, width=1)
        axes.set(title=f"{part['name']}: {bits.sum() / 8:.0f} bytes", xlabel="channel, same order")
        axes.set_ylabel("bytes")
    sheet.savefig(path, dpi=90)


def main():
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("image")
    flags.add_argument("output", help="PNG of the figure")
    flags.add_argument("--model", help="installed model or export (default: the bundled one)")
    flags.add_argument("--quality", type=float)
    args = flags.parse_args()

    rgb = pictures.read(args.image).rgb
    height, width, _ = rgb.shape
    codec = tfcodec.load(args.model)
    encoded = codec.encode(pictures.from_array(rgb), args.quality)
    size = len(encoded.data)  # `tfcodec.compress(rgb)` gives these bytes in one call
    print(f"{size} bytes, {8 * size / (height * width):.3f} bpp")

    parts = measure(codec, rgb, encoded.rung)
    for part in parts:
        energy = np.mean(np.square(part["latents"]), axis=(0, 1))
        used = np.count_nonzero(part["bits"].sum(axis=(0, 1)) >= 8)
        print(
            f"{part['name']}: {part['bits'].sum() / 8:.0f} bytes, mean energy {energy.mean():.3g}, "
            f"half of it in {channels_of_half(energy)} of {energy.size} channels, "
            f"{used} cost a byte or more"
        )
    strides = [part.stride for part in codec.exported.parts]
    figure(rgb, bit_map(parts, strides, height, width), parts, args.output)


def channels_of_half(energy):
    """How many of the strongest channels hold half of the energy."""
    share = np.cumsum(np.sort(energy)[::-1]) / max(energy.sum(), 1e-30)
    return int(np.searchsorted(share, 0.5)) + 1


if __name__ == "__main__":
    main()
