"""Whether a served model and `tfcodec` write the same files and read each other's.

    python benchmarks/serving_equality.py kodak/*.png

For every picture: the stock graph's file against that of TFC's operations with the same lanes, byte
by byte; then each decodes the other's, and the pixels are compared. (The random cases of coders
alone are slow tests: `pytest -m slow tests/coding`.)
"""

import argparse
import io
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from PIL import Image

import tfcodec
from tfcodec import pictures
from tfcodec.coding import container
from tfcodec.serving import signatures


def main():
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("images", nargs="+")
    flags.add_argument("--model", help="name or folder; default: the bundled one")
    flags.add_argument("--quality", type=float)
    args = flags.parse_args()

    codec = tfcodec.load(args.model)
    server = signatures.Server(codec, 2**25, 2**30, False)
    differing, costs = 0, []
    for path in args.images:
        picture, source = pictures.read(path), io.BytesIO()
        Image.fromarray(pictures.to_array(picture)).save(source, "PNG")
        there = codec.encode(picture, args.quality, lanes="serving").data
        level = tf.constant(np.float32(args.quality or 0))
        here = server.encode_one(tf.constant(source.getvalue()), level)["files_bytes"].numpy()
        shown_here = server.decode_one(tf.constant(there))["png_bytes"].numpy()
        shown_there = pictures.to_array(codec.decode(container.unpack(here)))
        shown = np.array_equal(np.asarray(Image.open(io.BytesIO(shown_here))), shown_there)
        one_lane = len(codec.encode(picture, args.quality).data)
        costs.append(100 * (len(there) / one_lane - 1))
        same = here == there
        differing += not (same and shown)
        print(
            f"{os.path.basename(path)}  {len(there)} bytes, {costs[-1]:+.2f} % over one lane  "
            f"file {'the same' if same else 'DIFFERS'}, pixels {'the same' if shown else 'DIFFER'}"
        )
    print(
        f"{len(args.images) - differing} of {len(args.images)} the same; lanes cost "
        f"{min(costs):.2f} to {max(costs):.2f} %, {np.mean(costs):.2f} % on average"
    )
    sys.exit(differing > 0)


if __name__ == "__main__":
    main()
