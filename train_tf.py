"""Trains a model of the zoo, on the TensorFlow or (KERAS_BACKEND=jax) the JAX backend of Keras.

    python train_tf.py --model mbt2018_mean --preset compact --data photos/ --run_dir runs/first \\
        --steps 20000 --export runs/first/export

A recipe is a file of such flags: --flagfile recipes/mbt2018_mean-compact.flags; flags after it win.
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
    for add in (_add_model, _add_data, _add_start, _add_export, _add_devices):
        add(flags)
    for field in dataclasses.fields(training.Settings):
        flags.add_argument(
            f"--{field.name}",
            type=type(field.default),
            default=field.default,
            help=f"{field.metadata['help']}; default {field.default or repr(field.default)}",
        )
    return flags


def _add_model(flags):
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
    flags.add_argument(
        "--flagfile",
        metavar="FILE",
        help="read flags from a file, one --FLAG=VALUE a line, # begins a comment; see recipes/",
    )


def _add_data(flags):
    flags.add_argument(
        "--data",
        help="folders, files or globs of pictures or TFRecords, or tfds:NAME[:SPLIT]; "
        "commas between",
    )
    flags.add_argument("--validation", help="pictures held out of --data, named like it")
    flags.add_argument(
        "--run_dir",
        default="runs/default",
        help="checkpoints and logs; a run found there is continued",
    )
    flags.add_argument(
        "--weights_dir",
        metavar="DIR",
        help="also write the averaged weights there, half as large, for --init_from",
    )


def _add_start(flags):
    flags.add_argument(
        "--init_from",
        metavar="PATH",
        help="start from the weights of an export, a --weights_dir, or a checkpoint of another run",
    )
    flags.add_argument(
        "--init_weights",
        choices=("averaged", "last"),
        default="averaged",
        help="which weights of a checkpoint --init_from takes: the average lags after a short run",
    )
    flags.add_argument(
        "--init_partly",
        action="store_true",
        help="--init_from may be another model: what has the name and shape of a variable is "
        "taken, the rest starts anew",
    )


def _add_export(flags):
    from tfcodec.exports.weights import WEIGHTS

    flags.add_argument("--export", metavar="DIR", help="write the trained codec there at the end")
    flags.add_argument("--name", help="name of the export; default: the folder's")
    flags.add_argument(
        "--export_precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="in which the exported transforms compute; default float32",
    )
    flags.add_argument(
        "--export_weights",
        metavar="FORM",
        default="bfloat16",
        help=f"how the export stores large weights: {', '.join(WEIGHTS)}; int8 is smallest, "
        "float32 exact; ,int8:PATTERN behind it chooses kernels by their path; default bfloat16",
    )


def _add_devices(flags):
    flags.add_argument(
        "--strategy",
        choices=("default", "mirrored", "multiworker"),
        default="default",
        help="one device, all GPUs of this machine, or all machines of the variable TF_CONFIG",
    )
    flags.add_argument(
        "--deterministic",
        action="store_true",
        help="the same bits in every run (TensorFlow; slower on GPUs)",
    )


def expanded(argv):
    """The command line with every --flagfile replaced by the flags in it.

    Raises: InputError if the file cannot be read or a line in it is no --FLAG=VALUE.
    """
    from tfcodec.errors import InputError

    flags, rest = [], list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, path = word.partition("=")
        if name != "--flagfile":
            flags.append(word)
            continue
        path = path if equals else rest.pop(0) if rest else ""
        try:
            with open(path, encoding="utf-8") as file:
                lines = [line.strip() for line in file]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--flagfile {path!r} cannot be read ({error})") from None
        for number, line in enumerate(lines, start=1):
            if line and not line.startswith("#"):
                if not line.startswith("--") or " " in line.partition("=")[0]:
                    raise InputError(
                        f"{path}, line {number}: expected --FLAG=VALUE, found {line!r}"
                    )
                flags.append(line)
    return flags


def _lambdas(text):
    return tuple(float(value) for value in text.split(","))


def _changes(text, config):
    """ "wavelet=5/3,levels=1" as a dictionary, each value of the type that the field has."""
    from tfcodec.errors import InputError

    changes = {}
    for item in filter(None, text.split(",")):
        name, _, value = item.partition("=")
        fields = [field.name for field in dataclasses.fields(config)]
        kind = type(getattr(config, name)) if name in fields else None
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
    from tfcodec.errors import TfcodecError

    try:
        args = parser().parse_args(expanded(sys.argv[1:] if argv is None else argv))

        from absl import logging

        from tfcodec import models

        logging.set_verbosity(logging.INFO)
        if args.list:
            for name in models.MODELS:
                print(f"{name}: {' '.join(models.module(name).PRESETS)}")
            return 0
        config, settings = chosen(args)
        if args.describe:
            print(json.dumps(models.describe(args.model, args.preset, config), indent=1))
            return 0
        train(args, config, settings)
        return 0
    except TfcodecError as error:
        print(f"train_tf: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def chosen(args):
    """(configuration of the model, `training.Settings`) of the flags.

    Raises: InputError for a combination that cannot be trained.
    """
    from tfcodec import models, training
    from tfcodec.errors import InputError

    config = models.config(args.model, args.preset)
    config = dataclasses.replace(config, **_changes(args.config, config))
    if args.lmbda is not None:
        config = dataclasses.replace(config, lambdas=args.lmbda)
    settings = training.Settings(
        **{f.name: getattr(args, f.name) for f in dataclasses.fields(training.Settings)}
    )
    training.check(settings)
    if settings.distortion == "ms_ssim" and args.lmbda is None:
        raise InputError(
            "--distortion=ms_ssim needs --lambda: it multiplies 1 - MS-SSIM, from about 2 to 100"
        )
    return config, settings


def train(args, config, settings):
    """Trains (or continues) the run that the flags describe, and exports it."""
    from tfcodec import training
    from tfcodec.errors import InputError
    from tfcodec.exports import weights, write

    if not args.data and settings.steps:
        raise InputError("--data is needed: folders, files or globs of training pictures")
    if args.export:
        write.check_target(args.export)
        weights.read_form(args.export_weights)
    training.set_precision(settings)
    with training.backend().scope(args.strategy, args.deterministic):
        with training.backend().host():
            trainer, validation = prepared(args, config, settings)
        if trainer.backend.chief:
            os.makedirs(args.run_dir, exist_ok=True)
            with open(os.path.join(args.run_dir, "model.json"), "w") as file:
                described = {"model": args.model, "preset": args.preset}
                json.dump({**described, "config": dataclasses.asdict(config)}, file, indent=1)
        training.fit(trainer, args.run_dir, validation, args.weights_dir)
    if args.export and trainer.backend.chief:
        with trainer.averaged() as averaged:
            write.write(
                averaged,
                *(args.export, args.model, args.preset, config, args.name),
                weights=args.export_weights,
                precision=args.export_precision,
            )


def prepared(args, config, settings):
    """(trainer, pictures for validation or None) of the flags, before the first step."""
    import keras
    import numpy as np
    from absl import logging

    from tfcodec import data, models, training

    # A run that is killed before its first checkpoint begins anew from the same weights.
    keras.utils.set_random_seed(settings.seed)
    model = models.module(args.model).build(config, name=args.model).build_weights()
    anew = model.variables
    if args.init_from:
        given = (model, args.init_from, args.init_weights == "averaged", args.init_partly)
        anew = training.initialise(*given)
    held_out = data.find(args.validation) if args.validation else []
    validation = data.Pictures(held_out, settings.crop) if held_out else None
    sources = data.find(args.data) if args.data else []
    withheld = set(held_out)
    sources = [source for source in sources if source not in withheld]
    pictures = data.Pictures(sources, settings.crop) if sources else ()
    if pictures and pictures.skipped:
        logging.info("left out %d unreadable or small pictures", len(pictures.skipped))
    if pictures and anew:
        first = data.plan(0, count=len(pictures), batch_size=128, num_rungs=1, seed=settings.seed)
        x = data.crops(pictures, first, settings.crop) / np.float32(255)
        if args.init_from:
            logging.info("%d of %d variables start anew", len(anew), len(model.variables))
            model.start_rates(x)
            training.initialise(*given)  # which it may have changed
        else:
            model.prepare(x)
    return training.Trainer(model, pictures, settings), validation


if __name__ == "__main__":
    sys.exit(main())
