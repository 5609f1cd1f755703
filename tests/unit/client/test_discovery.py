"""Where the SDK finds its server, and whom it refuses to trust."""

import json
from pathlib import Path

import pytest

from dart_client import ConfigError, ServerUnreachableError
from dart_client.discovery import Server, clean_fingerprint, default_state_directory, find

PRINT = "ab" * 32


@pytest.fixture
def state(tmp_path: Path):
    (tmp_path / "server.json").write_text(json.dumps({"url": "https://127.0.0.1:7777", "fingerprint": PRINT}))
    (tmp_path / "admin.key").write_text("local-key\n")
    return tmp_path


def test_a_local_server_is_found_with_key_and_fingerprint(state):
    """Nothing needs to be said on the server's machine."""
    local = Server("https://127.0.0.1:7777", "local-key", PRINT, "")
    assert find(environment={"DART_STATE_DIR": str(state)}) == local
    assert find(state_dir=state, environment={}) == local


def test_a_named_state_directory_beats_variables(state):
    """What was said for this call is not mixed with what the environment says of another server."""
    environment = {"DART_URL": "https://far:1", "DART_KEY": "far-key", "DART_FINGERPRINT": "cd" * 32}
    assert find(state_dir=state, environment=environment) == Server("https://127.0.0.1:7777", "local-key", PRINT, "")


def test_variables_name_a_remote_server(tmp_path):
    """URL, key and fingerprint may all come from the environment."""
    environment = {"DART_URL": "https://far:1/", "DART_KEY": "k", "DART_FINGERPRINT": PRINT, "HOME": str(tmp_path)}
    assert find(environment=environment) == Server("https://far:1", "k", PRINT, "")


def test_arguments_beat_variables():
    """What is passed wins."""
    environment = {"DART_URL": "https://far:1", "DART_KEY": "k", "DART_FINGERPRINT": PRINT}
    found = find(url="https://near:2", key="n", ca="/ca.pem", environment=environment)
    assert found == Server("https://near:2", "n", PRINT, "/ca.pem")


def test_the_local_servers_url_needs_no_fingerprint(state):
    """Naming the local server by its URL finds its certificate and key all the same."""
    found = find(url="https://127.0.0.1:7777", environment={"DART_STATE_DIR": str(state)})
    assert found == Server("https://127.0.0.1:7777", "local-key", PRINT, "")


def test_a_remote_server_without_fingerprint_or_ca_is_refused():
    """Never trusted blindly; the message says what to pass."""
    with pytest.raises(ConfigError, match="fingerprint"):
        find(url="https://far:1", key="k", environment={})


def test_plain_http_is_refused_off_this_machine():
    """The key would go out in the clear."""
    with pytest.raises(ConfigError, match="not encrypted"):
        find(url="http://far:1", key="k", environment={})
    assert find(url="http://127.0.0.1:1", key="k", environment={}).url == "http://127.0.0.1:1"
    assert find(url="http://[::1]:1", key="k", environment={}).url == "http://[::1]:1"


@pytest.mark.parametrize("url", ["far:1", "ftp://far", "https://", "//x"])
def test_other_urls_are_refused(url):
    """The message has the form that is expected."""
    with pytest.raises(ConfigError, match="https://HOST:PORT"):
        find(url=url, key="k", fingerprint=PRINT, environment={})


def test_no_server_and_no_key_are_told_apart(tmp_path):
    """Nobody there is `unreachable`; a missing key is configuration."""
    with pytest.raises(ServerUnreachableError, match="dart server start"):
        find(state_dir=tmp_path, environment={})
    with pytest.raises(ConfigError, match="No key"):
        find(url="https://far:1", fingerprint=PRINT, environment={"DART_STATE_DIR": str(tmp_path)})


@pytest.mark.parametrize("content", ["not json", "[]", "{}"])
def test_a_damaged_server_file_is_named(tmp_path, content):
    """The message names the file."""
    (tmp_path / "server.json").write_text(content)
    with pytest.raises(ConfigError, match=r"server\.json"):
        find(state_dir=tmp_path, environment={})


def test_fingerprints_come_in_many_spellings():
    """Colons, capitals and a prefix are fine; anything else is refused with the command that prints the right one."""
    colons = ":".join(["AB"] * 32)
    assert clean_fingerprint(colons) == clean_fingerprint(f"sha256={PRINT}") == PRINT
    for wrong in ("abc", "zz" * 32, PRINT + "ab"):
        with pytest.raises(ConfigError, match="dart server info"):
            clean_fingerprint(wrong)


def test_the_default_state_directory_is_the_users(tmp_path):
    """DART_STATE_DIR, then XDG_STATE_HOME, then ~/.local/state."""
    assert default_state_directory({"DART_STATE_DIR": "/x"}) == Path("/x")
    assert default_state_directory({"XDG_STATE_HOME": "/s"}) == Path("/s/dart/server")
    assert default_state_directory({}) == Path.home() / ".local/state/dart/server"
