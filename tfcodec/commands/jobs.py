"""From the inputs of a command line to its jobs: folders are walked, outputs named, and what cannot
be is refused before any work.

    photos/ ─► expand ─► sources ─► plan ─► jobs ─► ready ─► jobs whose outputs are still to be made
"""

import argparse
import dataclasses
import os
from collections.abc import Callable

from tfcodec import pictures
from tfcodec.commands import streams
from tfcodec.commands.console import Console, Job
from tfcodec.errors import InputError
from tfcodec.files import check_target, remove_leftovers


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a command takes and how it names what it makes.

    Args:
        noun: what its inputs are.
        suffixes: of the files that it takes from folders, lower-case.
        own: end of names, without suffix, that it leaves there: pictures that `decode` has made.
        target: an input's name to that of its output.
        made: whether the file of this path may be one that the command made.
    """

    noun: str
    suffixes: tuple[str, ...]
    target: Callable[[str], str] = lambda name: name
    made: Callable[[str], bool] = lambda path: True
    own: str | None = None

    def takes(self, name: str) -> bool:
        """Whether it takes a file of this name from a folder."""
        stem, suffix = os.path.splitext(name.lower())
        return suffix in self.suffixes and (self.own is None or not stem.endswith(self.own))


@dataclasses.dataclass(frozen=True)
class Source:
    """An input file, and where it lies below the folder that was named."""

    path: str
    below: str


def expand(inputs: list[str], kind: Kind, console: Console) -> list[Source]:
    """The files that are named, and those in the folders that are, in order of their names.

    Of a folder, files of other suffixes are left out and counted; links to folders are not
    followed, nor are hidden names. A folder without any file of the kind is a failure.
    """
    sources = []
    for path in inputs:
        if path == streams.STANDARD or not os.path.isdir(path):
            sources.append(Source(path, os.path.basename(path)))
            continue
        found, others = _walk(path, kind, console)
        sources += [Source(file, os.path.relpath(file, path)) for file in found]
        if not found:
            suffixes = ", ".join(kind.suffixes)
            console.failure(InputError(f"{path}: this folder holds no {kind.noun} ({suffixes})"))
        elif others:
            console.notice(
                f"{path}: {len(found)} {kind.noun}; {others} other files or links are left out"
            )
    return sources


def _walk(folder: str, kind: Kind, console: Console) -> tuple[list[str], int]:
    """(paths of the files below a folder that the kind takes, how many others there are)."""

    def unreadable(error: OSError) -> None:
        console.failure(InputError(f"{error.filename}: cannot be read ({error.strerror})"))

    found, others = [], 0
    for here, folders, files in os.walk(folder, onerror=unreadable):
        links = [name for name in folders if os.path.islink(os.path.join(here, name))]
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in links)
        others += len(links)
        for name in sorted(name for name in files if not name.startswith(".")):
            path = os.path.join(here, name)
            # A broken link is taken, so that somebody hears of it; a pipe would be waited for.
            file = os.path.isfile(path) or not os.path.exists(path)
            if file and kind.takes(name):
                found.append(path)
            else:
                others += 1
    return found, others


def plan(
    arguments: argparse.Namespace, kind: Kind, job: Callable[[str, str], Job], console: Console
) -> list[Job]:
    """The jobs of a command line, which the console then expects; one that cannot be meant so ends
    here, with status 2.

    Args: job: makes one from the paths of its input and output.
    """
    refuse = arguments.parser.error
    if arguments.inputs.count(streams.STANDARD) > 1:
        refuse("stdin can be read once, received - more than once")
    if arguments.output is not None and len(arguments.inputs) > 1:
        refuse(f"-o takes one input, received {len(arguments.inputs)}; use --output_dir")
    if arguments.output not in (None, streams.STANDARD) and os.path.isdir(arguments.inputs[0]):
        refuse(f"-o takes one input, {arguments.inputs[0]} is a folder; use --output_dir")
    jobs = []
    for source in expand(arguments.inputs, kind, console):
        if source.path == streams.STANDARD and arguments.output_dir is not None:
            refuse("what comes from stdin has no name; name its output with -o")
        jobs.append(job(source.path, arguments.output or _target(source, kind, arguments)))
    if sum(each.to_stdout for each in jobs) > 1:
        refuse(f"stdout takes one output, received {len(jobs)} inputs")
    files = [each.source for each in jobs if each.source != streams.STANDARD]
    taken = {os.path.realpath(path): "is an input" for path in files}
    for each in jobs:
        for output in each.outputs:
            path = os.path.realpath(output)
            if path in taken:
                refuse(f"{output}, an output of {each.source}, {taken[path]}, too")
            taken[path] = f"is an output of {each.source}"
    console.expect(len(jobs), aside=any(each.to_stdout for each in jobs))
    return jobs


def _target(source: Source, kind: Kind, arguments: argparse.Namespace) -> str:
    """The output of an input whose output is not named."""
    if source.path == streams.STANDARD:
        return streams.STANDARD
    if arguments.output_dir is None:
        folder, name = os.path.split(source.path)
    else:
        below, name = os.path.split(source.below)
        folder = os.path.join(arguments.output_dir, below)
    return os.path.join(folder, kind.target(name))


def ready(
    jobs: list[Job], arguments: argparse.Namespace, kind: Kind, console: Console
) -> list[Job]:
    """The jobs whose outputs can be written and are not there yet; the others fail now, before any
    work, or are counted (`--skip_existing`)."""
    if arguments.output_dir is not None and not _make_folder(arguments.output_dir, console):
        return []
    ready, there = [], 0
    for job in jobs:
        try:
            if job.to_stdout:
                streams.check_output()
            if arguments.skip_existing and job.outputs and all(map(_finished, job.outputs)):
                there += 1
                continue
            for output in job.outputs:
                named = arguments.output is not None or output != (job.file or job.picture)
                _check(output, arguments, named or kind.made(output))
            if job.picture not in (None, streams.STANDARD):
                pictures.check_format(job.picture, alpha=False)
        except InputError as error:
            console.failure(error, job)
        else:
            ready.append(job)
    folders = {os.path.dirname(os.path.realpath(path)) for job in jobs for path in job.outputs}
    for folder in sorted(folders):
        remove_leftovers(folder)
    if there:
        console.notice(f"{there} of {len(jobs)} outputs are there already and are skipped")
    return ready


def _make_folder(folder: str, console: Console) -> bool:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        reason = f"is not a directory that can be used ({error.strerror})"
        console.failure(InputError(f"{folder}: {reason}"))
        return False
    return True


def _check(output: str, arguments: argparse.Namespace, ours: bool) -> None:
    """Raises InputError if this output cannot be written, or must not be replaced.

    Args: ours: it was named on the command line, or is what the command makes.
    """
    if os.path.isdir(output):
        raise InputError(f"{output}: this is a directory; name a file, or use --output_dir")
    if arguments.output_dir is not None:
        try:
            os.makedirs(os.path.dirname(output), exist_ok=True)  # as the folder of the input has it
        except OSError as error:
            raise InputError(f"{output}: cannot be written ({error.strerror})") from error
    check_target(output)
    if not os.path.exists(output) or (arguments.skip_existing and not _finished(output)):
        return
    if not ours:
        raise InputError(
            f"{output}: exists already and is none of tfcodec's files; name another with -o or "
            "--output_dir"
        )
    if not arguments.overwrite:
        raise InputError(
            f"{output}: exists already; --overwrite replaces it, --skip_existing leaves it"
        )


def _finished(output: str) -> bool:
    """Whether an output is there: whole, as all outputs are that have their name. (Before files
    were brought to the disk first, a loss of power could leave empty ones.)"""
    return os.path.isfile(output) and os.path.getsize(output) > 0
