"""`dart top`: workers, jobs, rates and queues, looked at again and again."""

import os
import select
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from dart.cli.options import OUTPUT, SERVER, ServerChoice
from dart.cli.render import Output, as_json, when
from dart.cli.top_view import Look, frame, read_metrics, summary

if TYPE_CHECKING:
    from dart_client import Client, Event

JOBS_MAX = 2000
"""Looked at each time; a server with more of them shows the first."""
EVENTS_KEPT = 5
LIVE_SECONDS = 3.0
"""For an answer, while somebody looks."""
KINDS = ("worker", "job")
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command("top", epilog="Example: dart top; dart top --once; dart top --interval 5 --output jsonl")
@click.option("--interval", type=click.FloatRange(0.1, 3600), default=2.0, show_default=True, help="Seconds.")
@click.option("--once", is_flag=True, help="Look twice, an interval apart, print what is so, and end.")
@SERVER
@OUTPUT
def top(*, interval: float, once: bool, server: ServerChoice, output: Output) -> None:
    """Workers, jobs, rates and queues, as they change; q ends it.

    Jobs that finish most a second come first, and workers with the longest queues. Times are upper bounds: half of what
    was measured since the look before was quicker than p50. Into a pipe, and with --once, it prints one picture; with
    --output jsonl it goes on, a line each time.
    """
    live = output.form == "table" and sys.stdout.isatty() and not once
    with server.client() as client:
        watch = _Watch(client)
        before = watch.look()
        if live:
            client.connection.timeout = min(server.timeout, LIVE_SECONDS)  # the screen stands still meanwhile
            _watch_live(watch, before, interval)
            return
        while True:
            time.sleep(interval)
            look = watch.look()
            _print(summary(look, before), output)
            before = look
            if once or output.form != "jsonl":
                return


def _watch_live(watch: "_Watch", before: Look, interval: float) -> None:
    """Pictures until q. A server that is away may come back."""
    from dart_client import DartError  # noqa: PLC0415 - not for `--help`

    shown, problem = summary(before, None), ""
    with _screen() as quits_within, suppress(KeyboardInterrupt):
        while True:
            _draw(shown, problem)
            if quits_within(interval):
                return
            try:
                look = watch.look()
            except DartError as error:
                problem = error.message
                continue
            shown, before, problem = summary(look, before), look, ""


def _print(shown: dict[str, Any], output: Output) -> None:
    if output.form != "table":
        click.echo(as_json(shown))
        return
    columns = shutil.get_terminal_size((80, 24)).columns
    height = 20 + len(shown["jobs"]) + len(shown["workers"])  # nobody scrolls here: all there is
    for line in frame(shown, width=columns, height=height, clock=_clock()):
        click.echo(line.rstrip())


class _Watch:
    """Looks at a server, one after the other."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._place = "oldest"
        self._happened: deque[str] = deque(maxlen=EVENTS_KEPT)

    def look(self) -> Look:
        """How it is now."""
        from dart_client import ForbiddenError  # noqa: PLC0415 - not for `--help`

        client = self._client
        about = client.server()  # first: whether it is there at all is soon known
        for event in client.events(after=self._place, kinds=KINDS, follow=False):
            self._place = event.id or self._place
            self._happened.append(_told(event))
        try:
            answer = client.connection.exchange("GET", "/metrics", headers={"Accept": "text/plain"})
            metrics = read_metrics(answer.data.decode("utf-8", "replace"))
        except ForbiddenError:
            metrics = {}
        return Look(
            time.monotonic(),
            about,
            client.workers(),
            list(islice(client.jobs(), JOBS_MAX)),
            metrics,
            list(self._happened),
        )


def _told(event: "Event") -> str:
    data = event.data
    if event.kind == "missed":
        return "(some events were missed)"
    who = f"job {data.get('job', '')}" if event.kind == "job" else f"worker {data.get('worker', '')}"
    return f"{when(data.get('at', 0))} {who} {data.get('state', '')} {data.get('reason', '')}".rstrip()


def _clock() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _draw(shown: dict[str, Any], problem: str) -> None:
    """One picture over the one before."""
    size = shutil.get_terminal_size((80, 24))
    if problem:
        shown = {**shown, "events": [*shown["events"], f"NOT CURRENT: {problem}"]}
    lines = frame(shown, width=size.columns, height=size.lines - 1, clock=f"{_clock()}   q: quit")
    bold = {number for number, line in enumerate(lines) if line.startswith(("JOB ", "WORKER ", "dart "))}
    text = "".join(
        (f"\x1b[1m{line}\x1b[0m" if number in bold else line) + _REST_OF_LINE + "\r\n"
        for number, line in enumerate(lines)
    )
    sys.stdout.write(_HOME + text + _REST)
    sys.stdout.flush()


@contextmanager
def _screen() -> Iterator[Callable[[float], bool]]:
    """A screen of its own; gives what waits for q, and leaves the terminal as it was, whatever happens."""
    import termios  # noqa: PLC0415 - of terminals only
    import tty  # noqa: PLC0415 - as above

    descriptor = sys.stdin.fileno() if sys.stdin.isatty() else -1
    before = termios.tcgetattr(descriptor) if descriptor >= 0 else None

    def wait(seconds: float) -> bool:
        """Whether q came within so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if descriptor < 0:
                time.sleep(left)
            elif select.select([descriptor], [], [], left)[0] and os.read(descriptor, 64) in {b"", b"q", b"Q"}:
                return True
        return False

    if before is not None:
        tty.setcbreak(descriptor)
    sys.stdout.write(_ENTER)
    try:
        yield wait
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        if before is not None:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
