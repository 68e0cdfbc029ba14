"""What there is to do: patterns, folders, TFRecord files and WebDataset tars to single inputs.

    photos/**  ─► find_files ─► File ─► open_container ─► Source: a name, and where its bytes lie

Only names, headers and lengths are read here; pictures are read where they are worked on, by any
worker, in whatever container they lie.
"""

import dataclasses
import os
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterator

from apache_beam.io.filesystems import FileSystems

from tfcodec.beam.storage import PLAIN, Place, find, join
from tfcodec.errors import InputError
from tfcodec.files import unreadable_named
from tfcodec.training import records

TAR = ".tar"
_GLOB = re.compile(r"[*?\[]")


@dataclasses.dataclass(frozen=True)
class File:
    """A file that was found.

    Args:
        name: below the folder or the wildcards of its pattern.
        path: where it lies, and what errors call it.
        named: it was named itself, and is taken whatever its suffix.
    """

    name: str
    path: str
    named: bool


@dataclasses.dataclass(frozen=True)
class Source:
    """One input.

    Args:
        name: unique in a run; below the name of its container, if it lies in one.
        path: what errors call it.
        place: where its bytes lie.
        shard: its container's name without suffix; None for a plain file.
        record: the bytes are a `tf.train.Example` that holds the picture.
        aside: it is no input but goes with one, as a label does in a WebDataset.
    """

    name: str
    path: str
    place: Place
    shard: str | None = None
    record: bool = False
    aside: bool = False

    def read(self) -> bytes:
        """The input's bytes. Raises: InputError."""
        with unreadable_named(self.path, "picture"):
            data = self.place.read()
        if not self.record:
            return data
        try:
            return records.picture_in(data)
        except ValueError as error:
            raise InputError(f"{self.path}: {error}") from None


def find_files(pattern: str, takes: Callable[[str], bool]) -> Iterator[File]:
    """The files of a pattern, a folder (to its end) or of one name, in order.

    Of a pattern or a folder those are left out that are hidden, lie in hidden folders, or are
    neither taken nor containers.

    Args: pattern: with Beam's wildcards: `**` goes through folders, `*` and `?` do not.
    Raises: InputError if there is none, or they cannot be listed.
    """
    with unreadable_named(pattern, "picture"):
        if pattern.endswith("/") or _is_folder(pattern):
            pattern = join(pattern, "**")
        elif not _GLOB.search(pattern) or FileSystems.exists(pattern):
            if not FileSystems.exists(pattern):
                raise InputError(f"{pattern}: no such file")
            yield File(pattern.rpartition("/")[2], pattern, named=True)
            return
        paths = find(pattern)
    root = len(_GLOB.split(pattern)[0].rpartition("/")[0])
    count = 0
    for path in paths:
        name = path[root:].lstrip("/")
        hidden = any(part.startswith(".") for part in name.split("/"))
        if not hidden and (takes(name) or is_container(name)):
            count += 1
            yield File(name, path, named=False)
    if not count:
        raise InputError(f"{pattern}: no file of the kind that is taken matches this")


def _is_folder(pattern):
    return FileSystems.get_scheme(pattern) is None and os.path.isdir(pattern)


def is_container(name: str) -> bool:
    """Whether a file of that name holds many inputs."""
    return name.lower().endswith(TAR) or bool(records.FILES.search(name))


def open_container(file: File, takes: Callable[[str], bool]) -> Iterator[Source]:
    """The inputs in a file: itself, or those of a container, in their order.

    What a tar holds besides goes `aside`; a record is named by its number.

    Raises: InputError if the file is damaged or compressed, or a member's name would lead out of
        the output folder; those before it have come then.
    """
    if not is_container(file.name):
        yield Source(file.name, file.path, Place(file.path))
        return
    with (
        unreadable_named(file.path, "file"),
        FileSystems.open(file.path, compression_type=PLAIN) as opened,
    ):
        if not file.name.lower().endswith(TAR):
            shard = file.name[: records.FILES.search(file.name).start()] + _number(file.name)
            for k, (offset, length) in enumerate(records.places(opened, file.path)):
                place, path = Place(file.path, offset, length), f"{file.path}/{k:08d}"
                yield Source(f"{shard}/{k:08d}", path, place, shard, record=True)
            return
        shard = file.name[: -len(TAR)]
        for member, offset, length in _members(opened, file.path):
            yield Source(
                f"{shard}/{member}",
                f"{file.path}/{member}",
                Place(file.path, offset, length),
                shard,
                aside=not takes(member),
            )


def _number(name):
    """`-00003-of-00010` of a file that is one of several."""
    return records.FILES.search(name)[1] or ""


def _members(file, path):
    """(name, offset, length) of each file in an open tar."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isreg() and not member.issparse():
                    yield _inside(member.name, path), member.offset_data, member.size
                tar.members = []  # a tar of a million members is no list
            file.seek(tar.offset)  # a header that is cut off passes for the end
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError("it ends within a header")
    except (tarfile.TarError, ValueError) as error:
        raise InputError(f"{path}: not an uncompressed tar, or damaged ({error})") from error


def _inside(name, path):
    """A member's name, plainly written. Raises: InputError for one that leads elsewhere."""
    plain = posixpath.normpath(name)
    if plain.startswith(("/", "../")) or plain in ("..", ".", ""):
        raise InputError(f"{path}: its member {name!r} lies outside of it")
    return plain
