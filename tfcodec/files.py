"""Files and folders that appear whole or not at all: written beside the target, then renamed.

Knows nothing of what is written. May be imported by every room.
"""

import contextlib
import ctypes
import errno
import glob
import os
import shutil
from collections.abc import Iterator

from tfcodec.errors import InputError

PARTIAL = ".tfcodec-"  # begins the names of files that are being written


def reason(error: OSError) -> str:
    """Why a stream or file failed, in words."""
    return "it is closed" if error.errno == errno.EBADF else error.strerror or str(error)


@contextlib.contextmanager
def unreadable_named(name: str, kind: str) -> Iterator[None]:
    """Turns what opening and reading a file raises into an InputError of one sentence.

    Args: name: what to call the file; kind: what a directory is not, such as "picture".
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{name}: this is a directory, not a {kind}") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({reason(error)})") from error
    except ValueError as error:  # a null byte in the name
        raise InputError(f"{name!r}: cannot be the name of a file ({error})") from error


def check_target(path: str | os.PathLike) -> None:
    """Whether `atomic_write` may put a file here; ask before the work.

    Raises: InputError if the directory is missing or not writable, or the target exists and is not
        a regular file.
    """
    name = os.fspath(path)
    target = os.path.realpath(path)  # writing through a link keeps the link
    directory = os.path.dirname(target)
    if not os.path.isdir(directory):
        raise InputError(f"{name}: the directory {directory} does not exist")
    if not os.access(directory, os.W_OK):
        raise InputError(f"{name}: the directory {directory} is not writable")
    if os.path.isdir(target):
        raise InputError(f"{name}: this is a directory; name a file")
    # Renaming over a device or a pipe would replace it: /dev/null must stay what it is.
    if os.path.exists(target) and not os.path.isfile(target):
        raise InputError(f"{name}: this is not a regular file")


def check_folder(path: str | os.PathLike) -> None:
    """Whether files can be written to a folder, which need not be there; ask before the work.

    Raises: InputError if it, or the nearest folder above it that exists, is none or not writable.
    """
    name, there = os.fspath(path), os.path.realpath(path)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        raise InputError(f"{name}: cannot be a directory, since {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{name}: the directory {there} is not writable")


def atomic_write(path: str | os.PathLike, data: bytes) -> None:
    """Writes `data` beside the target and renames it, so that nobody ever sees half a file.

    The bytes are on the disk before the name is: a loss of power leaves no half file either. What a
    killed process leaves under another name, `remove_leftovers` takes away.

    Raises: InputError as in `check_target`, and if the directory cannot be written.
    """
    check_target(path)
    target = os.path.realpath(path)
    try:
        partial, descriptor = _open_partial(os.path.dirname(target))
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
                os.replace(partial, target)  # while the lock is held, which `with` gives up
        except BaseException:  # KeyboardInterrupt too
            with contextlib.suppress(OSError):
                os.unlink(partial)
            raise
    except OSError as error:
        raise InputError(
            f"{os.fspath(path)}: cannot be written ({error.strerror or error})"
        ) from error


def remove_leftovers(directory: str | os.PathLike) -> None:
    """Removes what killed processes left of `atomic_write`; files that are being written stay.

    Who writes holds a lock, which the system takes away when a process ends, however it ends.
    Where a file system has no locks, everything stays.
    """
    for partial in glob.glob(os.path.join(glob.escape(os.fspath(directory)), f"{PARTIAL}*.part")):
        with contextlib.suppress(OSError):
            descriptor = os.open(partial, os.O_RDONLY)
            try:
                if _lock(descriptor):
                    os.unlink(partial)
            finally:
                os.close(descriptor)


def _open_partial(directory: str) -> tuple[str, int]:
    """(path, descriptor) of a new file that is locked, where the file system has locks."""
    while True:
        # Opened by hand rather than by `tempfile`, which would make the file private (mode 0600).
        partial = os.path.join(directory, f"{PARTIAL}{os.urandom(6).hex()}.part")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        if _lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
            return partial, descriptor
        os.close(descriptor)  # it was taken for a leftover before it had its lock
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)


def _lock(descriptor: int) -> bool | None:
    """Whether the file is ours alone now; None where there are no locks."""
    try:
        import fcntl  # not on Windows

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


@contextlib.contextmanager
def replaced_folder(path: str | os.PathLike) -> Iterator[str]:
    """Gives an empty folder to fill, which takes the place of `path` at the end of the block.

    Whoever looks meanwhile sees the old folder or the new one, complete (where the system cannot
    exchange two names in one step there is a moment between two renames). A block that fails leaves
    the old folder as it was, and nothing else.

    Raises: InputError if the folder cannot be written.
    """
    target = os.path.normpath(path)
    partial = f"{target}.tfcodec-{os.urandom(6).hex()}.part"
    try:
        os.makedirs(partial)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error
    try:
        yield partial
        if not os.path.lexists(target):
            os.rename(partial, target)
        elif not _exchange(partial, target):
            aside = partial + ".old"
            os.rename(target, aside)
            os.rename(partial, target)
            shutil.rmtree(aside)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # what is left of it, or the old one


def _exchange(first: str, second: str) -> bool:
    """Exchanges two names in one step; False where the system or the file system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2  # Linux
    except (AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0
