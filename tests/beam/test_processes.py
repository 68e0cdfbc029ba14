"""Worker processes: two of DirectRunner, killed with their runner or not, and those of a portable
runner over loopback. Some minutes: run with -m slow."""

import collections
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import time

import pytest
from pipelines import dead_letters, lines, photograph, tree

from tfcodec.commands import main as cli

pytest.importorskip("apache_beam", reason="needs the extra beam")
pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
PICTURES, BAD = 200, 2
TWO = "--direct_num_workers 2 --direct_running_mode multi_processing"
WISH = "--bpp 6"  # eight encodes a picture


@pytest.fixture
def photos(here):
    """photos/ of 200 pictures, of which two are damaged."""
    for k in range(PICTURES):
        path = photograph(f"photos/{k % 7}/{k:03d}.png", k, (64 + k % 5, 96, 3))
        if k % (PICTURES // BAD) == 9:
            path.write_bytes(path.read_bytes()[:200])


def start(output, more=TWO):
    """The command line in a process, and so its workers."""
    words = f"beam compress --input photos --output {output} --model models/tiny {WISH} {more}"
    command = [sys.executable, str(ROOT / "encode_decode.py"), *words.split()]
    with open("log.txt", "ab") as log:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, stdout=log, stderr=log, env=env)


def entries_of_journals(output):
    """Whole lines, and so pieces of work that were done, of runs that did not end."""
    found = []
    for path in pathlib.Path(output).glob("manifest/compress-unfinished/journal/*"):
        found += [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    return found


def check(output):
    """The outputs and dead letters are those of the command line."""
    assert cli.main(f"encode photos --output_dir plain --model models/tiny {WISH}".split()) == 1
    assert tree(output) == tree("plain") and len(tree(output)) == PICTURES - BAD
    assert list(dead_letters(output)) == ["photos/2/009.png", "photos/4/109.png"]
    assert len(lines(output)) == PICTURES - BAD


def test_two_worker_processes_write_the_files_of_the_command_line(photos):
    assert start("small").wait() == 1, pathlib.Path("log.txt").read_text()
    check("small")


def test_killed_at_random_and_started_again_it_ends_as_one_clean_run(photos):
    assert start("clean").wait() == 1
    rng = random.Random(0)
    moments = sorted(rng.sample(range(PICTURES - 20), 5))
    for moment in moments:
        runner = start("small")
        deadline = time.monotonic() + 300
        while len(entries_of_journals("small")) <= moment and time.monotonic() < deadline:
            time.sleep(0.02)
        runner.kill()
        runner.wait()
        time.sleep(1)  # its workers follow it
    before = entries_of_journals("small")
    assert moments[-1] < len(before)
    assert start("small").wait() == 1
    assert tree("small") == tree("clean") and lines("small") == lines("clean")
    assert dead_letters("small") == dead_letters("clean")
    assert not pathlib.Path("small/manifest/compress-unfinished").exists()
    last = [entry for entry in lines("small", seconds=True) if entry not in before]
    done = collections.Counter(entry["name"] for entry in [*before, *last])
    assert max(done.values()) <= 2 and sum(done.values()) <= PICTURES - BAD + 2 * 5
    assert len(last) < PICTURES - BAD - moments[-1]
    check("small")


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def test_a_portable_runner_with_a_pool_of_workers_writes_the_same(photos):
    """A job server and worker processes, of which each knows the other by its address alone."""
    job, pool = free_port(), free_port()
    modules = (
        ("apache_beam.runners.portability.local_job_service_main", "--job_port", job),
        ("apache_beam.runners.worker.worker_pool_main", "--service_port", pool),
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env["PATH"] = f"{pathlib.Path(sys.executable).parent}:{env['PATH']}"  # it starts `python`
    with open("servers.txt", "wb") as log:
        servers = [
            subprocess.Popen([sys.executable, "-m", *map(str, words)], env=env, stderr=log)
            for words in modules
        ]
    try:
        for port in (job, pool):
            wait_for(port)
        options = f"--runner PortableRunner --job_endpoint localhost:{job} "
        options += f"--environment_type EXTERNAL --environment_config localhost:{pool}"
        assert start("small", options).wait() == 1, pathlib.Path("log.txt").read_text()
    finally:
        for server in servers:
            server.terminate()
            server.wait()
    check("small")


def wait_for(port):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as client:
            if client.connect_ex(("localhost", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nobody listens at {port}")
