"""What is opened up around hidden folders."""

import os
import threading

import pytest

from dart.agent import landlock
from dart.agent.kernel_calls import PR_SET_NO_NEW_PRIVS, prctl


def tree(folder, *paths):
    for path in paths:
        place = folder / path
        if path.endswith("/"):
            place.mkdir(parents=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("")


def opened(folder, *hidden, most=10_000):
    found = landlock.around([folder / path for path in hidden], most)
    return None if found is None else {path for path in found if path.startswith(f"{folder}/")}


def test_everything_beside_the_way_is_opened(tmp_path):
    """Folder by folder; what is hidden and what lies above it is not."""
    tree(tmp_path, "a/home/key", "a/other/x", "a/file", "b/x", "c")
    assert opened(tmp_path, "a/home") == {f"{tmp_path}/{path}" for path in ("a/other", "a/file", "b", "c")}


def test_several_may_be_hidden_and_one_may_lie_in_another(tmp_path):
    """Nothing inside of a hidden folder is opened, also on the way to another."""
    tree(tmp_path, "a/home/in/deep/", "a/home/x", "b/secret/", "b/y")
    found = opened(tmp_path, "a/home", "a/home/in/deep", "b/secret")
    assert found == {f"{tmp_path}/b/y"}


def test_links_are_not_followed(tmp_path):
    """One that leads into what is hidden would open it."""
    tree(tmp_path, "a/home/", "b/")
    (tmp_path / "way-in").symlink_to(tmp_path / "a" / "home")
    (tmp_path / "a" / "up").symlink_to("..")
    assert opened(tmp_path, "a/home") == {f"{tmp_path}/b"}


def test_too_many_entries_are_told(tmp_path):
    """Each would cost each start of a runner."""
    tree(tmp_path, "a/home/", *(f"a/{number}" for number in range(50)))
    assert opened(tmp_path, "a/home", most=40) is None


def test_a_folder_that_cannot_be_listed_opens_nothing(tmp_path):
    """It may be gone by now."""
    assert opened(tmp_path, "gone/home") == set()


@pytest.mark.skipif(landlock.version() < landlock.APART, reason="this kernel has no Landlock")
def test_a_thread_that_is_restricted_leaves_others_alone(tmp_path):
    """The agent itself goes on with all it had."""
    tree(tmp_path, "open/x", "closed/x")
    found = {}

    def run():
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        with landlock.Ruleset(landlock.version(), landlock.READ_FILE) as rules:
            rules.allow(tmp_path / "open", landlock.READ_FILE)
            rules.allow(tmp_path / "gone", landlock.READ_FILE)
            rules.restrict_thread()
        for name in ("open", "closed"):
            try:
                os.close(os.open(tmp_path / name / "x", os.O_RDONLY))
                found[name] = "read"
            except PermissionError:
                found[name] = "refused"

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == {"open": "read", "closed": "refused"}
    assert (tmp_path / "closed" / "x").read_text() == ""


def test_machines_with_other_numbers_have_none(monkeypatch):
    """Rather none than another call of the kernel."""
    monkeypatch.setattr(landlock.platform, "machine", lambda: "mips64")
    assert landlock.version() == 0
