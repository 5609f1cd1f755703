"""Enrolment with a server on this machine, and everything that can be wrong with it."""

import json
import stat

import pytest

from dart.agent import enrol
from dart.agent.home import Home
from dart.errors import ConfigError, DartError, ForbiddenError, HostUnreachableError
from harness.enrolment_server import GOOD, SERVER_KEY, fake_server


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def fake(tmp_path):
    with fake_server(tmp_path / "state") as fake:
        yield fake


@pytest.mark.parametrize("tls", [True, False])
def test_enrols_and_keeps_the_answer(tmp_path, home, tls):
    """The admin key travels to the server of the state directory; what it answers is kept, privately."""
    with fake_server(tmp_path / "state", tls=tls) as fake:
        enrolment = enrol.enrol(home, "edge-1", fake.state)
    keys = enrol.own_keys(home)
    body = {"name": "edge-1", "public_key": keys.public_text}
    assert fake.asked == [("/enroll/", "Bearer dart_secret", body)]
    assert enrolment == enrol.Enrolment("edge-1", GOOD["agent"], SERVER_KEY, "5" * 32, str(fake.state))
    assert enrol.read_enrolment(home) == enrolment
    assert stat.S_IMODE((home / "enrolment.json").stat().st_mode) == 0o600
    assert enrol.own_keys(home) == keys


def test_another_certificate_gets_no_key(home, fake):
    """Whoever answers there is not the server of the state directory: nothing is sent."""
    fake.announce(fingerprint="0" * 64)
    with pytest.raises(ForbiddenError, match="Nothing was sent"):
        enrol.enrol(home, "edge-1", fake.state)
    assert fake.asked == []


@pytest.mark.parametrize(
    ("answer", "error", "word"),
    [
        ((401, b'{"error": {"message": "who are you"}}'), ForbiddenError, "who are you"),
        ((403, b'{"error": "no"}'), ForbiddenError, "403"),
        ((409, b'{"error": {"message": "another name"}}'), DartError, "another name"),
        ((200, b"<html>"), ConfigError, "no JSON object"),
        ((200, b"[]"), ConfigError, "no JSON object"),
        ((200, b'{"agent": "tcp://x:1"}'), ConfigError, "cannot be understood"),
        ((200, b'{"agent": "tcp://x:1", "server_public_key": "short"}'), ConfigError, "CURVE"),
    ],
)
def test_what_the_server_refuses_is_told(home, fake, answer, error, word):
    """With the server's own words where it has some."""
    fake.answer = answer
    with pytest.raises(error, match=word) as caught:
        enrol.enrol(home, "edge-1", fake.state)
    assert type(caught.value) is error
    assert enrol.read_enrolment(home) is None


def test_no_server_is_told(tmp_path, home, fake):
    """None runs, or none answers any more."""
    with pytest.raises(HostUnreachableError, match="dart server start"):
        enrol.enrol(home, "edge-1", tmp_path)
    fake.announce(url="https://127.0.0.1:1")
    with pytest.raises(HostUnreachableError, match="cannot be reached"):
        enrol.enrol(home, "edge-1", fake.state)


@pytest.mark.parametrize("url", ["http://10.0.0.1:80", "http://example.org:80", "ftp://127.0.0.1"])
def test_the_key_never_travels_in_the_open(home, fake, url):
    """Plain HTTP is for this machine only."""
    fake.announce(url=url)
    with pytest.raises(ConfigError, match="cannot enrol at"):
        enrol.enrol(home, "edge-1", fake.state)


@pytest.mark.parametrize("content", ["{", "[]", "[" * 60_000, '{"url": "x"}'])
def test_a_damaged_server_file_is_named(home, fake, content):
    """Which file it is, and what to do."""
    enrol.write_private(fake.state / "server.json", content)
    with pytest.raises(ConfigError, match=r"server\.json"):
        enrol.enrol(home, "edge-1", fake.state)


def test_an_admin_key_open_to_others_is_refused(home, fake):
    """Somebody may have read or changed it."""
    (fake.state / "admin.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        enrol.enrol(home, "edge-1", fake.state)
    (fake.state / "admin.key").unlink()
    with pytest.raises(ConfigError, match=r"admin\.key cannot be read"):
        enrol.enrol(home, "edge-1", fake.state)


def test_an_enrolment_that_cannot_be_understood_is_named(home):
    """Remove it and begin anew."""
    (home / "enrolment.json").write_text('{"name": "edge-1"}')
    with pytest.raises(ConfigError, match="enrol anew"):
        enrol.read_enrolment(home)
    (home / "enrolment.json").unlink()
    (home / "enrolment.json").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        enrol.read_enrolment(home)


def test_a_home_is_used_by_one_agent_at_a_time(home):
    """The second one is told which home it is; after the first it may have it."""
    first = Home(home)
    first.announce(name="edge-1", slots=2)
    assert json.loads((home / "agent.json").read_text())["slots"] == 2
    with pytest.raises(ConfigError, match="Another agent runs in"):
        Home(home)
    first.close()
    assert not (home / "agent.json").exists()
    Home(home).close()


def test_a_home_that_cannot_be_made_is_named(home):
    """A file stands in its way."""
    (home / "file").write_text("")
    with pytest.raises(ConfigError, match="no directory; name the directory itself"):
        Home(home / "file")
