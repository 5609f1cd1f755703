"""Silent connections starve nobody."""

import json
import os
import resource
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.cluster import group_members, read_line
from harness.strangers import address_of, strangers
from harness.waiting import wait_until


@contextmanager
def server(folder, *, files, connections):
    """A server that may open so many files and have so many REST connections."""
    log = folder / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "dart.cli.main", "server", "start", "--state-dir", str(folder / "state"),
             "--port", "0", "--agent-port", "0"],
            stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True,
            env={**os.environ, "DART_LIMIT_CONNECTIONS_MAX": str(connections)},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),  # noqa: PLW1509
        )  # fmt: skip
    try:
        _, url, _, agents_url = read_line(process, seconds=30, log=log).split(" ")
        yield process, url, agents_url, (folder / "state" / "admin.key").read_text().strip(), log
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        wait_until(lambda: not group_members(process.pid), explain="processes are left")


def ask(url, key):
    request = urllib.request.Request(f"{url}/server/", headers={"Authorization": f"Bearer {key}"})
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with urllib.request.urlopen(request, timeout=20, context=context) as answer:
        return json.load(answer)


def open_files(process):
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


@pytest.mark.parametrize("port", ["agents", "rest"])
def test_silent_connections_leave_room_for_rest(tmp_path, port):
    """Four times as many of them as the process may open files, and they come again: REST answers at once."""
    with server(tmp_path, files=200, connections=60) as (process, url, agents_url, key, log):
        assert ask(url, key)
        quiet = open_files(process)
        with strangers(address_of(agents_url if port == "agents" else url), 800) as them:
            wait_until(lambda: open_files(process) >= (90 if port == "agents" else 60), explain="they do not get in")
            slowest = 0.0
            # On the agents' port longer than a handshake may take: they are cut and come again.
            ends_at = time.monotonic() + (6.0 if port == "agents" else 2.0)
            while time.monotonic() < ends_at:
                began = time.monotonic()
                assert ask(url, key)
                slowest = max(slowest, time.monotonic() - began)
                assert open_files(process) <= 200
                them.come_again()
                them.insist()
        assert slowest < 4.0  # a handshake takes 5 s to run out, and nobody waits for that
        if port == "agents":
            assert "takes no new connections" in log.read_text()
        wait_until(lambda: open_files(process) <= quiet + 5, timeout=15, explain=lambda: open_files(process))
