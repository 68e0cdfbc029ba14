"""What the parts of the octave codec are worth: variants trained for the same steps, tabulated.

    python benchmarks/octave_ablation.py --data photos/ --validation held_out/ --steps 20000 \\
        --run_dir runs/ablation

Every variant sees the same crops, rungs and noise, step for step: equal steps, not equal time; the
table names the arithmetic. A variant whose run is finished is only measured; a stopped run goes on.
`plain` is a mean-scale hyperprior (mbt2018_mean) of as many channels and 5x5 layers, without
octaves, second hyper layer or cross-resolution estimation. Rates and PSNR are those that
`training.validate` finds on centre crops, for the weights as they are; BD-rates against the first.
"""

import argparse
import dataclasses
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

VARIANTS = {
    "octave": ("octave", {}),
    "plain": ("mbt2018_mean", {"filters": 64, "latents": 64, "widths": (), "gain_level": 4.0}),
    "no cross-resolution": ("octave", {"cross_resolution": False}),
    "one hyper layer": ("octave", {"hyper_layers": 1}),
    "no information fidelity": ("octave", {"fidelity": 0.0}),
    "gllmm": ("octave", {"likelihood": "gllmm"}),
}
# The plain layers' GDN is of order 2: so is everyone's.
COMMON = {"octave": {"gdn_order": 2}, "mbt2018_mean": {}}


def part_shares(model, pictures, crop):
    """bpp of each part at the middle rung, mean over the centre crops."""
    sums = {}
    for k in range(len(pictures)):
        picture = pictures[k]
        top, left = ((side - crop) // 2 for side in picture.shape[:2])
        x = np.float32(picture[None, top : top + crop, left : left + crop]) / 255
        _, bits = model(x, np.float32([(len(model.lambdas) - 1) / 2]))
        for part, value in bits.items():
            sums.setdefault(part, []).append(float(value[0]) / crop**2)
    return {part: float(np.mean(values)) for part, values in sums.items()}


def main():
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("--data", required=True, help="folders, files or globs of pictures")
    flags.add_argument("--validation", required=True, help="pictures held out of --data")
    flags.add_argument("--run_dir", default="runs/octave_ablation")
    flags.add_argument("--variants", help="names, commas between; default: all")
    flags.add_argument("--steps", type=int, default=20_000)
    flags.add_argument("--batch_size", type=int, default=8)
    flags.add_argument("--crop", type=int, default=256)
    flags.add_argument("--learning_rate", type=float, default=5e-4)
    flags.add_argument("--seed", type=int, default=0)
    args = flags.parse_args()

    from absl import logging

    from tfcodec import complexity, data, models, training
    from tfcodec.curves import bd_rate

    logging.set_verbosity(logging.INFO)
    held_out = data.find(args.validation)
    validation = data.Pictures(held_out, args.crop)
    pictures = data.Pictures([p for p in data.find(args.data) if p not in held_out], args.crop)
    settings = training.Settings(
        **{
            field.name: getattr(args, field.name)
            for field in dataclasses.fields(training.Settings)
            if hasattr(args, field.name)
        },
        precision="float32",
        validate_every=0,
    )
    curves, lines = {}, []
    for name in args.variants.split(",") if args.variants else VARIANTS:
        model_name, changes = VARIANTS[name]
        config = models.config(model_name, "compact", **COMMON[model_name], **changes)
        model = models.module(model_name).build(config, name=model_name).build_weights()
        first = data.plan(0, count=len(pictures), batch_size=32, num_rungs=1, seed=args.seed)
        model.prepare(data.crops(pictures, first, args.crop) / np.float32(255))
        trainer = training.Trainer(model, pictures, settings)
        training.fit(trainer, os.path.join(args.run_dir, name.replace(" ", "_")))
        points = training.validate(model, validation, args.crop)
        curves[name] = [(p["bpp"], p["psnr"]) for p in points]
        macs = complexity.macs_per_pixel(model)
        middle = points[len(points) // 2]
        parts = part_shares(model, validation, args.crop)
        try:
            saved = f"{bd_rate(next(iter(curves.values())), curves[name]).percent:+.1f} %"
        except ValueError as error:  # curves of short runs may fall, or not overlap
            saved = str(error)
        lines.append(
            f"| {name} | {model.count_params() / 1e6:.2f} M | {macs['decoder'] / 1000:.1f} "
            f"| {middle['bpp']:.4f} | {middle['psnr']:.2f} | {saved} "
            f"| {', '.join(f'{part} {bpp:.4f}' for part, bpp in parts.items())} |"
        )
    print(f"{args.steps} steps of {args.batch_size} crops of {args.crop}, seed {args.seed}")
    print("| variant | parameters | kMAC decoder | bpp | PSNR dB | BD-rate | bpp of parts |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(lines))
    for name, curve in curves.items():
        print(f"{name}: " + ", ".join(f"{bpp:.4f} bpp {psnr:.2f} dB" for bpp, psnr in curve))


if __name__ == "__main__":
    main()
