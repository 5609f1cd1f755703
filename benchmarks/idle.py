"""Memory and CPU of an idle installation: a server and one agent with one slot, after one task, left alone.

python benchmarks/idle.py [--seconds 60] [--python /usr/bin/python3]

USS is private pages (MB = 2^20 bytes); CPU is of one core, over the whole idle time. The interpreter named must be
able to import dart; by default it is the one that runs this.
"""

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from ssl import CERT_NONE, PROTOCOL_TLS_CLIENT, SSLContext
from typing import Any

import psutil

from dart_client import children


def call(url: str, key: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """One REST call to our own server, which has just been started here."""
    context = SSLContext(PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = CERT_NONE
    request = urllib.request.Request(  # noqa: S310 - an https URL of our own
        url + path,
        method=method,
        data=json.dumps(body or {}).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, context=context, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


def measure(processes: dict[str, psutil.Process], seconds: float) -> list[tuple[str, float, float]]:
    """(role, USS MB, percent of a core) of each."""
    before = {role: sum(process.cpu_times()[:2]) for role, process in processes.items()}
    began = time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - began
    return [
        (
            role,
            process.memory_full_info().uss / 2**20,
            100 * (sum(process.cpu_times()[:2]) - before[role]) / elapsed,
        )
        for role, process in processes.items()
    ]


def main() -> None:
    """Start, run one task, leave alone, measure, stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "noop.py").write_text("def run(p):\n    return p\n")
        (folder / "worker.json").write_text(json.dumps({"module_prefix": ".", "output_directory": "."}))
        state = ["--state-dir", str(folder / "state")]
        ports = ("--port", "0", "--agent-port", "0")
        server = children.start(["server", "start", *state, *ports], python=options.python)
        agent = None
        try:
            url = children.first_line(server, 30).split()[1]
            key = (folder / "state" / "admin.key").read_text().strip()
            where = ("--home", str(folder / "home"), "--config", str(folder / "worker.json"))
            agent = children.start(["agent", "start", *state, "--name", "w", *where], python=options.python)
            children.first_line(agent, 30)
            call(url, key, "POST", "/job/", {"name": "j", "module_path": "noop", "method": "run"})
            pairs = [{"location": "w", "parameter": "x"}]
            call(url, key, "POST", "/job/j/tasks/?wait=30", {"location_and_parameters": pairs})
            time.sleep(1)
            runner = psutil.Process(agent.pid).children()[0]
            roles = {"server": psutil.Process(server.pid), "agent": psutil.Process(agent.pid), "runner": runner}
            print(f"{'role':8} {'USS MB':>8} {'CPU %':>8}   after {options.seconds:.0f} s idle, {options.python}")
            for role, megabytes, percent in measure(roles, options.seconds):
                print(f"{role:8} {megabytes:8.1f} {percent:8.2f}")
        finally:
            for process in (agent, server):
                if process:
                    children.end(process)


if __name__ == "__main__":
    main()
