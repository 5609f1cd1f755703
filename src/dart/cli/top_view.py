"""What `dart top` shows, worked out of two looks at a server: counts, rates, who is busy, what waits where."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

OUTCOMES = ("succeeded", "failed", "cancelled", "expired", "lost")
OPEN = ("staged", "queued", "delayed", "leased", "running")
BAR_WIDTH = 20
_SAMPLE = re.compile(r'([A-Za-z_:][\w:]*)(?:\{[^=]+="((?:[^"\\]|\\.)*)"\})? (\S+)')
_ESCAPED = {"n": "\n"}

Metrics = dict[str, dict[str, float]]
"""By name, then by the value of the label; "" without one."""


def read_metrics(text: str) -> Metrics:
    """What `GET /metrics` says. Lines that cannot be read are left out: a later server may have more to say."""
    found: Metrics = {}
    for line in text.splitlines():
        matched = _SAMPLE.fullmatch(line)
        if matched is None:
            continue
        label = re.sub(r"\\(.)", lambda escaped: _ESCAPED.get(escaped[1], escaped[1]), matched[2] or "")
        try:
            found.setdefault(matched[1], {})[label] = float(matched[3])
        except ValueError:
            continue
    return found


@dataclass(frozen=True, slots=True)
class Look:
    """What a server said at one moment."""

    at: float
    """Monotonic seconds."""
    about: Mapping[str, Any]
    """As `GET /server/` has it."""
    workers: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    metrics: Metrics
    """Empty: the key may not read them."""
    happened: list[str] = field(default_factory=list)
    """The latest events, oldest first, for people."""


def summary(look: Look, before: Look | None) -> dict[str, Any]:
    """All that is shown, as `--json` prints it. Rates are since the look before; None without one."""
    seconds = look.at - before.at if before is not None else 0.0

    def rate(now: float, then: float | None) -> float | None:
        return None if then is None or seconds <= 0 else round(max(now - then, 0.0) / seconds, 2)

    jobs_before = {job["name"]: _finished(job["tasks"]) for job in before.jobs} if before is not None else {}
    jobs = [_job(job, rate(_finished(job["tasks"]), jobs_before.get(job["name"]))) for job in look.jobs]
    depth = look.metrics.get("dart_queue_depth", {})
    finished = look.metrics.get("dart_tasks_finished_total", {})
    finished_before = before.metrics.get("dart_tasks_finished_total", {}) if before is not None else {}
    return {
        "server": {name: look.about.get(name) for name in ("host", "port", "version", "started_at")},
        "tasks": {state: int(look.metrics.get("dart_tasks", {}).get(state, 0)) for state in OPEN},
        "finished": {state: int(finished.get(state, 0)) for state in OUTCOMES},
        "finished_per_second": {state: rate(finished.get(state, 0), finished_before.get(state)) for state in OUTCOMES},
        "agents": int(look.about.get("agents", 0)),
        "slots": sum(worker["count"] for worker in look.workers),
        "busy": sum(worker["busy"] for worker in look.workers),
        "queues": {name: int(amount) for name, amount in sorted(depth.items(), key=lambda one: -one[1]) if amount},
        "dispatch_seconds": quantiles(look.metrics, before.metrics if before else {}, "dart_dispatch_seconds"),
        "commit_seconds": quantiles(look.metrics, before.metrics if before else {}, "dart_store_commit_seconds"),
        "workers": [_worker(worker, depth) for worker in look.workers],
        "jobs": jobs,
        "events": look.happened,
    }


def quantiles(now: Metrics, before: Metrics, name: str) -> dict[str, float | None]:
    """p50 and p99 of a histogram since the look before, as upper bounds of buckets; None: nothing was seen."""
    buckets = now.get(f"{name}_bucket", {})
    then = before.get(f"{name}_bucket", {})
    counts = sorted((float(bound), count - then.get(bound, 0.0)) for bound, count in buckets.items())
    total = counts[-1][1] if counts else 0.0
    if total <= 0:
        return {"p50": None, "p99": None}
    found = {}
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        bound = next(bound for bound, count in counts if count >= share * total)
        found[label] = bound if bound != float("inf") else None
    return found


def _finished(tasks: Mapping[str, int]) -> int:
    return sum(tasks.get(state, 0) for state in OUTCOMES)


def _job(job: Mapping[str, Any], rate: float | None) -> dict[str, Any]:
    tasks = job["tasks"]
    waiting = sum(tasks.get(state, 0) for state in OPEN)
    return {
        "name": job["name"],
        "status": {1: "running", 2: "stopped"}.get(job["status"], "unknown"),
        "open": waiting,
        "finished": _finished(tasks),
        "failed": sum(tasks.get(state, 0) for state in ("failed", "expired", "lost")),
        "per_second": rate,
        "seconds_left": round(waiting / rate, 1) if waiting and rate else None,
    }


def _worker(worker: Mapping[str, Any], depth: Mapping[str, float]) -> dict[str, Any]:
    return {
        "name": worker["name"],
        "busy": worker["busy"],
        "slots": worker["count"],
        "queued": int(depth.get(worker["name"], 0)),
        "draining": worker["draining"],
        "hosts": worker["hosts"],
    }


def frame(shown: Mapping[str, Any], *, width: int, height: int, clock: str) -> list[str]:
    """The lines of one picture, none longer than `width`; at most `height` of them, what is busiest first."""
    tasks, done, rates = shown["tasks"], shown["finished"], shown["finished_per_second"]
    server = shown["server"]
    lines = [
        f"dart {server['version']} at {server['host']}:{server['port']}   {clock}",
        f"agents  {shown['agents']}   slots {shown['slots']}   busy {_bar(shown['busy'], shown['slots'])}",
        "tasks   " + "   ".join(f"{state} {amount}" for state, amount in tasks.items() if amount or state == "queued"),
        "done    " + "   ".join(
            f"{state} {done[state]}{_rate(rates[state])}" for state in OUTCOMES if done[state] or state == "succeeded"
        ),
        f"times   sent after {_times(shown['dispatch_seconds'])}   commit {_times(shown['commit_seconds'])}",
        "queues  " + ("   ".join(f"{name} {amount}" for name, amount in shown["queues"].items()) or "empty"),
    ]  # fmt: skip
    workers = sorted(shown["workers"], key=lambda one: (-one["queued"], -one["busy"], one["name"]))
    jobs = sorted(
        shown["jobs"],
        key=lambda one: (one["status"] != "running", -(one["per_second"] or 0), -one["open"], one["name"]),
    )
    events = shown["events"][-5:]
    left = max(height - len(lines) - (len(events) + 2 if events else 0) - 4, 2)
    half = max(left // 2, left - len(workers)) if len(jobs) > left // 2 else len(jobs)
    lines += ["", _columns(("JOB", "STATUS", "OPEN", "DONE", "FAILED", "PER S", "LEFT"), width)]
    lines += [
        _columns(
            (job["name"], job["status"], job["open"], job["finished"], job["failed"], _number(job["per_second"]),
             span(job["seconds_left"])), width,
        )
        for job in jobs[:half]
    ]  # fmt: skip
    lines += ["", _columns(("WORKER", "STATE", "BUSY", "SLOTS", "QUEUED", "", "HOST"), width)]
    lines += [
        _columns(
            (one["name"], "draining" if one["draining"] else "here", one["busy"], one["slots"], one["queued"], "",
             ",".join(one["hosts"])), width,
        )
        for one in workers[: left - half]
    ]  # fmt: skip
    if events:
        lines += ["", *events]
    return [_cut(line, width) for line in lines[:height]]


def _columns(cells: Iterable[Any], width: int) -> str:
    """A row: the first cell takes what the others leave."""
    first, second, *rest = map(str, cells)
    room = max(width - 9 - 8 * len(rest), 8)
    return f"{_cut(first, room):<{room}} {_cut(second, 8):<8}" + "".join(f"{_cut(text, 7):>8}" for text in rest)


def _cut(text: str, width: int) -> str:
    """One line of printable characters: names are strangers' texts."""
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _bar(part: int, whole: int) -> str:
    filled = round(BAR_WIDTH * part / whole) if whole else 0
    return "[" + "#" * filled + "." * (BAR_WIDTH - filled) + f"] {part}/{whole}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _rate(value: float | None) -> str:
    return "" if value is None else f" ({_number(value)}/s)"


def _times(found: Mapping[str, float | None]) -> str:
    if found["p50"] is None:
        return "-"
    return "/".join("long" if value is None else _short(value) for value in found.values()) + " (p50/p99)"


def _short(seconds: float) -> str:
    return f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"


def span(seconds: float | None) -> str:
    """A time as people say it: 4s, 3m20s, 2h05m, 3d04h."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    for size, unit, smaller, name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // smaller:02}{name}"
    return f"{whole}s"
