"""DART in the benchmark's terms: a server and two workers, through the SDK, with TLS, CURVE and durability on."""

import sys
from pathlib import Path

import psutil

import harness
from dart_client import Client

HERE = Path(__file__).resolve().parent


class Dart(harness.Peer):
    name = "dart"
    variants = ("agents2", "slots2", "memory", "unaudited")
    """Two agents of one slot; one agent of two; as the first, with the store in memory, or without audit logs."""

    def start(self) -> None:
        state = self.folder / "server"
        store = "memory" if self.variant == "memory" else "sqlite"
        dart = (sys.executable, "-m", "dart.cli.main")
        server = self.spawn(
            *dart,
            "server",
            "start",
            "--state-dir",
            state,
            "--port",
            0,
            "--agent-port",
            0,
            "--store",
            store,
            "--end-with-stdin",
        )
        self.server = server.pid
        self.line(server)
        slots = 2 if self.variant == "slots2" else 1
        options = ("--state-dir", state, "--slots", slots, "--module-prefix", HERE, "--output-directory", self.folder)
        for number in range(harness.WORKERS if self.variant == "unaudited" else 0):
            home = self.folder / f"agent{number}"
            home.mkdir(mode=0o700)
            (home / "policy.json").write_text('{"audit": false}')
            (home / "policy.json").chmod(0o600)
        agents = [
            self.spawn(
                *(sys.executable, "-m", "dart.agent", "--end-with-stdin", "--name", f"bench-{number}"),
                *("--home", self.folder / f"agent{number}"),
                *options,
            )
            for number in range(harness.WORKERS // slots)
        ]
        self.agents = {agent.pid for agent in agents}
        for agent in agents:
            self.line(agent)
        self.client = Client(state_dir=state)
        self.jobs = {}

    def line(self, process) -> None:
        if not process.stdout.readline():
            logs = "\n".join(log.read_text()[-2000:] for log in sorted(self.folder.glob("*.log")))
            raise RuntimeError(f"did not start:\n{logs}")

    def submit_many(self, function, arguments):
        name = function.__name__
        job = self.jobs.get(name)
        if job is None:
            job = self.jobs[name] = self.client.job(f"bench-{name}", "bench_tasks", name)
        return job.submit_many(arguments)

    def one(self, function, argument):
        if function.__name__ not in self.jobs:
            return super().one(function, argument)
        return self.jobs[function.__name__].submit(argument).result(60)

    def collect(self, handle):
        return [future.result(300) for future in handle]

    def role(self, process: psutil.Process) -> str:
        if process.pid == self.server:
            return "server"
        return "agent" if process.pid in self.agents else "runner"

    def stop(self) -> None:
        if hasattr(self, "client"):
            self.client.close()


if __name__ == "__main__":
    sys.exit(harness.main(Dart))
