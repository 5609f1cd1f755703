"""`/metrics`: the table of all there are, and their text for Prometheus (exposition format 0.0.4)."""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from aiohttp import hdrs, web

from dart import __version__
from dart.broker.measures import Histogram
from dart.broker.snapshot import Snapshot
from dart.rest.call import Answer, Call
from dart.rest.meters import Meters
from dart.rest.schemas import Members

MEDIA_TYPE: Final = "text/plain"
_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Family(NamedTuple):
    """One metric."""

    kind: str
    about: str
    label: str = ""
    """The name of its label, if it has one."""


FAMILIES: Final = {
    "dart_info": Family("gauge", "1; the label has the version.", "version"),
    "dart_ready": Family("gauge", "1: work is taken; 0: the store cannot be written."),
    "dart_jobs": Family("gauge", "Jobs that are defined.", "status"),
    "dart_tasks": Family("gauge", "Open tasks.", "state"),
    "dart_queue_depth": Family(
        "gauge", "Tasks that wait for an agent. The 100 longest queues have names, /others is the rest.", "location"
    ),
    "dart_tasks_submitted_total": Family("counter", "Tasks that became durable."),
    "dart_tasks_leased_total": Family("counter", "Attempts that were sent to agents."),
    "dart_tasks_finished_total": Family("counter", "Outcomes that became durable.", "state"),
    "dart_dispatch_seconds": Family("histogram", "From a task's submission to its first sending to an agent."),
    "dart_task_seconds": Family("histogram", "How long tasks ran, as their agents told."),
    "dart_parameter_bytes_total": Family(
        "counter", "Encoded parameters of submitted tasks; of a blob in one, its reference only."
    ),
    "dart_result_bytes_total": Family("counter", "Encoded results; of a blob in one, its reference only."),
    "dart_blob_bytes_total": Family(
        "counter", "Of blobs, as their pieces pass; what is sent again counts again.", "way"
    ),
    "dart_late_results_total": Family("counter", "Results that did not count: late, or told twice."),
    "dart_foreign_attempts_total": Family("counter", "Attempts that an agent named although they were not its own."),
    "dart_agents": Family("gauge", "Connected agents."),
    "dart_agents_draining": Family("gauge", "Those that finish what they have and leave."),
    "dart_agents_spool_full": Family("gauge", "Those whose spool of results is full, so that they take no tasks."),
    "dart_agents_spooled_results": Family(
        "gauge", "Results that agents keep until they are acknowledged, as of their last heartbeats."
    ),
    "dart_agents_spooled_bytes": Family("gauge", "What those take of the spools, in bytes."),
    "dart_agents_largest_spool_bytes": Family("gauge", "The same of the agent that keeps most."),
    "dart_slots": Family("gauge", "Slots of connected agents."),
    "dart_leases": Family("gauge", "Tasks that agents hold, running or not."),
    "dart_spooled_results": Family("gauge", "Results that agents were told to keep, for the store knows no such task."),
    "dart_store_commit_seconds": Family("histogram", "How long a group of records took until it was durable."),
    "dart_store_records_total": Family("counter", "Records in those groups."),
    "dart_store_waiting_bytes": Family("gauge", "Payloads that wait to be written."),
    "dart_refused_total": Family("counter", "Connections and frames on the agents' port that were refused.", "reason"),
    "dart_http_answers_total": Family("counter", "Answers of REST.", "code"),
    "dart_event_readers": Family("gauge", "Open streams of events."),
    "dart_event_loop_lag_seconds": Family("histogram", "By how much a timer came too late, looked at twice a second."),
    "process_resident_memory_bytes": Family("gauge", "Memory of the server process."),
    "process_cpu_seconds_total": Family("counter", "Processor time of the server process."),
    "process_open_fds": Family("gauge", "Its open descriptors."),
    "process_max_fds": Family("gauge", "How many it may have."),
}
"""Every metric, in order; what a server tells is held against this, and so is the reference."""

Samples = Iterator[tuple[str, str, float]]
"""Name of a family, value of its label, value."""


async def show(call: Call) -> Answer:
    """`GET /metrics`: the server in numbers, as Prometheus reads them."""
    await call.members(Members)
    snapshot = call.gateway.snapshot(call.caller.sees_worker)
    refused = {reason: count() for reason, count in snapshot.measures.refused.items()}
    text = exposition(snapshot, call.tools.meters, refused, readers=call.gateway.events.readers)
    return web.Response(body=text.encode(), headers={hdrs.CONTENT_TYPE: _CONTENT_TYPE})


def exposition(snapshot: Snapshot, meters: Meters, refused: dict[str, int], *, readers: int) -> str:
    """The whole text."""
    samples: dict[str, list[tuple[str, float]]] = {"dart_event_readers": [("", readers)]}
    for name, label, value in _samples(snapshot, meters, refused):
        samples.setdefault(name, []).append((label, value))
    measures = snapshot.measures
    histograms = {
        "dart_dispatch_seconds": measures.waits,
        "dart_task_seconds": measures.task_seconds,
        "dart_store_commit_seconds": measures.commits,
        "dart_event_loop_lag_seconds": meters.lag,
    }
    lines: list[str] = []
    for name, family in FAMILIES.items():
        lines += [f"# HELP {name} {family.about}", f"# TYPE {name} {family.kind}"]
        if family.kind == "histogram":
            lines += _buckets(name, histograms[name])
        for label, value in samples.get(name, []):
            labels = f'{{{family.label}="{_escaped(label)}"}}' if family.label else ""
            lines.append(f"{name}{labels} {value}")
    return "\n".join([*lines, ""])


def _samples(snapshot: Snapshot, meters: Meters, refused: dict[str, int]) -> Samples:
    measures = snapshot.measures
    yield "dart_info", __version__, 1
    yield "dart_ready", "", int(snapshot.ready)
    yield from (("dart_jobs", status.name.lower(), count) for status, count in snapshot.jobs.items())
    yield from (("dart_tasks", state.name.lower(), count) for state, count in snapshot.tasks.items())
    yield from (("dart_queue_depth", location, size) for location, size in snapshot.queues.items())
    yield "dart_tasks_submitted_total", "", measures.submitted
    yield "dart_tasks_leased_total", "", measures.leased
    yield from (("dart_tasks_finished_total", state.name.lower(), n) for state, n in measures.finished.items())
    yield "dart_parameter_bytes_total", "", measures.parameter_bytes
    yield "dart_result_bytes_total", "", measures.result_bytes
    yield from (("dart_blob_bytes_total", way, count) for way, count in measures.blob_bytes.items())
    yield "dart_late_results_total", "", snapshot.late_results
    yield "dart_foreign_attempts_total", "", snapshot.foreign_attempts
    yield "dart_agents", "", snapshot.agents
    yield "dart_agents_draining", "", snapshot.draining
    yield "dart_agents_spool_full", "", snapshot.spools_full
    yield "dart_agents_spooled_results", "", snapshot.spooled
    yield "dart_agents_spooled_bytes", "", snapshot.spooled_bytes
    yield "dart_agents_largest_spool_bytes", "", snapshot.largest_spool_bytes
    yield "dart_slots", "", snapshot.slots
    yield "dart_leases", "", snapshot.leases
    yield "dart_spooled_results", "", snapshot.results_held
    yield "dart_store_records_total", "", measures.records
    yield "dart_store_waiting_bytes", "", snapshot.waiting_bytes
    yield from (("dart_refused_total", reason, count) for reason, count in refused.items())
    yield from (("dart_http_answers_total", str(code), count) for code, count in sorted(meters.answers.items()))
    yield from _of_the_process()


def _of_the_process() -> Samples:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    yield "process_resident_memory_bytes", "", pages * resource.getpagesize()
    yield "process_cpu_seconds_total", "", time.process_time()
    yield "process_open_fds", "", len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough
    yield "process_max_fds", "", resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _buckets(name: str, histogram: Histogram) -> Iterator[str]:
    counts, total = list(histogram.counts), 0
    for bound, count in zip((*histogram.bounds, "+Inf"), counts, strict=True):
        total += count
        yield f'{name}_bucket{{le="{bound}"}} {total}'
    yield f"{name}_sum {histogram.sum}"
    yield f"{name}_count {total}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
