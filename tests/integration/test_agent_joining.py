"""An agent with a join token: who gets to see it, and what becomes of it afterwards."""

import contextlib
import json
import os
import socket
import threading
from pathlib import Path

import pytest

from dart.agent import enrol
from dart.agent.app import main
from dart.agent.config import read_config
from dart.errors import ConfigError, DartError, ForbiddenError, HostUnreachableError
from dart.limits import Limits
from dart.wire import join_token
from dart.wire.join_token import JoinText
from harness.agent_process import arguments, started
from harness.enrolment_server import GOOD, fake_server


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    (path / "modules").mkdir()
    return path


@pytest.fixture
def fake(tmp_path):
    with fake_server(tmp_path / "state") as fake:
        yield fake


def token_for(fake, **changes):
    says = JoinText(fake.members["url"], fake.members["fingerprint"], "0" * 15 + "1", "s" * 43, "edge-*", 1 << 41)
    return says._replace(**changes)


def test_the_token_goes_to_the_server_it_names(home, fake):
    """With the key that the agent made, and without any API key; what is kept has no secret in it."""
    says = token_for(fake)
    text = join_token.write(says)
    enrolment = enrol.enrol_by_token(home, "edge-1", says, text)
    body = {"token": text, "name": "edge-1", "public_key": enrol.own_keys(home).public_text}
    assert fake.asked == [("/enroll/", None, body)]
    assert enrolment == enrol.read_enrolment(home)
    assert (enrolment.agents_url, enrolment.token_id) == (GOOD["agent"], says.id)
    assert says.secret not in (home / "enrolment.json").read_text()


def test_a_repetition_has_the_same_key(home, fake):
    """The answer may have been lost: the server knows the agent again by its key."""
    says = token_for(fake)
    fake.answer = (503, b'{"error": {"message": "just now not"}}')
    with pytest.raises(DartError, match="just now not"):
        enrol.enrol_by_token(home, "edge-1", says, join_token.write(says))
    fake.answer = (200, json.dumps(GOOD).encode())
    enrol.enrol_by_token(home, "edge-1", says, join_token.write(says))
    assert fake.asked[0] == fake.asked[1]


def test_nothing_is_sent_to_a_man_in_the_middle(home, fake):
    """Another certificate than the token's: he sees a handshake, and not one byte of a request."""
    says = token_for(fake, fingerprint="cd" * 32)
    with pytest.raises(ForbiddenError, match="somebody in between"):
        enrol.enrol_by_token(home, "edge-1", says, join_token.write(says))
    assert fake.asked == []
    assert enrol.read_enrolment(home) is None


def test_who_speaks_no_tls_gets_nothing_to_read(home):
    """Neither the secret nor the agent's key are in what a plain listener receives."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            connection, _ = listener.accept()
            with connection:
                received.append(connection.recv(65_536))
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

        thread = threading.Thread(target=listen)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        says = JoinText(url, "ab" * 32, "0" * 16, "s" * 43, "edge-1", 1 << 41)
        with pytest.raises(HostUnreachableError):
            enrol.enrol_by_token(home, "edge-1", says, join_token.write(says))
        thread.join()
    assert received[0][:1] == b"\x16", "a TLS handshake, and nothing else"
    assert says.secret.encode() not in received[0]
    assert enrol.own_keys(home).public_text.encode() not in received[0]


def test_the_command_line_loses_the_token_at_once(home, tmp_path):
    """Every user of the machine can read it; the environment, where it goes, is for this one alone."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        text = join_token.write(JoinText(url, "ab" * 32, "0" * 16, "s" * 43, "edge-1", 1 << 41))
        for words in ((f"--token={text}",), ("--token", text)):
            with started([*arguments(home), *words], tmp_path) as agent:
                silent.accept()[0].close()  # it is on its way to the server
                words_seen = Path(f"/proc/{agent.process.pid}/cmdline").read_bytes()
                assert b"dart-join" not in words_seen
                assert b"edge-1" in words_seen
                assert agent.process.wait(20) == 3


def run_config(home, *words, **environment):
    return read_config(arguments(home, *words), Limits(), environment)


def test_where_a_token_may_stand(home, tmp_path):
    """In the variable or in a file of its owner's; the file wins, and one that is gone is none."""
    text, other = (
        join_token.write(JoinText("https://a:1", "ab" * 32, end * 16, "s" * 43, "edge-*", 1)) for end in "01"
    )
    file = tmp_path / "token"
    enrol.write_private(file, f"{text}\n")
    assert run_config(home).token is None
    assert run_config(home, DART_JOIN_TOKEN=other).token.says.id == "1" * 16
    config = run_config(home, "--token-file", str(file), DART_JOIN_TOKEN=other)
    assert config.token.says.id == "0" * 16
    assert "s" * 43 not in repr(config)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        run_config(home, "--token-file", str(file))
    file.unlink()
    config = run_config(home, "--token-file", str(file), DART_JOIN_TOKEN=other)
    assert (config.token, "is not there" in config.warnings[-1]) == (None, True)


def test_the_name_follows_from_the_token(home):
    """Where it is for one name; of several the owner chooses one that it is for."""

    def named(claim, *words):
        text = join_token.write(JoinText("https://a:1", "ab" * 32, "0" * 16, "s" * 43, claim, 1))
        rest = ["--home", str(home), "--module-prefix", str(home / "modules"), *words]
        return read_config(rest, Limits(), {"DART_JOIN_TOKEN": text}).name

    assert named("edge-1") == "edge-1"
    assert named("edge-*", "--name", "edge-7") == "edge-7"
    with pytest.raises(ConfigError, match="names like 'edge-\\*', choose one"):
        named("edge-*")
    with pytest.raises(ConfigError, match="not what the token is for"):
        named("edge-*", "--name", "core-1")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--token",), "needs a value"),
        (("--token=",), "needs a value"),
        (("--token", "x", "--token-file", "f"), "drop one of them"),
        (("--token-file", "f", "--token=x"), "drop one of them"),
    ],
)
def test_options_that_contradict_each_other(home, capsys, words, says):
    """One sentence, exit code 2."""
    assert main(arguments(home, *words)) == 2
    assert says in capsys.readouterr().err


def test_a_server_that_is_not_the_tokens_is_a_mistake(home, fake, capsys, monkeypatch):
    """Nothing is sent to either."""
    monkeypatch.setenv("DART_JOIN_TOKEN", join_token.write(token_for(fake)))
    for other in ("https://192.0.2.1:7777", "https://192.0.2.1", "https://x:y"):
        assert main(arguments(home, "--server", other)) == 2
        assert "--server" in capsys.readouterr().err
    assert fake.asked == []


@contextlib.contextmanager
def execve_seen(monkeypatch):
    """What the process would become."""

    class Begun(Exception):  # noqa: N818 - no error
        pass

    seen: list[tuple[list[str], dict[str, str]]] = []

    def execve(_path, words, environment):
        seen.append((words, environment))
        raise Begun

    monkeypatch.setattr(os, "execve", execve)
    with pytest.raises(Begun):
        yield seen


def test_what_an_enrolled_agent_does_with_a_token(home, fake, monkeypatch):
    """The one that it came by is dropped, another enrols it anew with the same key; a revoked one gets another key."""
    says = token_for(fake, name="edge-1")
    monkeypatch.setenv("DART_JOIN_TOKEN", join_token.write(says))
    words = [word for word in arguments(home) if word not in ("--name", "edge-1")]
    with execve_seen(monkeypatch) as seen:
        main(words)
    assert seen[0][0][-2:] == ["--name", "edge-1"], "the token said so, and is gone"
    assert "DART_JOIN_TOKEN" not in seen[0][1]
    assert len(fake.asked) == 1
    with execve_seen(monkeypatch) as seen:
        main(words)
    assert ("DART_JOIN_TOKEN" in seen[0][1], len(fake.asked)) == (False, 1)
    other = join_token.write(says._replace(id="f" * 16))
    monkeypatch.setenv("DART_JOIN_TOKEN", other)
    with execve_seen(monkeypatch):
        main(words)
    assert fake.asked[1][2] == {**fake.asked[0][2], "token": other}
    enrol.keep_enrolment(home, enrol.read_enrolment(home)._replace(revoked=True))
    assert main(words) == 4
    monkeypatch.setenv("DART_JOIN_TOKEN", join_token.write(says._replace(id="e" * 16)))
    with execve_seen(monkeypatch):
        main(words)
    assert fake.asked[2][2]["public_key"] != fake.asked[1][2]["public_key"]
    assert not enrol.read_enrolment(home).revoked


def test_a_spoilt_file_of_the_enrolment_is_named(home, fake):
    """Also where the next key is none; files of earlier versions have fewer members, and are read."""
    enrol.enrol_by_token(home, "edge-1", token_for(fake), "x")
    members = json.loads((home / "enrolment.json").read_text())
    old = {name: members[name] for name in list(members)[:5]}
    (home / "enrolment.json").write_text(json.dumps(old))
    assert enrol.read_enrolment(home).token_id == ""
    (home / "enrolment.json").write_text(json.dumps({**members, "next_port": 7, "next_server_public_key": "no"}))
    with pytest.raises(ConfigError, match="cannot be understood"):
        enrol.read_enrolment(home)
