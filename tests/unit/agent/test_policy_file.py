"""Which policy is in force, and which files are not believed."""

import hashlib
import json
import os

import pytest

from dart.agent.policy_file import find_policy, read_policy_file, writable_by_others
from dart.errors import ConfigError
from harness.pages import ROOT, blocks

BYTES_MAX = 10_000


def put(path, members, mode=0o600):
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(members if isinstance(members, str) else json.dumps(members))
    path.chmod(mode)
    return path


def refusal(path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_policy_file(path, BYTES_MAX)
    assert str(path) in caught.value.message
    assert caught.value.message.endswith(".")
    return caught.value.message


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o644])
def test_a_good_file_is_read(tmp_path, mode):
    """With its path and hash, for people to compare; others may read it."""
    path = put(tmp_path / "p.json", {"allow": ["m:f"], "audit": False}, mode)
    policy = read_policy_file(path, BYTES_MAX)
    assert policy.names("m", "f")
    assert not policy.audit
    assert (policy.path, policy.sha256) == (str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def test_toml_says_the_same(tmp_path):
    """Where this Python reads it."""
    path = put(tmp_path / "p.toml", 'deny = ["m:f"]\ntask_seconds_max = 5\n[isolation]\nopen_files = 100\n')
    policy = read_policy_file(path, BYTES_MAX)
    assert (policy.task_seconds_max, policy.isolation.open_files) == (5.0, 100)
    assert policy.refusal("m", "f")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777, 0o660])
def test_a_file_that_others_can_write_is_not_believed(tmp_path, mode):
    """And what to do is said."""
    assert "chmod go-w" in refusal(put(tmp_path / "p.json", {}, mode))


def test_a_folder_that_others_can_write_is_not_believed(tmp_path):
    """They could put a file of the owner's there by another name; in one with the sticky bit they cannot."""
    path = put(tmp_path / "open" / "p.json", {})
    path.parent.chmod(0o777)
    assert "its folder can be written by others" in refusal(path)
    path.parent.chmod(0o1777)
    assert read_policy_file(path, BYTES_MAX).path == str(path)


def test_a_file_of_another_user_is_not_believed(tmp_path):
    """Root's and the agent's own are."""
    state = put(tmp_path / "p.json", {}).stat()
    other = os.stat_result((state.st_mode, 1, 1, 1, 4321, 0, 0, 0, 0, 0))
    assert writable_by_others(os.stat_result((state.st_mode, 1, 1, 1, 0, 0, 0, 0, 0, 0)), 1000) == ""
    assert writable_by_others(other, 4321) == ""
    assert "belongs to another user (number 4321)" in writable_by_others(other, 1000)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_given_by_another_user_is_not_believed(tmp_path):
    """As above, with a real one; in a folder of theirs as well."""
    path = put(tmp_path / "theirs" / "p.json", {})
    os.chown(path, 4321, 4321)
    assert "belongs to another user" in refusal(path)
    os.chown(path, 0, 0)
    os.chown(path.parent, 4321, 4321)
    assert "its folder belongs to another user" in refusal(path)


def test_links_and_other_things_are_not_believed(tmp_path):
    """Where a link leads can be changed by whoever owns what it leads to."""
    (tmp_path / "link.json").symlink_to(put(tmp_path / "p.json", {}))
    assert "symbolic link" in refusal(tmp_path / "link.json")
    os.mkfifo(tmp_path / "pipe.json")
    assert "no plain file" in refusal(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    assert "no plain file" in refusal(tmp_path / "folder.json")
    assert "No such file" in refusal(tmp_path / "gone.json")
    assert "No such file" in refusal(tmp_path / "gone" / "p.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "understood"),
        ("{", "understood"),
        ('{"allow": ["m:f"], "allow": ["**:*"]}', "'allow' is there twice"),
        ('{"isolation": {"user": "a", "user": "b"}}', "'user' is there twice"),
        ('{"task_seconds_max": NaN}', "NaN is no number"),
        ('{"task_seconds_max": Infinity}', "Infinity is no number"),
        ("[" * 5000, "understood"),
        ('{"parameter_bytes_max": 1' + "0" * 5000 + "}", "understood"),
        ('{"alow": []}', "'alow' is no member of a policy"),
        ("[]", "must be an object"),
        ('{"isolation": {"nonsense": 1}}', "isolation.nonsense is unknown"),
        ("x" * 10_001, "more than 10000 bytes (policy_bytes_max)"),
    ],
)
def test_what_cannot_be_understood_is_told(tmp_path, text, said):
    """With what is wrong."""
    assert said in refusal(put(tmp_path / "p.json", text))


@pytest.mark.parametrize("data", [b"\xff\xfe{}", b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"{}\0"])
def test_the_file_is_utf8_without_ornament(tmp_path, data):
    """One way to read a file, and nothing after it."""
    path = put(tmp_path / "p.json", "")
    path.write_bytes(data)
    assert "understood" in refusal(path)


# ---- which one ----


def test_without_a_file_the_defaults_hold(tmp_path):
    """Nothing named, nothing there."""
    policy = find_policy(None, (tmp_path, tmp_path / "no folder"), BYTES_MAX)
    assert (policy.path, policy.sha256, policy.has_rules) == ("", "", False)


@pytest.mark.parametrize("place", ["home/policy.json", "home/policy.toml", "etc/policy.json"])
def test_the_one_that_is_there_is_in_force(tmp_path, place):
    """Beside the configuration file or in the home."""
    path = put(tmp_path / place, "" if place.endswith("toml") else {})
    assert find_policy(None, (tmp_path / "etc", tmp_path / "home"), BYTES_MAX).path == str(path)


@pytest.mark.parametrize(
    "places",
    [("home/policy.json", "home/policy.toml"), ("etc/policy.json", "home/policy.json"), ("mine", "home/policy.json")],
)
def test_two_policies_stop_the_agent(tmp_path, places):
    """Also beside a named one: either could have been put there to hide the other."""
    paths = [put(tmp_path / place, {}) for place in places]
    named = paths[0] if paths[0].name == "mine" else None
    with pytest.raises(ConfigError, match="two policies") as caught:
        find_policy(named, (tmp_path / "etc", tmp_path / "home"), BYTES_MAX)
    assert all(str(path) in caught.value.message for path in paths)


def test_one_policy_found_in_two_ways_is_one(tmp_path):
    """Named and in the home, or the home is where the configuration lies."""
    path = put(tmp_path / "policy.json", {})
    assert find_policy(path, (tmp_path, tmp_path), BYTES_MAX).path == str(path)


def test_a_named_policy_must_be_there(tmp_path):
    """Whoever takes the file away does not get the defaults instead."""
    with pytest.raises(ConfigError, match="No such file"):
        find_policy(tmp_path / "gone.json", (tmp_path,), BYTES_MAX)


def test_what_cannot_be_looked_at_is_not_missing(tmp_path):
    """A dangling link, or a folder name that loops, stops the agent like any policy that cannot be read."""
    (tmp_path / "policy.json").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="symbolic link"):
        find_policy(None, (tmp_path,), BYTES_MAX)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ConfigError, match="loop"):
        find_policy(None, (tmp_path / "loop",), BYTES_MAX)


@pytest.mark.parametrize("page", ["policy", "isolation", "modules", "howto/federated-learning"])
def test_policies_in_the_documents_are_read(tmp_path, page):
    """Each that a page shows is one that an agent takes."""
    shown = [it.text for it in blocks(ROOT / "docs" / f"{page}.md") if it.language == "json"]
    assert shown
    for text in shown:
        read_policy_file(put(tmp_path / "p.json", text), BYTES_MAX)
