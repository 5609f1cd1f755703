"""State files after a real run, whatever the umask: for their owner alone; a start refuses those that are not."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import dart_client
from dart.agent.home import Home
from dart.errors import ConfigError
from dart.state_directory import StateDirectory
from harness.cluster import MARK, cluster
from harness.modules import write_modules
from harness.processes import marked
from harness.waiting import wait_until

DART = Path(sys.executable).with_name("dart")
MADE = re.compile(r"dart_[0-9a-f]{16}_[A-Za-z0-9_-]{43}")
MODULES = {"work": "def echo(parameter):\n    return parameter\n"}


def dart(*words: object, code: int = 0, stdin: str = "", **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DART_")}
    done = subprocess.run(
        [DART, *map(str, words)], input=stdin, capture_output=True, check=False, text=True, timeout=60,
        env={**inherited, "DART_PROFILE": "/nonexistent", **environment},
    )  # fmt: skip
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def fingerprint_of(state: Path) -> str:
    return json.loads((state / "server.json").read_text())["fingerprint"]


def everything(*places: Path) -> dict[Path, str]:
    """All there is below these, with type and mode."""
    found = [path for place in places for path in (place, *place.rglob("*"))]
    return {path: stat.filemode(path.lstat().st_mode) for path in found}


def run(folder, umask):
    """What a server, an agent, a backup, a profile and a server with a log leave, each killed or ended."""
    before = os.umask(umask)
    try:
        config = write_modules(folder, **MODULES)
        state, home, kept, profile = (folder / name for name in ("server", "home", "kept", "profile"))
        kept.mkdir(mode=0o700)
        with cluster(folder) as running:
            agent = running.start_agent("w", "--output-directory", str(home), config=config, home="home")
            with dart_client.Client(state_dir=running.state_dir) as client:
                client.define_job("j", "work", "echo")
                tasks = [{"location": "w", "parameter": number} for number in range(3)]
                assert len(client.submit("j", tasks, wait=20)["results"]) == 3
            at = ("--state-dir", state)
            key = dart("key", "add", "--scope", "read", "--name", "reader", *at)
            dart("server", "backup", kept / "monday.db", *at)
            told = {"DART_PROFILE": str(profile / "dart" / "profile.toml")}
            dart("profile", "set", "key", running.server.key, **told)
            wait_until(lambda: (home / "audit.jsonl").stat().st_size > 0, explain="nothing in the agent's audit log")
            words = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in marked(MARK, str(folder))]
            url = ("--url", running.server.url, "--fingerprint", fingerprint_of(state))
            for told in ({}, {"DART_KEY_FILE": str(state / "admin.key")}):
                named = () if told else ("--key-file", state / "admin.key")
                assert "w" in dart("worker", "list", *url, *named, **told)
            assert "w" in dart("worker", "list", *url, "--key-file", "-", stdin=running.server.key)
            running.kill_server()
            agent.kill()
            agent.wait()
        dart("server", "start", "--detach", "--state-dir", folder / "detached", "--port", "0", "--agent-port", "0")
        dart("server", "stop", "--state-dir", folder / "detached")
        (folder / "told.txt").write_text(key)
        return {"state": state, "home": home, "kept": kept, "profile": profile, "detached": folder / "detached"}, words
    finally:
        os.umask(before)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return run(tmp_path_factory.mktemp("private"), 0)


@pytest.fixture
def places(scene):
    return scene[0]


@pytest.mark.parametrize("umask", ["000", "077"])
def test_everything_is_for_its_owner_alone(request, tmp_path, umask):
    """Every file 0600 in directories of 0700, whichever they are: keys, database, logs, spool, backup, profile."""
    places = request.getfixturevalue("places") if umask == "000" else run(tmp_path, int(umask, 8))[0]
    found = everything(*places.values())
    assert {path: mode for path, mode in found.items() if mode not in {"-rw-------", "drwx------", "srw-------"}} == {}
    names = {path.name for path in found}
    assert names >= {
        "admin.key", "server.crt", "server.key", "broker.key", "key.pepper", "dart.db", "dart.db-wal", "server.json",
        "server.lock", "agent.key", "enrolment.json", "agent.json", "agent.lock", "audit.jsonl", "spool", "monday.db",
        "profile.toml", "server.log",
    }, names  # fmt: skip


def test_each_file_that_others_may_read_stops_the_start(places):
    """Of server and agent, whichever file it is; the message names it and says what to do."""
    for place, begin in ((places["state"], StateDirectory), (places["home"], Home)):
        files = [path for path in place.rglob("*") if path.is_file()]
        assert len(files) >= 6, files
        for path in files:
            path.chmod(0o604)
            with pytest.raises(ConfigError, match=rf"{path.name}.*(chmod 600|delete it)"):
                begin(place)
            path.chmod(0o600)
            assert path.exists()


def test_directories_of_others_stop_the_start(places, tmp_path):
    """Open to others, a link, or another user's: named, with what to do."""
    for place, begin in ((places["state"], StateDirectory), (places["home"], Home)):
        place.chmod(0o711)
        with pytest.raises(ConfigError, match=f"open to other users.*chmod 700 {place}"):
            begin(place)
        place.chmod(0o700)
        link = tmp_path / f"link-{place.name}"
        link.symlink_to(place)
        with pytest.raises(ConfigError, match="is a link or no directory"):
            begin(link)
        if os.geteuid() == 0:
            other = tmp_path / f"other-{place.name}"
            other.mkdir(mode=0o700)
            os.chown(other, 65534, 65534)
            with pytest.raises(ConfigError, match=r"belongs to another user \(uid 65534\)"):
                begin(other)
    spool = places["home"] / "spool"
    (spool / "something").touch(0o600)
    spool.chmod(0o750)
    with pytest.raises(ConfigError, match="chmod 700"):
        Home(places["home"])
    spool.chmod(0o700)
    (spool / "something").unlink()


def test_files_that_are_links_or_of_others_stop_the_start(places, tmp_path):
    """A key that somebody else put there is not taken."""
    for place, begin, name in ((places["state"], StateDirectory, "server.key"), (places["home"], Home, "agent.key")):
        path, aside = place / name, tmp_path / f"aside-{name}"
        path.rename(aside)
        path.symlink_to(aside)
        with pytest.raises(ConfigError, match="is a link or no plain file"):
            begin(place)
        path.unlink()
        aside.rename(path)
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)
            with pytest.raises(ConfigError, match="belongs to another user"):
                begin(place)
            os.chown(path, 0, 0)


def test_the_real_programs_refuse_to_start(places):
    """With the exit code of a wrong configuration, and in one sentence."""
    for place, words in (
        (places["state"], ("server", "start", "--state-dir")),
        (places["home"], ("agent", "start", "--name", "w", "--home")),
    ):
        victim = place / ("broker.key" if place == places["state"] else "agent.key")
        victim.chmod(0o644)
        said = dart(*words, place, code=2)
        assert f"chmod 600 {victim}" in said
        assert "Traceback" not in said
        victim.chmod(0o600)


def test_no_secret_is_on_a_command_line(scene):
    """Server, agent and runner, which all users of the machine can list: no key, no token, no secret."""
    places, words = scene
    assert len(words) >= 3, words
    assert any(b"runner.py" in line for line in words)
    secrets = secrets_of(places).values()
    assert [line for line in words for secret in secrets if secret.encode() in line] == []


def secrets_of(places):
    """All secret texts of server and agent, by what they are."""
    state, home = places["state"], places["home"]
    broker, agent = (json.loads(path.read_text()) for path in (state / "broker.key", home / "agent.key"))
    return {
        "admin key": (state / "admin.key").read_text().strip(),
        "pepper": (state / "key.pepper").read_text().strip(),
        "the broker's secret key": broker["secret"],
        "the agent's secret key": agent["secret"],
        "another key": MADE.findall((state.parent / "told.txt").read_text())[0],
        "TLS key": (state / "server.key").read_text().splitlines()[1],
    }


def test_a_stolen_backup_lets_nobody_in(places):
    """No key, no private key, no token is in a backup: whoever has it alone can neither call nor pose as anybody."""
    secrets = secrets_of(places)
    public = json.loads((places["home"] / "agent.key").read_text())["public"]
    data = (places["kept"] / "monday.db").read_bytes()
    for what, text in secrets.items():
        assert len(text) >= 32, what
        assert text.encode() not in data, what
    for what in ("pepper", "the broker's secret key", "the agent's secret key"):
        raw = bytes.fromhex(secrets[what]) if what == "pepper" else z85_bytes(secrets[what])
        assert raw not in data, what
    assert z85_bytes(public) in data, "the search finds what is there"


def z85_bytes(text: str) -> bytes:
    from zmq.utils import z85

    return z85.decode(text.encode())
