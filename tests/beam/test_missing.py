"""Where Apache Beam is not installed."""

import subprocess
import sys

CURE = "tfcodec.beam needs Apache Beam (import of apache_beam halted; None in sys.modules): "
CURE += "pip install 'tfcodec[beam]'"


def run(program):
    hide = "import sys; sys.modules['apache_beam'] = None\n"
    return subprocess.run([sys.executable, "-c", hide + program], capture_output=True, text=True)


def test_importing_it_says_what_to_install():
    done = run("import tfcodec.beam")
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == f"ImportError: {CURE}"


def test_the_command_says_it_in_one_sentence():
    done = run(
        "from tfcodec.commands import main\n"
        "sys.exit(main.main('beam compress --input a --output b'.split()))"
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"tfcodec: {CURE}\n")
