"""A codec without networks, so that laws of the command line take no time.

A file of quality q has some bytes a quality step, and decodes to flat gray.
"""

import dataclasses
import json
import os

import numpy as np
from PIL import Image

from tfcodec import pictures, quality
from tfcodec.codec import Codec
from tfcodec.coding import container
from tfcodec.coding.format import CODER_NAMES

FINGERPRINT = bytes.fromhex("0badcafe")
STEP_BYTES = 7  # of the stand-in's payload, per 1/32 of quality
LOWEST_PSNR = 20.0  # dB, of quality 1; one more per quality


@dataclasses.dataclass
class StandInEncoded:
    data: bytes
    picture: pictures.Picture
    rung: float

    def reconstruction(self, progress):
        return dataclasses.replace(self.picture, rgb=np.full_like(self.picture.rgb, 128))

    def psnr(self, progress=None):
        return LOWEST_PSNR + self.rung


class StandIn:
    """Counts what it is asked for; `trouble`, if set, is raised by `encode`."""

    def __init__(self):
        self.loads, self.qualities = 0, []
        self.trouble = None

    def load(self, info=None, console=None, **options):
        self.loads += 1
        return self

    encode, _within, _reaching = Codec.encode, Codec._within, Codec._reaching
    ladder = quality.Ladder("standin", 1, 8, 5, 8)

    def _encode(self, picture, quality, coder, lanes, progress):
        if self.trouble:
            raise self.trouble
        progress(6, 8)
        quality = 5 if quality is None else quality
        self.qualities.append(quality)
        byte = round((quality - 1) * 32)
        data = container.pack(
            container.Container(
                fingerprint=FINGERPRINT,
                profile=0,
                quality=byte,
                height=picture.height,
                width=picture.width,
                gray=picture.gray,
                coder=CODER_NAMES.index(coder),
                streams=(bytes(100 + STEP_BYTES * byte),),
                escapes=(),
                alpha=None if picture.alpha is None else pictures.alpha_to_png(picture.alpha),
                checksum=0,
                metadata=pictures.metadata_to_bytes(picture.metadata),
            )
        )
        return StandInEncoded(data, picture, self.ladder.rung(byte))

    def decode(self, packed, name, progress):
        rgb = np.full((packed.height, packed.width, 3), 128, np.uint8)
        alpha = packed.alpha
        if alpha is not None:
            alpha = pictures.alpha_from_png(alpha, packed.height, packed.width, name)
        metadata = packed.metadata and pictures.metadata_from_bytes(packed.metadata, name)
        return pictures.Picture(rgb, packed.gray, alpha, metadata=metadata)


def install(folder, name, fingerprint=FINGERPRINT, qualities=(1, 8), **more):
    """A model that can be listed and found, though not loaded."""
    (folder / name).mkdir(parents=True)
    config = {
        "name": name,
        "fingerprint": fingerprint.hex(),
        "profile": 0,
        "portable": False,
        "qualities": qualities,
        "default_quality": 5.0 if qualities else None,
        "lambdas": [0.001 * 2**k for k in range(8 if qualities else 1)],
        "measured": [],
        **more,
    }
    (folder / name / "config.json").write_text(json.dumps(config))


def photograph(name, height=40, width=60, channels=3):
    rng = np.random.default_rng(height)
    shape = (height, width, channels)[: 2 if channels == 1 else 3]
    Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(name)


def listing(folder="."):
    return sorted(os.listdir(folder))
