"""Tasks that mean harm, on real agents: what they cannot do with the defaults, and with a user of their own.

What the defaults do not prevent is in `docs/isolation.md`; the tests named `..._out_of_reach...` hold that page to it.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from dart.agent import landlock
from dart.errors import TaskErrorCode
from dart.wire import values
from harness.rogue import PYTHON, copy_for_all, rogue_agent
from harness.waiting import wait_until

USER = "nobody"
LANDLOCK = landlock.version()
REFUSED = {"EACCES", "EPERM"}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run tasks as another user")
needs_domain = pytest.mark.skipif(LANDLOCK < landlock.APART, reason="this kernel has no Landlock")


@pytest.fixture(scope="module")
def default():
    """An agent of an ordinary user without a policy, its home where no place that all share is above it."""
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix=".dart-test-", dir="/opt" if user else Path.home()))
    try:
        environment = copy_for_all(folder) if user else {}
        environment |= {"DART_SECRET": "of the agent", "AWS_TOKEN": "of the agent"}
        python = PYTHON if user else sys.executable
        with rogue_agent(folder / "home", user=user, python=python, **environment) as rogue:
            yield rogue
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def separate():
    """An agent of root whose tasks run as an ordinary user."""
    if os.geteuid() != 0:
        pytest.skip("only root can run tasks as another user")
    folder = Path(tempfile.mkdtemp(prefix="dart-test-"))
    try:
        environment = copy_for_all(folder)
        (folder / "modules").mkdir(mode=0o755)
        policy = {"isolation": {"user": USER, "hide_home": False, "processes": 64}}
        home = folder / "home"
        with rogue_agent(home, modules=folder / "modules", policy=policy, python=PYTHON, **environment) as rogue:
            yield rogue
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["default", "separate"])
def rogue(request):
    """Both."""
    if request.param == "default" and LANDLOCK < landlock.APART:
        pytest.skip("this kernel has no Landlock: the defaults protect little")
    return request.getfixturevalue(request.param)


def test_a_task_cannot_read_or_change_what_is_the_agents(rogue):
    """Key, enrolment, policy, spool and lock: neither read nor written, replaced or removed."""
    (rogue.home / "spool" / "planted").write_text("a result of somebody")
    for name in (
        "agent.key",
        "enrolment.json",
        "policy.json",
        "audit.jsonl",
        "agent.lock",
        "agent.json",
        "spool/planted",
    ):
        path = str(rogue.home / name)
        assert Path(path).exists()
        for method in ("read", "write", "replace", "remove"):
            assert rogue.run(method, path)[0] in REFUSED, (method, name)
    assert rogue.run("write", str(rogue.home / "spool" / "new"))[0] in REFUSED
    assert rogue.run("replace", str(rogue.home))[0] in REFUSED
    (rogue.home / "spool" / "planted").unlink()


def test_a_task_cannot_look_into_the_agent(rogue):
    """Not by ptrace, its memory, its descriptors, its pipes or its environment."""
    found = rogue.run("peek", rogue.pid)
    assert set(found.values()) <= REFUSED, sorted(found.items())


@needs_domain
def test_an_agent_tells_what_its_tasks_are_not_kept_from(default, separate):
    """For `dart agent status`: nothing, where the kernel has all that is needed."""
    for rogue in (default, separate):
        told = json.loads((rogue.home / "agent.json").read_text())["open_to_tasks"]
        assert told == ("" if LANDLOCK >= landlock.SIGNALS else "signals")


def test_an_agent_keeps_to_itself_on_every_kernel(default):
    """No domain needed: what the kernel tells of it belongs to root, and it leaves no core file."""
    assert Path(f"/proc/{default.pid}/environ").stat().st_uid == 0
    assert Path(f"/proc/{default.runners()[0]}/environ").stat().st_uid != 0 or os.geteuid() == 0
    limits = Path(f"/proc/{default.pid}/limits").read_text()
    assert next(line for line in limits.splitlines() if line.startswith("Max core")).split()[4:6] == ["0", "0"]


@needs_domain
def test_a_task_cannot_look_into_another_slot(rogue):
    """Both run as one user; the kernel keeps them apart all the same. Its own process it may look into."""
    found = rogue.run("peek", rogue.others())
    assert set(found.values()) <= REFUSED, sorted(found.items())
    assert rogue.run("peek", rogue.run("me")[0])["environ"] == "got in"


def test_a_task_cannot_signal_the_agent(rogue):
    """With the defaults this takes Linux 6.12, with a user of its own nothing."""
    if rogue.run("me")[1] == os.geteuid() and LANDLOCK < landlock.SIGNALS:
        pytest.skip("this kernel lets a user's processes signal one another")
    assert rogue.run("kill", rogue.pid)[0] == "EPERM"
    assert rogue.run("kill", rogue.run("me")[0])[0] == "got in"


@needs_domain
def test_a_task_cannot_signal_another_slot(rogue):
    """Not even where both have the same user."""
    if LANDLOCK < landlock.SIGNALS:
        pytest.skip("this kernel lets a user's processes signal one another")
    assert rogue.run("kill", rogue.others())[0] == "EPERM"


@pytest.mark.parametrize("whose", ["agent", "slot"])
def test_a_task_sets_no_limits_of_others(rogue, whose):
    """A second of processor time at most ends a process as a signal would; its own limits it may lower."""
    if LANDLOCK < landlock.SIGNALS:
        pytest.skip("this kernel lets a user's processes signal one another")
    pid = rogue.pid if whose == "agent" else rogue.others()
    assert rogue.run("choke", pid)[0] == "EPERM"
    assert rogue.run("choke", 0)[0] == "got in"


@pytest.mark.parametrize("seconds", [-1.0, float("inf")])
def test_a_task_cannot_forge_what_its_agent_could_never_send(default, seconds):
    """The broker would refuse such a result, the agent send it for ever: its runner ends, everything else goes on."""
    result = default.result("forge", seconds)
    assert (result.success, result.error_code) == (False, TaskErrorCode.RUNNER_DIED)
    assert default.run("me")


def test_a_task_holds_nothing_but_its_own_descriptors(rogue):
    """Of the agent's sockets, locks, spool and log it has none: three channels and standard input and output."""
    found = rogue.run("descriptors")
    assert len(found) == 3, found
    assert sum(link.startswith("socket:") for link in found) == 2
    assert sum(link.startswith("pipe:") for link in found) == 1


def test_a_task_sees_no_secret_of_the_agents_environment(default):
    """What the owner does not pass on is not there, in no process that a task can read."""
    found = default.run("environment")
    assert "of the agent" not in found.values()
    assert found["DART_SCRATCH"] == found["TMPDIR"]
    assert not [name for name in found if name.startswith(("PYTHON", "DART_")) and name != "DART_SCRATCH"]


def test_no_command_line_tells_a_secret(default):
    """Everybody on the machine can read those of the agent and of its runners."""
    secret = (default.home / "agent.key").read_text()
    words = [word for word in secret.split() if len(word) >= 40]
    assert words
    for pid in (default.pid, *default.runners()):
        line = Path(f"/proc/{pid}/cmdline").read_text()
        assert not [word for word in words if word.strip('",') in line]


@pytest.mark.parametrize("how", ["", "clean"])
def test_what_escapes_from_a_task_ends_with_its_runner(rogue, how):
    """A session of its own, no parent, signals ignored, an empty environment: it is found and killed all the same."""
    escaped = psutil.Process(rogue.run("escape", how))
    assert escaped.is_running()
    assert rogue.result("die").error_code == TaskErrorCode.RUNNER_DIED
    wait_until(lambda: rogue.result("die") and not escaped.is_running(), explain=str(escaped))
    assert rogue.run("me")[0] in rogue.runners()


def test_a_task_finds_a_scratch_directory_of_its_own(rogue):
    """Private, fresh for each runner, gone with it, and the working directory is where it always was."""
    pid, uid, scratch, folder = rogue.run("me")
    state = Path(scratch).stat()
    assert (state.st_mode & 0o777, state.st_uid) == (0o700, uid)
    assert folder.endswith("/modules")
    rogue.run("litter", scratch)
    assert rogue.run("fill", f"{scratch}/file")[1] == "endless"
    wait_until(lambda: rogue.result("die") and pid not in rogue.runners(), explain=f"runner {pid} lives")
    assert rogue.run("me")[2] != scratch
    wait_until(lambda: not Path(scratch).exists(), explain=scratch)


def test_a_task_gains_no_privileges(rogue):
    """No setuid program gives it any, and no core file keeps its memory."""
    assert rogue.run("facts")["NoNewPrivs"] == "1"
    assert rogue.run("limits")["CORE"] == [0, 0]


def test_honest_tasks_notice_nothing(rogue):
    """Processes, their locks, threads and temporary files work."""
    assert rogue.run("pool") == [1, 2]


# ---- what only a user of its own prevents ----


@needs_root
def test_a_user_of_its_own_has_no_privileges_and_no_groups_of_root(separate):
    """The user is complete: real, effective and saved, its groups, its home."""
    facts = separate.run("facts")
    assert len(set(facts["Uid"].split())) == 1
    assert facts["Uid"].split()[0] != "0"
    assert "0" not in facts["Groups"].split()
    assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == 0
    assert separate.run("environment")["USER"] == USER


@needs_root
def test_a_fork_bomb_of_a_user_of_its_own_is_bounded(separate):
    """At isolation.processes; agent and other slots go on."""
    started, ended = separate.run("bomb", 200)
    assert ended == "EAGAIN"
    assert started < 64
    assert separate.run("me")


@needs_root
def test_a_user_of_its_own_cannot_change_modules_or_logs(separate):
    """What the next task runs is not for the last one to decide."""
    module = f"{separate.run('me')[3]}/rogue.py"
    for method in ("write", "replace", "remove"):
        assert separate.run(method, module)[0] in REFUSED
    assert separate.run("read", str(separate.home / "log_edge-1.txt"))[0] in REFUSED


# ---- what stays out of reach of the defaults ----


def test_without_a_user_of_their_own_modes_stay_out_of_reach_of_protection(default, separate):
    """Landlock knows no chmod: the page for owners says so, and a user of its own helps."""
    assert default.run("chmod", str(default.home / "agent.key"))[0] == "got in"
    assert separate.run("chmod", str(separate.home / "agent.key"))[0] in REFUSED
    page = (Path(__file__).parents[2] / "docs" / "isolation.md").read_text()
    assert "| change modes, times and attributes of the agent's files | yes (7) | no |" in page


def test_without_a_user_of_their_own_modules_and_other_scratch_stay_out_of_reach_of_protection(default):
    """Same user, same files: the page for owners says so, and what helps."""
    assert default.run("write", f"{default.run('me')[3]}/data")[0] == "got in"
    assert default.run("write", f"{default.run('me')[2]}/../planted")[0] == "got in"
    page = (Path(__file__).parents[2] / "docs" / "isolation.md").read_text()
    assert "| change the modules that later tasks run | yes | no |" in page
    assert values.decode(default.result("me").payload)
