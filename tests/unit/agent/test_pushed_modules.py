"""Pushed modules on disk, and the desk that answers the broker."""

import hashlib
import queue

import pytest

from dart.agent import events
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
