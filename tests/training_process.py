"""A small training run as a process of its own, for tests that kill it or spread it over several.

    python training_process.py '{"run_dir": .., "pictures": .., "steps": 4, "strategy": "mirrored"}'

Prints what it is asked for as one line of JSON; see `main`.
"""

import json
import os
import sys

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

TINY = {"filters": 6, "latents": 8, "widths": (8, 8)}


def trainer_of(order, **changes):
    """The `Trainer` of an order, see `main`; under the strategy in whose scope this is called."""
    import keras

    from tfcodec import models
    from tfcodec.training import backends, pictures, weights
    from tfcodec.training.settings import Settings
    from tfcodec.training.trainer import Trainer

    settings = Settings(
        **{
            "steps": 4,
            "batch_size": 4,
            "crop": 64,
            "warmup": 2,
            "cooldown": 0.0,
            "precision": "float32",
            "log_every": 1,
            "checkpoint_every": 2,
            "validate_every": 0,
            "input_threads": 1,
            **order.get("settings", {}),
            **changes,
        }
    )
    backends.set_precision(settings)
    keras.utils.set_random_seed(order.get("model_seed", 0))
    model = models.build("mbt2018_mean", "compact", **TINY).build_weights()
    if order.get("init_from"):
        weights.initialise(model, order["init_from"])
    if order.get("scatter"):
        rng = np.random.default_rng(0)
        for variable in model.trainable_variables:
            noise = np.abs(rng.normal(size=variable.shape, scale=order["scatter"]))
            variable.assign(variable + np.float32(noise))
    found = pictures.Pictures(pictures.find(order["pictures"]), settings.crop)
    return Trainer(model, found, settings)


def main(order):
    """Runs what the order says:

    pictures: as `pictures.find` takes it; run_dirs: one run in each, one after the other.
    settings: fields of `training.settings.Settings`; model_seed: of the initial weights.
    scatter: standard deviation of positive noise that is added to the initial weights.
    init_from: weights to begin with, in place of random ones; weights_dir: where to write the
        first ones.
    strategy, deterministic: as of `tfcodec train`; cpus: number of virtual CPU devices.
    """
    if order.get("cpus"):
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        count = order["cpus"]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
        )

    from tfcodec.training import backends, loop

    with backends.backend().scope(
        order.get("strategy", "default"), order.get("deterministic", False)
    ):
        for run_dir in order["run_dirs"]:
            trainer = trainer_of(order)
            if order.get("weights_dir"):
                trainer.save_weights(order["weights_dir"])
            loop.fit(trainer, run_dir)
    backend = trainer.backend
    print(json.dumps({"replicas": backend.replicas, "chief": backend.chief, "step": trainer.step}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
