"""`dart key` against a real server: made, bound, replaced, revoked; what is told of it, and to whom."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import requests

import dart_client
from harness.cluster import cluster
from harness.historic import HistoricClient
from harness.waiting import wait_until

DART = Path(sys.executable).with_name("dart")
MADE = re.compile(r"dart_[0-9a-f]{16}_[A-Za-z0-9_-]{43}")


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    """No variable or profile of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("DART_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DART_PROFILE", str(tmp_path / "profile.toml"))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("keys"), environment={"DART_SERVER_LOG_LEVEL": "debug"}) as it:
        yield it


def dart(running, *words, code=0, stdin="", key=""):
    """Run `dart`; its stdout and stderr."""
    done = subprocess.run(
        [DART, *map(str, words), "--state-dir", running.state_dir, *(["--key", key] if key else [])],
        input=stdin, capture_output=True, check=False, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    return done.stdout, done.stderr


def log_of(running):
    return "".join(path.read_text() for path in running.folder.glob("server.*.log"))


def admin(running):
    return dart_client.Client(state_dir=running.state_dir)


def add(running, **members):
    """A new key: its id and its text."""
    with admin(running) as client:
        made = client.add_key(**members)
    return made["key"]["id"], made.get("text", "")


def listed(running):
    with admin(running) as client:
        return client.keys()


def test_the_text_of_a_new_key_is_all_of_stdout(running):
    """So it can be piped; what is said about it goes to stderr, and no list shows it again."""
    out, said = dart(running, "key", "add", "--scope", "read", "--name", "reader")
    assert MADE.fullmatch(out.removesuffix("\n"))
    assert "reader" in said
    assert out.strip() not in said
    dart(running, "job", "list", key=out.strip())
    _, said = dart(running, "job", "add", "x", "--module", "m", "--method", "f", key=out.strip(), code=4)
    assert "scope read" in said
    for form in ("table", "json"):
        told, _ = dart(running, "key", "list", "--output", form)
        assert "reader" in told
        assert out.strip() not in told


def test_a_key_can_go_into_a_file_of_its_owner(running, tmp_path):
    """0600 whatever the umask; a file that is there is left alone, and no key is made for it."""
    before = os.umask(0)
    try:
        dart(running, "key", "add", "--scope", "submit", "--expires", "30d", "--out", tmp_path / "a.key")
    finally:
        os.umask(before)
    text = (tmp_path / "a.key").read_text()
    assert MADE.fullmatch(text.removesuffix("\n"))
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600
    amount = len(listed(running))
    _, said = dart(running, "key", "add", "--scope", "submit", "--out", tmp_path / "a.key", code=1)
    assert "is there already" in said
    _, said = dart(running, "key", "add", "--scope", "submit", "--out", tmp_path / "no" / "a.key", code=1)
    assert "Revoke the key that is lost" in said
    assert len(listed(running)) == amount + 1
    assert (tmp_path / "a.key").read_text() == text


def test_a_bound_key_reaches_no_further(running):
    """From the command line to the refusal; what is bound is listed."""
    options = ["--job", "mine", "--job-regex", "mine-.*", "--worker", "w", "--worker-regex", "v.*", "--expires", "1h"]
    made = json.loads(dart(running, "key", "add", "--scope", "submit", *options, "--output", "json")[0])
    key_id, text = made["key"]["id"], made["text"]
    with dart_client.Client(state_dir=running.state_dir, key=text) as client:
        client.define_job("mine-1", "m", "f")
        client.submit("mine-1", [{"location": "v2"}])
    _, said = dart(running, "job", "add", "yours", "--module", "m", "--method", "f", key=text, code=4)
    assert "'mine' and names like 'mine-.*'" in said
    _, said = dart(running, "task", "add", "mine-1", "--parameter", "1", "--location", "x", key=text, code=4)
    assert "may not reach the worker 'x'" in said
    (row,) = [row for row in listed(running) if row["id"] == key_id]
    assert (row["jobs"], row["job_regex"], row["workers"], row["worker_regex"]) == (["mine"], "mine-.*", ["w"], "v.*")
    assert row["expires_at"] - row["created_at"] == 3_600_000
    table, _ = dart(running, "key", "list")
    assert "mine, /mine-.*/" in table


def test_a_key_is_replaced_without_a_gap(running):
    """Add, change over, revoke: the old one is told what happened, and the exit code is 4."""
    old_id, old = add(running, scope="read")
    _, new = add(running, scope="read")
    for text in (old, new):
        HistoricClient(running.server.url, text).workers()
    dart(running, "key", "revoke", old_id)
    _, said = dart(running, "worker", "list", key=old, code=4)
    assert "was revoked" in said
    HistoricClient(running.server.url, new).workers()
    _, said = dart(running, "key", "revoke", "nothing", code=1)
    assert "dart key list" in said


def test_old_programs_get_the_text_they_have(running):
    """Added once, it works for the key in the body, also after a restart, and each start warns of it."""
    old_program = HistoricClient(running.server.url, "000")
    assert "dart key add --text 000" in old_program.call("GET", "/server/").text
    out, said = dart(running, "key", "add", "--text", "000", "--scope", "admin")
    key_id = said.split()[1]
    assert out == ""
    assert old_program.workers() == []
    dart(running, "key", "add", "--text", "-", "--scope", "read", stdin="a text that nobody guesses\n")
    running.end(running.server.process)
    running.start_server()
    assert old_program.workers() == []
    HistoricClient(running.server.url, "a text that nobody guesses").workers()
    warnings = [line for line in log_of(running).splitlines() if "can be guessed" in line]
    assert len(warnings) == 1
    assert key_id in warnings[0]
    with admin(running) as client, pytest.raises(dart_client.ConflictError):
        client.add_key(scope="read", text="000")
    with admin(running) as client:
        client.revoke_key(key_id)
    assert old_program.call("GET", "/server/").status_code == requests.codes.unauthorized


def test_the_admin_key_is_replaced_while_the_server_runs(running):
    """By a file put in its place; commands on this machine go on, the old key is refused."""
    path = running.state_dir / "admin.key"
    old = path.read_text().strip()
    made = running.state_dir / "new"
    dart(running, "key", "add", "--scope", "admin", "--name", "next", "--out", made)
    made.rename(path)
    listed(running)
    assert "does not know this key" in HistoricClient(running.server.url, old).call("GET", "/server/").text
    running.server.key = path.read_text().strip()
    wait_until(lambda: "was replaced: the new admin key counts" in log_of(running), explain="the log tells of it")
    assert "key.replace" in {entry["what"] for entry in told(running)}


def test_no_secret_is_anywhere_but_in_its_file(running, tmp_path):
    """Neither made keys, nor chosen ones, nor the pepper: not in the database, a backup, the log or other files."""
    _, made = add(running, scope="read")
    chosen = "a text of mine that is long enough"
    add(running, scope="read", text=chosen)
    for text in (made, chosen, made[:-1] + "x"):
        HistoricClient(running.server.url, text).call("GET", "/server/")
    dart(running, "server", "backup", tmp_path / "backup.db")
    pepper = (running.state_dir / "key.pepper").read_text().strip()
    admin = (running.state_dir / "admin.key").read_text().strip()
    assert stat.S_IMODE((running.state_dir / "key.pepper").stat().st_mode) == 0o600
    for path in [*running.folder.rglob("*"), tmp_path / "backup.db"]:
        if path.is_file() and path.name not in {"admin.key", "key.pepper"}:
            found = path.read_bytes()
            for secret in (made, made[-43:], chosen, pepper, admin):
                assert secret.encode() not in found, path
            assert bytes.fromhex(pepper) not in found, path


def told(running, *words):
    """Entries of the audit, as `dart audit list` gives them to programs."""
    out, _ = dart(running, "audit", "list", *words, "--output", "jsonl")
    return [json.loads(line) for line in out.splitlines()]


def test_who_did_what_is_listed_and_logged(running):
    """From the start on, with the caller's key by name and id; each entry is a line of JSON in the log, too."""
    key_id, text = add(running, scope="submit", name="alice")
    with dart_client.Client(running.server.url, text, state_dir=running.state_dir) as client:
        client.define_job("of alice", "m", "f")
        client.stop_job("of alice")
    entries = told(running, "--all")
    assert entries[0]["what"] == "server.start"
    assert [entry["id"] for entry in entries] == sorted((entry["id"] for entry in entries), key=int)
    by_her = [entry for entry in entries if entry["who"] == f"key alice ({key_id})"]
    done = [(entry["what"], entry["target"]) for entry in by_her]
    assert done == [("job.define", "of alice"), ("job.stop", "of alice")]
    assert {entry["address"] for entry in by_her} == {"127.0.0.1"}
    assert told(running, "--amount", "2") == entries[-2:]
    lines = [line.partition(" dart.audit ")[2] for line in log_of(running).splitlines() if " dart.audit " in line]
    logged = {(line["at_ms"], line["what"], line["target"]) for line in map(json.loads, lines)}
    assert logged >= {(entry["at"], entry["what"], entry["target"]) for entry in entries}
    assert text not in json.dumps(entries)


def test_the_audit_can_be_followed(running):
    """What is there, then what happens; for people in columns, with the names of strangers as harmless text."""
    follower = subprocess.Popen(
        [DART, "audit", "list", "--follow", "--amount", "1", "--state-dir", str(running.state_dir)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert follower.stdout is not None
        assert follower.stdout.readline()
        with admin(running) as client:
            client.define_job("followed", "m", "f")
        while "job.define  followed  done" not in (line := follower.stdout.readline()):
            assert line
        with admin(running) as client:
            client.purge_job("followed")
    finally:
        follower.terminate()
        follower.wait()
        follower.stdout.close()
