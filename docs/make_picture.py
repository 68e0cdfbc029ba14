"""Makes the README's picture: a photograph, the bundled model's decoding, and JPEG of equal size.

python docs/make_picture.py examples/kodim23.png docs/picture.png --quality 3
"""

import argparse
import io
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import tfcodec
from tfcodec import metrics, pictures

CROP = (330, 80, 330 + 352, 80 + 320)  # left, top, right, bottom: a face of a parrot
MARGIN = 26


def main():
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("image")
    flags.add_argument("output")
    flags.add_argument("--quality", type=float, default=3.0)
    args = flags.parse_args()
    original = pictures.read(args.image).rgb
    codec = tfcodec.load()
    encoded = codec.encode(pictures.from_array(original), args.quality)
    jpeg = jpeg_of(original, len(encoded.data))
    pixels = original.shape[0] * original.shape[1]
    columns = [
        ("original, 24 bpp", original),
        (label("tfcodec", len(encoded.data), pixels), encoded.reconstruction().rgb),
        (label("JPEG", len(jpeg), pixels), np.asarray(Image.open(io.BytesIO(jpeg)))),
    ]
    width, height = CROP[2] - CROP[0], CROP[3] - CROP[1]
    sheet = Image.new("RGB", (len(columns) * (width + 4) - 4, height + MARGIN), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for k, (text, rgb) in enumerate(columns):
        if k:
            text += f", {metrics.psnr(original, rgb):.1f} dB"
        sheet.paste(Image.fromarray(rgb).crop(CROP), (k * (width + 4), MARGIN))
        draw.text((k * (width + 4) + 4, 4), text, fill="black", font=font)
    sheet.save(args.output, optimize=True)


def label(name, size, pixels):
    return f"{name}, {8 * size / pixels:.2f} bpp"


def jpeg_of(rgb, size):
    """The best baseline JPEG of at most `size` bytes, or the smallest there is."""
    best = None
    for quality in range(95, 0, -1):
        file = io.BytesIO()
        Image.fromarray(rgb).save(file, "JPEG", quality=quality, optimize=True, subsampling="4:2:0")
        best = file.getvalue()
        if len(best) <= size:
            break
    return best


if __name__ == "__main__":
    main()
