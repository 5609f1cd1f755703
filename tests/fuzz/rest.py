"""schemathesis against a real server over TLS: all its checks, with data that fits the document and data that does not.

`python -m fuzz.rest --minutes 10` is the long form; `make test` runs a short one.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from harness.cluster import Cluster, cluster
from harness.witness import Witness, p99

HERE = Path(__file__).parent
LIMITS = {
    "DART_LIMIT_WAIT_SECONDS_MAX": "0.05",
    "DART_LIMIT_KEY_FAILURES_MAX": "1000000",
    "DART_LIMIT_KEY_FAILURES_OVERALL_MAX": "1000000",
}
"""Long polls end soon: what is looked for here does not need them. Wrong keys are never slowed down: each is to get its
401."""
QUIET_SECONDS = 2.0
PHASES = {"examples,coverage": 0.3, "fuzzing": 0.4, "stateful": 0.3}
"""What schemathesis does, and which part of the time each may take: the first would take minutes, the others none."""
GENERATED = re.compile(r"(\d+) generated")
RECORD = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2},\d{3} (DEBUG|INFO|WARNING|ERROR) +dart\.\S+ \S")


@dataclass
class Outcome:
    """What came of it."""

    failed: bool
    output: str
    requests: dict[str, int]
    """How many each phase made."""
    quiet_p99: float
    p99: float
    witness_failures: list[str]
    grown_bytes: int
    log_faults: list[str]
    """Lines of the server's log that are no record, and records of its own faults."""

    def summary(self) -> str:
        """One line for people."""
        made = ", ".join(f"{count} requests of {phases}" for phases, count in self.requests.items())
        return (
            f"{made}; p99 of another client {self.p99 * 1000:.1f} ms"
            f" (quiet: {self.quiet_p99 * 1000:.1f} ms), {len(self.witness_failures)} of its calls failed;"
            f" memory grew by {self.grown_bytes / 2**20:.1f} MiB; {len(self.log_faults)} faults in the log"
        )


def run(folder: Path, *, seconds: int) -> Outcome:
    """Start a server and two workers in the folder and let schemathesis at it for so long."""
    with cluster(folder, environment=LIMITS) as running:
        for name in ("w", "spare"):
            running.start_agent(name)
        task = _fill(running)
        process = psutil.Process(running.server.process.pid)
        with Witness(running.server.url, running.server.key, "/job/j/status/") as quiet:
            time.sleep(QUIET_SECONDS)
        before = process.memory_info().rss
        with Witness(running.server.url, running.server.key, "/job/j/status/") as witness:
            done = {
                phases: _schemathesis(running, task, phases, int(seconds * part)) for phases, part in PHASES.items()
            }
        grown = process.memory_info().rss - before
        log = "".join(path.read_text() for path in folder.glob("server.*.log"))
    counts = {phases: sum(map(int, GENERATED.findall(output))) for phases, (_, output) in done.items()}
    return Outcome(
        failed=any(code != 0 for code, _ in done.values()),
        output="\n".join(output for _, output in done.values()),
        requests=counts,
        quiet_p99=p99(quiet.seconds),
        p99=p99(witness.seconds),
        witness_failures=quiet.failures + witness.failures,
        grown_bytes=grown,
        log_faults=[line for line in log.splitlines() if not RECORD.match(line) or " ERROR " in line],
    )


def _fill(running: Cluster) -> str:
    """Jobs, tasks and results to be asked for; the id of one of the tasks."""

    def call(verb: str, path: str, /, **members: Any) -> Any:
        headers = {"Authorization": f"Bearer {running.server.key}"}
        certificate = running.state_dir / "server.crt"
        answer = requests.request(
            verb, running.server.url + path, json=members, headers=headers, verify=str(certificate), timeout=30
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    for name in ("spare", "j"):
        call("POST", "/job/", name=name, module_path="no/such/module", method="run")
        made = call("POST", f"/job/{name}/tasks/", location_and_parameters=[{"parameter": [1, {"a": "b"}]}] * 5)
    return str(made["tasks"][0])


def _schemathesis(running: Cluster, task: str, phases: str, seconds: int) -> tuple[int, str]:
    program = Path(sys.executable).with_name("schemathesis")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [
            str(program),
            "run",
            f"{running.server.url}/openapi.json",
            "--header",
            f"Authorization: Bearer {running.server.key}",
            "--tls-verify",
            str(running.state_dir / "server.crt"),
            "--exclude-operation-id",
            "server.stop",
            # These reach out to whatever a made-up name leads to.
            "--exclude-operation-id",
            "workers.add",
            "--exclude-operation-id",
            "workers.remove",
            "--exclude-operation-id",
            "workers.upgrade",
            "--phases",
            phases,
            "--max-time",
            str(max(1, seconds)),
            "--continue-on-failure",
            "--no-color",
            "--generation-database",
            "none",
            "--output-truncate",
            "false",
        ],
        env={
            **environment,
            "SCHEMATHESIS_HOOKS": "fuzz.rest_hooks",
            "PYTHONPATH": str(HERE.parent),
            "FUZZ_TASK_ID": task,
        },
        cwd=running.folder,
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def main() -> int:
    """For so many minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    seconds = int(parser.parse_args().minutes * 60)
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(Path(folder), seconds=seconds)
    print(outcome.output)
    print("\n".join([*outcome.log_faults[:20], *outcome.witness_failures[:20], outcome.summary()]))
    return int(outcome.failed or bool(outcome.log_faults) or bool(outcome.witness_failures))


if __name__ == "__main__":
    sys.exit(main())
