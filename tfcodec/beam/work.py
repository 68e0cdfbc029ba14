"""A task as Beam's workers run it: one element an input, and the sentence of each that fails.

(target, its sources and former entries) ─► Work ─► entries ─► Pack ─► entries, in containers
                                              └───► dead letters
"""

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from tfcodec.beam.containers import KINDS, write
from tfcodec.beam.inputs import File, Source, find_files, open_container
from tfcodec.beam.limits import end_with_runner, room_of, set_threads
from tfcodec.beam.manifest import (
    Entry,
    Folder,
    Journal,
    read,
    sha256,
    spread,
    to_line,
    to_lines,
    to_parquet,
)
from tfcodec.beam.storage import Place, Writer, find, join, remove, remove_folder
from tfcodec.beam.tasks import Result, Task
from tfcodec.errors import InputError, TfcodecError

DEAD, ASIDE = "dead_letters", "asides"
COUNTERS = "tfcodec"  # Beam's namespace of: done, skipped, dead_letters, input_bytes ...


def dead_letter(error: TfcodecError | str, name: str) -> TaggedOutput:
    """What becomes of an input that failed: its name and one sentence that begins with a name."""
    Metrics.counter(COUNTERS, DEAD).inc()
    sentence = " ".join(str(error).split())
    if not sentence.startswith((f"{name}: ", f"{name!r}: ")):
        sentence = f"{name}: {sentence}"
    plain = [text.encode("utf-8", "backslashreplace").decode() for text in (name, sentence)]
    return TaggedOutput(DEAD, dict(zip(("name", "sentence"), plain, strict=True)))


class Find(beam.DoFn):
    """Patterns to `File`s."""

    def __init__(self, task: Task):
        self._task = task

    def setup(self) -> None:
        end_with_runner()

    def process(self, pattern: str) -> Iterator[Any]:
        try:
            yield from find_files(pattern, self._task.takes)
        except InputError as error:
            yield dead_letter(error, pattern)


class Open(beam.DoFn):
    """`File`s to (target, Source); what only goes with an input is tagged ASIDE."""

    def __init__(self, task: Task):
        self._task = task

    def process(self, file: File) -> Iterator[Any]:
        try:
            for source in open_container(file, self._task.takes):
                try:
                    key = self._task.target(source.name).encode()
                except UnicodeEncodeError:
                    yield dead_letter("its name is no UTF-8; rename it", source.path)
                    continue
                yield TaggedOutput(ASIDE, source) if source.aside else (key, source)
        except InputError as error:
            yield dead_letter(error, file.path)


class Before(beam.DoFn):
    """Paths of manifests and journals to (target, entry)."""

    def __init__(self, task: Task):
        self._task = task

    def process(self, path: str) -> Iterator[tuple[bytes, Entry]]:
        for entry in read(path):
            yield self._task.target(entry["name"]).encode(), entry


class Worker:
    """A task in one process: started with the first input, and counted."""

    def __init__(self, task: Task, threads: int | None):
        self._task, self._threads, self._started = task, threads, False

    def work(self, data: bytes, name: str) -> tuple[Result, float]:
        """The result and its seconds. Raises: TfcodecError for a bad input."""
        start = time.perf_counter()
        with room_of(self._pixels(data, name)):
            waited = time.perf_counter() - start
            result = self._task.work(data, name)
        seconds = time.perf_counter() - start - waited
        for counter, count in (
            ("done", 1),
            ("input_bytes", len(data)),
            ("output_bytes", len(result.data or b"")),
            ("pixels", result.height * result.width),
            ("milliseconds", round(1000 * seconds)),
        ):
            Metrics.counter(COUNTERS, counter).inc(count)
        return result, seconds

    def start(self) -> None:
        """Loads the model. Raises: RuntimeError, for that is no fault of an input: the run ends."""
        if self._started:
            return
        set_threads(self._threads)
        try:
            self._task.start()
        except TfcodecError as error:
            raise RuntimeError(str(error)) from error
        self._started = True

    def _pixels(self, data, name):
        try:
            return self._task.pixels(data, name)
        except TfcodecError:
            return 0  # `work` has the sentence


class WorkOnPairs(beam.DoFn):
    """(name, bytes) to (target, bytes), and to entries, tagged so."""

    def __init__(self, task: Task, threads: int | None):
        self._task, self._worker = task, Worker(task, threads)

    def process(self, pair: tuple[str, bytes]) -> Iterator[Any]:
        name, data = pair
        self._worker.start()
        try:
            result, seconds = self._worker.work(data, name)
        except TfcodecError as error:
            yield dead_letter(error, name)
            return
        if result.data is not None:
            yield self._task.target(name), result.data
        entry = make_entry(self._task, name, data, result)
        entry["seconds"] = round(seconds, 4)
        yield TaggedOutput("entries", entry)


class Work(beam.DoFn):
    """(target, {"sources": .., "entries": ..}) to (container or "", entry).

    Args:
        task: what is done.
        folder: of the outputs.
        kind: "files", or one of `KINDS`.
        shards: containers that plain files are spread over.
        threads: of TensorFlow's operations; None for its own choice.
    """

    def __init__(self, task: Task, folder: Folder, kind: str, shards: int, threads: int | None):
        self._task, self._folder, self._kind, self._shards = task, folder, kind, shards
        self._worker = Worker(task, threads)

    def setup(self) -> None:
        end_with_runner()
        self._writer, self._journal = Writer(self._folder.partial), Journal(self._folder)

    def finish_bundle(self) -> None:
        self._journal.close()

    def teardown(self) -> None:
        self._journal.close()

    def process(self, element: tuple[bytes, dict[str, Iterable]]) -> Iterator[Any]:
        target, found = element[0].decode(), element[1]
        sources = sorted(set(found["sources"]), key=lambda source: source.path)
        entries = sorted(found["entries"], key=lambda entry: json.dumps(entry, sort_keys=True))
        if not sources and entries:
            yield from self._keep(entries[0])
        for source in sources if len(sources) > 1 else ():
            others = [other.path for other in sources if other is not source]
            sentence = f"its output {target} is an output of {', '.join(others)}, too; rename one"
            yield dead_letter(sentence, source.path)
        if len(sources) != 1:
            return
        container = container_of(sources[0], self._kind, self._shards)
        try:
            yield container, self._do(sources[0], target, container, entries)
        except TfcodecError as error:
            yield dead_letter(error, sources[0].path)

    def _keep(self, entry):
        """An entry of a run over other inputs."""
        if self._kind == "files" and entry["offset"] is None:
            yield "", entry
        elif self._kind != "files" and entry["offset"] is not None:
            yield entry["output"], entry

    def _do(self, source, target, container, entries):
        """The entry of an input, of before if it holds; raises TfcodecError for a bad one."""
        start = time.perf_counter()
        data = source.read()
        reading = time.perf_counter() - start
        output = self._folder.staged(target) if container else target
        digest = sha256(data)
        for entry in entries:
            said = (entry["name"], entry["input_sha256"], entry["settings"])
            there = entry["output"] in (None, output, container)
            if said == (source.name, digest, self._task.settings) and there:
                if self._folder.holds(entry):
                    Metrics.counter(COUNTERS, "skipped").inc()
                    return entry
        self._worker.start()
        result, seconds = self._worker.work(data, source.path)
        entry = make_entry(self._task, source.name, data, result)
        entry["seconds"] = round(reading + seconds, 4)
        if result.data is None:
            self._journal.add(entry)
            return entry
        entry["output"] = output
        with self._writer.beside(join(self._folder.output, output)) as file:
            file.write(result.data)
            self._journal.add(entry)  # before the output has its name
        return entry


def make_entry(task: Task, name: str, data: bytes, result: Result) -> Entry:
    """All but where the output lies, and the seconds."""
    return {
        "name": name,
        "input_sha256": sha256(data),
        "input_bytes": len(data),
        "output": None,
        "offset": None,
        "output_sha256": None if result.data is None else sha256(result.data),
        "output_bytes": None if result.data is None else len(result.data),
        "width": result.width,
        "height": result.height,
        "bpp": 8 * result.size / (result.width * result.height),
        "psnr": result.psnr,
        "model": result.model,
        "settings": task.settings,
    }


def container_of(source: Source, kind: str, shards: int) -> str:
    """The container of a source's output, below the output folder; empty for plain files.

    What came in a container goes into one of the same name; plain files are spread by their names.
    """
    if kind == "files":
        return ""
    shard = source.shard
    if shard is None:
        shard = f"pictures-{spread(source.name, shards):05d}-of-{shards:05d}"
    return shard + KINDS[kind]


class Pack(beam.DoFn):
    """(container, {"entries": .., ASIDE: sources}) to entries of outputs in that container."""

    def __init__(self, task: Task, folder: Folder, kind: str):
        self._task, self._folder, self._kind = task, folder, kind

    def process(self, element: tuple[str, dict[str, Iterable]]) -> Iterator[Any]:
        container, found = element
        entries = sorted(found["entries"], key=lambda entry: entry["name"])
        asides = {self._member(s.name, container): s.place for s in found[ASIDE]}
        if all(entry["output"] == container for entry in entries) and not asides:
            yield from entries
            return
        outputs = {self._member(self._task.target(e["name"]), container): e for e in entries}
        places = asides | {name: self._folder.place(entry) for name, entry in outputs.items()}
        offsets = self._write(container, places)
        for name, entry in outputs.items():
            yield {**entry, "output": container, "offset": offsets[name]}

    def _member(self, name, container):
        return name.removeprefix(container.removesuffix(KINDS[self._kind]) + "/")

    def _write(self, container: str, places: dict[str, Place]) -> dict[str, int]:
        """Where the bytes of each member begin. The old container may be among the places."""
        names = sorted(places)
        members = ((name, places[name].read()) for name in names)
        writer = Writer(self._folder.partial)
        with writer.beside(join(self._folder.output, container)) as file:
            offsets = list(write(file, self._kind, members))
        return dict(zip(names, offsets, strict=True))


class WriteManifest(beam.DoFn):
    """(number, entries) to the paths of a shard's manifest, JSON lines and Parquet."""

    def __init__(self, folder: Folder, shards: int):
        self._folder, self._shards = folder, shards

    def process(self, element: tuple[int, Iterable[Entry]]) -> Iterator[str]:
        number, entries = element[0], sorted(element[1], key=lambda entry: entry["name"])
        path, writer = self._folder.shard(number, self._shards), Writer(self._folder.partial)
        for suffix, made in ((".jsonl", to_lines), (".parquet", to_parquet)):
            with writer.beside(path + suffix) as file:
                file.write(made(entries))
            yield path + suffix


class Finish(beam.DoFn):
    """Writes the dead letters, when all else is written, and removes what was unfinished."""

    def __init__(self, folder: Folder):
        self._folder = folder

    def process(self, _: Any, manifests: list[str], dead: list[dict[str, str]]) -> None:
        with Writer(self._folder.partial).beside(self._folder.dead_letters) as file:
            for letter in sorted(dead, key=lambda letter: (letter["name"], letter["sentence"])):
                file.write(to_line(letter))
        for path in find(self._folder.shards):
            if path not in manifests:  # of another number of shards
                remove(path)
        remove_folder(self._folder.unfinished)
