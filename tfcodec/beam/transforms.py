"""The PTransforms: a task over pairs of (name, bytes), or over files from a folder to another."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from tfcodec.beam.containers import KINDS
from tfcodec.beam.inputs import Source
from tfcodec.beam.manifest import Entry, Folder, spread
from tfcodec.beam.tasks import CompressTask, DecompressTask, VerifyTask
from tfcodec.beam.work import (
    ASIDE,
    DEAD,
    Before,
    Find,
    Finish,
    Open,
    Pack,
    Work,
    WorkOnPairs,
    WriteManifest,
    container_of,
)
from tfcodec.coding.format import DEFAULT_MAX_PIXELS
from tfcodec.errors import InputError
from tfcodec.exports import installed
from tfcodec.exports.installed import ModelInfo


class Compress(beam.PTransform):
    """(name, bytes) of pictures to (name, bytes) of .tfcd files, those of `tfcodec.compress`.

    Gives {"files": pairs, "entries": lines of a manifest, "dead_letters": name and sentence of each
    picture that is bad, which fails nothing}. All of it passes through memory; `OverFiles` reads
    and writes files.

    Args:
        model: name of an installed model, or folder of an export; None for the bundled default. The
            workers need it, too, in that folder or where else they find models.
        measure: also decode, so that entries have the PSNR.
        threads: of TensorFlow's operations in a worker; None for its own choice, all cores. Where
            a machine has several workers, cores / workers.
        wishes: quality, target_bytes, bpp or psnr; keep_metadata and max_pixels: as of
            `tfcodec.compress`.
    Raises: InputError for wishes that the model cannot meet; ModelError if there is no such model.
    """

    def __init__(
        self,
        model: str | os.PathLike | None = None,
        *,
        measure: bool = False,
        threads: int | None = None,
        **wishes: Any,
    ):
        super().__init__()
        self.task = CompressTask(_find(model), measure=measure, **wishes)
        self.threads = threads

    def expand(self, pairs: beam.PCollection) -> Any:  # a dict; Beam warns of what it cannot check
        return _over_pairs(pairs, self)


class Decompress(beam.PTransform):
    """(name, bytes) of .tfcd files to (name, bytes) of pictures; gives what `Compress` does.

    Args:
        suffix: of the pictures, which names their format.
        model: the one that wrote the files; None to find each by its fingerprint.
        max_pixels: larger pictures are dead letters.
        threads: as of `Compress`.
    Raises: InputError if there is no such format; ModelError if there is no such model.
    """

    def __init__(
        self,
        suffix: str = ".png",
        *,
        model: str | os.PathLike | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        threads: int | None = None,
    ):
        super().__init__()
        info = None if model is None else _find(model)
        self.task, self.threads = DecompressTask(suffix, info, max_pixels), threads

    def expand(self, pairs: beam.PCollection) -> Any:  # a dict; Beam warns of what it cannot check
        return _over_pairs(pairs, self)


class Verify(beam.PTransform):
    """(name, bytes) of .tfcd files: which are sound. Gives what `Compress` does, but no files.

    Args:
        decode: compare the checksum of the symbols, too, which needs the models.
        max_pixels, threads: as of `Decompress`.
    """

    def __init__(
        self,
        *,
        decode: bool = False,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        threads: int | None = None,
    ):
        super().__init__()
        self.task, self.threads = VerifyTask(decode, max_pixels), threads

    def expand(self, pairs: beam.PCollection) -> Any:  # a dict; Beam warns of what it cannot check
        return _over_pairs(pairs, self)


Transform = Compress | Decompress | Verify


def _find(model: str | os.PathLike | None) -> ModelInfo:
    """The model, with a path that means the same to other processes of this machine."""
    info = installed.find(model)
    return dataclasses.replace(info, path=os.path.abspath(info.path))


def _over_pairs(pairs, transform):
    tags = ("entries", DEAD)
    work_on = beam.ParDo(WorkOnPairs(transform.task, transform.threads))
    done = pairs | work_on.with_outputs(*tags, main="files")
    return {tag: done[tag] for tag in ("files", *tags)}


class OverFiles(beam.PTransform):
    """A transform over files, from anywhere to a folder; applied to a pipeline.

    The folder gets the outputs, each complete or not at all, and `manifest/`. A run that was
    stopped, however, and is started again does what is left, and ends as if it had never been
    stopped; inputs and outputs are compared by SHA-256. Of one folder there is one run at a time.

    Gives {"entries": lines of the manifest, "dead_letters": name and sentence each}.

    Args:
        transform: `Compress`, `Decompress` or `Verify`.
        inputs: patterns (`**` goes through folders), folders or files: pictures or .tfcd files, or
            TFRecord files (`*.tfrecord*`, with `image/encoded`) and tars that hold them.
        output: the folder, made if need be.
        to: "files", "tar" (WebDataset) or "tfrecord": what holds the outputs.
        shards: how many files the manifest has, and containers for what came as plain files. What
            came in a container goes into one of the same name.
    Raises: InputError for another `to`, or an output that Beam would take for a pattern.
    """

    def __init__(
        self,
        transform: Transform,
        inputs: str | Sequence[str],
        output: str | os.PathLike,
        *,
        to: str = "files",
        shards: int = 1,
    ):
        super().__init__()
        output = os.fspath(output)
        if to not in ("files", *KINDS):
            raise InputError(f"outputs go to files, {' or '.join(KINDS)}, received {to!r}")
        if any(wildcard in output for wildcard in "*?["):
            raise InputError(f"{output}: the output folder's name must hold none of * ? [")
        if shards < 1:
            raise InputError(f"shards is 1 or more, received {shards}")
        self._transform, self._to, self._shards = transform, to, shards
        self._inputs = [inputs] if isinstance(inputs, str) else list(inputs)
        self._folder = Folder(output, transform.task.name)

    def expand(self, begin: beam.Pipeline) -> Any:  # a dict; Beam warns of what it cannot check
        task, folder = self._transform.task, self._folder
        found = (
            begin
            | "Inputs" >> beam.Create(self._inputs)
            | "Find" >> beam.ParDo(Find(task)).with_outputs(DEAD, main="main")
        )
        opened = (
            found.main
            | "SpreadFiles" >> beam.Reshuffle()
            | "Open" >> beam.ParDo(Open(task)).with_outputs(DEAD, ASIDE, main="main")
        )
        before = (
            begin
            | "Once" >> beam.Create([folder])
            | "ListBefore" >> beam.FlatMap(Folder.before)
            | "SpreadBefore" >> beam.Reshuffle()
            | "ReadBefore" >> beam.ParDo(Before(task))
        )
        do = Work(task, folder, self._to, self._shards, self._transform.threads)
        done = (
            {"sources": opened.main, "entries": before}
            | "Join" >> beam.CoGroupByKey()
            | "Work" >> beam.ParDo(do).with_outputs(DEAD, main="main")
        )
        entries = self._pack(done.main, opened[ASIDE])
        dead = (found[DEAD], opened[DEAD], done[DEAD]) | beam.Flatten()
        self._finish(begin, entries, dead)
        return {"entries": entries, DEAD: dead}

    def _pack(self, entries, asides):
        """Entries of outputs in their containers, if that is wanted."""
        if self._to == "files":
            return entries | "Entries" >> beam.Values()
        keyed = asides | "KeyAsides" >> beam.Map(self._key)
        return (
            {"entries": entries, ASIDE: keyed}
            | "JoinContainers" >> beam.CoGroupByKey()
            | "Pack" >> beam.ParDo(Pack(self._transform.task, self._folder, self._to))
        )

    def _key(self, source: Source) -> tuple[str, Source]:
        return container_of(source, self._to, self._shards), source

    def _finish(self, begin, entries, dead):
        """The manifest, the dead letters, and then the end of what was unfinished."""
        shards = self._shards
        manifests = (
            entries
            | "SpreadEntries" >> beam.Map(_spread, shards)
            | "GroupEntries" >> beam.GroupByKey()
            | "WriteManifest" >> beam.ParDo(WriteManifest(self._folder, shards))
        )
        lists = beam.pvalue.AsList(manifests), beam.pvalue.AsList(dead)
        ends = begin | "End" >> beam.Create([None])
        _ = ends | "Finish" >> beam.ParDo(Finish(self._folder), *lists)


def _spread(entry: Entry, shards: int) -> tuple[int, Entry]:
    return spread(entry["name"], shards), entry
