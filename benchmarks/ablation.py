"""What the parts of the models are worth: variants trained alike, step for step, and tabulated.

    python benchmarks/ablation.py octave --data photos/ --validation held_out/ --steps 20000
    python benchmarks/ablation.py wavelet --data photos/ --validation held_out/ --steps 20000
    python benchmarks/ablation.py icwem --data photos/ --validation held_out/ --steps 20000
    python benchmarks/ablation.py presets --data photos/ --validation held_out/ --steps 20000

Every variant sees the same crops and rungs, step for step: equal steps, not equal time; the table
names the arithmetic. Families share the runs that they have in common. A variant whose run is
finished is only read; a stopped run goes on. Rates and PSNR are those that `validation.validate`
finds on centre crops over the ladder of lambdas, for the weights as they are; the table has the
middle rung, and BD-rates against the family's first.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

SMALL = {"filters": 48, "slices": 4, "hyper_latents": 48, "widths": (24, 48, 96)}
PAPERS = "bmshj2018 mbt2018_mean ms2020 tcm weconvene weconvene3d icwem octave gllmm".split()
WAVELETS = {"weconvene": {"wavelet": "haar"}, "weconvene3d": {"wavelet": "9/7"}}  # the presets'
# Name: model and fields of its compact preset.
FAMILIES = {
    # `plain` is a mean-scale hyperprior of as many channels and latents, without octaves, second
    # hyper layer or cross-resolution estimation. It starts at principal components, too.
    "octave": {
        "plain convolutions": (
            "mbt2018_mean",
            {"filters": 64, "latents": 120, "widths": (64, 64, 64)},
        ),
        "octave": ("octave", {}),
        "no cross-resolution": ("octave", {"cross_resolution": False}),
        "one hyper layer": ("octave", {"hyper_layers": 1}),
        "no information fidelity": ("octave", {"fidelity": 0.0}),
        "GLLMM": ("octave", {"likelihood": "gllmm"}),
    },
    # The first two have WeConvene's number of latents and hyper channels, and its arithmetic.
    "wavelet": {
        "plain": ("ms2020", SMALL),
        "WeConv, Haar": ("ms2020", {**SMALL, "wavelet": "haar"}),
        "WeConv + WeChARM, Haar": ("weconvene", {"wavelet": "haar"}),
        "WeConv + WeChARM, 5/3": ("weconvene", {"wavelet": "5/3"}),
        "WeConv + WeChARM, 9/7": ("weconvene", {"wavelet": "9/7"}),
        "3DM, 5/3": ("weconvene3d", {"wavelet": "5/3"}),
        "3DM, 9/7": ("weconvene3d", {"wavelet": "9/7"}),
    },
    "icwem": {
        "neither": ("icwem", {"levels": 0, "enhancement": 0}),
        "enhancement": ("icwem", {"levels": 0}),
        "invertible network": ("icwem", {"enhancement": 0}),
        "both": ("icwem", {}),
    },
    "presets": {name: (name, WAVELETS.get(name, {})) for name in PAPERS},
}


def main(argv=None):
    """Trains what is not trained yet, then prints the family's table."""
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("family", choices=FAMILIES)
    flags.add_argument("--data", required=True, help="folders, files or globs of pictures")
    flags.add_argument("--validation", required=True, help="pictures held out of --data")
    flags.add_argument("--out", default="runs/ablation", help="folder of the runs")
    flags.add_argument("--only", help="names of variants, semicolons between; default: all")
    flags.add_argument("--steps", type=int, default=20_000)
    flags.add_argument("--batch_size", type=int, default=8)
    flags.add_argument("--crop", type=int, default=256)
    flags.add_argument("--learning_rate", type=float, default=1e-3)
    flags.add_argument("--seed", type=int, default=0)
    flags.add_argument(
        "--export", action="store_true", help="export every variant, to RUN/export, to code files"
    )
    args = flags.parse_args(argv)
    variants = FAMILIES[args.family]
    names = args.only.split(";") if args.only else list(variants)
    results = {name: _result(args, *variants[name]) for name in names}
    print(f"{args.steps} steps of {args.batch_size} crops of {args.crop}, seed {args.seed}")
    print(_table(results))


def _result(args, model, fields):
    """What `_train` measured, from the variant's folder; trained in a process of its own."""
    changes = "-".join(f"{key}-{value}" for key, value in fields.items())
    run_dir = pathlib.Path(args.out, "".join(c if c.isalnum() else "_" for c in model + changes))
    measured = run_dir / f"measured-{args.steps}.json"
    exported = run_dir / "export"
    if not measured.exists() or (args.export and not exported.exists()):
        command = [sys.executable, "-c", "import sys, ablation; ablation.train(*sys.argv[1:])"]
        job = {**vars(args), "model": model, "fields": fields, "run_dir": str(run_dir)}
        here = str(pathlib.Path(__file__).parent)
        paths = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
        subprocess.run(
            [*command, json.dumps(job), str(measured)],
            env={**os.environ, "PYTHONPATH": paths},
            check=True,
        )
    return json.loads(measured.read_text(encoding="utf-8"))


def train(job, target):
    """Trains one variant to its last step, and writes its curve and cost as JSON.

    Args: job: JSON of the command's flags with the variant's `model`, `fields` and `run_dir`.
    """
    import dataclasses

    import numpy as np
    from absl import logging

    from tfcodec import complexity, models
    from tfcodec.exports import write
    from tfcodec.training import backends, crops, loop
    from tfcodec.training.pictures import Pictures, find
    from tfcodec.training.settings import Settings
    from tfcodec.training.trainer import Trainer
    from tfcodec.training.validation import validate

    logging.set_verbosity(logging.INFO)
    job = json.loads(job)
    settings = Settings(
        **{f.name: job[f.name] for f in dataclasses.fields(Settings) if f.name in job},
        warmup=200,
        cooldown=0.25,
        validate_every=0,
    )
    held_out = find(job["validation"])
    validation = Pictures(held_out, settings.crop)
    pictures = Pictures([p for p in find(job["data"]) if p not in held_out], settings.crop)
    backends.set_precision(settings)
    fields = {**dataclasses.asdict(models.config(job["model"], "compact")), **job["fields"]}
    config = models.read_config(job["model"], fields)
    model = models.module(job["model"]).build(config, name=job["model"]).build_weights()
    first = crops.plan(0, count=len(pictures), batch_size=128, num_rungs=1, seed=settings.seed)
    model.prepare(crops.cut(pictures, first, settings.crop) / np.float32(255))
    trainer = Trainer(model, pictures, settings)
    loop.fit(trainer, job["run_dir"])
    found = {
        "parameters": model.count_params(),
        "macs": complexity.macs_per_pixel(model),
        "points": validate(model, validation, settings.crop),
        "bpp_of_parts": _parts(model, validation, settings.crop),
    }
    pathlib.Path(target).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if job["export"]:
        directory = os.path.join(job["run_dir"], "export")
        name = os.path.basename(job["run_dir"])
        write.write(model, directory, job["model"], "compact", config, name=name)


def _parts(model, pictures, crop):
    """bpp of each part at the middle rung, mean over the centre crops."""
    import numpy as np

    sums = {}
    for k in range(len(pictures)):
        picture = pictures[k]
        top, left = ((side - crop) // 2 for side in picture.shape[:2])
        x = np.float32(picture[None, top : top + crop, left : left + crop]) / 255
        _, bits = model(x, np.float32([len(model.lambdas) // 2]))
        for part, value in bits.items():
            sums.setdefault(part, []).append(float(value[0]) / crop**2)
    return {part: float(np.mean(values)) for part, values in sums.items()}


def _table(results):
    from tfcodec.evaluation.curves import bd_rate

    def curve(result):
        return [(p["bpp"], p["psnr"]) for p in result["points"]]

    lines = [
        "| variant | parameters | kMAC encoder, decoder | bpp | PSNR dB | BD-rate | bpp of parts |",
        "|---|---|---|---|---|---|---|",
    ]
    anchor = curve(next(iter(results.values())))
    for name, result in results.items():
        points = result["points"]
        middle = points[len(points) // 2]
        try:
            saved = f"{bd_rate(anchor, curve(result)).percent:+.1f} %"
        except ValueError as error:  # curves of short runs may fall, or not overlap
            saved = str(error)
        macs = ", ".join(f"{value / 1000:.1f}" for value in result["macs"].values())
        parts = ", ".join(f"{part} {bpp:.4f}" for part, bpp in result["bpp_of_parts"].items())
        lines.append(
            f"| {name} | {result['parameters'] / 1e6:.2f} M | {macs} | {middle['bpp']:.4f} "
            f"| {middle['psnr']:.2f} | {saved} | {parts} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
