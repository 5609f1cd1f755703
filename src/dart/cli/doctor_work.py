"""`dart doctor`, behind the server: agents, their Pythons and versions, tasks that nobody can run, backups, files."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

from dart.cli.doctor_findings import Finding, fault, fine, skipped, warning
from dart.cli.top_view import read_metrics

if TYPE_CHECKING:
    from dart_client import Client

PINGS_AT_ONCE = 16
WORKERS_MAX = 500
JOBS_MAX = 200
TASKS_MAX = 500
"""Of a job: of those that wait, the reasons are soon all known."""
AUDIT_MAX = 5000
FILES_LEAST = 1024
DAY_SECONDS = 86_400.0
_NOBODY = ("No agent of ", "No worker called ", "No worker is connected")
"""How the reasons begin for which a task waits for somebody who is not there."""
_IMPORT_FAILED = 102


def looked_at(check: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a look gives, or why it could not be taken."""
    from dart_client import DartError, ForbiddenError  # noqa: PLC0415 - not for `--help`

    try:
        yield from look()
    except ForbiddenError as error:
        yield skipped(check, f"This key may not look at that: {error.message}", "Use a key with the scope admin.")
    except DartError as error:
        yield fault(check, error.message, "Do what it says.")


def workers(client: "Client", version: str, seconds: float) -> Iterator[Finding]:
    """Whether there are agents, whether they answer, whether their Python starts, and of which version they are."""
    names = [worker["name"] for worker in client.workers()[:WORKERS_MAX]]
    if not names:
        yield warning(
            "workers",
            "No agent is connected, so no task runs.",
            "On this machine: dart agent start --name NAME; elsewhere: dart agent token --name NAME, and what it says.",
        )
        return
    yield fine("workers", f"{len(names)} worker(s) are connected.")

    def pinged(name: str) -> list[dict[str, Any]]:
        found = client.ping_worker(name, runner=True, seconds=seconds).get("agents", [])
        return [{"name": name, **agent} for agent in found]

    with ThreadPoolExecutor(PINGS_AT_ONCE) as threads:
        agents = [agent for found in threads.map(pinged, names) for agent in found]
    yield from _silent(agents, seconds)
    yield from _pythons(agents)
    yield from _versions(agents, version)
    full = [name for name in names for agent in client.worker(name)["agents"] if agent.get("spool_full")]
    if full:
        yield warning(
            "spools",
            f"The spool of {_some(full)} is full: it takes no tasks until the server has taken its results.",
            "See whether the server takes work (above), and whether the disk of that machine is full.",
        )


def _silent(agents: list[dict[str, Any]], seconds: float) -> Iterator[Finding]:
    silent = [f"{agent['name']} on {agent['host']}" for agent in agents if not agent["answered"]]
    if silent:
        yield fault(
            "silent-agents",
            f"No answer within {seconds:g} s from {_some(silent)}.",
            "Is that machine on, on the network, not out of memory? Its tasks go elsewhere when their lease ends. "
            "`dart worker ping --broker-only` tells the agent from its Python.",
        )
    else:
        yield fine("silent-agents", "All agents answer.")


def _pythons(agents: list[dict[str, Any]]) -> Iterator[Finding]:
    broken = {
        f"{agent['name']} on {agent['host']}": agent.get("error") or agent.get("versions", {}).get("fault", "")
        for agent in agents
        if agent["answered"]
    }
    broken = {who: why for who, why in broken.items() if why}
    for who, why in islice(broken.items(), 5):
        yield fault(
            "worker-python",
            f"The Python of {who} does not start: {why}",
            "See python_home and module_prefix of its worker.json, and its log.",
        )
    if not broken:
        yield fine("worker-python", "The Python of each worker starts.")


def _versions(agents: list[dict[str, Any]], version: str) -> Iterator[Finding]:
    told = {f"{agent['name']} on {agent['host']}": agent.get("versions", {}).get("agent_version") for agent in agents}
    others = [f"{who} ({its})" for who, its in told.items() if its and its != version]
    if others:
        yield warning(
            "agent-versions",
            f"The server is of version {version}; of another one: {_some(others)}.",
            "Update dart-runtime there and start the agent again; agents over SSH: dart worker upgrade HOST.",
        )
    else:
        yield fine("agent-versions", "All agents are of the server's version.")


def waiting(client: "Client") -> Iterator[Finding]:
    """Tasks that wait for somebody who is not there."""
    reasons: Counter[tuple[str, str]] = Counter()
    for job in islice(client.jobs(), JOBS_MAX):
        if job["status"] == 1 and job["tasks"].get("queued"):
            for task in islice(client.tasks(job["name"]), TASKS_MAX):
                reason = task.get("pending_reason", "")
                if reason.startswith(_NOBODY):
                    reasons[job["name"], reason] += 1
    for (job_name, reason), count in reasons.most_common(5):
        yield warning(
            "waiting-tasks",
            f"{count} task(s) of the job {job_name} wait: {reason}",
            "Start such an agent (dart agent start --name NAME --capability C), mind the spelling, or cancel them: "
            "dart task cancel. `dart task show JOB ID` says worker by worker what is lacking.",
        )
    if not reasons:
        yield fine("waiting-tasks", "No task waits for a worker that is not there.")


def failures(client: "Client") -> Iterator[Finding]:
    """Modules that could not be imported, lately."""
    found: Counter[tuple[str, str]] = Counter()
    for event in client.events(after="oldest", kinds=("result",), follow=False):
        if event.data.get("error_code") == _IMPORT_FAILED:
            found[event.data.get("job", ""), event.data.get("worker", "")] += 1
    for (job, worker), count in found.most_common(5):
        yield fault(
            "modules",
            f"The module of the job {job} could not be loaded at the worker {worker} ({count} task(s)).",
            f"dart result list {job} has the reason. Put the file below module_prefix of that worker's worker.json, or "
            "push it: dart module push FILE; what it imports must be installed in the Python of its python_home.",
        )
    if not found:
        yield fine("modules", "No module failed to load lately.")


def numbers(client: "Client") -> Iterator[Finding]:
    """Open files, and agents that knock in vain."""
    answer = client.connection.exchange("GET", "/metrics", headers={"Accept": "text/plain"})
    metrics = read_metrics(answer.data.decode("utf-8", "replace"))
    most, used = (int(metrics.get(f"process_{which}_fds", {}).get("", 0)) for which in ("max", "open"))
    remedy = "LimitNOFILE=65536 in its unit, or ulimit -n 65536 before it is started."
    if most and used > most - most // 10:
        yield fault("open-files", f"The server uses {used} of the {most} open files that it may have.", remedy)
    elif most and most < FILES_LEAST:
        yield warning(
            "open-files", f"The server may have {most} open files; each agent and client needs one or two.", remedy
        )
    else:
        yield fine("open-files", f"The server uses {used} of {most} open files.")
    strangers = int(metrics.get("dart_refused_total", {}).get("not_enrolled", 0))
    if strangers:
        yield warning(
            "strangers",
            f"{strangers} connections of agents were refused since the server's start: it does not know their keys.",
            "An agent that was revoked, or joined another server: let it join again with `dart agent token`. Otherwise "
            "somebody tries the port.",
        )
    else:
        yield fine("strangers", "Every agent that came is known.")


def backups(client: "Client", days: float) -> Iterator[Finding]:
    """When the last one was taken, as the audit has it."""
    oldest = now = time.time()
    for entry in islice(client.audit(newest=True), AUDIT_MAX):
        oldest = entry["at"] / 1000
        if entry["what"] == "backup.take":
            break
    else:
        if now - oldest > days * DAY_SECONDS:
            yield warning("backup", f"No backup was taken for {_days(now - oldest)}, if ever.", _BACKUP)
        else:
            yield fine("backup", f"The server has less than {days:g} days behind it; none is due.")
        return
    if now - oldest > days * DAY_SECONDS:
        yield warning("backup", f"The last backup was taken {_days(now - oldest)} ago.", _BACKUP)
    else:
        yield fine("backup", f"The last one was taken {_days(now - oldest)} ago.")


_BACKUP = "dart server backup FILE, by cron or a timer, onto another machine; --backup-days says how old it may be."


def _days(seconds: float) -> str:
    return f"{seconds / DAY_SECONDS:.1f} days"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
