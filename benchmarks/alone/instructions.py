"""Instructions of an agent, at its start and for a task of no length: counted by callgrind, so load does not matter.

    PYTHONPATH=tests python benchmarks/alone/instructions.py [--tasks 2000]

x86-64 is the proxy for a small machine: Python does the same work there, in instructions of another size. An agent is
run twice, with few tasks and with many; the difference, by task, is what one costs.
"""

import argparse
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from dart_client import Client
from harness.cluster import cluster
from harness.modules import write_modules

FEW = 100
PATIENCE_SECONDS = 600.0
_COUNT = re.compile(r"Collected : (\d+)")


def count(tasks: int) -> int:
    """Instructions of an agent, not of its runner, that ran so many tasks."""
    with tempfile.TemporaryDirectory() as name, cluster(Path(name)) as it:
        # An agent that has just enrolled begins anew by exec; its runners are counted apart from it, that is: not.
        valgrind = (
            *("valgrind", "--tool=callgrind", f"--callgrind-out-file={name}/callgrind.out.%p"),
            *("--trace-children=yes", "--trace-children-skip-by-arg=*runner.py*"),
        )
        config = write_modules(Path(name), calls="def echo(value):\n    return value\n")
        program = (*valgrind, sys.executable, "-m", "dart.agent")
        agent = it.start_agent("w", config=config, program=program, seconds=PATIENCE_SECONDS)
        with Client(state_dir=it.state_dir) as client:
            for future in client.job("echo", "calls", "echo").submit_many(range(tasks)):
                future.result(PATIENCE_SECONDS)
        agent.send_signal(signal.SIGTERM)
        agent.wait(PATIENCE_SECONDS)
        logs = [log.read_text(errors="replace") for log in Path(name).glob("*.log")]
    return int(_COUNT.findall("".join(logs))[-1])


def main() -> int:
    """Count and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2000)
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("valgrind is not installed: apt-get install valgrind", file=sys.stderr)
        return 1
    few, many = count(FEW), count(FEW + options.tasks)
    each = (many - few) / options.tasks
    print(f"a task: {each / 1e3:.0f} thousand instructions of the agent")
    print(f"start and end: {(few - FEW * each) / 1e6:.0f} million")
    return 0


if __name__ == "__main__":
    sys.exit(main())
