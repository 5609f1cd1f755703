"""Servers and agents as children of this process: they say a line when ready, and end when it ends, however it does."""

from __future__ import annotations

import selectors
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

END_SECONDS = 15.0


def start(
    words: Sequence[str],
    *,
    module: str = "dart.cli.main",
    python: str = sys.executable,
    log: Any = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `server start ...` or `agent start ...`.

    It is in a session of its own, so that Ctrl-C reaches this process alone, which ends its children in good order.
    They watch a pipe that this process holds: when it is killed, the pipe ends, and they end by themselves.

    Args:
        words: Of the command line.
        module: `dart.agent` saves an agent the way through the command line; then without `agent start`.
        python: The interpreter that has `dart-runtime[server]`.
        log: Takes what it says on stderr; None: this process's own stderr.
        environment: Its variables; this process's own without it.
    """
    return subprocess.Popen(
        [python, "-m", module, *words, "--end-with-stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
        env=None if environment is None else dict(environment),
    )


def first_line(process: subprocess.Popen[bytes], seconds: float) -> str:
    """The first line that it prints; empty: it ended, or did not print one in time."""
    if process.stdout is None:
        return ""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        ready = selector.select(seconds)
    return process.stdout.readline().decode().strip() if ready else ""


def end(process: subprocess.Popen[bytes], seconds: float = END_SECONDS) -> None:
    """Ask, wait, and insist only when it is late."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
