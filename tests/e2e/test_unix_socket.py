"""A server whose REST interface is a unix socket: found, used and restarted like any other."""

import http.client
import json
import socket
import stat
from contextlib import closing

import pytest

from dart_client import Client
from harness.cluster import cluster, read_line


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rest.sock"


def ask(path, target):
    """What an old program with its key gets, through the socket."""
    with closing(http.client.HTTPConnection("localhost")) as connection:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(path))
        connection.request("GET", target, json.dumps({"key": "000"}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_server_agent_and_client_through_a_socket(tmp_path, path):
    """Ready line, file for this user alone, local discovery by agent and SDK, an old program's key, a clean end."""
    (tmp_path / "calls.py").write_text("def twice(value):\n    return value * 2\n")
    with cluster(tmp_path, "--host", f"unix:{path}", "--legacy-key", "000") as running:
        assert running.server.url == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        running.start_agent("w", "--module-prefix", str(tmp_path))
        with Client(state_dir=running.state_dir) as client:
            assert client.url == f"unix:{path}"
            assert list(client.job("twice", "calls", "twice").map([1, 2])) == [2, 4]
        status, answer = ask(path, "/server/")
        assert (status, answer["servers"][0]["host"], answer["servers"][0]["port"]) == (200, f"unix:{path}", 0)
        assert running.end(running.server.process) == 0
        assert not path.exists()


def test_the_socket_of_a_killed_server_gives_way(tmp_path, path):
    """Its file is left and nobody answers there: the next server takes the place. One that lives keeps it."""
    with cluster(tmp_path, "--host", f"unix:{path}") as running:
        running.kill_server()
        assert path.exists()
        options = ("server", "start", "--host", f"unix:{path}", "--agent-port", "0", "--state-dir")
        process, log = running._spawn("next", *running.program, *options, str(running.state_dir))
        assert read_line(process, seconds=30, log=log).startswith(f"ready unix:{path} agents tcp://")
        other, log = running._spawn("other", *running.program, *options, str(tmp_path / "elsewhere"))
        assert other.wait(30) == 2
        assert "Is another server running" in log.read_text()
        with Client(state_dir=running.state_dir) as client:
            assert client.server()["host"] == f"unix:{path}"
