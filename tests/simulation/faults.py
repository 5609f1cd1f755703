"""What clients do and what goes wrong, step by step.

A step undoes its own harm after a while, so a plan from which steps were taken out is a plan still.
"""

from collections.abc import Callable
from typing import NamedTuple

from simulation import changes
from simulation.broker_host import COMMIT_SECONDS
from simulation.runners import parameter

SECONDS = 30.0
"""In which all steps lie."""
JOBS = ("red", "green", "blue")
CLOCK_JUMP_SECONDS = 20_000.0
"""Less than idempotency keys are remembered for."""


class Step(NamedTuple):
    """Something that happens at a time of its own."""

    at: float
    kind: str
    arguments: dict


# ---- the line ----


def _lossy(cluster, host, amount, seconds):
    _weather(cluster, host, "dropping", amount * 0.35, seconds)


def _echoing(cluster, host, amount, seconds):
    _weather(cluster, host, "duplicating", amount * 0.6, seconds)


def _late(cluster, host, amount, seconds):
    _weather(cluster, host, "delaying", amount * 0.4, seconds)


def _unruly(cluster, host, amount, seconds):
    _weather(cluster, host, "swapping", amount * 0.4, seconds)


def _weather(cluster, host, what, amount, seconds):
    lines = [machine.line for machine in cluster.hosts()] if host % 3 == 0 else [cluster.host(host).line]
    for line in lines:
        setattr(line, what, amount)
        cluster.later(3 * seconds, setattr, line, what, 0.0)


def _meddle(cluster, host, amount, seconds):
    cluster.network.meddling = 0.3 + 0.6 * amount
    cluster.later(8 * seconds, setattr, cluster.network, "meddling", 0.0)


def _cut(cluster, host, amount, seconds, directions=("up", "down")):
    line = cluster.host(host).line
    for direction in directions:
        line.cuts[direction] = "hold" if amount < 0.5 else "drop"
    cluster.later(seconds * 2, cluster.network.heal, line)


def _cut_up(cluster, host, amount, seconds):
    _cut(cluster, host, amount, seconds, ("up",))


def _cut_down(cluster, host, amount, seconds):
    _cut(cluster, host, amount, seconds, ("down",))


# ---- the broker ----


def _broker_killed(cluster, host, amount, seconds):
    cluster.broker.crash("killed")
    cluster.later(seconds / 3, cluster.broker.start)


def _broker_killed_at(point):
    def apply(cluster, host, amount, seconds):
        process = cluster.broker.process
        if process is not None:
            process.crash_at(point, 1 + host % 7)
            cluster.later(seconds / 3, cluster.broker.start)

    return apply


def _broker_clock(cluster, host, amount, seconds):
    cluster.broker.crash("killed, and its clock is set")
    cluster.later(seconds / 6, cluster.broker.start, (2 * amount - 1) * CLOCK_JUMP_SECONDS)


def _broker_stopped(cluster, host, amount, seconds):
    cluster.broker.stop()
    cluster.later(seconds / 3 + 0.2, cluster.broker.start)


def _commit_fails(cluster, host, amount, seconds):
    cluster.disk.fail_next = True


def _commit_lies(cluster, host, amount, seconds):
    cluster.disk.lie_next = True


def _disk_full(cluster, host, amount, seconds):
    cluster.disk.failing = True
    cluster.later(seconds / 2, setattr, cluster.disk, "failing", False)


def _disk_slow(cluster, host, amount, seconds):
    _commits_take(cluster, 0.1 + amount, seconds)


def _disk_stalls(cluster, host, amount, seconds):
    """Nothing is written for a while, and then what waits is lost."""
    _commits_take(cluster, 4.0, seconds / 2)
    cluster.later(seconds / 2, setattr, cluster.disk, "fail_next", True)


def _commits_take(cluster, commit_seconds, seconds):
    cluster.broker.commit_seconds = commit_seconds
    cluster.later(seconds, setattr, cluster.broker, "commit_seconds", COMMIT_SECONDS)


# ---- agents ----


def _agent_killed(cluster, host, amount, seconds, *, power=False, jump=0.0):
    machine = cluster.host(host)
    machine.crash(power=power)
    cluster.later(seconds / 2 if amount < 0.7 else 3 * seconds, machine.start, jump)


def _power_lost(cluster, host, amount, seconds):
    _agent_killed(cluster, host, amount, seconds, power=True)


def _agent_clock(cluster, host, amount, seconds):
    _agent_killed(cluster, host, amount / 2, seconds, jump=(amount - 0.5) * 1e8)


def _agent_killed_at(cluster, host, amount, seconds):
    machine = cluster.host(host)
    if machine.process is not None:
        machine.process.crash_in = 1 + int(amount * 12)
        cluster.later(1.0 + seconds / 2, machine.start)


def _agent_killed_full(cluster, host, amount, seconds):
    """Their results do not get through, then they die; the next boots have more of them than HELLO may name."""
    machines = cluster.hosts() if amount < 0.5 else [cluster.host(host)]
    for machine in machines:
        machine.line.cuts["up"] = "drop"

    def come_back():
        for machine in machines:
            machine.crash(power=False)
            cluster.network.heal(machine.line)
            machine.names_little = True
            cluster.start_one(machine)

    cluster.later(1.0 + seconds / 2, come_back)


def _agent_stopped(cluster, host, amount, seconds):
    machine = cluster.host(host)
    if machine.process is not None:
        machine.process.ask_to_stop()
        cluster.later(1.0 + seconds, machine.start)


def _spool_full(cluster, host, amount, seconds):
    machine = cluster.host(host)
    machine.card.full = True
    cluster.later(seconds, setattr, machine.card, "full", False)


def _spool_slow(cluster, host, amount, seconds):
    machine = cluster.host(host)
    machine.card.slow = True
    cluster.later(3 * seconds, setattr, machine.card, "slow", False)


def _runner_killed(cluster, host, amount, seconds):
    process = cluster.host(host).process
    if process is not None:
        process.runners.kill_some(int(amount * 100))


def _bad_python(cluster, host, amount, seconds):
    machine = cluster.host(host)
    machine.bad_python = True
    if machine.process is not None:
        machine.process.runners.failing = True
        machine.process.runners.kill_some(int(amount * 100))

    def mend():
        machine.bad_python = False
        if machine.process is not None:
            machine.process.runners.failing = False

    cluster.later(seconds, mend)


def _other_capabilities(cluster, host, amount, seconds):
    machine = cluster.host(host)
    machine.crash(power=False)
    machine.capabilities = () if amount < 0.5 else ("gpu",)
    machine.start()


# ---- clients ----


def _cancel(cluster, host, amount, seconds):
    for number in range(2 + host):
        cluster.client.cancel(int(amount * 10_000) + number)


def _stop(cluster, host, amount, seconds):
    cluster.client.stop(JOBS[host % len(JOBS)])


def _purge(cluster, host, amount, seconds):
    cluster.client.purge(JOBS[host % len(JOBS)])


def _delete(cluster, host, amount, seconds):
    cluster.client.poll(JOBS[host % len(JOBS)])
    cluster.later(0.5, cluster.client.delete, int(amount * 10_000))


def _submit(cluster, *, job, specs, key, copies, leave_after):
    tasks = []
    for number, (policy, behaviour) in enumerate(specs):
        token = f"{job}/{cluster.submissions}/{number}"
        tasks.append((policy, parameter(token, **behaviour)))
    cluster.submissions += 1
    cluster.client.submit(job, tasks, key=key, copies=copies, leave_after=leave_after)


def _look(cluster, job, way, seconds):
    if way == "poll":
        cluster.client.poll(job)
    elif way == "list":
        cluster.client.list_tasks(job)
    else:
        cluster.client.wait(job, seconds)


FAULTS: dict[str, Callable] = {
    "lossy line": _lossy,
    "echoing line": _echoing,
    "late line": _late,
    "unruly line": _unruly,
    "seldom messages meddled with": _meddle,
    "line cut": _cut,
    "line cut upwards": _cut_up,
    "line cut downwards": _cut_down,
    "broker killed": _broker_killed,
    "broker killed at a send": _broker_killed_at("send"),
    "broker killed at a commit": _broker_killed_at("commit"),
    "broker clock set": _broker_clock,
    "broker stopped": _broker_stopped,
    "commit fails": _commit_fails,
    "commit fails but was written": _commit_lies,
    "disk full": _disk_full,
    "disk slow": _disk_slow,
    "disk stalls, then fails": _disk_stalls,
    "agent killed": _agent_killed,
    "agent killed at a command": _agent_killed_at,
    "agent killed with results unsent": _agent_killed_full,
    "agent loses power": _power_lost,
    "agent clock set": _agent_clock,
    "agent stopped": _agent_stopped,
    "spool full": _spool_full,
    "spool slow": _spool_slow,
    "runner killed": _runner_killed,
    "bad python": _bad_python,
    "other capabilities": _other_capabilities,
    "new agent of an old name": changes.new_agent,
    "cloned agent": changes.clone,
    "drain": changes.drain,
    "agent revoked": changes.revoke,
    "broker's key changes": changes.change_key,
    "cancel": _cancel,
    "stop": _stop,
    "purge": _purge,
    "delete": _delete,
}
USES: dict[str, Callable] = {"submit": _submit, "look": _look}
KINDS = (*FAULTS, "submission repeated", "submission in slices", "client leaves")


def apply(cluster, step):
    """Let a step happen."""
    cluster.world.note("STEP", step.kind, step.arguments)
    (FAULTS.get(step.kind) or USES[step.kind])(cluster, **step.arguments)
