"""What the parts of the models are worth: variants trained alike, step for step, and tabulated.

    python benchmarks/ablation.py wavelet --data photos/ --validation held_out/ --steps 20000
    python benchmarks/ablation.py all --data photos/ --validation held_out/ --minutes 600
    python benchmarks/ablation.py all --table

The families and their variants are those of variants.py. All variants of a family see the same
crops, rungs and noise, step for step: equal steps, not equal time; the table names the arithmetic.
Rates and PSNR are those that `validation.validate` finds on centre crops over the ladder of
lambdas, for the averaged weights.

A run is a process of its own. One that is finished is only read, one that was stopped goes on, so
that the same command works off a long queue in pieces: all variants with the first seed, then with
the next one. With `--minutes` no run begins after that time, and the one that is under way is
stopped with a checkpoint. `--table` prints what there is. What was found so far is kept in
benchmarks/ablations (`--out`), which remembers results and neither weights nor logs.

On JAX (KERAS_BACKEND=jax) take `--steps_per_dispatch 50`; a run takes some 40 s to compile.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from variants import FAMILIES

from tfcodec.errors import InputError
from tfcodec.training import pictures

RESULT = "result.json"


@dataclasses.dataclass(frozen=True)
class Job:
    """A run: all that its result depends on beside sizes and pictures."""

    family: str
    variant: str
    seed: int
    steps: int
    batch_size: int
    crop: int
    learning_rate: float

    def folder(self, out: str) -> pathlib.Path:
        """Of the run: out/FAMILY/VARIANT/STEPSxBATCHxCROP-seedSEED."""
        words = "".join(c if c.isalnum() else " " for c in self.variant).split()
        run = f"{self.steps}x{self.batch_size}x{self.crop}-seed{self.seed}"
        return pathlib.Path(out, self.family, "_".join(words), run)

    def described(self) -> dict:
        """As a result has it."""
        sizes = dataclasses.asdict(FAMILIES[self.family].sizes)
        return json.loads(json.dumps({"job": dataclasses.asdict(self), "sizes": sizes}))

    def result(self, out: str) -> dict | None:
        """What `train` wrote, or None if the run is not finished.

        Raises: InputError if it is of other sizes or another learning rate.
        """
        path = self.folder(out) / RESULT
        if not path.exists():
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
        asked = self.described()
        if {key: found[key] for key in asked} != asked:
            raise InputError(
                f"{path}: holds a result of {found['job']} and {found['sizes']}, asked for is one "
                f"of {asked['job']} and {asked['sizes']}; choose another --out"
            )
        return found


def main(argv: list[str] | None = None) -> int:
    """Works off what is not finished, then prints tables; 1 if a run failed."""
    args = read_flags(argv)
    try:
        if args.process:
            train(json.loads(args.process))
            return 0
        jobs = make_jobs(args, args.only)
        failed = 0 if args.table else work(jobs, args)
        whole = make_jobs(args)  # BD-rates are against a family's first variant
        for family in dict.fromkeys(job.family for job in jobs):
            print(table([job for job in whole if job.family == family], args.out) + "\n")
    except InputError as error:
        sys.exit(str(error))
    return int(failed > 0)


def read_flags(argv: list[str] | None) -> argparse.Namespace:
    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    flags.add_argument("family", choices=[*FAMILIES, "all"])
    flags.add_argument("--data", help="folders, files or globs of pictures")
    flags.add_argument("--validation", help="pictures held out of --data")
    flags.add_argument("--out", default="runs/ablation", help="folder of the runs")
    flags.add_argument("--only", help="names of variants, bars | between; default: all")
    flags.add_argument("--steps", type=int, default=20_000)
    flags.add_argument("--batch_size", type=int, default=8)
    flags.add_argument("--crop", type=int, default=256)
    flags.add_argument("--learning_rate", type=float, default=1e-3)
    flags.add_argument("--steps_per_dispatch", type=int, default=1, help="JAX only")
    flags.add_argument("--seeds", default="0,1", help="numbers, commas between")
    flags.add_argument("--minutes", type=float, default=math.inf, help="how long to work")
    flags.add_argument("--table", action="store_true", help="print tables alone, train nothing")
    flags.add_argument("--process", help=argparse.SUPPRESS)  # one run, as JSON
    args = flags.parse_args(argv)
    if not (args.table or args.process or (args.data and args.validation)):
        flags.error("--data and --validation are needed for training")
    return args


def make_jobs(args: argparse.Namespace, only: str | None = None) -> list[Job]:
    """The runs that flags ask for, in the order of the queue.

    Args: only: names of variants, bars between; None for all.
    Raises: InputError for a name that no variant has.
    """
    families = list(FAMILIES) if args.family == "all" else [args.family]
    known = [(family, name) for family in families for name in FAMILIES[family].variants]
    names = [name for _, name in known]
    wanted = only.split("|") if only else names
    for name in wanted:
        if name not in names:
            raise InputError(f"--only: there is no variant {name!r}; there are {'|'.join(names)}")
    settings = (args.steps, args.batch_size, args.crop, args.learning_rate)
    return [
        Job(family, name, seed, *settings)
        for seed in map(int, args.seeds.split(","))
        for family, name in known
        if name in wanted
    ]


# ---------------------------------------------------------------------------------------- queue


def work(jobs: list[Job], args: argparse.Namespace) -> int:
    """Runs what is not finished, one process after the other; returns how many failed."""
    for flag in ("data", "validation"):
        pictures.find(getattr(args, flag), f"--{flag}")  # said once, not by every run
    # `kill` shall stop the run that is under way, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    failed, end = 0, time.monotonic() + 60 * args.minutes
    for job in [job for job in jobs if job.result(args.out) is None]:
        if time.monotonic() >= end:
            print("the time is over; the same command continues", file=sys.stderr)
            break
        print(f"{job.family}: {job.variant}, seed {job.seed}", file=sys.stderr)
        status = run(job, args, end)
        if status not in (0, 128 + signal.SIGTERM, -signal.SIGTERM):  # the last, before its steps
            print(f"{job.folder(args.out)}: failed with status {status}", file=sys.stderr)
            failed += 1
    return failed


def run(job: Job, args: argparse.Namespace, end: float) -> int:
    """Trains in a process of its own, which is asked to stop at `end`; returns its status."""
    names = ("out", "data", "validation", "steps_per_dispatch")
    order = {"job": dataclasses.asdict(job), **{name: getattr(args, name) for name in names}}
    command = [sys.executable, __file__, job.family, "--process", json.dumps(order)]
    # A session of its own: Ctrl-C reaches it once, from here; twice would be without a checkpoint.
    process = subprocess.Popen(command, start_new_session=True)
    try:
        return process.wait(None if end == math.inf else max(end - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        process.terminate()
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def train(order: dict) -> None:
    """Trains one variant to its last step; leaves its averaged weights, curve and cost as JSON.

    Args: order: `job`, the fields of a `Job`; `out`, the others as the flags.
    """
    import keras
    from absl import logging

    from tfcodec import complexity
    from tfcodec.files import atomic_write
    from tfcodec.training import backends, checkpoint, loop
    from tfcodec.training.run import Run, collect, first_crops
    from tfcodec.training.settings import Settings, check_crop
    from tfcodec.training.trainer import Trainer
    from tfcodec.training.validation import validate

    logging.set_verbosity(logging.INFO)
    job = Job(**order["job"])
    settings = Settings(
        steps=job.steps,
        batch_size=job.batch_size,
        crop=job.crop,
        learning_rate=job.learning_rate,
        seed=job.seed,
        checkpoint_every=500,
        steps_per_dispatch=order["steps_per_dispatch"],
    )
    sources = dict(data=order["data"], validation=order["validation"])
    collected = collect(Run(job.family, job.variant, settings, **sources))
    backends.set_precision(settings)
    keras.utils.set_random_seed(job.seed)
    family = FAMILIES[job.family]
    training, folder = collected.training, job.folder(order["out"])
    with backends.backend().host():
        model = family.variants[job.variant](family.sizes)
        check_crop(settings, model.stride)
        model.build_weights()
        model.prepare(first_crops(settings, training))
        trainer = Trainer(model, training, settings)
    loop.fit(trainer, str(folder))
    with trainer.averaged():
        points = validate(model, collected.validation, job.crop)
    with backends.backend().host():
        macs = complexity.macs_per_pixel(model)
    found = {
        **job.described(),
        "pictures": [len(training), len(collected.validation)],
        "parameters": model.count_params(),
        "macs": macs,
        "points": points,
    }
    trainer.save_weights(str(folder / "weights"))
    atomic_write(folder / RESULT, (json.dumps(found, indent=1) + "\n").encode())
    for path in checkpoint.listed(str(folder)):  # five times the size of the weights
        checkpoint.remove(path)


# --------------------------------------------------------------------------------------- tables


def table(jobs: list[Job], out: str) -> str:
    """Markdown of one family's results, and what its numbers are.

    Raises: InputError if results are of different pictures.
    """
    results = {}
    for job in jobs:
        results.setdefault(job.variant, {})[job.seed] = job.result(out)
    every = [found for seeds in results.values() for found in seeds.values() if found]
    counts = {tuple(found["pictures"]) for found in every}
    if len(counts) > 1:
        raise InputError(
            f"{out}: results of {jobs[0].family} are of different pictures, {sorted(counts)} to "
            "train on and held out; choose another --out for other pictures"
        )
    return caption(jobs, every) + "\n\n" + rows(results)


def caption(jobs: list[Job], results: list[dict]) -> str:
    """What a table shows. Args: results: those that there are."""
    job, seeds = jobs[0], list(dict.fromkeys(job.seed for job in jobs))
    spread = {
        1: "one seed, so that nothing is known of its spread",
        2: "the mean of two seeds ± half their difference",
    }.get(len(seeds), f"the mean of {len(seeds)} seeds ± their standard deviation")
    words = [
        f"`{job.family}` ({FAMILIES[job.family].question}), {job.steps:,} steps of "
        f"{job.batch_size} crops of {job.crop}."
    ]
    if results:
        trained, held_out = results[0]["pictures"]
        points = results[0]["points"]
        middle = points[len(points) // 2]
        words += [
            f"{trained:,} pictures to train on, centre crops of {held_out} others, estimated bits. "
            f"bpp and PSNR are of rung {middle['rung'] + 1} of {len(points)}, lambda "
            f"{middle['lambda']}, means over the seeds."
        ]
    words += [f"BD-rate is over the whole ladder, against the first line's same seed: {spread}."]
    words += [f"{len(results)} of {len(jobs)} runs are finished."]
    return " ".join(words)


def rows(results: dict[str, dict[int, dict | None]]) -> str:
    """Markdown of results by variant and seed, None for those that are not finished."""
    lines = [
        "| variant | parameters | kMAC encoder, decoder | bpp | PSNR dB | BD-rate |",
        "|---|---|---|---|---|---|",
    ]
    anchor = next(iter(results.values()))
    for name, seeds in results.items():
        finished = [found for found in seeds.values() if found]
        if not finished:
            lines.append(f"| {name} | | | | | not finished |")
            continue
        macs = ", ".join(f"{value / 1000:.1f}" for value in finished[0]["macs"].values())
        bpp, psnr = (
            statistics.mean(found["points"][len(found["points"]) // 2][key] for found in finished)
            for key in ("bpp", "psnr")
        )
        rate = "anchor" if seeds is anchor else bd_rates(anchor, seeds)
        if len(finished) < len(seeds):
            rate += f" ({len(finished)} of {len(seeds)} seeds)"
        lines.append(
            f"| {name} | {finished[0]['parameters'] / 1e6:.2f} M | {macs} "
            f"| {bpp:.4f} | {psnr:.2f} | {rate} |"
        )
    return "\n".join(lines)


def bd_rates(anchor: dict[int, dict | None], test: dict[int, dict | None]) -> str:
    """Mean and spread of the BD-rates of the seeds that both have, in words."""
    from tfcodec.evaluation.curves import bd_rate

    def curve(found):
        return [(point["bpp"], point["psnr"]) for point in found["points"]]

    pairs = [(anchor[seed], found) for seed, found in test.items() if found and anchor[seed]]
    if not pairs:
        return "no seed in common yet"
    try:
        return mean_and_spread([bd_rate(curve(a), curve(b)).percent for a, b in pairs])
    except ValueError:  # of short runs
        return "none: a curve falls, or they do not overlap"


def mean_and_spread(percents: list[float]) -> str:
    """ "-3.1 ± 0.4 %", see `caption`; of one number, the number."""
    mean = statistics.mean(percents)
    if len(percents) == 1:
        return f"{mean:+.1f} %"
    if len(percents) == 2:
        spread = abs(percents[0] - percents[1]) / 2
    else:
        spread = statistics.stdev(percents)
    return f"{mean:+.1f} ± {spread:.1f} %"


if __name__ == "__main__":
    sys.exit(main())
