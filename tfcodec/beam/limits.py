"""How much a worker does at a time, and how long: threads, pixels in memory, its runner's life."""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator

# Some 40 bytes of memory a pixel (benchmarks/large.py), so 0.35 GB beside what a process takes.
PIXELS_AT_A_TIME = 2**23
LARGE = 2**22  # pixels from which a picture is coded alone on its machine
RUNNER = "TFCODEC_BEAM_RUNNER"  # variable with the id of the process that has workers here


def end_with_runner() -> None:
    """Ends this process soon after the one that RUNNER names, if there is one.

    Beam's worker processes outlive a runner that was killed: they would go on beside the next run.
    """
    runner = int(os.environ.pop(RUNNER, 0))  # once a process
    if runner not in (0, os.getpid()):
        threading.Thread(target=_end_with, args=[runner], daemon=True).start()


def _end_with(process):
    while True:
        try:
            os.kill(process, 0)  # only asks
        except ProcessLookupError:
            os._exit(1)
        time.sleep(0.2)


def set_threads(threads: int | None) -> None:
    """Threads of TensorFlow's operations in this process, if it has not been imported yet.

    Args: threads: None leaves TensorFlow's own choice, all cores; so does a variable that is set.
    """
    if threads is not None:
        for kind in ("INTRAOP", "INTEROP"):
            os.environ.setdefault(f"TF_NUM_{kind}_THREADS", str(threads))


class Room:
    """A number of pixels that pictures share, first come, first served.

    A picture waits until it fits; one that is larger than the whole room waits until it is empty.

    Args: pixels: how many there is room for.
    """

    def __init__(self, pixels: int):
        self._pixels, self._taken = pixels, 0
        self._turn, self._changed = threading.Lock(), threading.Condition()

    @contextlib.contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        """Room for a picture, within the block."""
        with self._turn, self._changed:  # whoever waits in turn lets nobody pass
            self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= self._pixels)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()


_ROOM = Room(PIXELS_AT_A_TIME)  # of all threads of this process


@contextlib.contextmanager
def room_of(pixels: int) -> Iterator[None]:
    """Waits until this machine has room for a picture of so many pixels, and keeps it.

    Of large pictures there is one at a time on a machine, in whatever process.
    """
    with _ROOM.of(pixels), _alone() if pixels > LARGE else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _alone():
    """A lock of this user on this machine, which the system takes back from processes that end."""
    try:
        import fcntl  # not on Windows
    except ImportError:
        yield
        return
    path = os.path.join(tempfile.gettempdir(), f"tfcodec-beam-{os.getuid()}.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
