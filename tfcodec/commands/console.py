"""What a command says and to whom: results, notices, failures, progress."""

import dataclasses
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tfcodec import quiet
from tfcodec.commands import streams
from tfcodec.commands.progress import Progress
from tfcodec.commands.streams import leaving_at_once
from tfcodec.errors import ModelError, TfcodecError
from tfcodec.exports import installed, runtimes

if TYPE_CHECKING:  # not needed by every command
    from tfcodec.codec import Codec
    from tfcodec.coding.container import Container
    from tfcodec.pictures import Picture

PATIENCE = 2  # seconds until the progress within a picture is shown


@dataclasses.dataclass(frozen=True)
class Job:
    """One input and its outputs: a .tfcd file, a picture, or both; `-` is a standard stream."""

    source: str
    file: str | None = None
    picture: str | None = None

    @property
    def name(self) -> str:
        """What to call the input."""
        return "stdin" if self.source == streams.STANDARD else self.source

    @property
    def outputs(self) -> list[str]:
        """The files that it writes."""
        paths = (self.file, self.picture)
        return [path for path in paths if path not in (None, streams.STANDARD)]

    @property
    def to_stdout(self) -> bool:
        """Whether it writes its output to standard output."""
        return streams.STANDARD in (self.file, self.picture)


class Console:
    """Result lines on stdout; everything else on stderr, with a bar if a person looks on: of files
    done if there are several, of tiles done in a picture that takes long.

    Args:
        files: how many there are to do.
        reports: the lines are what the command is run for, so that losing one is a failure; else a
            stdout that cannot be written is told on stderr, and files go on.
        verbose: details are notices, too.
    """

    def __init__(self, files: int = 0, *, reports: bool = False, verbose: bool = False):
        self.failures = 0
        self._reports, self._verbose, self._details = reports, verbose, set()
        self._progress = Progress()
        self.expect(files)

    def expect(self, files: int, aside: bool = False) -> None:
        """Starts the bar anew.

        aside: results go to stderr, since stdout is for the data itself.
        """
        self._files, self._done, self._aside = files, 0, aside
        self._started, self._name = time.monotonic(), ""

    @property
    def status(self) -> int:
        """The exit status so far."""
        return 1 if self.failures else 0

    def result(self, line: str) -> None:
        self._clear()
        if self._aside:
            streams.warn(line)
            return
        try:
            streams.say(line)
        except streams.OutputError as error:
            (self.failure if self._reports else self.notice)(error)

    def notice(self, sentence: str | TfcodecError) -> None:
        self._clear()
        streams.warn("tfcodec: " + shown(" ".join(str(sentence).splitlines())))

    def detail(self, sentence: str) -> None:
        """A notice of who asked for details, the first time that it is to be told."""
        if self._verbose and sentence not in self._details:
            self._details.add(sentence)
            self.notice(sentence)

    def failure(self, error: TfcodecError, job: Job | None = None) -> None:
        """Counts and prints; a sentence that names no file of the job gets its input in front, and
        what Python calls `max_pixels` is a flag here."""
        self.failures += 1
        sentence = re.sub(r"(?<![-\w])max_pixels\b", "--max_pixels", str(error))
        if job:
            named = ("stdin", "stdout", job.source, *job.outputs)
            if not sentence.startswith(tuple(f"{name}: " for name in named)):
                sentence = f"{job.name}: {sentence}"
        self.notice(sentence)

    def for_each(self, tasks: list, work: Callable, job: Callable = lambda task: task) -> int:
        """Prints what `work` says of each task, or why it failed; returns the exit status.

        job: a task's `Job`, where tasks are something else.
        """
        try:
            for task in tasks:
                this = job(task)
                self._name, self._started = this.name, time.monotonic()
                if self._files > 1:
                    self._progress.show(shown(this.name), self._done, self._files)
                try:
                    line = work(task)
                    if line is not None:
                        self.result(line)
                except TfcodecError as error:
                    self.failure(error, this)
                self._done += 1
        finally:
            self._clear()
        return self.status

    def tile(self, done: int, count: int) -> None:
        """For `progress` of a codec: a bar of tiles once the file has taken a while."""
        self._within("tiles", done, count)

    def distortion(self, done: int, count: int) -> None:
        """As `tile`, for `progress` of a metric."""
        self._within("MS-SSIM", done, count)

    def step(self, what: str, done: int | None = None, count: int | None = None) -> None:
        """What work that takes long is at, told from its start; `done` of `count` if it knows."""
        self._progress.show(f"{what}  {shown(self._name)}", done, count)

    def _within(self, what: str, done: int, count: int) -> None:
        if time.monotonic() - self._started > PATIENCE:
            self.step(what, done, count)

    def _clear(self) -> None:
        self._progress.hide()
        self._progress.spoken()


def shown(name: str) -> str:
    """A file's name, or what holds one, on one line and without commands to the terminal."""
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else _escape(c) for c in name)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def import_tensorflow() -> None:
    """TensorFlow, quietly; it takes seconds, in which an interrupt leaves no traceback.

    Raises: ModelError if it is not installed.
    """
    if not runtimes.tensorflow_is_installed():
        cure = runtimes.CURES[runtimes.TENSORFLOW]
        raise ModelError(f"this needs TensorFlow, which is not installed: {cure}")
    with leaving_at_once():
        quiet.import_tensorflow()


def load_codec(
    info: installed.ModelInfo, console: Console, *, decoding: bool = False, once: bool = False
) -> "Codec":
    """The `Codec` of a model. TensorFlow, if it runs on that, is loaded when it is first needed,
    which is here.

    Args:
        console: is told what it runs on.
        decoding: nothing will be encoded.
        once: it is for one picture.
    """
    runtime = runtimes.choose(info, decoding)
    console.detail(f"{info.name} runs on {runtimes.TITLES[runtime]}")
    with leaving_at_once():
        if runtime == runtimes.TENSORFLOW:
            quiet.import_tensorflow(lean=True)
        from tfcodec import codec
    loaded = codec.open_model(info, runtime)
    loaded.exported.keep_networks(not once)
    return loaded


def result_line(name: str, picture: "Picture | Container", size: int, seconds: float) -> str:
    """A result; `picture` is a Picture or a Container. The seconds are those of the codec alone."""
    return f"{facts_line(name, picture, size)}  {seconds:.2f} s"


def facts_line(name: str, picture: "Picture | Container", size: int) -> str:
    """A file's name, its picture's size and its own."""
    width, height = picture.width, picture.height
    bpp = 8 * size / (width * height)
    return f"{shown(name)}  {width}x{height}  {size} bytes  {bpp:.3f} bpp"
