"""The state directory: secrets for the owner alone, one server at a time."""

import os
import stat

import pytest

from dart.admin_key import AdminKey
from dart.errors import ConfigError
from dart.state_directory import (
    ADMIN_KEY,
    PEPPER,
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
        state.pepper()
        state.announce(url="https://x:1", fingerprint="f", agents_url="tcp://x:2", server_public_key="z")
        assert mode(state.path) == 0o700
        assert {mode(path) for path in state.path.iterdir()} == {0o600}


def test_the_pepper_is_made_once_and_refused_when_it_is_damaged(tmp_path):
    """32 random bytes; what is wrong and what to do is said."""
    with StateDirectory(tmp_path / "state") as state:
        pepper = state.pepper()
        assert len(pepper) == 32
        assert state.pepper() == pepper
        for damaged in ("", "00", "x" * 64):
            (state.path / PEPPER).write_text(damaged)
            with pytest.raises(ConfigError, match=r"key\.pepper is damaged.*added again"):
                state.pepper()
        (state.path / PEPPER).chmod(0o640)
        with pytest.raises(ConfigError, match="can be read by other users"):
            state.pepper()


def test_the_admin_key_is_taken_up_when_its_file_is_replaced(tmp_path, caplog):
    """Written in place or put in its place; a file that cannot be used leaves the key before."""
    with StateDirectory(tmp_path / "state") as state:
        path = state.path / ADMIN_KEY
        key = AdminKey(state)
        first = key.text()
        assert (first, key.version) == (path.read_text().strip(), 1)
        write_secret(path, "another key of mine\n")
        assert (key.text(), key.version) == ("another key of mine", 2)
        assert "was replaced" in caplog.text
        for broken in (lambda: path.write_text("cut"), lambda: path.chmod(0o644), path.unlink):
            broken()
            assert (key.text(), key.version) == ("another key of mine", 2)
        assert caplog.text.count("the one before counts") == 2
        assert "is gone" in caplog.text
        write_secret(path, f"{first}\n")
        assert (key.text(), key.version) == (first, 3)
        assert first not in caplog.text
        (state.path / "other").write_text("another key of mine\n")
        path.unlink()
        path.symlink_to(state.path / "other")
        assert key.text() == first


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
