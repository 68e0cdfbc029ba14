"""What a worker does at a time."""

import os
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("apache_beam", reason="needs the extra beam")

from tfcodec.beam import limits  # noqa: E402


def take(room, sizes, held=0.01):
    """Pictures of these sizes, each in a thread; returns (started, sizes in the room) at each
    entry."""
    inside, entered, lock = [], [], threading.Lock()

    def work(size):
        with room.of(size):
            with lock:
                inside.append(size)
                entered.append((size, list(inside)))
            time.sleep(held)
            with lock:
                inside.remove(size)

    threads = []
    for size in sizes:
        threads.append(threading.Thread(target=work, args=[size]))
        threads[-1].start()
        time.sleep(0.001)  # so that their order is that of the sizes
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    return entered


def test_pictures_share_a_room_that_is_never_over_full():
    entered = take(limits.Room(100), [30, 40, 30, 20, 60, 100, 10] * 3)
    assert max(sum(inside) for _, inside in entered) <= 100
    assert max(len(inside) for _, inside in entered) > 1


def test_what_is_larger_than_the_room_is_alone_in_it_and_is_not_passed():
    entered = take(limits.Room(100), [60, 1000, 10, 10], held=0.05)
    assert [size for size, _ in entered][:2] == [60, 1000]
    assert dict(entered)[1000] == [1000]


def test_a_picture_that_fails_leaves_its_room():
    room = limits.Room(100)
    with pytest.raises(ValueError), room.of(100):
        raise ValueError
    assert take(room, [100]) == [(100, [100])]


def test_of_large_pictures_there_is_one_at_a_time_on_a_machine(tmp_path, monkeypatch):
    """Another process waits, and goes on when the first is killed."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    program = (
        "import sys, time\nfrom tfcodec.beam.limits import LARGE, room_of\n"
        "with room_of(LARGE + 1):\n    print('in', flush=True)\n    time.sleep(60)"
    )
    command = [sys.executable, "-c", program]
    first, second = (subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2))
    try:
        seen = []
        for process in (first, second):
            thread = threading.Thread(target=lambda p=process: seen.append((p, p.stdout.read(2))))
            thread.start()
        while not seen:
            time.sleep(0.05)
        time.sleep(0.5)
        assert len(seen) == 1
        seen[0][0].kill()
        deadline = time.monotonic() + 60
        while len(seen) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [said for _, said in seen] == [b"in", b"in"]
    finally:
        for process in (first, second):
            process.kill()
            process.wait()


def test_threads_are_those_that_are_asked_for_unless_a_variable_says_otherwise(monkeypatch):
    monkeypatch.setattr(os, "environ", {"TF_NUM_INTEROP_THREADS": "5"})
    limits.set_threads(None)
    assert os.environ == {"TF_NUM_INTEROP_THREADS": "5"}
    limits.set_threads(2)
    assert os.environ == {"TF_NUM_INTEROP_THREADS": "5", "TF_NUM_INTRAOP_THREADS": "2"}


def test_a_worker_ends_with_its_runner():
    runner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    program = "from tfcodec.beam import limits\nlimits.end_with_runner()\nimport time\n"
    program += "print('on', flush=True)\ntime.sleep(60)"
    env = {**os.environ, limits.RUNNER: str(runner.pid)}
    worker = subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE)
    try:
        assert worker.stdout.read(2) == b"on" and worker.poll() is None
        runner.kill()
        runner.wait()
        assert worker.wait(20) == 1
    finally:
        runner.kill()
        worker.kill()
        worker.wait()
