"""Progress bars on stderr, if that is a terminal: how many, how many a second, and how long it still takes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.progress import Progress

Unit = Literal["tasks", "bytes"]


class Bar:
    """What moves on; also from other threads."""

    def __init__(self, shown: "Progress | None" = None) -> None:
        self._shown = shown
        self._has_begun = False

    def advance(self, amount: int = 1) -> None:
        """So many more are done."""
        if self._shown is not None:
            self._shown.advance(self._shown.task_ids[0], amount)

    def to(self, done: int, total: int) -> None:
        """So many of so many are done."""
        if self._shown is None:
            return
        if self._has_begun:
            self._shown.update(self._shown.task_ids[0], completed=done, total=total)
        else:  # what was done before counts for no rate
            self._shown.reset(self._shown.task_ids[0], completed=done, total=total)
            self._has_begun = True


@contextmanager
def progress(what: str, total: int, unit: Unit = "tasks") -> Iterator[Bar]:
    """A bar as long as this lasts; nothing where nobody would see it."""
    if not sys.stderr.isatty():
        yield Bar()
        return
    try:
        shown = _progress(unit)
    except ImportError:  # rich is of the extra `server`
        yield Bar()
        return
    with shown:
        shown.add_task(what, total=total)
        yield Bar(shown)


def _progress(unit: Unit) -> "Progress":
    from rich.progress import (  # noqa: PLC0415 - slow to load, and for terminals only
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.text import Text  # noqa: PLC0415 - as above

    from dart.cli.rich_table import console  # noqa: PLC0415 - as above

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{speed:,.1f}/s" if (speed := task.finished_speed or task.speed) else "")

    amounts = (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (MofNCompleteColumn(), Rate())
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *amounts,
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console(stderr=True),
        redirect_stdout=sys.stdout.isatty(),
    )
