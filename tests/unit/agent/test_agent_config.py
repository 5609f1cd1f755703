"""Arguments and configuration file: what wins, what is refused and how it is said."""

import json
import sys
from pathlib import Path

import pytest

from dart.agent.config import default_home, read_config, state_root
from dart.agent.core import SpoolMode
from dart.errors import ConfigError
from dart.limits import Limits

LIMITS = Limits(name_chars_max=20, capabilities_max=3)


def read(tmp_path: Path, *arguments: str, **environment: str):
    return read_config(arguments, LIMITS, {"XDG_STATE_HOME": "/state", **environment}, cwd=tmp_path)


def refusal(tmp_path: Path, *arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, *arguments)
    return caught.value.message


def test_a_name_is_all_that_is_needed(tmp_path):
    """Everything else has a default."""
    config = read(tmp_path, "--name", "edge-1")
    assert (config.name, config.slots, config.capabilities, config.server) == ("edge-1", 1, (), "")
    assert (config.python_home, config.state_directory, config.shm_bytes) == (None, None, 0)
    assert (config.spool_mode, config.stop_grace_seconds) == (SpoolMode.EAGER, 5.0)
    assert config.module_prefix == tmp_path
    assert config.output_directory == Path("/var/tmp")
    assert config.home.parent == Path("/state/dart/agents")
    assert config.host


def test_all_options(tmp_path):
    """Both spellings of a value; capabilities sorted, each once, empty ones ignored; paths absolute."""
    python_home = Path(sys.executable).parent.parent
    config = read(
        tmp_path,
        *("--name=edge-1", "--slots", "4", "--capability", "gpu", "--capability=arm", "--capability", "gpu"),
        *("--capability=", "--server", "tcp://10.0.0.1:7778", "--state-dir", "server", "--home", "h"),
        *("--python-home", str(python_home), "--module-prefix", ".", "--output-directory", "out", "--host", "box"),
        *("--spool", "lazy", "--shm-size", "1024", "--stop-grace", "inf"),
    )
    assert (config.slots, config.capabilities, config.server) == (4, ("arm", "gpu"), "tcp://10.0.0.1:7778")
    assert (config.state_directory, config.home) == (tmp_path / "server", tmp_path / "h")
    assert (config.python_home, config.output_directory) == (python_home.resolve(), tmp_path / "out")
    assert (config.host, config.spool_mode, config.shm_bytes) == ("box", SpoolMode.LAZY, 1024)
    assert config.stop_grace_seconds == float("inf")


@pytest.mark.parametrize("form", ["json", "toml"])
def test_the_file_is_read_with_paths_relative_to_it(tmp_path, form):
    """An argument wins over the file; unknown members are told."""
    folder = tmp_path / "etc"
    (folder / "modules").mkdir(parents=True)
    (folder / "py" / "bin").mkdir(parents=True)
    (folder / "py" / "bin" / "python3").symlink_to(sys.executable)
    members = {
        "name": "filed",
        "host": "hosty",
        "python_home": "py",
        "module_prefix": "modules",
        "output_directory": "o",
    }
    odd = {**members, "shm": 3, "colour": "red"}
    path = folder / f"worker.{form}"
    path.write_text(json.dumps(odd) if form == "json" else "".join(f"{k} = {json.dumps(v)}\n" for k, v in odd.items()))
    config = read(tmp_path, "--config", str(path), "--name", "given")
    assert (config.name, config.host) == ("given", "hosty")
    assert config.python_home == folder / "py"
    assert (config.module_prefix, config.output_directory) == (folder / "modules", folder / "o")
    assert config.warnings == (f"{path}: these members mean nothing to an agent: colour, shm",)


def test_without_module_prefix_the_folder_of_the_file_counts(tmp_path):
    """Modules lie beside the file, as people expect."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "worker.json").write_text('{"name": "n", "host": null}')
    config = read(tmp_path, "--config", "etc/worker.json")
    assert (config.module_prefix, config.warnings) == (tmp_path / "etc", ())


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"{", "cannot be understood"),
        (b"[]", "must be an object"),
        (b'{"name": 3}', "name"),
        (b'{"name": "n", "probes": "gpu"}', "probes"),
        (b'{"name": "n", "libraries": [3]}', "libraries"),
        (b"\xff\xfe", "cannot be understood"),
        (b"[" * 100_000, "cannot be understood"),
        (b" " * (1024 * 1024 + 1), "larger than"),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, word):
    """Which file, and what is wrong with it."""
    (tmp_path / "worker.json").write_bytes(content)
    text = refusal(tmp_path, "--config", "worker.json")
    assert word in text
    assert "worker.json" in text


def test_a_missing_or_bad_toml_file_is_named(tmp_path, monkeypatch):
    """Also where Python cannot read TOML at all."""
    assert "cannot be read: No such file" in refusal(tmp_path, "--config", "nowhere.toml")
    (tmp_path / "worker.toml").write_text("name = ")
    assert "cannot be understood" in refusal(tmp_path, "--config", "worker.toml")
    monkeypatch.setitem(sys.modules, "tomllib", None)
    assert "worker.json instead" in refusal(tmp_path, "--config", "worker.toml")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "--name is missing"),
        (("--name", "a/b"), "without '/'"),
        (("--name", "a\nb"), "printable"),
        (("--name", "x" * 21), "name_chars_max"),
        (("--name", "n", "--slots", "0"), "--slots"),
        (("--name", "n", "--slots", "many"), "--slots"),
        (("--name", "n", "--slots", "\N{SUPERSCRIPT TWO}"), "--slots"),
        (("--name", "n", "--shm-size", "-1"), "--shm-size"),
        (("--name", "n", "--spool", "never"), "eager, lazy, before_send"),
        (("--name", "n", "--stop-grace", "soon"), "--stop-grace"),
        (("--name", "n", "--stop-grace", "nan"), "--stop-grace"),
        (("--name", "n", "--server", "10.0.0.1"), "tcp://HOST:PORT"),
        (("--name", "n", "--python-home", "/nowhere"), "/nowhere/bin/python3 is no program"),
        (("--name", "n", "--module-prefix", "/nowhere"), "/nowhere is no folder"),
        (("--name", "n", "--capability", "a/b"), "--capability"),
        (("--name", "n", *(f"--capability={c}" for c in "abcd")), "capabilities_max"),
        (("--nmae", "n"), "'--nmae' is no option"),
        (("name", "n"), "'name' is no option"),
        (("--name",), "--name needs a value"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, arguments, word):
    """The message has the option in it and what would be right."""
    assert word in refusal(tmp_path, *arguments)


def test_homes_differ_however_odd_the_names():
    """Readable, safe as a folder, unmistakable."""
    names = ["edge-1", "edge_1", "..", ".hidden", "ä" * 100, "a:b", "a b", "a_b"]
    homes = [default_home(name, {"XDG_STATE_HOME": "/s"}) for name in names]
    assert len(set(homes)) == len(names)
    assert all(home.parent == Path("/s/dart/agents") and len(home.name) < 60 for home in homes)
    assert homes[0].name.startswith("edge-1-")
    assert not any(home.name.startswith(".") for home in homes)


def test_the_state_directory_of_the_user():
    """As the desktop's rules have it."""
    assert state_root({"XDG_STATE_HOME": "/x"}) == Path("/x/dart")
    assert state_root({}) == Path.home() / ".local" / "state" / "dart"
