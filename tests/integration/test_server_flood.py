"""Silent connections starve nobody."""

import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from harness.cluster import group_members, read_line
from harness.waiting import wait_until


@contextmanager
def server(folder, *, files, connections):
    """A server that may open so many files and keeps so many for REST."""
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
        yield process, url, agents_url, (folder / "state" / "admin.key").read_text().strip()
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
    """More of them than the process may open files: REST answers, at worst when their handshake time is over."""
    with server(tmp_path, files=200, connections=60) as (process, url, agents_url, key), ExitStack() as silent:
        assert ask(url, key)
        host, number = (agents_url if port == "agents" else url).rpartition("/")[2].split(":")
        for _ in range(260):
            silent.enter_context(socket.create_connection((host, int(number)), timeout=5))
        if port == "agents":
            wait_until(lambda: open_files(process) >= 139, explain=lambda: open_files(process))
        for _ in range(20):
            assert ask(url, key)
