"""What `dart top` makes of two looks at a server."""

import pytest

from dart.cli.top_view import Look, frame, quantiles, read_metrics, span, summary

METRICS = """\
# HELP dart_tasks Open tasks.
dart_tasks{state="queued"} 5
dart_queue_depth{location="/any"} 3
dart_queue_depth{location="a \\"b\\" \\\\ c"} 2
dart_tasks_finished_total{state="succeeded"} 40
dart_dispatch_seconds_bucket{le="0.01"} 98
dart_dispatch_seconds_bucket{le="1.0"} 99
dart_dispatch_seconds_bucket{le="+Inf"} 100
dart_jobs 7
what nobody knows
dart_broken{state="x"} many
"""


def look(at: float, done: int, **metrics) -> Look:
    tasks = {"queued": 5, "leased": 1, "succeeded": done - 1, "failed": 1}
    return Look(
        at,
        {"host": "h", "port": 1, "version": "9", "started_at": 0, "agents": 2, "open_tasks": 6},
        [{"name": f"w{n}", "count": 2, "busy": 1, "draining": n == 1, "hosts": ["pi"]} for n in range(2)],
        [{"name": "job\x1b[2J", "status": 1, "tasks": tasks}, {"name": "old", "status": 2, "tasks": {}}],
        {**read_metrics(METRICS), **metrics},
        ["w0 connected"],
    )


def test_metrics_are_read_with_their_labels():
    """What cannot be read is left out."""
    found = read_metrics(METRICS)
    assert found["dart_queue_depth"] == {"/any": 3.0, 'a "b" \\ c': 2.0}
    assert found["dart_jobs"] == {"": 7.0}
    assert "dart_broken" not in found


def test_quantiles_are_upper_bounds_of_buckets():
    """Of what came since the look before."""
    found = read_metrics(METRICS)
    assert quantiles(found, {}, "dart_dispatch_seconds") == {"p50": 0.01, "p99": 1.0}
    assert quantiles(found, found, "dart_dispatch_seconds") == {"p50": None, "p99": None}
    assert quantiles({}, {}, "dart_dispatch_seconds") == {"p50": None, "p99": None}
    before = {"dart_dispatch_seconds_bucket": {"0.01": 98.0, "1.0": 98.0, "+Inf": 98.0}}
    assert quantiles(found, before, "dart_dispatch_seconds") == {"p50": 1.0, "p99": None}


def test_rates_are_between_two_looks():
    """And what is left is told from them."""
    shown = summary(look(12.0, 30), look(10.0, 10))
    assert (shown["jobs"][0]["per_second"], shown["jobs"][0]["seconds_left"]) == (10.0, 0.6)
    assert shown["jobs"][1]["seconds_left"] is None
    assert (shown["busy"], shown["slots"], shown["queues"]) == (2, 4, {"/any": 3, 'a "b" \\ c': 2})
    first = summary(look(12.0, 30), None)
    assert first["jobs"][0]["per_second"] is None
    assert first["finished_per_second"]["succeeded"] is None


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 12), (200, 60)])
def test_a_picture_fits_the_terminal(width, height):
    """Whatever the size; and nothing in it acts on the terminal."""
    many = look(12.0, 30)
    many.workers.extend({"name": f"x{n}", "count": 1, "busy": 0, "draining": False, "hosts": []} for n in range(300))
    lines = frame(summary(many, look(10.0, 10)), width=width, height=height, clock="12:00")
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert all(line.isprintable() for line in lines)
    if width >= 80:
        text = "\n".join(lines)
        for word in (
            "job\N{REPLACEMENT CHARACTER}[2J",
            "w1",
            "draining",
            "[",
            "queued 5",
            "/any 3",
            "10.0",
            "w0 connected",
        ):
            assert word in text


def test_a_key_that_may_not_read_metrics_sees_the_rest():
    """Workers and jobs are there, queues and times are not."""
    bare = Look(1.0, look(1.0, 2).about, look(1.0, 2).workers, look(1.0, 2).jobs, {})
    lines = frame(summary(bare, None), width=80, height=24, clock="")
    assert any("w0" in line for line in lines)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (4.9, "4s"), (200, "3m20s"), (7500, "2h05m"), (273_600, "3d04h")]
)
def test_spans_are_said_as_people_do(seconds, text):
    """Two units at most."""
    assert span(seconds) == text
