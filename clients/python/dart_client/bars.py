"""Progress bars without a further library: a line in a terminal, an element in a notebook, nothing elsewhere."""

from __future__ import annotations

import html
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, as_completed
from typing import Any, TextIO

DRAWN_SECONDS = 0.1
"""A bar is drawn at most so often."""
BAR_CHARACTERS = 30


def progress(futures: Iterable[Future[Any]], *, label: str = "", timeout: float | None = None) -> Iterator[Future[Any]]:
    """Futures as they are done, with a bar on stderr: `concurrent.futures.as_completed` that shows how far it is.

    Args:
        futures: Of any jobs.
        label: Stands before the bar.
        timeout: Seconds until all must be done; then the standard library's `TimeoutError`.
    """
    waiting = list(futures)
    with Bar(len(waiting), label) as bar:
        failed = 0
        before = sum(future.done() for future in waiting)
        bar.show(before)
        for done, future in enumerate(as_completed(waiting, timeout=timeout), start=1):
            failed += future.cancelled() or future.exception() is not None
            bar.show(max(done, before), failed=failed)
            yield future


class Bar:
    """How much of a number of things is done, at what rate, and how long the rest will take.

    Args:
        total: How many there are; `show` may change it.
        label: Stands before the bar.
        stream: Where it goes if this is a terminal; stderr without it. In a notebook it goes below the cell.
    """

    def __init__(self, total: int, label: str = "", stream: TextIO | None = None) -> None:
        self.total = total
        self._label = label
        self._stream = sys.stderr if stream is None else stream
        self._began = self._drawn_at = time.monotonic()
        self._first: float | None = None
        self._text = ""
        self._notebook = _Notebook() if _in_notebook() else None
        self._terminal = self._notebook is None and self._stream.isatty()

    def __enter__(self) -> Bar:  # noqa: PYI034 - typing has no Self in 3.9
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, done: float, *, failed: int = 0) -> None:
        """So much is done, parts of things included."""
        now = time.monotonic()
        if self._first is None:
            self._first = done
        last = done >= self.total
        if not (self._terminal or self._notebook) or (now - self._drawn_at < DRAWN_SECONDS and self._text and not last):
            return
        self._drawn_at = now
        self._text = told(done, self.total, now - self._began, failed=failed, before=self._first)
        if self._notebook:
            self._notebook.show(self._label, done, self.total, self._text)
        else:
            columns = shutil.get_terminal_size().columns
            full = min(BAR_CHARACTERS, int(BAR_CHARACTERS * done / self.total)) if self.total else BAR_CHARACTERS
            drawn = f"{self._label} [{'#' * full}{'.' * (BAR_CHARACTERS - full)}] {self._text}".lstrip()
            self._stream.write(f"\r{drawn[: columns - 1]}\x1b[K")
            self._stream.flush()

    def close(self) -> None:
        """What is printed next begins on a line of its own."""
        if self._terminal and self._text:
            self._stream.write("\n")
            self._stream.flush()
        self._terminal = False


def told(done: float, total: int, seconds: float, *, failed: int = 0, before: float = 0.0) -> str:
    """Count, rate and time left in words; what was done `before` says nothing about the rate."""
    text = f"{int(done)}/{total}"
    rate = (done - before) / seconds if seconds > 0 else 0.0
    if rate > 0:
        text += f"  {rate:.1f}/s" if rate >= 1 else f"  {1 / rate:.1f} s each"
        if done < total:
            text += f"  {_clock((total - done) / rate)} left"
    if failed:
        text += f"  {failed} failed"
    return text


def _clock(seconds: float) -> str:
    minutes, left = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}"


def _in_notebook() -> bool:
    """Whether cells of Jupyter run here; IPython in a terminal is a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class _Notebook:
    """One element below the cell, changed in place."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, label: str, done: float, total: int, text: str) -> None:
        from IPython.display import HTML, display  # noqa: PLC0415 - there only in a notebook

        element = f'{html.escape(label)} <progress value="{done}" max="{total}"></progress> {html.escape(text)}'
        if self._handle is None:
            self._handle = display(HTML(element), display_id=True)
        else:
            self._handle.update(HTML(element))
