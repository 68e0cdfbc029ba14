"""What was done: a line a picture, in JSON lines and Parquet, and what a run knows of those before.

    OUTPUT/manifest/compress-00000-of-00001.jsonl, .parquet   one entry an input, by name
    OUTPUT/manifest/compress-dead_letters.jsonl               what failed, with its sentence
    OUTPUT/manifest/compress-unfinished/                      until a run ends

An entry goes to a journal of its worker before its output gets its name. So whatever ends a run,
each finished output has an entry, and an entry holds if the output that it names has its SHA-256:
the next run does that picture no more. Journals end with the run, whose manifest has it all.

On a disk every line of a journal survives the process. Object stores keep a file when it is closed,
so there a journal is closed each JOURNAL_SECONDS, and an unlucky end costs as much work.
"""

import hashlib
import io
import json
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from apache_beam.io.filesystems import FileSystems

from tfcodec.beam.storage import PLAIN, Place, find, join

Entry = dict[str, Any]
# Of the manifest; the last is the only one that differs from run to run.
COLUMNS = {
    "name": "string",
    "input_sha256": "string",
    "input_bytes": "int64",
    "output": "string",  # below the output folder; null if there is none
    "offset": "int64",  # where it begins in a container; null for a plain file
    "output_sha256": "string",
    "output_bytes": "int64",
    "width": "int32",
    "height": "int32",
    "bpp": "double",  # of the .tfcd file
    "psnr": "double",  # dB, if it was asked for
    "model": "string",
    "settings": "string",
    "seconds": "double",  # reading, work and writing, of when the work was done
}
JOURNAL_SECONDS = 60


class Folder:
    """Where things lie in an output folder.

    Args: output: the folder; task: the name of what is done.
    """

    def __init__(self, output: str, task: str):
        self.output, self._manifest, self._task = output, join(output, "manifest"), task

    @property
    def unfinished(self) -> str:
        """What is no more when a run has ended."""
        return join(self._manifest, f"{self._task}-unfinished")

    @property
    def partial(self) -> str:
        return join(self.unfinished, "partial")

    @property
    def dead_letters(self) -> str:
        return join(self._manifest, f"{self._task}-dead_letters.jsonl")

    def shard(self, number: int, count: int) -> str:
        """Of the manifest, without suffix."""
        return join(self._manifest, f"{self._task}-{number:05d}-of-{count:05d}")

    @property
    def shards(self) -> str:
        """Pattern of all shards of manifests, with suffixes."""
        return join(self._manifest, f"{self._task}-*-of-*")

    def journal(self) -> str:
        return join(self.unfinished, "journal", f"{uuid.uuid4().hex}.jsonl")

    def staged(self, target: str) -> str:
        """Where an output waits for its container, below the output folder."""
        return f"manifest/{self._task}-unfinished/staged/{target}"

    def before(self) -> list[str]:
        """Files with the entries of runs before, finished or not."""
        finished = find(f"{self.shards}.jsonl")
        return finished + find(join(self.unfinished, "journal", "*.jsonl"))

    def place(self, entry: Entry) -> Place:
        """Where the bytes of an entry's output lie."""
        path = join(self.output, entry["output"])
        return Place(path, entry["offset"] or 0, entry["output_bytes"])

    def holds(self, entry: Entry) -> bool:
        """Whether the output of an entry is there, as it was written."""
        if entry["output"] is None:
            return True
        place = self.place(entry)
        if entry["offset"] is None:
            place = Place(place.path)  # to its end: appended bytes are damage
        try:
            return sha256(place.read()) == entry["output_sha256"]
        except OSError:
            return False


class Journal:
    """The entries of one worker, line by line, on the disk before their outputs have names.

    Args: folder: where it lies.
    """

    def __init__(self, folder: Folder):
        self._folder, self._file, self._opened = folder, None, 0.0

    def add(self, entry: Entry) -> None:
        """Writes an entry. Raises: OSError."""
        if self._file is not None and time.monotonic() - self._opened > JOURNAL_SECONDS:
            self.close()
        if self._file is None:
            path, self._opened = self._folder.journal(), time.monotonic()
            self._file = FileSystems.create(path, compression_type=PLAIN)
        self._file.write(to_line(entry))
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read(path: str) -> Iterator[Entry]:
    """The entries of a file; a line that a killed process has not ended is left out.

    Raises: OSError.
    """
    for line in Place(path).read().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and set(COLUMNS) <= set(entry):
            yield entry


def to_line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def to_lines(entries: Iterable[Entry]) -> bytes:
    """JSON lines of the columns."""
    return b"".join(to_line({column: entry[column] for column in COLUMNS}) for entry in entries)


def to_parquet(entries: list[Entry]) -> bytes:
    """The same as a Parquet file."""
    import pyarrow
    from pyarrow import parquet

    types = {"string": pyarrow.string(), "double": pyarrow.float64()}
    types |= {"int32": pyarrow.int32(), "int64": pyarrow.int64()}
    schema = pyarrow.schema([(column, types[kind]) for column, kind in COLUMNS.items()])
    rows = [{column: entry[column] for column in COLUMNS} for entry in entries]
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), file, compression="zstd")
    return file.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def spread(name: str, count: int) -> int:
    """Which of `count` shards a name belongs to, on every machine and in every run."""
    return zlib.crc32(name.encode()) % count
