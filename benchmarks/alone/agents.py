"""Many agents at one server: what their heartbeats cost, and how they come back when the server was killed.

python benchmarks/alone/agents.py [--agents 2000] [--seconds 30] [--write]

Each agent is the real core with the real link, a key and an encrypted socket of its own; only runners are missing
(`swarm.py`). First all are left alone, with their heartbeats, and the server's CPU is counted. Then each is given a
task, the server is killed and started again at once, and all come back by themselves: counted is how long that takes,
how late the server's event loop and a request were meanwhile, and whether any task had to run twice.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from figures import Others, write
from installation import Installation, installation, raise_open_files

from dart.errors import DartError
from dart.wire.curve import KeyPair
from dart_client import Client
from dart_client.errors import DartError as ClientError

PROCESSES = 2
PATIENCE_SECONDS = 180.0
PROBE_SECONDS = 0.02
LAG = "dart_event_loop_lag_seconds_bucket"


class Herd:
    """The processes of `swarm.py`, and what they said last."""

    def __init__(self, client: Client, agents: int) -> None:
        self.agents = agents
        self.history: list[tuple[float, int]] = []
        self._told: list[dict[str, Any]] = [{} for _ in range(PROCESSES)]
        self._lock = threading.Lock()
        self._processes = []
        names = [f"agent-{number:04}" for number in range(agents)]
        pairs = [KeyPair.make() for _ in names]
        for name, pair in zip(names, pairs, strict=True):
            answer = client.connection.call("POST", "/enroll/", {"name": name, "public_key": pair.public_text})
        self.names = names
        self.began = time.monotonic()
        for process in range(PROCESSES):
            swarm = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("swarm.py"))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            mine = [
                (name, pair.public_text, _secret(pair))
                for name, pair in list(zip(names, pairs, strict=True))[process::PROCESSES]
            ]
            orders = {
                "url": answer["agent"], "server_key": answer["server_public_key"], "store_id": answer["store_id"],
                "agents": mine,
            }  # fmt: skip
            assert swarm.stdin is not None
            swarm.stdin.write(json.dumps(orders) + "\n")
            swarm.stdin.flush()
            self._processes.append(swarm)
            threading.Thread(target=self._read, args=(process, swarm), daemon=True).start()

    def _read(self, number: int, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with self._lock:
                self._told[number] = json.loads(line)
                self.history.append((self._told[number]["at"], self.sum("live")))

    def sum(self, member: str) -> int:
        return sum(told.get(member, 0) for told in self._told)

    def wait(self, member: str, amount: int) -> None:
        """Until all together have so many."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.sum(member) != amount:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.sum(member)} of {amount} {member} after {PATIENCE_SECONDS:.0f} s")
            time.sleep(0.01)

    def finish(self, agents: int = 0) -> None:
        """Let what is held end; or one task of each of about so many agents, in turn."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"finish {max(1, agents // PROCESSES)}\n" if agents else "finish\n")
            process.stdin.flush()

    def cpu(self) -> float:
        return sum(sum(psutil.Process(process.pid).cpu_times()[:2]) for process in self._processes)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()


class Probe:
    """Asks the server for next to nothing, again and again: how long does it make one wait?"""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.seconds: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(PROBE_SECONDS):
            began = time.monotonic()
            try:
                self._client.healthy()
            except (DartError, ClientError):
                continue  # not there yet
            self.seconds.append(time.monotonic() - began)

    def stop(self) -> list[float]:
        self._over.set()
        self._thread.join()
        return sorted(self.seconds)


def _secret(pair: KeyPair) -> str:
    from zmq.utils import z85  # noqa: PLC0415 - here only

    return z85.encode(pair.secret).decode()


def lags(client: Client) -> dict[str, float]:
    """The server's own histogram of how late its loop was: bounds, and how many were not above."""
    sink = io.BytesIO()
    client.connection.download("/metrics", sink, seconds=10)
    lines = [line for line in sink.getvalue().decode().splitlines() if line.startswith(LAG)]
    return {line.partition('le="')[2].partition('"')[0]: float(line.split()[-1]) for line in lines}


def peak_lag(client: Client, since: dict[str, float] | None = None) -> str:
    """The highest bucket that anything fell into, since those lags or the server's start."""
    counts = {bound: count - (since or {}).get(bound, 0.0) for bound, count in lags(client).items()}
    return next(f"<= {bound} s" for bound, count in counts.items() if count == max(counts.values()))


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures of one run."""
    figures: dict[str, Any] = {"agents": options.agents}
    with installation(folder) as installed, installed.client() as client:
        client.define_job("j", "m", "f")
        herd = Herd(client, options.agents)
        others = Others()
        try:
            herd.wait("live", options.agents)
            figures["first_contact_s"] = round(time.monotonic() - herd.began, 2)
            time.sleep(min(5.0, options.seconds))
            before, theirs, at = installed.server_cpu(), herd.cpu(), time.monotonic()
            time.sleep(options.seconds)
            took = time.monotonic() - at
            figures["server_core_percent"] = round(100 * (installed.server_cpu() - before) / took, 1)
            figures["agents_core_percent"] = round(100 * (herd.cpu() - theirs) / took, 1)
            figures["server_uss_mb"] = round(installed.server_uss() / 1e6, 1)
            entries = [{"location": name, "parameter": None} for name in herd.names]
            client.submit("j", entries)
            herd.wait("held", options.agents)
            figures |= come_back(installed, client, herd)
            herd.finish()
            results = collect(client, options.agents)
            figures["others_percent"] = others.percent()
            figures["results"] = len(results)
            attempts = [task["attempts"] for task in client.tasks("j")]
            assert len(attempts) == options.agents
            figures["ran_twice"] = sum(tried > 1 for tried in attempts)
        finally:
            herd.close()
    return figures


def come_back(installed: Installation, client: Client, herd: Herd) -> dict[str, Any]:
    """Kill the server and start it again; the agents come back by themselves."""
    connects = herd.sum("connects")
    installed.kill_server()
    herd.wait("live", 0)
    herd.history.clear()
    killed = time.monotonic()
    installed.start_server()
    ready = time.monotonic()
    probe = Probe(client)
    try:
        herd.wait("live", herd.agents)
        back = time.monotonic()
        time.sleep(1.0)
    finally:
        waits = probe.stop()
    times = [next(at for at, live in herd.history if live >= part * herd.agents) - ready for part in (0.5, 0.9, 0.99)]
    return {
        "server_start_s": round(ready - killed, 2),
        "half_back_s": round(times[0], 2),
        "90_percent_back_s": round(times[1], 2),
        "99_percent_back_s": round(times[2], 2),
        "all_back_s": round(back - ready, 2),
        "connections_an_agent": round((herd.sum("connects") - connects) / herd.agents, 1),
        "peak_lag": peak_lag(client),
        "request_p50_ms": round(waits[len(waits) // 2] * 1e3, 1),
        "request_worst_ms": round(waits[-1] * 1e3, 1),
        "attempts_given_up": herd.sum("lost"),
    }


def collect(client: Client, amount: int) -> list[dict[str, Any]]:
    """All results."""
    found: list[dict[str, Any]] = []
    cursor, deadline = "0", time.monotonic() + PATIENCE_SECONDS
    while len(found) < amount and time.monotonic() < deadline:
        page = client.results("j", amount, after=cursor, wait=5.0)
        found += page["results"]
        cursor = page["cursor"]
    return found


def main() -> int:
    """Measure and print; exit code 1 if a task was lost or ran twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, nargs="+", default=[2000])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--write", action="store_true", help="into benchmarks/data, for docs/performance.md")
    options = parser.parse_args()
    raise_open_files()
    rows = []
    for agents in options.agents:
        with tempfile.TemporaryDirectory(prefix="dart-agents-") as folder:
            rows.append(measure(argparse.Namespace(agents=agents, seconds=options.seconds), Path(folder)))
        for name, value in rows[-1].items():
            print(f"{name.replace('_', ' '):<24}{value:>12}", flush=True)
    if options.write:
        write("agents", rows)
    return int(any(row["results"] != row["agents"] or row["ran_twice"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
