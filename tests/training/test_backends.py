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

from tfcodec.training import checkpoint, optimizer

RATE = 1e-4
SCRIPT = pathlib.Path(__file__).parent.parent / "training_process.py"


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


needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX, of the extra `test`, is not installed"
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with three pictures to train on."""
    folder = tmp_path_factory.mktemp("backends")
    rng = np.random.default_rng(0)
    for k in range(3):
        small = Image.fromarray(rng.integers(0, 256, [9, 10, 3], dtype=np.uint8))
        small.resize((100, 90), Image.BICUBIC).save(folder / f"{k}.png")
    return str(folder)


@pytest.mark.slow
@needs_jax
def test_several_steps_in_one_call_end_at_the_rate_zero_when_the_seconds_are_over(
    pictures, tmp_path
):
    settings = {"steps": 10**6, "seconds": 3.0, "steps_per_dispatch": 3, "checkpoint_every": 0}
    run = tmp_path / "run"
    _run("jax", pictures=pictures, settings={**settings, "cooldown": 0.5}, run_dirs=[str(run)])
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["learning_rate"] == 0 and records[-1]["step"] % 3 == 0
    assert all(np.isfinite(record["loss"]) for record in records)
    state = checkpoint.newest(str(run))[2]
    assert state["seconds"] >= 3 and state["step"] == records[-1]["step"]


@pytest.mark.slow
@needs_jax
def test_what_jax_keeps_of_a_compilation_serves_every_seed(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    losses = []
    for seed in (0, 1):
        run = tmp_path / str(seed)
        _run("jax", pictures=pictures, settings={"steps": 1, "seed": seed}, run_dirs=[str(run)])
        losses.append(json.loads((run / "metrics.jsonl").read_text())["loss"])
    assert losses[0] != losses[1]
    assert len(list((tmp_path / "compiled").glob("jit_many_steps-*-cache"))) == 1


@pytest.mark.slow
@needs_jax
def test_one_step_on_both_backends_agrees_and_weights_pass_bit_for_bit(pictures, tmp_path):
    order = {
        "pictures": pictures,
        "settings": {"steps": 1, "learning_rate": RATE, "warmup": 0},
    }
    # JAX makes weights and takes one step; TensorFlow takes the same step from those weights. They
    # are scattered, since a fresh model has rectifiers at exactly 0, where the derivative of one
    # backend is the left one and of the other the right one.
    start = str(tmp_path / "start")
    _run("jax", **order, scatter=1e-3, weights_dir=start, run_dirs=[str(tmp_path / "jax")])

    from training_process import trainer_of

    from tfcodec.training import loop

    trainer = trainer_of({**order, "init_from": start})
    weights, _ = checkpoint.read(start)
    for variable in trainer.model.variables:
        np.testing.assert_array_equal(variable.numpy(), weights[f"model/{variable.path}"])
    # The step itself, with the optimizer's state, is read as well.
    jax = trainer_of(order)
    assert jax.resume(str(tmp_path / "jax")) is not None and jax.step == 1
    arrays, _ = checkpoint.read(str(tmp_path / "jax" / "step-00000001"))
    for variable in jax.training_step.optimizer.variables:
        np.testing.assert_array_equal(variable.numpy(), arrays[f"optimizer/{variable.path}"])

    loop.fit(trainer, str(tmp_path / "tensorflow"))
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
        if name.endswith("_momentum"):  # a multiple of the clipped gradient
            largest = np.max(np.abs(value))
            np.testing.assert_allclose(ours[name], value, atol=1e-3 * largest + 1e-9, err_msg=name)
        if name.startswith("model/") and name not in fixed:
            momentum = theirs[f"optimizer/muon/{name[6:].replace('/', '_')}_momentum"]
            difference = np.abs(ours[name] - value)
            if optimizer.is_matrix(name, value.shape):
                # Muon's step is some 0.2 of the rate in every element, and moves with the gradient
                # as the smallest singular value lets it.
                assert np.max(difference) <= 0.02 * RATE, name
                continue
            # Adam's first step is the learning rate in the direction of the gradient, where that
            # is well above epsilon; elsewhere rounding chooses the direction.
            assert np.max(difference) <= 2.1 * RATE, name
            assert np.all(difference[np.abs(momentum) > 1e-5] <= 0.05 * RATE), name
    matrices = [name for name, value in theirs.items() if optimizer.is_matrix(name, value.shape)]
    assert len(matrices) > 2
