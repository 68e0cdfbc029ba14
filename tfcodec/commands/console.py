"""What a command says and to whom: results, notices, failures, progress."""

import dataclasses
import shutil
import sys
import time
from collections.abc import Callable

from tfcodec import quiet
from tfcodec.errors import TfcodecError
from tfcodec.exports import installed

PATIENCE = 2  # seconds until the progress within a picture is shown


@dataclasses.dataclass(frozen=True)
class Job:
    """One input and its outputs: a .tfcd file, a picture, or both."""

    source: str
    file: str | None = None
    picture: str | None = None

    @property
    def outputs(self) -> list[str]:
        return [path for path in (self.file, self.picture) if path is not None]


class Console:
    """Result lines on stdout; everything else on stderr, with a bar if a person looks on: of files
    done if there are several, of tiles done in a picture that takes long."""

    def __init__(self, files: int):
        self.failures = 0
        self.expect(files)

    def expect(self, files: int) -> None:
        """Starts the bar anew."""
        self._files, self._done = files, 0
        self._seen, self._started, self._name = sys.stderr.isatty(), time.monotonic(), ""
        self._bar = self._seen and files > 1

    def result(self, line: str) -> None:
        self._clear()
        print(line, flush=True)

    def notice(self, sentence: str) -> None:
        self._clear()
        print("tfcodec:", " ".join(sentence.splitlines()), file=sys.stderr, flush=True)

    def failure(self, error: TfcodecError, job: Job | None = None) -> None:
        """Counts and prints; a sentence that names no file of the job gets its input in front."""
        self.failures += 1
        sentence = str(error)
        if job and not sentence.startswith(tuple(f"{p}: " for p in (job.source, *job.outputs))):
            sentence = f"{job.source}: {sentence}"
        self.notice(sentence)

    def for_each(self, tasks: list, work: Callable, job: Callable = lambda task: task) -> int:
        """Prints what `work` says of each task, or why it failed; returns the exit status.

        job: a task's `Job`, where tasks are something else.
        """
        try:
            for task in tasks:
                this = job(task)
                self._name, self._started = this.source, time.monotonic()
                self._draw(self._done, self._files, this.source)
                try:
                    line = work(task)
                    if line is not None:
                        self.result(line)
                except TfcodecError as error:
                    self.failure(error, this)
                self._done += 1
        finally:
            self._clear()
        return 1 if self.failures else 0

    def tile(self, done: int, count: int) -> None:
        """For `progress` of a codec: a bar of tiles once the file has taken a while."""
        if self._seen and time.monotonic() - self._started > PATIENCE:
            self._bar = True
            self._draw(done, count, f"tiles  {self._name}")

    def _draw(self, done: int, count: int, name: str) -> None:
        if self._bar:
            filled = 24 * done // count
            line = f"[{'#' * filled:.<24}] {done}/{count}  {name}"
            self._clear()  # the last line may have been longer
            sys.stderr.write("\r" + line[: shutil.get_terminal_size().columns - 1])
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._bar:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def load_codec(info: installed.ModelInfo):
    """The `codec.Codec` of a model. TensorFlow is loaded when it is first needed, which is here."""
    quiet.import_tensorflow(lean=True)
    from tfcodec import codec

    return codec.open_model(info)


def result_line(name: str, picture, size: int, seconds: float) -> str:
    """A result; `picture` is a Picture or a Container. The seconds are those of the codec alone."""
    width, height = picture.width, picture.height
    bpp = 8 * size / (width * height)
    return f"{name}  {width}x{height}  {size} bytes  {bpp:.3f} bpp  {seconds:.2f} s"
