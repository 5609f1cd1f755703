"""What a bar of progress says while something goes on."""

import pytest

from dart.cli.progress import _progress


@pytest.mark.parametrize(
    ("unit", "said"), [("tasks", ["30/100", "10.0/s", "0:00:07"]), ("bytes", ["30/100 bytes", "10 bytes/s", "0:00:07"])]
)
def test_it_says_how_many_how_fast_and_how_long_it_still_takes(unit, said):
    """30 of 100 are done, 10 a second."""
    now = 0.0
    shown = _progress(unit)
    shown.get_time = lambda: now
    shown.add_task("sent", total=100)
    (task,) = shown.tasks
    for now in (1.0, 2.0, 3.0):  # noqa: B007 - the clock of the bar
        shown.advance(task.id, 10)
    told = [str(column(task)) for column in shown.columns]
    assert [text.strip() for text in told[2:]] == said


def test_nobody_can_say_how_long_it_takes_before_something_is_done():
    """No rate and no time, rather than wrong ones."""
    shown = _progress("tasks")
    shown.add_task("sent", total=100)
    (task,) = shown.tasks
    assert [str(column(task)).strip() for column in shown.columns][2:] == ["0/100", "", "-:--:--"]
