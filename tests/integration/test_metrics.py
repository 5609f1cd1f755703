"""`/metrics`: Prometheus' own parser reads it, its numbers are true, and the dashboard asks for nothing else."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dart.broker.core.access import NameRule
from dart.broker.core.commands import LeaseOrder, SendTasks
from dart.broker.core.records import TasksAdded
from dart.broker.measures import MARKS_MAX, Histogram, Measures
from dart.ids import Attempt, AttemptRef
from dart.rest import metrics
from dart.rest.auth import Scope
from dart.wire.messages import Heartbeat
from harness.broker_stack import until
from harness.rest_stack import BEARER, add_key, joined

DOCS = Path(__file__).parents[2] / "docs"


def of(module):
    spec = importlib.util.spec_from_file_location(module, DOCS / f"{module}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


async def scrape(stack, key="read"):
    """All samples: name and labels to value."""
    async with stack.session.get(f"{stack.url}/metrics", headers={"Authorization": f"Bearer {key}"}) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        found = list(text_string_to_metric_families(await answer.text()))
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value for family in found for sample in family.samples
    }


async def test_a_scrape_after_a_run_has_every_metric_with_true_numbers_and_the_dashboard_asks_for_no_other():
    """One task done, one failed, one cancelled; two wait, at a place of a difficult name."""
    odd = 'a "b"\\c'
    async with joined() as (stack, agent):
        entry = {"location": "w", "parameter": "x"}
        ids = (await stack.submit(entry, entry, {"location": odd, "parameter": 1}))["tasks"]
        await stack.finish(agent, b"\x01")
        await stack.finish(agent, b"\xa1e", success=False)
        await stack.submit({"location": odd, "parameter": 1}, {"parameter": 1, "requires": ["gpu"]})
        await stack.call("DELETE", f"/job/j/tasks/{ids[2]}/")
        await until(lambda: len(stack.broker.service.reactor.state.tasks) == 2)
        await until(lambda: stack.broker.service.measures.finished[7] == 1)
        await stack.call("GET", "/nothing/", status=404)
        seen = await scrape(stack)

        expected = {
            ("dart_tasks_submitted_total",): 5,
            ("dart_tasks_leased_total",): 2,
            ("dart_tasks_finished_total", ("state", "succeeded")): 1,
            ("dart_tasks_finished_total", ("state", "failed")): 1,
            ("dart_tasks_finished_total", ("state", "cancelled")): 1,
            ("dart_tasks", ("state", "queued")): 2,
            ("dart_tasks", ("state", "running")): 0,
            ("dart_jobs", ("status", "running")): 1,
            ("dart_queue_depth", ("location", odd)): 1,
            ("dart_queue_depth", ("location", "/any")): 1,
            ("dart_queue_depth", ("location", "/others")): 0,
            ("dart_dispatch_seconds_count",): 2,
            ("dart_task_seconds_count",): 2,
            ("dart_result_bytes_total",): 3,
            ("dart_agents",): 1,
            ("dart_leases",): 0,
            ("dart_ready",): 1,
            ("dart_http_answers_total", ("code", "404")): 1,
        }
        assert {key: seen.get(key) for key in expected} == expected
        assert seen["dart_dispatch_seconds_sum",] < 10
        assert seen["dart_store_commit_seconds_count",] > 0
        assert seen["process_resident_memory_bytes",] > 10_000_000

        # Every metric of the table is told, with the label that the table says, and no other is.
        told = {name for name, *_ in seen}
        stack.broker.service.measures.refused["cut"] = lambda: 3
        again = await scrape(stack)
        assert again["dart_refused_total", ("reason", "cut")] == 3
        labels = {}
        for name, *pairs in again:
            labels.setdefault(re.sub("_(bucket|sum|count)$", "", name), set()).update(label for label, _ in pairs)
        wanted = {
            name: {"le"} if it.kind == "histogram" else {it.label} - {""} for name, it in metrics.FAMILIES.items()
        }
        assert labels == wanted

        # Every query of the dashboard names samples and labels that are there.
        assert told < {name for name, *_ in again}
        there = {}
        for name, *pairs in again:
            there.setdefault(name, {"instance"}).update(label for label, _ in pairs)
        queries = [it["expr"] for panel in json.loads(of("make_grafana").text())["panels"] for it in panel["targets"]]
        asked = {unknown for query in queries for unknown in wrong_in(query, there)}
        assert (len(queries) > 30, asked) == (True, set())
        assert wrong_in("sum by (no) (rate(dart_jobs[1m]))", there) == {"dart_jobs lacks no"}
        assert wrong_in('rate(dart_job{x="y"}[1m])', there) == {"dart_job"}

        # A key that is bound to other workers sees no name of a location.
        keys, ring = stack.broker.gateway.keys, stack.ring
        await add_key(keys, ring, "bound", Scope.READ, workers=NameRule(("w",)))
        bound = await scrape(stack, "bound")
        assert ("dart_queue_depth", ("location", odd)) not in bound
        assert bound["dart_queue_depth", ("location", "/others")] == 1


def wrong_in(query, there):
    """Names in a query that no sample has, and labels that its sample lacks."""
    names = re.findall(r"\b(?:dart|process)_\w+", query)
    used = re.findall(r"(\w+)=~?\"", query) + [
        label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")
    ]
    assert names, query
    lacking = {f"{name} lacks {label}" for name in names for label in used if label not in there.get(name, used)}
    return {name for name in names if name not in there} | lacking


def test_the_pages_are_as_the_tables_say():
    """`make docs` writes them."""
    assert (DOCS / "grafana" / "dart.json").read_text(encoding="utf-8") == of("make_grafana").text()
    page = (DOCS / "monitoring.md").read_text(encoding="utf-8")
    assert of("make_metrics").renewed(page) == page


def test_a_histogram_counts_each_value_once():
    """A bound belongs to the bucket below it; clocks that jumped count as no time."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 3.0, -4.0, float("nan")):
        histogram.observe(value)
    assert (histogram.counts, histogram.sum) == ([4, 1, 1], 6.0)


@pytest.mark.parametrize("marks", [10, MARKS_MAX + 10, 3 * MARKS_MAX])
def test_times_of_submissions_are_remembered_within_bounds(marks):
    """The latest exactly; older ones, where they are many, as those before them."""
    now = [0.0]
    measures = Measures(lambda: now[0])
    for number in range(marks):
        now[0] = float(number)
        measures.taken([TasksAdded(1, number * 10 + 1, ())])
    assert len(measures._marks) == len(measures._marked_at) <= MARKS_MAX

    def wait_of(task_id, attempt=1):
        before, count = measures.waits.sum, sum(measures.waits.counts)
        order = LeaseOrder(AttemptRef(task_id, Attempt(1, attempt)), "j", "m", "f", 0.0)
        measures.sent(SendTasks(1, 1, (order,)))
        return measures.waits.sum - before if sum(measures.waits.counts) > count else None

    assert wait_of(marks * 10 - 5) == 0.0
    assert wait_of(marks * 10 - 15) == 1.0
    assert marks - 50 <= wait_of(5) <= marks
    assert wait_of(0) is None
    assert wait_of(5, attempt=2) is None


async def test_spools_of_agents_and_readers_of_events_are_told():
    """As of their last heartbeats; a new session of the agent begins at nothing."""
    async with joined() as (stack, agent):
        agents = stack.broker.service.reactor.state.agents.values()
        agent.send(Heartbeat(0, reply=False, load=0.0, spooled=3, spooled_bytes=70_000))
        await until(lambda: any(it.spooled for it in agents))
        async with stack.session.get(f"{stack.url}/events/", headers=BEARER) as stream:
            assert stream.status == 200
            seen = await scrape(stack)
        names = ("spooled_results", "spooled_bytes", "largest_spool_bytes")
        assert [seen[f"dart_agents_{name}",] for name in names] == [3, 70_000, 70_000]
        assert seen["dart_event_readers",] == 1
        agent.hello()
        await until(lambda: not any(it.spooled for it in agents))
