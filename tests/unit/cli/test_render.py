"""What the command line prints: aligned tables, exact JSON, nothing that could steer a terminal."""

import json
from datetime import UTC, datetime

from dart.cli.render import Output, as_json, as_text, table, when


def test_tables_align_texts_left_and_numbers_right():
    """Headings above columns as wide as their widest cell."""
    rows = [{"name": "a", "count": 5, "tags": ["x", "y"]}, {"name": "longer", "count": 12, "tags": []}]
    assert table(rows, ("name", "count", "tags")).split("\n") == [
        "NAME    COUNT  TAGS",
        "a           5  x, y",
        "longer     12",
    ]


def test_wide_and_combining_characters_keep_columns_straight():
    """A terminal gives a CJK character two columns and an accent none."""
    first, second = table([{"a": "日本", "b": "x"}, {"a": "e\u0301", "b": "x"}], ("a", "b")).split("\n")[1:]
    assert first == "日本  x"
    assert second == "e\u0301     x"


def test_control_characters_of_strangers_never_reach_the_terminal():
    """A worker's result or a job's name cannot colour, clear or break the table."""
    text = table([{"name": "\x1b[31mred\nline\x07"}], ("name",))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert len(text.split("\n")) == 2


def test_long_cells_are_cut_in_tables_only(capsys):
    """JSON has all of it."""
    row = {"name": "x" * 500, "why": "y" * 500}
    assert table([row], ("name", "why")).split("\n")[1] == "x" * 63 + "…  " + "y" * 399 + "…"
    Output("json").rows([row], ("name", "why"))
    assert json.loads(capsys.readouterr().out) == [row]


def test_json_has_bytes_as_text_or_base64():
    """UTF-8 as text, else base64 that says so; times and arrays as their usual forms."""
    numpy_like = type("Array", (), {"tolist": lambda _: [1, 2]})()
    value = {"a": b"ok", "b": b"\xff", "c": datetime(2020, 1, 2, tzinfo=UTC), "d": numpy_like, "e": memoryview(b"m")}
    assert json.loads(as_json(value)) == {
        "a": "ok", "b": {"base64": "/w=="}, "c": "2020-01-02T00:00:00+00:00", "d": [1, 2], "e": "m",
    }  # fmt: skip
    assert "object at" in as_json({"x": object()})


def test_texts_are_printed_as_they_are():
    """Strings without quotes, bytes decoded, everything else JSON."""
    assert [as_text("a"), as_text(b"b\xff"), as_text({"c": 1})] == ["a", "b\\xff", '{"c": 1}']


def test_json_lines_have_one_row_each(capsys):
    """Rows are printed as they come, also from a generator."""
    Output("jsonl").rows(({"n": number} for number in range(2)), ("n",))
    assert capsys.readouterr().out == '{"n": 0}\n{"n": 1}\n'


def test_one_thing_is_a_line_a_member(capsys):
    """Empty texts are shown as a dash; programs get an object."""
    Output("table").one({"name": "a", "pending_reason": ""})
    assert capsys.readouterr().out == "name            a\npending reason  -\n"
    Output("json").one({"name": "a"})
    assert capsys.readouterr().out == '{"name": "a"}\n'
    Output("json").note("nothing for programs")
    assert capsys.readouterr().out == ""


def test_no_time_is_no_text():
    """0 means not yet."""
    assert when(0) == ""
    assert when(1_600_000_000_000).startswith("2020-09-1")


def test_strangers_text_gives_a_terminal_no_commands(capsys):
    """Letters pass, escapes and turned directions of writing do not, neither in tables nor in JSON."""
    evil = "x\x1b[2J\x9b31m\u202ey\U000e0041"
    Output("table").one({"fact": evil, "text": "two\nlines\tof text"})
    Output("table").note(evil)
    Output("table").rows([{"fact": evil}], ("fact",))
    Output("jsonl").rows([{"fact": evil}], ("fact",))
    shown = capsys.readouterr().out
    assert not {"\x1b", "\x9b", "\u202e", "\U000e0041"} & set(shown)
    assert "two\nlines\tof text" in shown
    assert json.loads(shown.splitlines()[-1]) == {"fact": evil}
