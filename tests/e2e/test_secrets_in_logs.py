"""No log line ever holds a secret, however much is logged and whatever goes wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import requests

from harness.cluster import cluster
from harness.historic import HistoricClient
from harness.modules import write_modules
from harness.waiting import wait_until

LEGACY = "a key that old programs have"
DART = Path(sys.executable).with_name("dart")
ECHO = """
    def run(parameter):
        if parameter == "fail":
            raise ValueError(parameter)
        print(parameter)
        return parameter
"""


def secrets_of(folder: Path) -> dict[str, str]:
    """Every secret of server and agents, by the file it is in."""
    found = {"--legacy-key": LEGACY}
    for path in folder.rglob("*.key"):
        text = path.read_text()
        if path.name == "server.key":
            found.update((f"{path} line {n}", line) for n, line in enumerate(text.splitlines()[1:-1]))
        elif path.name == "admin.key":
            found[str(path)] = text.strip()
        else:
            found[str(path)] = json.loads(text)["secret"]
    return found


def test_no_secret_is_logged(tmp_path, monkeypatch):
    """All at the lowest level: enrolment, work, wrong keys, kills, a backup, a restore, damage."""
    monkeypatch.setenv("DART_LOG_LEVEL", "debug")
    monkeypatch.setenv("DART_SERVER_LOG_LEVEL", "debug")
    config = write_modules(tmp_path, echo=ECHO)
    said = ""

    def dart(*words: object, key: str = "") -> None:
        nonlocal said
        environment = {**os.environ, **({"DART_KEY": key} if key else {})}
        command = [DART, *map(str, words), "--state-dir", str(tmp_path / "server")]
        done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60, env=environment)
        said += done.stdout + done.stderr

    with cluster(tmp_path, "--legacy-key", LEGACY) as running:
        running.start_agent("w", config=config, home="home")
        client = HistoricClient(running.server.url, running.server.key)
        client.add_job("j", "echo", "run")
        client.add_tasks("j", ("w", "x"), ("w", "fail"), ("nobody", "y"))
        wait_until(lambda: len(client.results("j", 9)) == 2)
        key = running.server.key
        stranger = HistoricClient(running.server.url, key[:-3] + "xyz")
        assert stranger.call("GET", "/job/").status_code == requests.codes.unauthorized
        # A key where it does not belong: in the query, in the path, in a broken body, as a name.
        for method, path in (("GET", f"/job/?key={key}"), ("GET", f"/{key}/"), ("PATCH", f"/job/{key}/")):
            assert client.call(method, path).status_code >= requests.codes.bad_request
        broken = requests.post(
            f"{running.server.url}/job/",
            data=f'{{"key": "{key}", "name": ',
            verify=running.state_dir / "server.crt",
            timeout=10,
        )
        assert broken.status_code == requests.codes.bad_request
        dart("server", "status")
        dart("server", "backup", tmp_path / "backup.db")
        dart("job", "list", key=f"{key}-wrong")
        dart("worker", "ping")
        running.kill_server()
        dart("server", "restore", tmp_path / "backup.db")
        running.start_server()
        wait_until(client.workers, timeout=20)
        running.end(running.processes[1])
        (tmp_path / "home" / "enrolment.json").write_text("{")
        dart("agent", "start", "--name", "w", "--home", tmp_path / "home")
    secrets = secrets_of(tmp_path)
    assert {Path(name.partition(" ")[0]).name for name in secrets} == {
        "--legacy-key",
        "admin.key", "broker.key", "server.key", "agent.key",
    }  # fmt: skip
    logs = {path: path.read_text() for path in [*tmp_path.glob("*.log"), *(tmp_path / "logs").iterdir()]}
    assert len(logs) >= 4
    assert all(logs.values())
    for place, text in {**logs, Path("what commands said"): said}.items():
        shown = [name for name, secret in secrets.items() if secret in text]
        assert not shown, (place, shown)
