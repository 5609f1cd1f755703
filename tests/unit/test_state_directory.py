"""The state directory: secrets for the owner alone, one server at a time."""

import os
import stat

import pytest

from dart.errors import ConfigError
from dart.state_directory import (
    ADMIN_KEY,
    SERVER_FILE,
    StateDirectory,
    default_path,
    find_local_server,
    read_secret,
    write_secret,
)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def test_everything_is_private_whatever_the_umask(tmp_path, open_umask):
    """0700 and 0600."""
    with StateDirectory(tmp_path / "a" / "state") as state:
        state.admin_key()
        state.announce(url="https://x:1", fingerprint="f", agents_url="tcp://x:2", server_public_key="z")
        assert mode(state.path) == 0o700
        assert {mode(path) for path in state.path.iterdir()} == {0o600}


def test_the_admin_key_is_made_once(tmp_path):
    """One line, long enough that nobody guesses it."""
    with StateDirectory(tmp_path / "state") as state:
        key = state.admin_key()
        assert state.admin_key() == key
        assert (state.path / ADMIN_KEY).read_text() == f"{key}\n"
    assert key.startswith("dart_")
    assert len(key) >= 5 + 43


def test_two_servers_cannot_share_it(tmp_path):
    """The second is told; after the first has left it is free."""
    with StateDirectory(tmp_path / "state"), pytest.raises(ConfigError, match="Another server"):
        StateDirectory(tmp_path / "state")
    StateDirectory(tmp_path / "state").close()


def test_a_local_server_is_found(tmp_path):
    """While it runs, with its key; not before and not after."""
    path = tmp_path / "state"
    assert find_local_server(path) is None
    with StateDirectory(path) as state:
        key = state.admin_key()
        assert find_local_server(path) is None
        state.announce(url="https://x:1", fingerprint="f", agents_url="tcp://x:2", server_public_key="z")
        assert find_local_server(path) == ("https://x:1", "f", "tcp://x:2", "z", os.getpid(), key)
        state.close()
        state.close()
    assert find_local_server(path) is None


def test_what_a_killed_server_left_is_removed(tmp_path):
    """Nobody is led to a server that is gone."""
    path = tmp_path / "state"
    StateDirectory(path).close()
    write_secret(path / SERVER_FILE, "{}")
    StateDirectory(path).close()
    assert not (path / SERVER_FILE).exists()


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"url": 1, "pid": "x"}'])
def test_a_damaged_server_file_is_an_error(tmp_path, text):
    """It says what to do."""
    write_secret(tmp_path / SERVER_FILE, text)
    write_secret(tmp_path / ADMIN_KEY, "key")
    with pytest.raises(ConfigError, match="start it again"):
        find_local_server(tmp_path)


def test_a_key_that_others_can_read_is_refused(tmp_path):
    """The error names the command that helps."""
    with StateDirectory(tmp_path / "state") as state:
        state.admin_key()
        (state.path / ADMIN_KEY).chmod(0o640)
        with pytest.raises(ConfigError, match="chmod 600"):
            state.admin_key()


def test_a_directory_that_others_can_enter_is_refused(tmp_path):
    """Unless it is empty: then it is made private."""
    path = tmp_path / "state"
    path.mkdir(mode=0o755)
    StateDirectory(path).close()
    assert mode(path) == 0o700
    path.chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        StateDirectory(path)


def test_links_and_pipes_are_no_secrets(tmp_path):
    """Nobody makes the server read or write elsewhere."""
    target = tmp_path / "target"
    target.write_text("x")
    target.chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(ConfigError):
        read_secret(link)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(ConfigError, match="no plain file"):
        read_secret(pipe)
    write_secret(link, "y")
    assert (target.read_text(), link.is_symlink()) == ("x", False)


def test_damaged_secrets_are_refused(tmp_path):
    """Neither empty keys nor bytes that are no text."""
    path = tmp_path / "state"
    with StateDirectory(path) as state:
        write_secret(path / ADMIN_KEY, "\n")
        with pytest.raises(ConfigError, match="no key"):
            state.admin_key()
    (path / ADMIN_KEY).write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="damaged"):
        read_secret(path / ADMIN_KEY)


def test_a_write_that_fails_leaves_nothing(tmp_path):
    """No half a file beside it."""
    (tmp_path / "taken").mkdir()
    with pytest.raises(ConfigError, match="cannot be written: Is a directory"):
        write_secret(tmp_path / "taken", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_where_it_is_by_default(monkeypatch, tmp_path):
    """The variable first, else the user's state directory."""
    monkeypatch.setenv("DART_STATE_DIR", str(tmp_path))
    assert default_path() == tmp_path
    monkeypatch.delenv("DART_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert str(default_path()) == "/somewhere/dart/server"


def test_a_place_that_cannot_be_made_is_an_error(tmp_path):
    """It says which."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be used"):
        StateDirectory(tmp_path / "file" / "state")
