"""What freezing costs: rate, seconds and bytes of models that differ in their arithmetic alone.

    python benchmarks/frozen_cost.py kodak/*.png --models float/ frozen-10/ frozen-12/

The first model is what the others are compared with. Rates are means over the pictures; times are
of the first picture, all models in turn within one process, median (minimum) of the runs.
"""

import argparse
import os
import pathlib
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TFCODEC_CACHE"] = ""  # nothing that was proven is remembered


def main():
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("images", nargs="+")
    flags.add_argument("--models", nargs="+", required=True)
    flags.add_argument("--qualities", nargs="+", type=float, default=[1, 4, 8])
    flags.add_argument("--runs", type=int, default=15)
    args = flags.parse_args()

    import numpy as np

    from tfcodec import codec
    from tfcodec.coding import container
    from tfcodec.exports import installed
    from tfcodec.pictures import read

    models = [codec.Codec(installed.find(name)) for name in args.models]
    pictures = [read(path) for path in args.images]
    for quality in args.qualities:
        bpp = [
            [8 * len(m.encode(p, quality).data) / p.height / p.width for p in pictures]
            for m in models
        ]
        for model, own in zip(models, np.array(bpp), strict=True):
            change = 100 * (own.mean() / np.mean(bpp[0]) - 1)
            worst = 100 * np.max(own / bpp[0] - 1)
            print(
                f"quality {quality:g}  {model.info.path}  {own.mean():.4f} bpp  {change:+.3f} %  "
                f"worst picture {worst:+.3f} %",
                flush=True,
            )

    picture = pictures[0]
    files = [container.unpack(m.encode(picture, 4).data) for m in models]
    shape = models[0].exported.shapes(picture.height, picture.width)[0]
    symbols = np.random.RandomState(0).randint(-5, 6, shape).astype(np.int32)
    work = {
        "parameters": lambda m, _: m.exported.step(1, {}, symbols),
        "encode": lambda m, _: m.encode(picture, 4),
        "decode": lambda m, file: m.decode(file),
        "checks at load": lambda m, _: m.exported.check_arithmetic(),
    }
    seconds = {}
    for _ in range(args.runs + 1):
        for model, file in zip(models, files, strict=True):
            for name, function in work.items():
                start = time.perf_counter()
                function(model, file)
                seconds.setdefault((name, model), []).append(time.perf_counter() - start)
    for model in models:
        size = sum(f.stat().st_size for f in pathlib.Path(model.info.path).rglob("*"))
        print(f"{model.info.path}  {size} bytes")
        for name in work:
            took = [1e3 * second for second in seconds[name, model][1:]]
            print(f"  {name:14} {statistics.median(took):7.1f} ms  ({min(took):.1f})")


if __name__ == "__main__":
    main()
