"""What an agent costs on a foreign architecture: memory, and the time until it has joined."""

import re
import subprocess
import time
from pathlib import Path

from crossarch.installation import JOIN_SECONDS, installed
from dart.wire import values
from harness.processes import children
from harness.waiting import wait_until

AGENT_MEGABYTES_MAX = 20.0
RUNNER_MEGABYTES_MAX = 10.0
"""Private memory, as on every other machine."""
EMULATED = 2.0
"""An emulated one may take so much more beyond a bare emulated Python: its emulator keeps books about its memory."""
JOINED_SECONDS_MAX = 30.0
"""From the start of an enrolled agent; a tenth of it is usual, and a busy machine may take its time."""
PROGRAM = "import sys; print('up', flush=True); sys.stdin.read()"


def private_megabytes(pid: int) -> float:
    """Of a process, without the code that the emulator made: a real machine has none of that."""
    total = 0
    counts = True
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if mapping := re.match(r"[0-9a-f]+-[0-9a-f]+ (\S+) \S+ \S+ (\d+)", line):
            counts = not (mapping[1].startswith("rwx") and mapping[2] == "0")
        elif counts and line.startswith("Private_"):
            total += int(line.split()[1])
    return total / 1024


def test_an_agent_is_small_and_soon_there(foreign, tmp_path, tell):
    """As small as it must be everywhere, and it joins within seconds although its processor is emulated."""
    bare = _bare_megabytes(foreign.python) if foreign.emulated else 0.0
    with installed(tmp_path, foreign) as it:
        agent = it.start("small")
        assert it.running.end(agent, seconds=JOIN_SECONDS) == 0
        began = time.monotonic()
        agent = it.start("small")
        joined = time.monotonic() - began
        it.exchange("echo", [values.encode(1)], "small")
        (runner,) = wait_until(lambda: children(agent.pid), explain="one runner")
        agent_megabytes, runner_megabytes = private_megabytes(agent.pid), private_megabytes(runner)
    beyond = f" beyond the {bare:.1f} MB of a bare emulated Python" if foreign.emulated else ""
    tell(
        f"{foreign.architecture}: joined after {joined:.1f} s; "
        f"agent {agent_megabytes - bare:.1f} MB, runner {runner_megabytes - bare:.1f} MB{beyond}"
    )
    assert joined < JOINED_SECONDS_MAX
    factor = EMULATED if foreign.emulated else 1.0
    assert agent_megabytes - bare < AGENT_MEGABYTES_MAX * factor
    assert runner_megabytes - bare < RUNNER_MEGABYTES_MAX * factor


def _bare_megabytes(python: Path) -> float:
    """Of a Python that does nothing: the interpreter, and the emulator around it.

    One of two, so that files in memory count as shared, as they do between an agent and its runner.
    """
    command = [python, "-I", "-S", "-c", PROGRAM]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as second,
    ):
        for process in (first, second):
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
        megabytes = private_megabytes(first.pid)
        first.communicate()
        second.communicate()
        return megabytes
