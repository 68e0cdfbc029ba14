"""TensorFlow and JAX take the same step, and read each other's checkpoints."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tfcodec import checkpoint

RATE = 1e-4
SCRIPT = pathlib.Path(__file__).parent / "training_process.py"


def _run(backend, **order):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), json.dumps(order)],
        capture_output=True,
        text=True,
        # It takes one step: JAX would take far longer to make it fast.
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX, of the extra `test`, is not installed"
)
def test_one_step_on_both_backends_agrees_and_weights_pass_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for k in range(3):
        small = Image.fromarray(rng.integers(0, 256, [9, 10, 3], dtype=np.uint8))
        small.resize((100, 90), Image.BICUBIC).save(tmp_path / "pictures" / f"{k}.png")
    order = {
        "pictures": str(tmp_path / "pictures"),
        "settings": {"steps": 1, "learning_rate": RATE, "warmup": 0},
    }
    # JAX makes weights and takes one step; TensorFlow takes the same step from those weights. They
    # are scattered, since a fresh model has rectifiers at exactly 0, where the derivative of one
    # backend is the left one and of the other the right one.
    start = str(tmp_path / "start")
    _run("jax", **order, scatter=1e-3, weights_dir=start, run_dirs=[str(tmp_path / "jax")])

    from training_process import trainer_of

    from tfcodec import training

    trainer = trainer_of({**order, "init_from": start})
    weights, _ = checkpoint.read(start)
    for variable in trainer.model.variables:
        np.testing.assert_array_equal(variable.numpy(), weights[f"model/{variable.path}"])
    # The step itself, with the optimizer's state, is read as well.
    jax = trainer_of(order)
    assert jax.resume(str(tmp_path / "jax")) is not None and jax.step == 1
    arrays, _ = checkpoint.read(str(tmp_path / "jax" / "step-00000001"))
    for variable in jax.optimizer.variables:
        np.testing.assert_array_equal(variable.numpy(), arrays[f"optimizer/{variable.path}"])

    training.fit(trainer, str(tmp_path / "tensorflow"))
    lines = [
        json.loads((tmp_path / name / "metrics.jsonl").read_text())
        for name in ("jax", "tensorflow")
    ]
    for key in ("loss", "bpp", "bpp_y", "bpp_z", "mse", "psnr"):
        assert lines[1][key] == pytest.approx(lines[0][key], rel=1e-4), key
    (_, theirs, _), (_, ours, _) = (
        checkpoint.newest(str(tmp_path / name)) for name in ("jax", "tensorflow")
    )
    assert ours.keys() == theirs.keys()
    fixed = {f"model/{v.path}" for v in trainer.model.non_trainable_variables}
    assert sum(np.sum(np.abs(v) > 1e-5) for k, v in theirs.items() if k.endswith("_momentum")) > 999
    for name, value in theirs.items():
        if name.endswith("_momentum"):  # a tenth of the clipped gradient
            largest = np.max(np.abs(value))
            np.testing.assert_allclose(ours[name], value, atol=1e-3 * largest + 1e-9, err_msg=name)
        if name.startswith("model/") and name not in fixed:
            momentum = theirs[f"optimizer/adam/{name[6:].replace('/', '_')}_momentum"]
            difference = np.abs(ours[name] - value)
            # Adam's first step is the learning rate in the direction of the gradient, where that
            # is well above epsilon; elsewhere rounding chooses the direction.
            assert np.max(difference) <= 2.1 * RATE, name
            assert np.all(difference[np.abs(momentum) > 1e-5] <= 0.05 * RATE), name
