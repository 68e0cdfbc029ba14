"""The same global batch gives the same curve on one device, on two, and on two machines."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
import training_process
from PIL import Image

from tfcodec.errors import InputError
from tfcodec.training import backend_tensorflow, checkpoint
from tfcodec.training.settings import Settings

SCRIPT = pathlib.Path(__file__).parent.parent / "training_process.py"
STEPS = 4


def _order(folder, name):
    return {
        "pictures": str(folder / "pictures"),
        "run_dirs": [str(folder / name)],
        "settings": {"steps": STEPS},
    }


def _start(folder, name, environment=(), **order):
    order = {**_order(folder, name), **order}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), json.dumps(order)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **dict(environment)},
    )


def _finish(process):
    output, text = process.communicate(timeout=600)
    assert process.returncode == 0, text[-3000:]
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A folder with pictures, and a run on one device in it."""
    folder = tmp_path_factory.mktemp("strategies")
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for k in range(3):
        small = Image.fromarray(rng.integers(0, 256, [9, 10, 3], dtype=np.uint8))
        small.resize((100, 90), Image.BICUBIC).save(folder / "pictures" / f"{k}.png")
    training_process.main(_order(folder, "one"))
    return folder


def _same(folder, name):
    """Asserts that a run logged the curve, and ended with the weights, of that on one device."""
    curves = [
        [json.loads(line) for line in (folder / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("one", name)
    ]
    assert [len(curve) for curve in curves] == [STEPS, STEPS]
    for expected, found in zip(*curves, strict=True):
        for key in ("loss", "bpp", "bpp_y", "bpp_z", "mse", "psnr"):
            assert found[key] == pytest.approx(expected[key], rel=1e-4), (found["step"], key)
    (_, expected, _), (_, found, _) = (
        checkpoint.newest(str(folder / run)) for run in ("one", name)
    )
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-3, atol=2e-4, err_msg=key)


@pytest.mark.slow
def test_two_devices_train_as_one(one):
    assert _finish(_start(one, "two", cpus=2, strategy="mirrored"))["replicas"] == 2
    _same(one, "two")


def _two_workers(folder, name, **order):
    """What two processes print that train together, each with a model of its own."""
    with socket.socket() as first, socket.socket() as second:
        for taken in (first, second):
            taken.bind(("127.0.0.1", 0))
        cluster = {"worker": [f"127.0.0.1:{s.getsockname()[1]}" for s in (first, second)]}
    processes = [
        _start(
            folder,
            f"{name}{k}",
            {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": k}})},
            strategy="multiworker",
            model_seed=k,  # the chief's weights count
            **order,
        )
        for k in range(2)
    ]
    return [_finish(process) for process in processes]


def test_two_workers_train_as_one_and_the_chief_alone_writes(one):
    assert _two_workers(one, "worker") == [
        {"replicas": 2, "chief": chief, "step": STEPS} for chief in (True, False)
    ]
    _same(one, "worker0")
    assert not (one / "worker1").exists()


@pytest.mark.slow
def test_two_workers_with_a_clock_each_end_at_one_step_and_the_rate_zero(one):
    settings = {"steps": 10**6, "seconds": 2.0, "cooldown": 0.5, "checkpoint_every": 0}
    chief, other = _two_workers(one, "clock", settings=settings)
    records = [
        json.loads(line) for line in (one / "clock0" / "metrics.jsonl").read_text().splitlines()
    ]
    assert chief["step"] == other["step"] == records[-1]["step"] > 1
    assert records[-1]["learning_rate"] == 0 < records[0]["learning_rate"]


def test_a_batch_that_cannot_be_shared_out_is_refused(monkeypatch):
    strategy = types.SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: strategy)
    step = types.SimpleNamespace(settings=Settings(batch_size=3))
    with pytest.raises(InputError) as error:
        backend_tensorflow.Steps(step, ())
    assert str(error.value) == (
        "--batch_size is that of all 2 replicas together and must be a multiple of their number, "
        "received 3"
    )


@pytest.mark.parametrize(
    "value", [None, "{", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 2}}']
)
def test_workers_need_to_know_each_other(value, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(InputError, match="--strategy=multiworker needs the variable TF_CONFIG"):
        with backend_tensorflow.scope("multiworker"):
            pass
