"""Speed of a model's networks with random weights, beside one plain convolution.

    python benchmarks/networks.py --models tcm-n64,icwem-n64,weconvene-n128 --height 512 --width 768

For each model: seconds of analysis, of the steps of the walk and of synthesis (median, compiled),
multiply-accumulates, and GFLOP/s as a share of what one 3x3 convolution of 128 to 128 channels
reaches in the same run: of the two transforms, and of all networks of encoder and decoder. With
--bfloat16 the transforms run in bfloat16 too, and its PSNR against float32 is printed. --symbols N
times the range coder: N symbols of 128 Gaussian rows in slices, as the codec writes and reads them,
against one call for all.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Encode and decode of the original PyTorch codes, 768x512, on two cores of one kind of machine.
ORIGINAL = {
    "weconvene-n128": (7.6, 3.3),
    "tcm-n64": (2.1, 2.4),
    "tcm-n128": (6.2, 7.2),
}


def main(argv=None):
    """Prints one block a model."""
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument(
        "--models", default="tcm-n64,icwem-n64,weconvene-n128", help="MODEL-PRESET,.."
    )
    flags.add_argument("--height", type=int, default=512)
    flags.add_argument("--width", type=int, default=768)
    flags.add_argument("--runs", type=int, default=3)
    flags.add_argument("--bfloat16", action="store_true")
    flags.add_argument("--symbols", type=int, default=2_000_000)
    args = flags.parse_args(argv)
    if args.symbols:
        _coder(args)
    for name in filter(None, args.models.split(",")):
        exact = _model(args, name, "float32")
        if args.bfloat16:
            import numpy as np

            rough = _model(args, name, "mixed_bfloat16")
            mse = np.mean(np.square(np.float32(rough) - np.float32(exact)))
            print(f"  bfloat16 against float32: {-10 * np.log10(mse):.1f} dB")


def _seconds(function, runs):
    function()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _plain(tf, runs):
    """GFLOP/s of one 3x3 convolution, 128 to 128 channels, [1, 128, 192]."""
    x, kernel = tf.random.normal([1, 128, 192, 128]), tf.random.normal([3, 3, 128, 128])
    conv = tf.function(lambda: tf.nn.conv2d(x, kernel, 1, "SAME"))
    return 2e-9 * 128 * 192 * 9 * 128**2 / _seconds(conv, 5 * runs)


def _model(args, name, policy):
    """Times one model; returns its reconstruction of a smooth picture, not clipped."""
    import keras
    import numpy as np
    import tensorflow as tf

    from tfcodec import complexity, models
    from tfcodec.entropy.rate import RateMeter
    from tfcodec.entropy.walk import walk

    keras.mixed_precision.set_global_policy(policy)
    keras.utils.set_random_seed(0)
    model_name, preset = name.split("-", 1)
    model = models.build(model_name, preset).build_weights()
    keras.mixed_precision.set_global_policy("float32")
    h, w = np.mgrid[: args.height, : args.width] / 64
    x = np.stack([np.sin(h + k) * np.cos(w - k) for k in range(3)], axis=-1)
    x, rung = tf.constant(0.5 + 0.4 * x[None], tf.float32), tf.zeros([1])

    names = [part.name for part in model.parts]
    analysis = tf.function(lambda: model.analysis(x, rung))
    latents = analysis()
    steps = tf.function(lambda: walk(model, RateMeter(latents, names)))
    y_hat = steps()
    synthesis = tf.function(lambda: model.synthesis(y_hat, rung))
    parts = {"analysis": analysis, "steps": steps, "synthesis": synthesis}
    seconds = {key: _seconds(function, args.runs) for key, function in parts.items()}
    counts = dict(zip(parts, complexity.macs_of_parts(model), strict=True))
    plain = _plain(tf, args.runs)

    def giga(*keys):
        macs = sum(counts[key] for key in keys) * args.height * args.width
        return 2e-9 * macs / sum(seconds[key] for key in keys)

    print(f"{name} {policy}: one plain convolution reaches {plain:.0f} GFLOP/s")
    for part, both in (("encoder", ("analysis", "steps")), ("decoder", ("steps", "synthesis"))):
        total, rate = sum(seconds[key] for key in both), giga(*both)
        detail = ", ".join(f"{key} {seconds[key]:.3f}" for key in both)
        original = ""
        if name in ORIGINAL and (args.height, args.width) == (512, 768):
            figure = ORIGINAL[name][part == "decoder"]
            original = f"; the original on its machine, with coding: {figure} s"
        print(
            f"  {part}: {total:.2f} s ({detail}), {rate:.0f} GFLOP/s, {rate / plain:.0%}{original}"
        )
    shares = (f"{key} {giga(key) / plain:.0%}" for key in ("analysis", "synthesis"))
    print(f"  of the plain convolution: {', '.join(shares)}")
    return np.array(synthesis())


def _coder(args):
    import numpy as np

    from tfcodec.coding.range_coder import RangeDecoder, RangeEncoder
    from tfcodec.coding.tables import CodingTables
    from tfcodec.entropy import gaussian

    tables = CodingTables.build(gaussian.table_rows())
    rng = np.random.default_rng(0)
    indexes = rng.integers(1, 60, args.symbols).astype(np.int32)
    sigma = np.exp(gaussian.LOG_MIN + (indexes - 1) * gaussian.LEVEL_STEP)
    symbols = np.rint(rng.normal(0, sigma)).astype(np.int32)

    def code(pieces):
        encoder = RangeEncoder(tables)
        for i, s in zip(
            np.array_split(indexes, pieces), np.array_split(symbols, pieces), strict=True
        ):
            encoder.write(i, s)
        streams, escapes = encoder.finish()
        middle = time.perf_counter()
        decoder = RangeDecoder(tables, streams, escapes)
        for i in np.array_split(indexes, pieces):
            decoder.read(i)
        decoder.finish()
        return middle

    for pieces in (1, 10):
        code(pieces)
        start = time.perf_counter()
        middle = code(pieces)
        ends = (middle - start, time.perf_counter() - middle)
        nano = [1e9 * t / args.symbols for t in ends]
        print(
            f"range coder, {args.symbols:,} symbols in {pieces} slices: "
            f"encode {nano[0]:.1f}, decode {nano[1]:.1f} ns a symbol"
        )


if __name__ == "__main__":
    main()
