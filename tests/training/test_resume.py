"""Runs in processes of their own, stopped and killed at random moments."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tfcodec.training import checkpoint

SCRIPT = pathlib.Path(__file__).parent.parent / "training_process.py"
STEPS = 40
CLOCKS = {
    "seconds_per_step",
    "images_per_second",
    "mpixel_per_second",
    "input_wait",
    "input_bound_steps",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with three pictures to train on."""
    folder = tmp_path_factory.mktemp("resume")
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for k in range(3):
        small = Image.fromarray(rng.integers(0, 256, [9, 10, 3], dtype=np.uint8))
        small.resize((100, 90), Image.BICUBIC).save(folder / "pictures" / f"{k}.png")
    return folder


def _start(folder, *run_dirs):
    order = {
        "pictures": str(folder / "pictures"),
        "run_dirs": [str(folder / name) for name in run_dirs],
        "settings": {"steps": STEPS, "checkpoint_every": 3, "batch_size": 2, "optimizer": "muon"},
        "deterministic": True,
    }
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), json.dumps(order)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _records(folder):
    """What was logged at each step, without the clocks; the last line may be half written."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    return [{k: v for k, v in r.items() if k not in CLOCKS} for r in records]


def _end_at_random(process, folder, number, after):
    """Sends a signal some random time after step `after` was logged; returns the exit status."""
    while process.poll() is None and not any(r["step"] >= after for r in _records(folder)):
        time.sleep(0.002)
    time.sleep(random.random() * 0.1)
    process.send_signal(number)
    _, text = process.communicate()
    return process.returncode, text


def test_a_run_stopped_and_killed_at_random_ends_as_one_that_was_not(folder):
    seed = int.from_bytes(os.urandom(4), "little")
    random.seed(seed)
    run, about = folder / "a", f"random.seed({seed})"

    status, text = _end_at_random(_start(folder, "a"), run, signal.SIGTERM, random.randrange(1, 12))
    assert status == 128 + signal.SIGTERM, text
    stopped = _records(run)[-1]["step"]
    path, arrays, state = checkpoint.newest(str(run))
    # No step is cut in two: the optimizer has made as many updates as there were steps.
    assert state["step"] == stopped == int(arrays["optimizer/muon/iteration"]), about

    after = stopped + random.randrange(1, 12)
    status, text = _end_at_random(_start(folder, "a"), run, signal.SIGKILL, after)
    assert status == -signal.SIGKILL, text
    assert stopped < _records(run)[-1]["step"] < STEPS, about

    process = _start(folder, "a", "straight")
    _, text = process.communicate()
    assert process.returncode == 0, text
    records = _records(run)
    assert [r["step"] for r in records] == list(range(1, STEPS + 1)), about
    assert records == _records(folder / "straight"), about
    (_, ours, ended), (_, theirs, _) = (
        checkpoint.newest(str(folder / name)) for name in ("a", "straight")
    )
    assert ended["step"] == STEPS and ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=f"{name}, {about}")
