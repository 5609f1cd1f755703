"""Files of hosts: a line each, or JSON with several kinds of workers."""

import json
from pathlib import Path

import pytest

from dart.cli.node_file import Kind, read_node_file
from dart.errors import ConfigError

KINDS = {
    "gpu#1": {"capabilities": ["gpu"], "workers_per_node": 2, "shm_size": 4096, "hosts": ["a", "u@b:2222"]},
    "cpu": {"num_per_node": 8, "hosts": ["c"]},
}
READ = [
    Kind("gpu#1", ["a", "u@b:2222"], {"capabilities": ["gpu"], "shm_size": 4096, "workers_per_host": 2}),
    Kind("cpu", ["c"], {"workers_per_host": 8}),
]


def written(folder: Path, content: object, name: str = "nodes.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_host_a_line(tmp_path: Path):
    """Blank lines and comments are nothing."""
    path = written(tmp_path, "# all\n\nedge-1\n  pi@edge-2:2222  # the new one\n", "hosts.txt")
    assert read_node_file(path) == [Kind("", ["edge-1", "pi@edge-2:2222"], {})]


@pytest.mark.parametrize(
    "content",
    [KINDS, {"workers": KINDS}, [{"name": name, **kind} for name, kind in KINDS.items()],
     {"workers": [{"name": name, **kind} for name, kind in KINDS.items()]}],
)  # fmt: skip
def test_several_kinds(tmp_path: Path, content: object):
    """By name or as a list, with whatever the number on each host is called; also without `.json`."""
    assert read_node_file(written(tmp_path, content)) == READ
    assert read_node_file(written(tmp_path, content, "nodes")) == READ


def test_a_list_of_hosts_in_json(tmp_path: Path):
    """As plain as one a line."""
    assert read_node_file(written(tmp_path, ["a", "b"])) == [Kind("", ["a", "b"], {})]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "no JSON"), ("", "no JSON"), ("5", "must have an object"), ({"w": 5}, "'w' must be an object"),
        ([5], "must be an object"), ({"w": {"hosts": "a"}}, "must be a list of texts"), ({"w": {}}, "must be a list"),
        ({"w": {"hosts": []}}, "names no host for 'w'"), ({"w": {"hosts": ["a"], "gpus": 1}}, "member 'gpus'"),
        ({"w": {"hosts": ["a"], "workers_per_host": 1, "workers_per_node": 2}}, "more than once"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(tmp_path: Path, content: object, told: str):
    """With the file, the kind and the member."""
    with pytest.raises(ConfigError, match=told):
        read_node_file(written(tmp_path, content))


def test_files_that_cannot_be_read(tmp_path: Path):
    """Missing, empty, no text, too large."""
    with pytest.raises(ConfigError, match="cannot be read"):
        read_node_file(tmp_path / "none")
    with pytest.raises(ConfigError, match="names no host"):
        read_node_file(written(tmp_path, "# none\n", "hosts.txt"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_node_file(tmp_path / "binary")
    with pytest.raises(ConfigError, match="bytes"):
        read_node_file(written(tmp_path, "a" * (4 * 1024 * 1024 + 1), "large"))
