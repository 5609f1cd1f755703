"""The profile: a private TOML file of flat strings."""

import stat
import tomllib

import pytest

from dart.cli.main import main
from dart.cli.profile import default_map, profile_file, read_profile, write_profile
from dart.errors import ConfigError


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    path = tmp_path / "config" / "profile.toml"
    monkeypatch.setenv("DART_PROFILE", str(path))
    return path


def test_what_is_set_is_read_again_whatever_it_contains(file):
    """Quotes, backslashes, non-ASCII: the file is TOML that any reader understands."""
    settings = {"url": "https://x", "key": 'a"b\\c\té', "server_port": "7"}
    write_profile(file, settings)
    assert read_profile(file) == settings == tomllib.loads(file.read_text(encoding="utf-8"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["profile.toml"]


def test_set_show_unset(capsys, file):
    """The key is never shown; a setting that is not there cannot be removed."""
    assert main(["profile", "set", "url", "https://x:1"]) == 0
    assert main(["profile", "set", "key", "secret"]) == 0
    assert main(["profile", "show"]) == 0
    shown = capsys.readouterr().out
    assert "https://x:1" in shown
    assert "secret" not in shown
    assert main(["profile", "unset", "key"]) == 0
    assert main(["profile", "unset", "key"]) == 1
    assert read_profile(file) == {"url": "https://x:1"}
    assert main(["profile", "path"]) == 0
    assert capsys.readouterr().out.strip() == str(file)


def test_the_key_may_come_from_stdin(monkeypatch, file, tmp_path):
    """So that it stands in no shell history."""
    given = tmp_path / "stdin"
    given.write_text("from-stdin\n")
    with given.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        monkeypatch.setattr("os.isatty", lambda _: False)
        assert main(["profile", "set", "key", "-"]) == 0
    assert read_profile(file)["key"] == "from-stdin"


def test_settings_that_do_not_exist_are_refused(capsys):
    """With the list of those that do."""
    assert main(["profile", "set", "colour", "red"]) == 2
    assert "server_OPTION" in capsys.readouterr().err
    assert main(["profile", "set", "url", "a\nb"]) == 2


@pytest.mark.parametrize("text", ["not toml", "[table]\nx = 1\n", "list = [1]\n"])
def test_a_file_that_is_not_flat_toml_is_refused_by_name(file, text):
    """The message names the file and what is wrong."""
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"profile\.toml"):
        read_profile(file)


def test_a_key_that_others_can_read_is_refused(file):
    """The message has the command that mends it."""
    write_profile(file, {"key": "k"})
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_profile(file)


def test_an_unreadable_file_is_an_error_not_an_empty_profile(file):
    """A folder in its place, for one."""
    file.mkdir(parents=True)
    with pytest.raises(ConfigError, match="Cannot read"):
        read_profile(file)


def test_settings_of_start_commands_become_their_defaults():
    """`server_port` is the default of `dart server start --port`."""
    assert default_map({"server_port": "1", "agent_name": "a", "url": "u"}) == {
        "server": {"start": {"port": "1"}},
        "agent": {"start": {"name": "a"}},
    }


def test_the_file_is_in_the_users_configuration_directory():
    """DART_PROFILE, XDG_CONFIG_HOME, ~/.config."""
    assert str(profile_file({"XDG_CONFIG_HOME": "/c"})) == "/c/dart/profile.toml"
    assert str(profile_file({})).endswith("/.config/dart/profile.toml")
