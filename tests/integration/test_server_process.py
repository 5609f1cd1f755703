"""The server as a process: start, files, good and bad ends."""

import contextlib
import json
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.request

import pytest

from dart.state_directory import find_local_server
from harness.cluster import cluster
from harness.waiting import wait_until

END_SECONDS = 10.0
HALF_A_REQUEST = b'POST /job/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{"name":'


def call(server, method, path, body=None):
    """The answer's JSON."""
    request = urllib.request.Request(
        server.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"},
    )
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with urllib.request.urlopen(request, timeout=30, context=context) as response:
        return json.load(response)


def start_and_fail(state_dir, *options):
    """Exit code and stderr of a server that cannot start."""
    done = subprocess.run(
        [sys.executable, "-m", "dart.cli.main", "server", "start", "--state-dir", str(state_dir), "--port", "0",
         "--agent-port", "0", *options],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_it_announces_itself_and_leaves_cleanly(tmp_path):
    """One line when ready, `server.json` while it runs, exit code 0 after SIGTERM."""
    with cluster(tmp_path) as it:
        found = find_local_server(it.state_dir)
        assert found is not None
        assert (found.url, found.agents_url, found.key) == (it.server.url, it.server.agents_url, it.server.key)
        assert found.pid == it.server.process.pid
        assert {stat.S_IMODE(path.stat().st_mode) for path in it.state_dir.iterdir() if path.is_file()} == {0o600}
        secrets = [(it.state_dir / name).read_text().strip() for name in ("admin.key", "broker.key", "server.key")]
        assert not any(secret in (it.state_dir / "server.json").read_text() for secret in secrets)
        assert it.end(it.server.process) == 0
        assert find_local_server(it.state_dir) is None
        assert it.server.process.stdout.read() == ""


def test_delete_server_answers_and_stops_it(tmp_path):
    """Exit code 0 within ten seconds, with a long poll open, which is answered."""
    with cluster(tmp_path) as it:
        call(it.server, "POST", "/job/", {"name": "job", "module_path": "m", "method": "f"})
        poll = subprocess.Popen(
            [sys.executable, "-c", POLL, it.server.url, it.server.key], stdout=subprocess.PIPE, text=True
        )
        it.processes.append(poll)
        assert poll.stdout.readline() == "asking\n"
        call(it.server, "DELETE", "/server/")
        assert it.server.process.wait(END_SECONDS) == 0
        assert poll.communicate(timeout=10)[0] in {"200\n", "503\n"}


POLL = """
import ssl, sys, http.client
url, key = sys.argv[1:]
trust_all = ssl._create_unverified_context()
connection = http.client.HTTPSConnection(url.removeprefix("https://"), timeout=30, context=trust_all)
connection.request("GET", "/job/job/results/?wait=30&amount=1", headers={"Authorization": "Bearer " + key})
print("asking", flush=True)
print(connection.getresponse().status, flush=True)
"""


def test_a_second_signal_ends_it_at_once(tmp_path):
    """Without waiting for a request that does not come to its end."""
    with cluster(tmp_path, "--no-tls") as it:
        host, port = it.server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(HALF_A_REQUEST % it.server.key.encode())
            wait_until(lambda: answers(it.server), explain="the server does not answer")
            log = it.folder / "server.0.log"
            it.server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "good order" in log.read_text(), explain=log.read_text)
            began = time.monotonic()
            it.server.process.send_signal(signal.SIGTERM)
            assert it.server.process.wait(5) == 130
            assert time.monotonic() - began < 1.0


def answers(server):
    with contextlib.suppress(OSError):
        return call(server, "GET", "/server/")
    return None


def test_it_ends_in_time_although_a_request_hangs(tmp_path):
    """Ten seconds are promised."""
    with cluster(tmp_path, "--no-tls") as it:
        host, port = it.server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(HALF_A_REQUEST % it.server.key.encode())
            assert answers(it.server)
            it.server.process.send_signal(signal.SIGINT)
            assert it.server.process.wait(END_SECONDS) == 0


def test_a_restart_keeps_what_was_promised(tmp_path):
    """Key, certificate, store and jobs; the incarnation grows. `--forget-jobs` begins without jobs."""
    with cluster(tmp_path) as it:
        call(it.server, "POST", "/job/", {"name": "job", "module_path": "m", "method": "f"})
        before, about = find_local_server(it.state_dir), call(it.server, "GET", "/server/")["servers"][0]
        it.kill_server()
        it.start_server()
        after, later = find_local_server(it.state_dir), call(it.server, "GET", "/server/")["servers"][0]
        assert before._replace(pid=0) == after._replace(pid=0)
        assert (later["store_id"], later["incarnation"]) == (about["store_id"], about["incarnation"] + 1)
        assert call(it.server, "GET", "/job/job/status/")["job"]["status"] == 1
        it.end(it.server.process)
        it.start_server("--forget-jobs")
        assert call(it.server, "GET", "/job/")["jobs"] == []


def test_two_servers_cannot_share_a_state_directory_or_a_port(tmp_path):
    """The second says so and leaves the first alone."""
    with cluster(tmp_path) as it:
        code, error = start_and_fail(it.state_dir)
        assert code != 0
        assert "Another server" in error
        port = it.server.agents_url.rpartition(":")[2]
        code, error = start_and_fail(tmp_path / "other", "--agent-port", port)
        assert code != 0
        assert "--agent-port" in error
        code, error = start_and_fail(tmp_path / "other", "--port", it.server.url.rpartition(":")[2])
        assert code != 0
        assert "--port" in error
        assert "Traceback" not in error
        assert call(it.server, "GET", "/server/")


@pytest.mark.parametrize("name", ["admin.key", "broker.key", "server.key"])
def test_secrets_that_others_can_read_stop_the_start(tmp_path, name):
    """The error says what to do."""
    with cluster(tmp_path) as it:
        it.end(it.server.process)
        (it.state_dir / name).chmod(0o644)
        code, error = start_and_fail(it.state_dir)
        assert code != 0
        assert "chmod 600" in error
        assert "Traceback" not in error


def test_a_legacy_key_is_for_loopback(tmp_path):
    """Elsewhere it needs a second word; it is warned of at each start."""
    code, error = start_and_fail(tmp_path / "state", "--host", "0.0.0.0", "--legacy-key", "000")  # noqa: S104
    assert code != 0
    assert "--allow-weak-key" in error
    with cluster(tmp_path, "--legacy-key", "000", "--store", "memory") as it:
        it.server.key = "000"
        assert call(it.server, "GET", "/worker/") == {"workers": []}
        assert "WARNING" in (it.folder / "server.0.log").read_text()
        assert not (it.state_dir / "dart.db").exists()
