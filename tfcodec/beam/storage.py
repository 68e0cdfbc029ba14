"""Files anywhere that Beam's filesystems reach: a disk, gs://, s3://, hdfs://."""

import contextlib
import dataclasses
import os
import uuid
from collections.abc import Iterator
from typing import BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

PLAIN = CompressionTypes.UNCOMPRESSED  # whatever a name says: bytes are what they are


@dataclasses.dataclass(frozen=True)
class Place:
    """Where bytes lie: a whole file, or `length` bytes from `offset` on."""

    path: str
    offset: int = 0
    length: int | None = None

    def read(self) -> bytes:
        """The bytes. Raises: OSError."""
        with FileSystems.open(self.path, compression_type=PLAIN) as file:
            if self.offset:
                file.seek(self.offset)
            return file.read() if self.length is None else file.read(self.length)


def join(folder: str, *names: str) -> str:
    """A path below a folder; names may hold slashes."""
    return "/".join([folder.rstrip("/") if folder.rstrip("/") else folder, *names])


def find(pattern: str) -> list[str]:
    """Paths of the files that match, in order; none if there are none.

    Raises: OSError if the folder cannot be listed.
    """
    (result,) = FileSystems.match([pattern])
    return sorted(metadata.path for metadata in result.metadata_list)


class Writer:
    """Writes files below a folder, each beside its place and then renamed, so that nobody sees
    half a file.

    Args: partial: folder of what is being written, on the same filesystem.
    """

    def __init__(self, partial: str):
        self._partial, self._made = partial, set()

    @contextlib.contextmanager
    def beside(self, path: str) -> Iterator[BinaryIO]:
        """A file to write, which gets its name at the end of the block, if that does not fail.

        Raises: OSError if it cannot be written.
        """
        partial = join(self._partial, uuid.uuid4().hex)
        self._make(self._partial)
        try:
            with FileSystems.create(partial, compression_type=PLAIN) as file:
                yield file
                file.flush()
                with contextlib.suppress(OSError, AttributeError):  # where there are disks
                    os.fsync(file.fileno())
            self._make(path.rpartition("/")[0])
            _rename(partial, path)
        except BaseException:
            remove(partial)
            raise

    def _make(self, folder: str) -> None:
        if folder and folder not in self._made:
            with contextlib.suppress(OSError):  # it is there
                FileSystems.mkdirs(folder)
            self._made.add(folder)


def _rename(source: str, target: str) -> None:
    try:
        FileSystems.rename([source], [target])
    except OSError:
        if not FileSystems.exists(target) or not FileSystems.exists(source):
            raise
        FileSystems.delete([target])  # HDFS renames over nothing
        FileSystems.rename([source], [target])


def remove(pattern: str) -> None:
    """Removes files, or on a disk a folder, if they are there."""
    with contextlib.suppress(OSError):
        FileSystems.delete([pattern])


def remove_folder(folder: str) -> None:
    """Removes a folder and all below it, if it is there."""
    if FileSystems.get_scheme(folder) is None:
        remove(folder)
    else:
        remove(join(folder, "**"))
