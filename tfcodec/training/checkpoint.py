"""Checkpoints: folders of arrays that are either whole or not loaded.

A checkpoint is written under another name (`.partial`), brought to the disk and renamed; its
`state.json`, written last, lists the size and the CRC-32 of every piece. What a killed process, a
full disk or a half-copied folder leaves behind is recognised and passed over.
"""

import io
import json
import os
import shutil
import zlib

import numpy as np
from absl import logging

from tfcodec.errors import InputError

PIECE_BYTES = 16 << 20  # of an array file, at most, unless one array is larger
STATE = "state.json"
MODEL = "model.json"  # of a run: {"model", "preset", "config"}
PARTIAL = ".partial"


def write(path: str, arrays: dict[str, np.ndarray], state: dict | None = None) -> None:
    """Writes arrays, by name, to the folder `path`, and replaces one that is there.

    Args: state: a dictionary for JSON, read back by `read`; None for the arrays alone.
    """
    partial = os.path.normpath(path) + PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(partial)
    files = {}
    for k, piece in enumerate(_pieces(arrays)):
        name, buffer = f"piece-{k:02d}.npz", io.BytesIO()
        np.savez(buffer, **piece)
        content = buffer.getvalue()
        _write_file(os.path.join(partial, name), content)
        files[name] = [len(content), zlib.crc32(content)]
    if state is not None:
        text = json.dumps({**state, "files": files}, indent=1)
        _write_file(os.path.join(partial, STATE), text.encode())
    _sync_folder(partial)
    if os.path.exists(path):
        remove(path)
    os.rename(partial, path)
    _sync_folder(os.path.dirname(os.path.abspath(path)))


def check_replaceable(path: str) -> None:
    """Raises InputError if a folder holds anything but arrays, so that `write` shall not replace
    it."""
    names = set(os.listdir(path)) - {STATE} if os.path.isdir(path) else ()
    if any(not name.startswith("piece-") for name in names):
        raise InputError(f"{path}: exists and holds other files; it is not replaced")


def remove(path: str) -> None:
    """Removes a checkpoint; at no moment is half of it visible under its name."""
    condemned = os.path.normpath(path) + ".removed" + PARTIAL
    shutil.rmtree(condemned, ignore_errors=True)
    os.rename(path, condemned)
    shutil.rmtree(condemned)


def listed(directory: str) -> list[str]:
    """Paths of the checkpoints in a run's directory, oldest first; `read` tells if one is whole."""
    if not os.path.isdir(directory):
        return []
    names = sorted(n for n in os.listdir(directory) if n.startswith("step-"))
    return [os.path.join(directory, n) for n in names if not n.endswith(PARTIAL)]


def read_model(directory: str) -> tuple[str, str] | None:
    """(model, preset) of the run in a directory, or None if there is none that can be continued."""
    if not listed(directory):
        return None
    try:
        with open(os.path.join(directory, MODEL), encoding="utf-8") as file:
            described = json.load(file)
        return described["model"], described["preset"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read(path: str) -> tuple[dict[str, np.ndarray], dict]:
    """(arrays by name, state) of a folder that `write` made.

    The state is {} where none was written. Older checkpoints list no files: what they hold is
    taken as it is.
    Raises: InputError, saying what is missing or damaged.
    """
    try:
        with open(os.path.join(path, STATE), "rb") as file:
            state = json.loads(file.read())
    except FileNotFoundError:
        if os.path.basename(os.path.normpath(path)).startswith("step-"):
            raise InputError(f"{path}: {STATE} is missing, the checkpoint is not whole") from None
        state = {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {STATE} cannot be read ({error})") from None
    names = sorted(n for n in os.listdir(path) if n.endswith(".npz"))
    files = state.pop("files", dict.fromkeys(names))
    arrays = {}
    for name, expected in files.items():
        try:
            with open(os.path.join(path, name), "rb") as file:
                piece = file.read()
            if expected is not None and [len(piece), zlib.crc32(piece)] != expected:
                raise ValueError(f"{len(piece)} bytes and their CRC-32 are not those written")
            with np.load(io.BytesIO(piece), allow_pickle=False) as loaded:
                arrays.update(loaded.items())
        except FileNotFoundError:
            raise InputError(f"{path}: {name} is missing, the checkpoint is not whole") from None
        except Exception as error:  # whatever numpy raises on a damaged file
            raise InputError(f"{path}: {name} is damaged ({error})") from None
    return arrays, state


def newest(directory: str) -> tuple[str, dict[str, np.ndarray], dict] | None:
    """(path, arrays, state) of the newest whole checkpoint in a run's directory, or None.

    Newer ones that are damaged are passed over with a notice.
    """
    for path in reversed(listed(directory)):
        try:
            return path, *read(path)
        except InputError as error:
            logging.warning("passed over: %s", error)
    return None


def _pieces(arrays):
    piece, size = {}, 0
    for name, array in arrays.items():
        if piece and size + array.nbytes > PIECE_BYTES - 65536:
            yield piece
            piece, size = {}, 0
        piece[name], size = array, size + array.nbytes
    yield piece


def _write_file(path, content):
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
