"""The worker's log file: its name, whom it trusts, its rotation."""

import os

import pytest

from dart.agent.worker_log import WorkerLog, log_file_name
from dart.errors import ConfigError


@pytest.mark.parametrize("name", ["worker-1", "dev#1:a.b+c", "Zürich", ".hidden", "a b"])
def test_ordinary_names_stay_as_they_are(name):
    """Old users look for `log_NAME.txt`."""
    assert log_file_name(name) == f"log_{name}.txt"


@pytest.mark.parametrize("name", ["a/b", "x" * 255, "ü" * 120, "a\nb", "../../etc/passwd", "\ud800"])
def test_long_and_odd_names_are_cut_and_hashed(name):
    """The name is one that every file system takes, and no other worker's."""
    found = log_file_name(name)
    assert found.isascii()
    assert "/" not in found
    assert len(found) < 120
    assert found != log_file_name(name + "x")


def test_the_file_is_for_the_owner_only(tmp_path):
    """0600, whatever the umask or an earlier mode says."""
    path = tmp_path / "new" / "log_w.txt"
    before = os.umask(0)
    try:
        log = WorkerLog(path.parent, "w", 100)
    finally:
        os.umask(before)
    log.write(b"text\n")
    log.close()
    log.close()
    assert path.read_bytes() == b"text\n"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    WorkerLog(path.parent, "w", 100).close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == b"text\n"


def test_a_link_is_refused(tmp_path):
    """Nobody can have the agent write into another file, by symbolic or hard link."""
    (tmp_path / "other").write_text("")
    (tmp_path / "log_soft.txt").symlink_to(tmp_path / "other")
    (tmp_path / "log_hard.txt").hardlink_to(tmp_path / "other")
    for name in ("soft", "hard"):
        with pytest.raises(ConfigError, match="output_directory"):
            WorkerLog(tmp_path, name, 100)


def test_what_is_no_plain_file_is_refused(tmp_path):
    """A folder, a pipe (without waiting for its reader) and a file in the place of the folder."""
    (tmp_path / "log_folder.txt").mkdir()
    os.mkfifo(tmp_path / "log_pipe.txt")
    for name in ("folder", "pipe"):
        with pytest.raises(ConfigError):
            WorkerLog(tmp_path, name, 100)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        WorkerLog(tmp_path / "file", "w", 100)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of somebody else")
def test_somebody_elses_file_is_refused(tmp_path):
    """In a folder for all, such as /var/tmp, another user may have made it first."""
    (tmp_path / "log_w.txt").write_text("")
    os.chown(tmp_path / "log_w.txt", 65534, 65534)
    with pytest.raises(ConfigError, match="of this user"):
        WorkerLog(tmp_path, "w", 100)


def test_it_is_rotated_at_its_size(tmp_path):
    """The old text is in `.1`, nothing is split or lost."""
    log = WorkerLog(tmp_path, "w", 10)
    for text in (b"12345\n", b"6789\n", b"abcdef\n"):
        log.write(text)
    log.close()
    assert (tmp_path / "log_w.txt.1").read_bytes() == b"6789\n"
    assert (tmp_path / "log_w.txt").read_bytes() == b"abcdef\n"


def test_two_agents_of_one_name_share_it(tmp_path):
    """When one has rotated, the other goes on in the new file, and does not rotate that away."""
    one, two = (WorkerLog(tmp_path, "w", 10) for _ in range(2))
    one.write(b"12345678\n")
    one.write(b"new\n")
    two.write(b"also new\n")
    for log in (one, two):
        log.close()
    assert (tmp_path / "log_w.txt.1").read_bytes() == b"12345678\n"
    assert (tmp_path / "log_w.txt").read_bytes() == b"new\nalso new\n"


def test_a_vanished_folder_harms_nobody(tmp_path):
    """The text is lost, the worker goes on."""
    log = WorkerLog(tmp_path / "logs", "w", 1)
    log.write(b"a\n")
    (tmp_path / "logs" / "log_w.txt").unlink()
    (tmp_path / "logs").rmdir()
    log.write(b"b\n")
    log.close()
