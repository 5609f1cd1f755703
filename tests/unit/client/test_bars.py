"""Progress bars: what they say, and where they say nothing."""

import io
import sys
import types
from concurrent.futures import Future

import pytest

import dart_client
from dart_client.bars import Bar, told


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        ((0, 10, 0.0), {}, "0/10"),
        ((5, 10, 2.0), {}, "5/10  2.5/s  0:00:02 left"),
        ((10, 10, 5.0), {"failed": 2}, "10/10  2.0/s  2 failed"),
        ((1, 3, 1800.0), {}, "1/3  1800.0 s each  1:00:00 left"),
        ((60, 100, 10.0), {"before": 50}, "60/100  1.0/s  0:00:40 left"),
        ((1.5, 2, 3.0), {}, "1/2  2.0 s each  0:00:01 left"),
    ],
)
def test_count_rate_and_time_left(arguments, options, text):
    """What was done before the bar began says nothing about the rate."""
    assert told(*arguments, **options) == text


def test_a_terminal_gets_one_line_and_others_nothing(monkeypatch):
    """Drawn over itself; ended by one newline; cut to the width."""
    monkeypatch.setenv("COLUMNS", "50")
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        with Bar(2, "train", stream) as bar:
            bar.show(1)
            bar.show(2)
    first, second = terminal.getvalue().split("\r")[1:]
    assert first.startswith("train [" + "#" * 15 + "." * 15 + "] 1/2")
    assert second.startswith("train [" + "#" * 30 + "] 2/2")
    assert second.endswith("\x1b[K\n")
    assert all(len(line.partition("\x1b")[0]) < 50 for line in (first, second))
    assert file.getvalue() == ""


def test_it_is_not_drawn_more_often_than_anybody_can_see():
    """A thousand changes at once are two drawings: the first, and the end."""
    terminal = Terminal()
    with Bar(1000, "", terminal) as bar:
        for done in range(1, 1001):
            bar.show(done)
    assert terminal.getvalue().count("\r") == 2


def test_a_notebook_gets_one_element(monkeypatch):
    """Shown once, changed after that; labels are text, not HTML."""
    shown = []

    class Handle:
        def update(self, element):
            shown.append(("update", element))

    def display(element, *, display_id):
        shown.append(("display", element))
        return Handle()

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    page = types.ModuleType("IPython.display")
    page.HTML, page.display = str, display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", page)
    with Bar(2, "<b>") as bar:
        bar.show(1)
        bar.show(2)
    assert [how for how, _ in shown] == ["display", "update"]
    assert shown[1][1].startswith('&lt;b&gt; <progress value="2" max="2"></progress> 2/2')


def test_futures_that_were_done_before_say_nothing_about_the_rate(monkeypatch):
    """The bar begins with them."""
    shown = []
    monkeypatch.setattr(Bar, "show", lambda _, done, **__: shown.append(done))
    futures = [Future() for _ in range(3)]
    for future in futures[:2]:
        future.set_result(0)
    waiting = dart_client.progress(futures)
    next(waiting)
    assert shown == [2, 2]
    futures[2].set_result(0)
    assert len(list(waiting)) == 2
    assert shown == [2, 2, 2, 3]


def test_futures_come_as_they_are_done(capsys):
    """All of them, failed ones too; stderr is no terminal here and stays empty."""
    futures = [Future() for _ in range(3)]
    futures[2].set_result("c")
    futures[0].set_exception(ValueError("a"))
    futures[1].cancel()
    futures[1].set_running_or_notify_cancel()
    assert set(dart_client.progress(futures)) == set(futures)
    assert capsys.readouterr().err == ""
