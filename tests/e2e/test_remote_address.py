"""A server on an address that is not loopback, in a network of its own."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ADDRESS = "10.123.45.1"


def namespaces_are_permitted() -> bool:
    """Whether this user may make a network and configure it."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    probe = ["unshare", "-Urn", "sh", "-c", f"ip link set lo up && ip addr add {ADDRESS}/24 dev lo"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


SCRIPT = """
    import json, os, subprocess, sys
    from pathlib import Path

    import dart_client
    from harness.cluster import cluster
    from harness.modules import write_modules

    folder, address = Path(sys.argv[1]), sys.argv[2]
    config = write_modules(folder, calls="def echo(value):\\n    return value\\n")
    heard = {}
    with cluster(folder, "--host", "0.0.0.0", "--agent-host", "0.0.0.0", "--advertise", address) as running:
        running.start_agent("w", config=config)
        port = running.server.url.rpartition(":")[2]
        told = json.loads((running.state_dir / "server.json").read_text())
        url = f"https://{address}:{port}"

        def attempt(**how):
            try:
                with dart_client.Client(url, running.server.key, **how) as client:
                    job = client.job("j", "calls", "echo")
                    return job.submit("there and back").result(30)
            except dart_client.DartError as error:
                return type(error).__name__

        heard["pinned"] = attempt(fingerprint=told["fingerprint"])
        heard["wrong"] = attempt(fingerprint="ab" * 32)
        heard["none"] = attempt()
        heard["authority"] = attempt(ca=str(running.state_dir / "server.crt"))
        dart = Path(sys.executable).with_name("dart")
        info = subprocess.run(
            [dart, "server", "info", "--state-dir", running.state_dir], capture_output=True, text=True, timeout=30
        ).stdout.split()
        heard["info"] = info[1] == url
        listed = subprocess.run(
            [dart, "worker", "list", *info, "--key", running.server.key, "-o", "jsonl"],
            capture_output=True, text=True, timeout=30,
        ).stdout
        heard["listed"] = json.loads(listed)["name"]
        with dart_client.Client(state_dir=running.state_dir) as admin:
            strong = admin.add_key(scope="read", text="a text that nobody guesses")
            heard["strong"] = strong["key"]["valid"]
            try:
                admin.add_key(scope="read", text="000")
            except dart_client.ConflictError as error:
                heard["weak"] = "--allow-weak-key" in str(error)
    print(json.dumps(heard))
"""


@pytest.mark.skipif(not namespaces_are_permitted(), reason="needs unprivileged network namespaces (unshare, ip)")
def test_the_fingerprint_opens_a_remote_server_and_nothing_less_does(tmp_path: Path):
    """Right fingerprint or the certificate itself: it works. Another one or none: refused. `info` tells the way."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    prepare = f'ip link set lo up; ip addr add {ADDRESS}/24 dev lo; exec "$@"'
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DART_")}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    environment["XDG_STATE_HOME"] = str(tmp_path / "state")
    done = subprocess.run(
        ["unshare", "-Urn", "sh", "-c", prepare, "sh", sys.executable, script, tmp_path, ADDRESS],  # noqa: S607
        capture_output=True, check=False, text=True, env=environment, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    heard = json.loads(done.stdout)
    assert heard == {
        "pinned": "there and back",
        "wrong": "UntrustedServerError",
        "none": "ConfigError",
        "authority": "there and back",
        "info": True,
        "listed": "w",
        "strong": True,
        "weak": True,
    }
