"""Writes `docs/grafana/dart.json`, a Grafana dashboard, from the list of panels below."""

import json
from pathlib import Path
from typing import Any, Final

_RATE: Final = "$__rate_interval"
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}


def quantiles(name: str) -> tuple[tuple[str, str], ...]:
    """Half, 95 % and 99 % of a histogram."""
    return tuple(
        (f'histogram_quantile({q}, sum by (le) (rate({name}_bucket{{instance=~"$instance"}}[{_RATE}])))', f"{q:.0%}")
        for q in (0.5, 0.95, 0.99)
    )


def rate(name: str, by: str = "", legend: str = "") -> tuple[str, str]:
    """A counter per second, summed by a label."""
    summed = f"sum by ({by})" if by else "sum"
    return f'{summed} (rate({name}{{instance=~"$instance"}}[{_RATE}]))', f"{{{{{by}}}}}" if by else legend


def gauge(name: str, by: str = "", legend: str = "") -> tuple[str, str]:
    """A gauge, summed by a label."""
    summed = f"sum by ({by})" if by else "sum"
    return f'{summed} ({name}{{instance=~"$instance"}})', f"{{{{{by}}}}}" if by else legend


PANELS: Final[tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...]] = (
    ("Takes work", "short", (gauge("dart_ready", legend="servers"),)),
    ("Agents", "short", (
        gauge("dart_agents", legend="connected"),
        gauge("dart_agents_draining", legend="draining"),
        gauge("dart_agents_spool_full", legend="spool full"),
    )),
    ("Results in agents' spools", "bytes", (
        gauge("dart_agents_spooled_bytes", legend="all"),
        gauge("dart_agents_largest_spool_bytes", legend="the fullest"),
    )),
    ("Results that wait for an acknowledgement", "short", (gauge("dart_agents_spooled_results", legend="results"),)),
    ("Streams of events", "short", (gauge("dart_event_readers", legend="readers"),)),
    ("Slots and what agents hold", "short", (gauge("dart_slots", legend="slots"), gauge("dart_leases", legend="held"))),
    ("Open tasks", "short", (gauge("dart_tasks", "state"),)),
    ("Longest queues", "short", (
        ('topk(10, sum by (location) (dart_queue_depth{instance=~"$instance"}))', "{{location}}"),
    )),
    ("Tasks per second", "ops", (
        rate("dart_tasks_submitted_total", legend="submitted"),
        rate("dart_tasks_leased_total", legend="sent to agents"),
        rate("dart_tasks_finished_total", "state"),
    )),
    ("From submission to an agent", "s", quantiles("dart_dispatch_seconds")),
    ("How long tasks run", "s", quantiles("dart_task_seconds")),
    ("Parameters and results", "Bps", (
        rate("dart_parameter_bytes_total", legend="parameters"), rate("dart_result_bytes_total", legend="results"),
    )),
    ("Writing a group of records", "s", quantiles("dart_store_commit_seconds")),
    ("Records per second", "ops", (rate("dart_store_records_total", legend="records"),)),
    ("Waiting to be written", "bytes", (gauge("dart_store_waiting_bytes", legend="bytes"),)),
    ("Event loop is late by", "s", quantiles("dart_event_loop_lag_seconds")),
    ("Answers per second", "ops", (rate("dart_http_answers_total", "code"),)),
    ("Refused on the agents' port", "ops", (rate("dart_refused_total", "reason"),)),
    ("Results that did not count", "ops", (
        rate("dart_late_results_total", legend="late or twice"),
        rate("dart_foreign_attempts_total", legend="of others"),
        gauge("dart_spooled_results", legend="kept by agents"),
    )),
    ("Jobs", "short", (gauge("dart_jobs", "status"),)),
    ("Memory", "bytes", (gauge("process_resident_memory_bytes", legend="resident"),)),
    ("Processor", "short", (rate("process_cpu_seconds_total", legend="cores"),)),
    ("Descriptors", "short", (gauge("process_open_fds", legend="open"), gauge("process_max_fds", legend="at most"))),
)  # fmt: skip


def dashboard() -> dict[str, Any]:
    """All of it, three panels in a row."""
    panels = [
        {
            "id": number + 1,
            "type": "timeseries",
            "title": title,
            "datasource": _SOURCE,
            "gridPos": {"h": 8, "w": 8, "x": number % 3 * 8, "y": number // 3 * 8},
            "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
            "targets": [
                {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
                for at, (expr, legend) in enumerate(queries)
            ],
        }
        for number, (title, unit, queries) in enumerate(PANELS)
    ]
    instances = {"name": "instance", "type": "query", "datasource": _SOURCE, "includeAll": True, "multi": True}
    instances |= {"query": "label_values(dart_info, instance)", "refresh": 2, "allValue": ".*"}
    variables = [{"name": "source", "type": "datasource", "query": "prometheus"}, instances]
    return {
        "uid": "dart-server",
        "title": "DART",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": variables},
        "panels": panels,
    }


def text() -> str:
    """As the file has it."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("grafana").joinpath("dart.json").write_text(text(), encoding="utf-8")
