"""The console entry as a process."""

import os
import pathlib
import subprocess
import sys

import pytest
from standin import install

from tfcodec.commands import main
from tfcodec.exports import installed

ROOT = pathlib.Path(__file__).parents[2]


def test_a_disk_that_fails_is_one_sentence_of_its_own_file(monkeypatch, capsys):
    def fail():
        raise OSError(28, "No space left on device", "runs/metrics.jsonl")

    monkeypatch.setattr(installed, "models", fail)
    monkeypatch.setattr(sys, "argv", ["tfcodec", "models"])
    with pytest.raises(SystemExit) as stop:
        main.run()
    assert stop.value.code == 1
    sentence = "tfcodec: runs/metrics.jsonl: cannot be used (No space left on device)\n"
    assert capsys.readouterr() == ("", sentence)


def test_a_file_that_was_taken_for_flags_is_named_with_the_cure(here, capsys):
    (here / "-x.png").write_bytes(b"")
    assert main.main(["encode", "-x.png"]) == 2
    sentence = "tfcodec: there is a file -x.png: give it as ./-x.png, or behind --\n"
    assert capsys.readouterr().err.endswith(sentence)
    assert main.main(["encode", "--nosuch"]) == 2
    assert "there is a file" not in capsys.readouterr().err


class TestProcess:
    """The script itself, in a process of its own."""

    def run(self, *argv, **options):
        return subprocess.run(
            [sys.executable, ROOT / "encode_decode.py", *argv],
            capture_output=True,
            text=True,
            **options,
        )

    def test_one_sentence_and_no_traceback(self, here):
        (here / "k.tfcd").write_bytes(b"tfcd\x01garbage")
        done = self.run("decode", "k.tfcd")
        assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
        assert done.stderr.startswith("tfcodec: k.tfcd: ")

    def test_a_wrong_command_line_is_status_2(self):
        assert self.run("encode").returncode == 2

    def test_a_reader_that_leaves_is_no_traceback(self, models):
        for k in range(300):
            install(models, f"model-{k}-{'x' * 100}", k.to_bytes(4))
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [sys.executable, ROOT / "encode_decode.py", "models"],
            stdout=write,
            stderr=subprocess.PIPE,
        )
        os.close(write)
        assert done.stderr == b"" and done.returncode == 141
