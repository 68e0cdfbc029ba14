"""Processes: what TensorFlow may say in them, and what is left of it after a fork."""

import pathlib
import subprocess
import sys

import numpy as np
import tiny_exports

from tfcodec import pictures

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


LEAN = """
import sys
from tfcodec import quiet
unused = quiet.UNUSED + ("matplotlib",)
quiet.import_tensorflow(lean=True)
assert "tensorflow" in sys.modules and not set(unused) & set(sys.modules)
"""


def test_what_a_command_leaves_out_can_be_imported_later():
    """Keras works, by its own name and by TensorFlow's, and whatever else is installed."""
    code = LEAN + (
        "import importlib, importlib.util\n"
        "import tensorflow as tf\n"
        "assert tf.keras.layers.Dense(2)(tf.zeros([1, 3])).shape == (1, 2)\n"
        "for name in unused:\n"
        "    if importlib.util.find_spec(name):\n"
        "        importlib.import_module(name)\n"
        "import keras\n"
        "assert keras.optimizers.Adam is tf.keras.optimizers.Adam\n"
    )
    assert run(code, TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow")[:2] == (0, "")


def test_what_is_there_already_stays():
    code = "import keras\nfrom tfcodec import quiet\nquiet.import_tensorflow(lean=True)\n"
    code += "import sys\nassert sys.modules['keras'] is keras and 'tensorflow' in sys.modules\n"
    assert run(code, KERAS_BACKEND="tensorflow")[:2] == (0, "")


def test_the_library_leaves_nothing_out(tmp_path):
    """Whoever uses it may count on all that TensorFlow imports."""
    tiny_exports.tiny_export(tmp_path / "tiny")
    code = ROUND_TRIP + "assert 'keras' in sys.modules\n"
    assert run(code, str(tmp_path / "tiny")) == (0, "", "")


def test_coding_on_the_command_line_imports_neither_keras_nor_matplotlib(tmp_path):
    tiny_exports.tiny_export(tmp_path / "models" / "tiny")
    picture = pictures.from_array(np.zeros([32, 40, 3], np.uint8))
    pictures.write(str(tmp_path / "p.png"), picture)
    code = (
        "import sys\n"
        "from tfcodec.commands import main\n"
        "folder = sys.argv[1]\n"
        "coded = ['-o', folder + '/p.tfcd', '--model', 'tiny']\n"
        "assert main.main(['encode', folder + '/p.png', *coded]) == 0\n"
        "assert main.main(['decode', folder + '/p.tfcd', '-o', folder + '/q.png']) == 0\n"
        "print(*{'jax', 'keras', 'matplotlib', 'tensorflow'} & set(sys.modules), file=sys.stderr)\n"
    )
    status, _, said = run(code, str(tmp_path), TFCODEC_MODELS=str(tmp_path / "models"))
    assert (status, said) == (0, "tensorflow\n")
