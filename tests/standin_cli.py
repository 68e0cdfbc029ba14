"""The command line as a process of its own, with the stand-in for the codec.

    STANDIN_SECONDS=0.1 python standin_cli.py encode a.png ..

Cheap enough to be started, and killed, many times.
"""

import os
import sys
import time

from standin import StandIn

from tfcodec.commands import decode, encode, verify
from tfcodec.commands import main as cli


class Slow(StandIn):
    """Takes a while for each picture, during which it can be interrupted."""

    def __init__(self, seconds):
        super().__init__()
        self._seconds = seconds

    def _encode(self, *args, **options):
        time.sleep(self._seconds)
        return super()._encode(*args, **options)

    def decode(self, *args, **options):
        time.sleep(self._seconds)
        return super().decode(*args, **options)


if __name__ == "__main__":
    codec = Slow(float(os.environ.get("STANDIN_SECONDS", 0)))
    encode.load_codec = decode.load_codec = verify.load_codec = codec.load
    sys.argv[0] = "tfcodec"
    cli.run()
