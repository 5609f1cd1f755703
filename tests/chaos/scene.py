"""What the named scenarios share: times that scale, one job, and what can be seen of it from outside."""

import os
from pathlib import Path
from typing import Any

from chaos.load import Rest
from harness.cluster import Cluster
from harness.modules import write_modules
from harness.waiting import wait_until

SCALE = float(os.environ.get("DART_CHAOS_SCALE", "1"))
"""1: seconds; 10: the sizes that people meet (`make chaos`)."""
MODULE = """
    import os, time

    def note(path, word):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, (word + "\\n").encode())
        os.close(descriptor)

    def run(parameter):
        path, name, seconds, size = parameter
        note(path, "begin " + name)
        time.sleep(seconds)
        note(path, "end " + name)
        return name + "x" * size

    def spin_children(parameter):
        import subprocess
        path, name, seconds, size = parameter
        note(path, "begin " + name)
        subprocess.run(["sleep", str(seconds)], check=True)
        note(path, "end " + name)
        return name
"""


def quick_limits(*, lease: float, **others: float) -> dict[str, str]:
    """The environment that makes heartbeats, silence and lease as long as the scale says."""
    limits = {
        "heartbeat_seconds": 0.5 * SCALE,
        "silence_seconds": 1.5 * SCALE,
        "lease_seconds": lease * SCALE,
        "reconnect_seconds_max": min(30.0, 1.0 * SCALE),
        **others,
    }
    return {f"DART_LIMIT_{name.upper()}": f"{value:g}" for name, value in limits.items()}


class Scene:
    """One job on one cluster; tasks note in a file when they begin and end."""

    def __init__(self, running: Cluster, **defaults: Any) -> None:
        self.running = running
        self.written = running.folder / "written"
        self.config: Path = write_modules(running.folder, scene=MODULE)
        self.rest = Rest(running)
        self.names: dict[str, str] = {}
        method = defaults.pop("method", "run")
        self.rest.call("POST", "/job/", **{"name": "scene", "module_path": "scene", "method": method, **defaults})

    def submit(self, *names: str, seconds: float = 0.0, size: int = 0, **entry: Any) -> list[str]:
        entries = [{"parameter": [str(self.written), name, seconds, size], **entry} for name in names]
        ids = self.rest.call("POST", "/job/scene/tasks/", location_and_parameters=entries)["tasks"]
        self.names.update(zip(ids, names, strict=True))
        return list(ids)

    def lines(self) -> list[str]:
        """What the tasks noted so far."""
        return self.written.read_text().splitlines() if self.written.exists() else []

    def wait_for_lines(self, *lines: str, timeout: float = 30.0) -> None:
        wait_until(lambda: set(lines) <= set(self.lines()), timeout=timeout * SCALE, explain=self.lines)

    def results(self) -> list[dict[str, Any]]:
        return list(self.rest.call("GET", "/job/scene/results/", amount=100_000)["results"])

    def agents(self, worker: str) -> int:
        """How many agents of this name are connected, as the server sees it."""
        listed = self.rest.call("GET", "/worker/")["workers"]
        return sum(entry["count"] for entry in listed if entry["name"] == worker)

    def late(self) -> int:
        return int(self.rest.server()["late_results"])

    def finish(self, *, timeout: float = 30.0) -> dict[str, str]:
        """Wait until nothing is open; the names of all tasks with their results, each once."""
        wait_until(
            lambda: self.rest.server()["open_tasks"] == 0,
            timeout=timeout * SCALE,
            interval=0.1,
            explain=lambda: (self.rest.server(), self.rest.call("GET", "/job/scene/tasks/"), self.lines()),
        )
        results = self.results()
        assert len({result["id"] for result in results}) == len(results)
        return {self.names[result["id"]]: result.get("success", result.get("error")) for result in results}
