"""Processes: what TensorFlow may say in them, and what is left of it after a fork."""

import pathlib
import subprocess
import sys

import tiny_exports

ROOT = pathlib.Path(__file__).parent.parent


def run(code, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={"PATH": "", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


ROUND_TRIP = """
import sys, numpy as np, tfcodec
codec = tfcodec.load(sys.argv[1])
from tfcodec import pictures
codec.encode(pictures.from_array(np.zeros([32, 32, 3], np.uint8))).reconstruction()
"""


def test_nothing_of_tensorflows_is_printed_unless_asked_for(tmp_path):
    tiny_exports.tiny_export(tmp_path / "tiny")
    assert run(ROUND_TRIP, str(tmp_path / "tiny")) == (0, "", "")
    status, _, chatter = run(ROUND_TRIP, str(tmp_path / "tiny"), TF_CPP_MIN_LOG_LEVEL="0")
    assert status == 0 and "oneDNN" in chatter


def test_what_others_write_while_tensorflow_is_imported_comes_late_not_never():
    code = (
        "import os, sys, types\n"
        "class Talker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'tensorflow':\n"
        "            os.write(2, b'2026-11-26 14:00:00.1: I port.cc] chatter\\n')\n"
        "            os.write(2, b'I0000 00:00:17.2 9 port.cc] chatter\\n')\n"
        "            os.write(2, b'a word\\n')\n"
        "sys.meta_path = [Talker()]\n"  # nothing is found
        "from_tfcodec.import_tensorflow()\n"
        "os.write(2, b'and another\\n')\n"
    )
    code = "import importlib, tempfile, logging\nfrom tfcodec import quiet as from_tfcodec\n" + code
    assert run(code) == (0, "", "a word\nand another\n")


def test_a_forked_child_is_told_rather_than_left_to_hang(tmp_path):
    tiny_exports.tiny_export(tmp_path / "tiny")
    code = ROUND_TRIP + (
        "import os\n"
        "from tfcodec.errors import ModelError\n"
        "if os.fork():\n"
        "    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        "for use in (lambda: codec.encode(pictures.from_array(np.zeros([8, 8, 3], np.uint8))),\n"
        "            lambda: tfcodec.load()):\n"
        "    try:\n"
        "        use()\n"
        "    except ModelError as error:\n"
        "        print(error)\n"
        "sys.stdout.flush()\n"
        "os._exit(7)\n"
    )
    status, said, _ = run(code, str(tmp_path / "tiny"))
    assert status == 7
    first, second = said.splitlines()
    assert first == second and "before this process forked" in first and "spawn" in first
