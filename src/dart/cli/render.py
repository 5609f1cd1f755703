"""How answers are printed: tables for people, JSON and JSON lines for programs; never a colour code."""

import base64
import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import click

OutputFormat = Literal["table", "json", "jsonl"]
CELL_WIDTH_MAX = 64
"""A longer text is cut in tables; JSON has all of it."""
LAST_CELL_WIDTH_MAX = 400
"""The same of the last column, where sentences stand."""


def as_json(value: Any) -> str:
    """One line of JSON; bytes as text where they are UTF-8, else base64."""
    text = json.dumps(value, default=_json_default, ensure_ascii=False)
    return text if text.isprintable() else "".join(map(_harmless, text))


def _harmless(character: str) -> str:
    """What JSON leaves as it is and a terminal may obey: C1 controls, directions of writing."""
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    return f"\\u{0xD800 + (code - 0x10000 >> 10):04x}\\u{0xDC00 + (code - 0x10000 & 0x3FF):04x}"


def _json_default(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(data).decode()}
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return value.tolist()
    return repr(value)


def as_text(value: Any) -> str:
    """A value for people: texts as they are, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return as_json(value)


def printable(text: str) -> str:
    """A stranger's text for a terminal: lines and tabs stay, nothing else that is no letter or sign does."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def when(milliseconds: int) -> str:
    """Unix ms as local time, in tables."""
    if not milliseconds:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows under headings, columns aligned; numbers to the right."""
    cells = [cells_of(row, columns) for row in rows]
    heads = [heading(column) for column in columns]
    widths = [max(map(_width, column)) for column in zip(heads, *cells, strict=True)]
    numeric = [is_numeric(rows, column) for column in columns]
    lines = (
        "  ".join(
            " " * (width - _width(text)) + text if right else text + " " * (width - _width(text))
            for text, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in (heads, *cells)
    )
    return "\n".join(lines)


def heading(column: str) -> str:
    """Of a column, in tables."""
    return column.replace("_", " ").upper()


def is_numeric(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    """Whether a column stands to the right."""
    return bool(rows) and all(isinstance(row.get(column), int | float) for row in rows)


def cells_of(row: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """The cells of a row."""
    widths = [CELL_WIDTH_MAX] * (len(columns) - 1) + [LAST_CELL_WIDTH_MAX]
    return [cell(row.get(column, ""), width) for column, width in zip(columns, widths, strict=True)]


def cell(value: Any, width_max: int = CELL_WIDTH_MAX) -> str:
    """One cell: one line of printable characters (a job's name is a stranger's text), cut if long."""
    if isinstance(value, float):
        return f"{value:.3f}"
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else as_text(value)
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return text if len(text) <= width_max else text[: width_max - 1] + "…"


def _width(text: str) -> int:
    """Columns of a terminal: wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def _flat(thing: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Its members one by one; those of what is in it have its name before theirs."""
    for name, value in thing.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{name} ")
        else:
            yield f"{above}{name}", value


class Output:
    """Prints in the form that was asked for."""

    def __init__(self, form: OutputFormat) -> None:
        self.form = form

    def rows(self, rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, go_on: bool = False) -> None:
        """Many things of one kind. JSON has all members of each, tables these columns.

        With `go_on` more comes behind them, so that even JSON is a line each.
        """
        if self.form == "jsonl" or (self.form == "json" and go_on):
            for row in rows:
                click.echo(as_json(row))
        elif self.form == "json":
            click.echo(as_json(list(rows)))
        elif sys.stdout.isatty():
            from dart.cli.rich_table import show  # noqa: PLC0415 - for terminals alone

            show(list(rows), columns)
        else:
            click.echo(table(list(rows), columns))

    def one(self, thing: Mapping[str, Any]) -> None:
        """One thing with its members, one a line in tables."""
        if self.form == "table":
            lines = list(_flat(thing))
            width = max((len(name) for name, _ in lines), default=0)
            for name, value in lines:
                click.echo(f"{name.replace('_', ' '):<{width}}  {printable(as_text(value)) if value != '' else '-'}")
        else:
            click.echo(as_json(thing))

    def note(self, sentence: str) -> None:
        """A word for people; programs have the rest."""
        if self.form == "table":
            click.echo(printable(sentence))

    def done(self, sentence: str, **members: Any) -> None:
        """What was done: a sentence for people, these members for programs."""
        if self.form == "table":
            click.echo(printable(sentence))
        else:
            click.echo(as_json(members))
