"""Trains a model of the zoo, on the TensorFlow or (KERAS_BACKEND=jax) the JAX backend of Keras.

    python train_tf.py --model mbt2018_mean --preset compact --data photos/ --run_dir runs/first \\
        --steps 20000 --export runs/first/export
"""

import argparse
import dataclasses
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def parser():
    """The command line; every field of `training.Settings` is a flag."""
    from tfcodec import training

    flags = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    flags.add_argument("--list", action="store_true", help="print 'MODEL: PRESET ..' and exit")
    flags.add_argument("--describe", action="store_true", help="print the model as JSON and exit")
    flags.add_argument("--model", default="mbt2018_mean", help="name of a model, see --list")
    flags.add_argument("--preset", default="compact", help="preset of the model, see --list")
    flags.add_argument(
        "--lambda",
        dest="lmbda",
        type=_lambdas,
        metavar="L[,L..]",
        help="train for this Lagrangian weight, or a ladder of them (variable rate)",
    )
    flags.add_argument(
        "--config",
        default="",
        metavar="FIELD=VALUE[,..]",
        help="replace fields of the preset's configuration, such as wavelet=5/3",
    )
    flags.add_argument("--data", help="folders, files or globs of pictures, commas between")
    flags.add_argument("--validation", help="pictures held out of --data, named like it")
    flags.add_argument(
        "--run_dir",
        default="runs/default",
        help="checkpoints and logs; a run found there is continued",
    )
    flags.add_argument(
        "--init_from",
        metavar="PATH",
        help="start from the weights of an export, a --weights_dir, or a checkpoint of another run",
    )
    flags.add_argument(
        "--weights_dir",
        metavar="DIR",
        help="with every checkpoint, also write the averaged weights there, for --init_from",
    )
    flags.add_argument("--export", metavar="DIR", help="write the trained codec there at the end")
    flags.add_argument("--name", help="name of the export; default: the folder's")
    for field in dataclasses.fields(training.Settings):
        flags.add_argument(
            f"--{field.name}",
            type=type(field.default),
            default=field.default,
            help=f"default {field.default}",
        )
    return flags


def _lambdas(text):
    return tuple(float(value) for value in text.split(","))


def _changes(text, config):
    """ "wavelet=5/3,levels=1" as a dictionary, each value of the type that the field has."""
    from tfcodec.errors import InputError

    changes = {}
    for item in filter(None, text.split(",")):
        name, _, value = item.partition("=")
        kind = type(getattr(config, name, None))
        if kind not in (int, float, str):
            known = [f.name for f in dataclasses.fields(config)]
            known = [n for n in known if isinstance(getattr(config, n), (int, float, str))]
            raise InputError(f"--config cannot set {name!r}; it sets {', '.join(known)}")
        try:
            changes[name] = kind(value)
        except ValueError:
            raise InputError(f"--config {name} takes a number, received {value!r}") from None
    return changes


def main(argv=None):
    """Parses flags, trains, exports; returns the exit code."""
    args = parser().parse_args(argv)

    from absl import logging

    from tfcodec import models
    from tfcodec.errors import TfcodecError

    logging.set_verbosity(logging.INFO)
    try:
        if args.list:
            for name in models.MODELS:
                print(f"{name}: {' '.join(models.module(name).PRESETS)}")
            return 0
        config = models.config(args.model, args.preset)
        config = dataclasses.replace(config, **_changes(args.config, config))
        if args.lmbda is not None:
            config = dataclasses.replace(config, lambdas=args.lmbda)
        if args.describe:
            print(json.dumps(models.describe(args.model, args.preset, config), indent=1))
            return 0
        train(args, config)
        return 0
    except TfcodecError as error:
        print(f"train_tf: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def train(args, config):
    """Trains (or continues) the run that the flags describe, and exports it."""
    import numpy as np
    from absl import logging

    from tfcodec import data, export, models, training
    from tfcodec.errors import InputError

    settings = training.Settings(
        **{f.name: getattr(args, f.name) for f in dataclasses.fields(training.Settings)}
    )
    if not args.data and settings.steps:
        raise InputError("--data is needed: folders, files or globs of training pictures")
    if args.export:
        export.check_target(args.export)
    training.set_precision(settings)
    model = models.module(args.model).build(config, name=args.model).build_weights()
    if args.init_from:
        training.initialise(model, args.init_from)
    held_out = data.find(args.validation) if args.validation else []
    validation = data.Pictures(held_out, settings.crop) if held_out else None
    paths = [path for path in data.find(args.data) if path not in held_out] if args.data else []
    pictures = data.Pictures(paths, settings.crop) if paths else ()
    if pictures and pictures.skipped:
        logging.info("left out %d unreadable or small pictures", len(pictures.skipped))
    if pictures and not args.init_from:
        first = data.plan(0, count=len(pictures), batch_size=128, num_rungs=1, seed=settings.seed)
        model.prepare(data.crops(pictures, first, settings.crop) / np.float32(255))
    trainer = training.Trainer(model, pictures, settings)
    os.makedirs(args.run_dir, exist_ok=True)
    with open(os.path.join(args.run_dir, "model.json"), "w") as file:
        described = {"model": args.model, "preset": args.preset}
        json.dump({**described, "config": dataclasses.asdict(config)}, file, indent=1)
    training.fit(trainer, args.run_dir, validation, args.weights_dir)
    if args.export:
        with trainer.averaged() as averaged:
            export.export(averaged, args.export, args.model, args.preset, config, name=args.name)


if __name__ == "__main__":
    sys.exit(main())
