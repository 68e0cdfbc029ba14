"""Standard streams: `-` is a file; one that is closed or full is a sentence, no traceback."""

import io
import os
import pathlib
import pty
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from standin import listing, photograph

from tfcodec import pictures
from tfcodec.coding.format import MAGIC
from tfcodec.commands import streams

SCRIPT = pathlib.Path(__file__).parents[1] / "standin_cli.py"


class Stream(io.TextIOWrapper):
    """A standard stream of the test's own, over bytes."""

    def __init__(self, data=b""):
        super().__init__(io.BytesIO(data), write_through=True)

    def isatty(self):
        return self.terminal

    terminal = False


@pytest.fixture
def piped(monkeypatch, tfcodec):
    """Runs a command line with those bytes on stdin; returns (status, bytes of stdout, stderr)."""

    def piped(data, *argv, terminal=False):
        stdin, stdout = Stream(data), Stream()
        stdin.terminal = stdout.terminal = terminal
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "stdout", stdout)
        status, _, err = tfcodec(*argv)
        return status, stdout.buffer.getvalue(), err

    return piped


class TestDash:
    def test_a_picture_goes_through_pipes_and_results_to_stderr(self, piped):
        photograph("a.png", channels=4)
        status, file, err = piped(pathlib.Path("a.png").read_bytes(), "encode", "-")
        assert status == 0 and file.startswith(MAGIC)
        assert err.startswith(f"stdin  60x40  {len(file)} bytes  ") and err.count("\n") == 1
        status, out, err = piped(file, "decode", "-")
        assert status == 0 and err.startswith(f"stdin  60x40  {len(file)} bytes  ")
        back, photo = pictures.read_bytes(out, "out"), pictures.read("a.png")
        np.testing.assert_array_equal(back.alpha, photo.alpha)
        assert listing() == ["a.png"]

    def test_files_and_pipes_give_the_same_bytes(self, piped, tfcodec):
        photograph("a.png")
        _, file, _ = piped(b"", "encode", "a.png", "-o", "-")
        assert piped(pathlib.Path("a.png").read_bytes(), "encode", "-", "-o", "b.tfcd")[0] == 0
        assert pathlib.Path("b.tfcd").read_bytes() == file

    def test_with_a_named_output_results_are_on_stdout(self, piped):
        photograph("a.png")
        data = pathlib.Path("a.png").read_bytes()
        status, out, err = piped(data, "encode", "-", "-o", "b.tfcd")
        assert (status, err) == (0, "") and out.startswith(b"stdin  60x40  ")

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "ppm"])
    def test_the_format_of_stdout_is_chosen(self, piped, suffix):
        photograph("a.png")
        _, file, _ = piped(b"", "encode", "a.png", "-o", "-")
        for argv in (("-",), ("a.tfcd", "-o", "-")):
            pathlib.Path("a.tfcd").write_bytes(file)
            status, out, _ = piped(file, "decode", *argv, "--format", suffix)
            with Image.open(io.BytesIO(out)) as image:
                assert status == 0 and image.format == pictures.WRITE_FORMATS[f".{suffix}"][0]

    def test_info_and_verify_read_stdin(self, piped, tfcodec):
        photograph("a.png")
        _, file, _ = piped(b"", "encode", "a.png", "-o", "-")
        status, out, _ = piped(file, "info", "-")
        assert status == 0 and out.startswith(b"stdin\n  picture 60x40, RGB\n")
        assert piped(file, "verify", "-")[1].endswith(b"bpp  sound\n")
        status, out, err = piped(file[:-1], "verify", "-")
        assert (status, out) == (1, b"") and err.startswith("tfcodec: stdin: ")

    @pytest.mark.parametrize("command", ["encode", "decode", "info", "verify"])
    def test_an_empty_stdin(self, piped, command):
        status, out, err = piped(b"", command, "-")
        assert (status, out, err) == (1, b"", "tfcodec: stdin: the file is empty\n")

    @pytest.mark.parametrize("command", ["encode", "decode", "info"])
    def test_a_terminal_is_not_waited_for(self, piped, command):
        status, out, err = piped(b"", command, "-", terminal=True)
        assert (status, out) == (1, b"") and "this is a terminal" in err and err.count("\n") == 1

    def test_no_binary_data_goes_to_a_terminal(self, piped, codec):
        photograph("a.png")
        status, out, err = piped(b"", "encode", "a.png", "-o", "-", terminal=True)
        assert (status, out, codec.loads) == (1, b"", 0)
        assert err == (
            "tfcodec: stdout: this is a terminal; name a file with -o, or use > or a pipe\n"
        )

    def test_an_endless_stdin_ends(self, piped, monkeypatch):
        monkeypatch.setattr("tfcodec.commands.encode.MOST_BYTES_BESIDE", 100)
        status, _, err = piped(bytes(1000), "encode", "-", "--max_pixels", "100")
        assert status == 1 and "stdin: is larger than any picture of 100 pixels" in err


def shell(line, **environment):
    """(status, stdout, stderr) of a line of shell in which $T is the command line."""
    environment = {**os.environ, "T": f"{sys.executable} {SCRIPT}", **environment}
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, encoding="latin-1", env=environment
    )
    return done.returncode, done.stdout, done.stderr


FULL = pytest.param(">/dev/full", "No space left on device", id="full")
CLOSED = pytest.param(">&-", "it is closed", id="closed")


class TestBrokenStreams:
    """As processes: the shell closes and fills."""

    @pytest.fixture(autouse=True)
    def photographs(self, here):
        photograph("a.png")
        photograph("b.png", 30)

    @pytest.mark.parametrize("stream, reason", [FULL, CLOSED])
    def test_files_are_written_though_nobody_can_be_told(self, stream, reason):
        status, _, err = shell(f"$T encode a.png b.png {stream}")
        assert (status, err) == (0, f"tfcodec: stdout: cannot be written ({reason})\n")
        assert listing() == ["a.png", "a.tfcd", "b.png", "b.tfcd"]
        assert pathlib.Path("a.tfcd").read_bytes().startswith(MAGIC)

    @pytest.mark.parametrize("stream, reason", [FULL, CLOSED])
    @pytest.mark.parametrize(
        "command", ["info a.tfcd a.tfcd", "verify a.tfcd", "models", "train --list", "--help"]
    )
    def test_lines_that_are_the_result_are_missed(self, stream, reason, command):
        shell("$T encode a.png")
        status, _, err = shell(f"$T {command} {stream}")
        assert (status, err) == (1, f"tfcodec: stdout: cannot be written ({reason})\n")

    @pytest.mark.parametrize("stream, reason", [FULL, CLOSED])
    def test_data_that_is_the_output_is_missed(self, stream, reason):
        status, _, err = shell(f"$T encode a.png -o - {stream}")
        assert (status, err) == (1, f"tfcodec: stdout: cannot be written ({reason})\n")

    @pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full", "<&- 2>&-"])
    def test_a_stderr_that_is_gone_stops_nothing(self, stream):
        status, out, _ = shell(f"$T encode missing.png a.png {stream}")
        assert status == 1 and out.startswith("a.png  60x40  ") and "a.tfcd" in listing()
        assert pathlib.Path("a.tfcd").read_bytes().startswith(MAGIC)

    def test_all_of_them_closed(self):
        assert shell("$T encode a.png <&- >&- 2>&-")[0] == 0
        assert shell("$T verify a.tfcd")[1].endswith("sound\n")

    def test_a_closed_stdin_is_a_sentence(self):
        status, _, err = shell("$T encode - <&-")
        assert (status, err) == (1, "tfcodec: stdin: cannot be read (it is closed)\n")

    def test_a_pipeline(self):
        status, out, err = shell("$T encode - < a.png | $T decode - --format ppm")
        assert status == 0 and out.startswith("P6\n60 40\n255\n") and err.count("stdin  60x40") == 2

    def test_what_is_opened_next_does_not_take_the_place_of_a_closed_stream(self):
        """A file at descriptor 2 would get what libraries print."""
        code = (
            "from tfcodec.commands import streams; import os; streams.repair(); "
            "print(os.open('x', os.O_CREAT | os.O_WRONLY) > 2)"
        )
        done = subprocess.run(
            ["sh", "-c", f'"{sys.executable}" -c "{code}" <&- 2>&-'], capture_output=True, text=True
        )
        assert done.stdout == "True\n"


def test_a_real_terminal_is_refused(here):
    photograph("a.png")
    master, slave = pty.openpty()
    done = subprocess.run(
        [sys.executable, SCRIPT, "encode", "a.png", "-o", "-"], stdout=slave, stderr=subprocess.PIPE
    )
    os.close(slave)
    os.close(master)
    assert done.returncode == 1 and b"stdout: this is a terminal" in done.stderr


def test_a_reader_that_leaves_is_no_failure_of_ours(monkeypatch):
    class Gone(Stream):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())
    with pytest.raises(BrokenPipeError):
        streams.say("a line")
