"""How far long work has come, on stderr: a bar where a person looks on, else a line now and then.

The bar is that of `rich`, which comes with Keras and is imported when the first one is drawn;
without it there is none.
"""

import contextlib
import sys
import time

from tfcodec.commands import streams

SILENCE = 30  # seconds after which a line is due where nobody sees a bar


class Progress:
    """At most one bar. What else is printed hides it first; the next `show` brings it back."""

    def __init__(self):
        self._seen, self._spoke = sys.stderr.isatty(), time.monotonic()
        self._bar = self._task = None

    def show(self, name: str, done: int | None = None, count: int | None = None) -> None:
        """Says that `done` of `count` steps are through, or that there is no telling."""
        if self._seen:
            self._draw(name, done, count)
        elif time.monotonic() - self._spoke > SILENCE:
            streams.warn(f"tfcodec: {name}" + ("" if count is None else f"  {done}/{count}"))
            self.spoken()

    def spoken(self) -> None:
        """Something was printed: the next line is due later."""
        self._spoke = time.monotonic()

    def hide(self) -> None:
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.stop()

    def _draw(self, name: str, done: int | None, count: int | None) -> None:
        if self._bar is None:
            self._bar = _rich_bar()
            if self._bar is None:
                self._seen = False
                return
            self._task = self._bar.add_task("", total=None, count="")
        share = "" if count is None else f"{done}/{count}"
        with contextlib.suppress(OSError):
            self._bar.update(
                self._task, description=name, completed=done or 0, total=count, count=share
            )
            self._bar.start()
            self._bar.refresh()


def _rich_bar():
    """A `rich.progress.Progress` on stderr that leaves nothing behind; None without rich."""
    try:
        from rich import console, progress
    except ImportError:
        return None
    screen = console.Console(file=sys.stderr)
    # A process that is killed must not leave a terminal without its cursor.
    screen.show_cursor = lambda show=True: False
    return progress.Progress(
        progress.BarColumn(24),
        progress.TextColumn("{task.fields[count]}"),
        progress.TextColumn("{task.description}", markup=False),
        progress.TimeElapsedColumn(),
        console=screen,
        transient=True,
        redirect_stdout=False,  # stdout is for results
        redirect_stderr=False,
    )
