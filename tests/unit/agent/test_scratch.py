"""Scratch directories: private, fresh, gone."""

import os

import pytest

from dart.agent.scratch import RECORD, Scratch
from dart.errors import ConfigError
from harness.waiting import wait_until


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The system's place for temporary files."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def test_each_is_new_and_private_whatever_the_umask(place):
    """0700 in a 0700 directory, no two alike."""
    before = os.umask(0o777)
    try:
        scratch = Scratch(None, None, 0)
        first, second = scratch.fresh(0), scratch.fresh(0)
    finally:
        os.umask(before)
    assert first != second
    assert {path.stat().st_mode & 0o777 for path in (scratch.base, first, second)} == {0o700}
    assert scratch.base.parent == place
    scratch.close()
    scratch.close()
    assert not list(place.iterdir())


def test_what_lies_in_one_goes_with_it(place):
    """Folders without permissions too; what a link leads to stays."""
    scratch = Scratch(None, None, 0)
    path = scratch.fresh(3)
    (path / "closed" / "in").mkdir(parents=True)
    (place / "precious").write_text("x")
    (path / "closed" / "in" / "link").symlink_to(place)
    (path / "closed").chmod(0)
    scratch.drop(path)
    scratch.drop(path)
    wait_until(lambda: not path.exists(), explain=str(path))
    scratch.close()
    assert (place / "precious").read_text() == "x"


def test_what_a_killed_run_left_is_cleared_away(tmp_path, place):
    """Its place is in the home; a record that leads elsewhere is not believed."""
    last = Scratch(tmp_path, None, 0)
    (last.fresh(0) / "file").write_text("")
    assert (tmp_path / RECORD).stat().st_mode & 0o777 == 0o600
    scratch = Scratch(tmp_path, None, 0)
    wait_until(lambda: not last.base.exists(), explain=str(last.base))
    scratch.close()
    assert not (tmp_path / RECORD).exists()
    (tmp_path / "precious").mkdir()
    (tmp_path / "dart-link").symlink_to(tmp_path / "precious")
    for text in (str(tmp_path / "precious"), str(tmp_path / "dart-link"), "\0", "", "dart-none"):
        (tmp_path / RECORD).write_text(text)
        Scratch(tmp_path, None, 0).close()
        assert (tmp_path / "precious").is_dir()
    os.close(last._lock)


def test_without_a_place_for_temporary_files_the_home_is_one(tmp_path, monkeypatch):
    """A system may have no writable /tmp."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    monkeypatch.setattr("dart.agent.scratch._PLACES", ())
    (tmp_path / "home").mkdir()
    scratch = Scratch(tmp_path / "home", None, 0)
    assert scratch.base.parent == tmp_path / "home"
    scratch.close()
    with pytest.raises(ConfigError, match="temporary files"):
        Scratch(tmp_path / "gone", None, 0)
