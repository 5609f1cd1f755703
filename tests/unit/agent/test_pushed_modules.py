"""Pushed modules on disk, and the desk that answers the broker."""

import fcntl
import hashlib
import os
import queue
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from dart.agent import events, pushed_modules
from dart.agent.desk import Desk
from dart.agent.policy import Policy
from dart.agent.pushed_modules import PushedModules
from dart.errors import InvalidRequestError
from dart.limits import Limits
from dart.wire import values
from dart.wire.messages import Ask

PACKAGE = {"p/__init__.py": b"A = 1\n", "p/data.csv": b"1,2\n"}


@pytest.fixture
def modules(tmp_path):
    return PushedModules(tmp_path, Limits(pushed_modules_max=2))


def versions(tmp_path, name):
    folders = [path.name.split(".") for path in (tmp_path / "pushed").iterdir() if path.is_dir()]
    return sorted(version for module, version in folders if module == name)


def test_a_file_is_known_by_its_hash(modules, tmp_path):
    """The one that `sha256sum` tells."""
    name, version = modules.push({"m.py": b"A = 1\n"})
    assert (name, version) == ("m", hashlib.sha256(b"A = 1\n").hexdigest())
    assert modules.listed() == {"m": version}
    assert (tmp_path / "pushed" / f"m.{version}" / "m.py").read_bytes() == b"A = 1\n"


def test_each_change_in_a_package_is_another_version(modules):
    """Of names, of code, of data; the order of the files means nothing."""
    _, one = modules.push(PACKAGE)
    assert modules.push(dict(reversed(PACKAGE.items())))[1] == one
    others = {
        modules.push({**PACKAGE, "p/data.csv": b""})[1],
        modules.push({"p/__init__.py": b"A = 1\n", "p/date.csv": b"1,2\n"})[1],
        modules.push({"p/__init__.py": b"A = 2\n", "p/data.csv": b"1,2\n"})[1],
    }
    assert len(others | {one}) == 4


def test_the_version_before_is_kept_and_no_other(modules, tmp_path):
    """Tasks that still run may import from it."""
    made = [modules.push({"m.py": b"A = %d\n" % number})[1] for number in range(4)]
    assert versions(tmp_path, "m") == sorted(made[-2:])
    assert modules.listed() == {"m": made[-1]}


def test_a_version_that_was_tampered_with_is_written_again(modules, tmp_path):
    """What a task may have put there does not count."""
    _, version = modules.push(PACKAGE)
    (tmp_path / "pushed" / f"p.{version}" / "p" / "__init__.py").write_text("import evil\n")
    modules.push(PACKAGE)
    assert (tmp_path / "pushed" / f"p.{version}" / "p" / "__init__.py").read_bytes() == b"A = 1\n"


def test_what_was_added_to_a_version_is_dropped(modules, tmp_path):
    """Further files, links, and bytecode that would count instead of the source."""
    _, version = modules.push(PACKAGE)
    place = tmp_path / "pushed" / f"p.{version}"
    (place / "p" / "__pycache__").mkdir()
    (place / "p" / "__pycache__" / "evil.pyc").write_bytes(b"x")
    modules.push(PACKAGE)
    assert not (place / "p" / "__pycache__").exists()
    (place / "p" / "evil.py").write_text("")
    modules.push(PACKAGE)
    assert sorted(path.name for path in (place / "p").iterdir()) == ["__init__.py", "data.csv"]
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    modules.push(PACKAGE)
    assert not place.is_symlink()
    assert (place / "p" / "data.csv").read_bytes() == b"1,2\n"


@pytest.mark.parametrize("umask", [0, 0o77])
def test_only_the_agents_user_may_write_and_a_tasks_user_may_read(modules, tmp_path, umask):
    """Whatever the umask of the agent."""
    before = os.umask(umask)
    try:
        modules.push({"p/__init__.py": b"", "p/q/r/__init__.py": b""})
    finally:
        os.umask(before)
    found = [tmp_path / "pushed", *(tmp_path / "pushed").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_dir()} == {0o755}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_file()} == {0o644}


def test_agents_that_share_the_folder_do_not_disturb_each_other(tmp_path):
    """A push asks all of them at the same moment."""
    files = {"p/__init__.py": b""} | {f"p/m{number}.py": b"x" for number in range(30)}
    agents = [PushedModules(tmp_path, Limits()) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda agent: agent.push(files), agents * 5))
    assert len(set(done)) == 1
    assert len(versions(tmp_path, "p")) == 1


def test_a_folder_that_stays_locked_is_told(modules, tmp_path, monkeypatch):
    """A task may hold it for ever."""
    monkeypatch.setattr(pushed_modules, "_LOCK_SECONDS_MAX", 0.02)
    modules.push(PACKAGE)
    descriptor = os.open(tmp_path / "pushed", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(InvalidRequestError, match="locked"):
            modules.push(PACKAGE)
    finally:
        os.close(descriptor)


def test_removing(modules, tmp_path):
    """All versions of it, and only of it."""
    modules.push(PACKAGE)
    modules.push({"pp.py": b""})
    assert modules.remove("p")
    assert not modules.remove("p")
    assert set(modules.listed()) == {"pp"}
    assert versions(tmp_path, "p") == []


def test_a_link_in_place_of_the_folder_is_refused(modules, tmp_path):
    """It could lead anywhere."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "pushed").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidRequestError, match="is a link"):
        modules.push(PACKAGE)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_their_number_is_bounded(modules):
    """New versions of known ones are taken all the same."""
    modules.push({"a.py": b""})
    modules.push({"b.py": b""})
    with pytest.raises(InvalidRequestError, match="pushed_modules_max"):
        modules.push({"c.py": b""})
    modules.push({"b.py": b"1"})


def test_files_of_others_are_passed_over(modules, tmp_path):
    """What is no version is none."""
    modules.push({"a.py": b""})
    for name, content in (("b.version", b"../../x"), ("c.version", b"\xff"), ("d.version", b"")):
        (tmp_path / "pushed" / name).write_bytes(content)
    assert set(modules.listed()) == {"a"}


@pytest.fixture
def desk(modules):
    """Asks and waits for the answer."""
    answers: queue.Queue[events.Answered] = queue.Queue()

    def make(policy):
        desk = Desk(policy, modules, lambda: ({"python": "3.9"}, ("no numpy",)), answers.put)

        def ask(what, name="", data=b"\x80"):
            desk.take(Ask(5, what, name, data))
            return answers.get(timeout=20)

        return ask

    return make


def test_the_owner_decides_whether_modules_are_taken(desk, modules):
    """Without `accept_modules` nothing is pushed or removed; listing is always answered."""
    ask = desk(Policy())
    for what in ("push", "remove"):
        answer = ask(what, "p", values.encode(PACKAGE))
        assert (answer.facts, answer.renew) == ({}, False)
        assert "accept_modules" in answer.error
    assert ask("modules") == events.Answered(5, "", {})
    assert modules.listed() == {}


def test_pushing_and_removing_renew_the_runners(desk):
    """Where they did something."""
    ask = desk(Policy(accept_modules=True))
    done = ask("push", data=values.encode(PACKAGE))
    assert (done.error, list(done.facts), done.renew) == ("", ["p"], True)
    assert ask("modules").facts == done.facts
    assert ask("remove", "p") == events.Answered(5, "", {}, renew=True)
    assert "no pushed module 'p'" in ask("remove", "p").error


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", values.encode([1]), values.encode({"a.py": "text"}), values.encode({1: b""})]
)
def test_what_is_no_map_of_files_is_refused(desk, data):
    """Whoever sends it."""
    answer = desk(Policy(accept_modules=True))("push", data=data)
    assert answer.error
    assert not answer.renew


def test_versions_and_what_is_not_known(desk):
    """Faults of the owner's Python are told beside them."""
    ask = desk(Policy())
    told = ask("about").facts
    assert (told["python"], told["fault"]) == ("3.9", "no numpy")
    assert {"agent_version", "agent_python", "pyzmq", "libzmq", "msgpack", "protocol"} <= set(told)
    assert "cannot tell 'secrets'" in ask("secrets").error


def test_a_folder_that_cannot_be_written_is_told(desk, tmp_path):
    """With what the system says."""
    (tmp_path / "pushed").write_text("a file")
    assert "exists" in desk(Policy(accept_modules=True))("push", data=values.encode(PACKAGE)).error.casefold()
