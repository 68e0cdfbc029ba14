"""What parts of a model bring, at equal training: compact models, and their bits by part.

    python benchmarks/ablation.py --data photos/ --validation held_out/ --steps 20000 --out runs/abl
    python benchmarks/ablation.py --set icwem --lambda 0.004,0.013,0.04 --data ..

Trains each variant with the same seed, crops and steps (a run found in --out is continued), then
prints bpp, PSNR and the bpp of every part over the validation pictures' centre crops, a line for
each lambda. Several lambdas make one model of variable rate.
"""

import argparse
import os
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

WAVELETS = {  # name: (model, fields of its compact preset)
    "plain": ("ms2020", {}),
    "WeConv haar": ("ms2020", {"wavelet": "haar"}),
    "WeConv + WeChARM haar": ("weconvene", {"wavelet": "haar"}),
    "WeConv + WeChARM 5/3": ("weconvene", {"wavelet": "5/3"}),
    "WeConv + WeChARM 9/7": ("weconvene", {"wavelet": "9/7"}),
    "3DM 5/3": ("weconvene3d", {"wavelet": "5/3"}),
    "3DM 9/7": ("weconvene3d", {"wavelet": "9/7"}),
}
# Where the invertible network is left out, strided convolutions with GDN stand in for its levels.
ICWEM = {
    "plain": ("icwem", {"enhancement": 0, "levels": 0}),
    "enhancement": ("icwem", {"levels": 0}),
    "invertible network": ("icwem", {"enhancement": 0}),
    "both": ("icwem", {}),
}
SETS = {"wavelets": WAVELETS, "icwem": ICWEM}


def main(argv=None):
    """Trains all variants, then prints the table."""
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("--set", choices=SETS, default="wavelets")
    flags.add_argument("--data", required=True)
    flags.add_argument("--validation", required=True)
    flags.add_argument("--out", default="runs/ablation")
    flags.add_argument("--steps", type=int, default=20000)
    flags.add_argument("--batch_size", type=int, default=8)
    flags.add_argument("--crop", type=int, default=256)
    flags.add_argument("--lambda", dest="lmbda", default="0.013", metavar="L[,L..]")
    flags.add_argument("--only", help="names of variants, commas between")
    args = flags.parse_args(argv)
    names = args.only.split(",") if args.only else list(SETS[args.set])
    for name in names:
        model, fields = SETS[args.set][name]
        command = [sys.executable, "train_tf.py", "--model", model, "--run_dir", _run(args, name)]
        command += ["--lambda", args.lmbda, "--data", args.data]
        command += ["--validation", args.validation, "--validate_every", "0"]
        command += ["--config", ",".join(f"{k}={v}" for k, v in fields.items())]
        for flag in ("steps", "batch_size", "crop"):
            command += [f"--{flag}", str(getattr(args, flag))]
        subprocess.run(command, check=True)
    print(f"{args.steps} steps of {args.batch_size} crops of {args.crop}, lambda {args.lmbda}")
    for name in names:
        for line in _measured(args, name):
            print(f"{name:22}", line)


def _run(args, name):
    return os.path.join(
        args.out, args.set, "".join(c if c.isalnum() else "-" for c in name.lower())
    )


def _measured(args, name):
    """A line a lambda: rate, by part, and PSNR with the averaged weights and rounded latents."""
    import numpy as np

    from tfcodec import data, models, training

    model_name, fields = SETS[args.set][name]
    lambdas = tuple(float(value) for value in args.lmbda.split(","))
    config = models.config(model_name, "compact", lambdas=lambdas, **fields)
    model = models.module(model_name).build(config, name=model_name).build_weights()
    training.initialise(model, _run(args, name))
    pictures = data.Pictures(data.find(args.validation), args.crop)
    for rung, lmbda in enumerate(lambdas):
        bits, psnr = {}, []
        for k in range(len(pictures)):
            picture, size = pictures[k], args.crop
            top, left = ((side - size) // 2 for side in picture.shape[:2])
            x = np.float32(picture[None, top : top + size, left : left + size])
            x_hat, found = model(x / 255, np.float32([rung]))
            error = np.rint(np.clip(np.array(x_hat), 0, 1) * 255) - x
            psnr.append(10 * np.log10(255**2 / max(np.mean(np.square(error)), 1e-9)))
            for part, value in found.items():
                bits.setdefault(part, []).append(float(value[0]) / size**2)
        parts = "  ".join(f"{part} {np.mean(v):.4f}" for part, v in bits.items())
        total = sum(np.mean(v) for v in bits.values())
        yield f"lambda {lmbda:g}  {total:.4f} bpp  {np.mean(psnr):.2f} dB  ({parts})"


if __name__ == "__main__":
    main()
