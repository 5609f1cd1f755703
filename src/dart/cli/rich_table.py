"""Tables on a terminal: as wide as it is, headings apart, states in colour."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dart.cli.render import cells_of, heading, is_numeric

STYLES = {
    **dict.fromkeys(("running", "succeeded", "success", "connected", "valid", "fine"), "green"),
    **dict.fromkeys(("failed", "error", "lost", "expired", "revoked", "fault"), "red"),
    **dict.fromkeys(("queued", "leased", "delayed", "draining", "waiting", "weak", "warning"), "yellow"),
    **dict.fromkeys(("stopped", "cancelled", "disconnected", "skipped"), "dim"),
}
"""Of cells that say a state. Never the only sign: the word is there, and NO_COLOR leaves the colours out."""


def make_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    """Rows under headings. What they say is text, never markup; what does not fit is cut or wrapped."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        # Names and numbers stay whole as long as there is anything else to shorten.
        right = is_numeric(rows, column)
        made.add_column(heading(column), justify="right" if right else "left", no_wrap=right or number == 0)
    for row in rows:
        made.add_row(*(Text(text, style=STYLES.get(text, "")) for text in cells_of(row, columns)))
    return made


def show(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print a table on the terminal."""
    console(stderr=False).print(make_table(rows, columns))


def console(*, stderr: bool) -> Console:
    """What rich writes to: with colours if the terminal has them and nobody asked for none."""
    return Console(stderr=stderr, highlight=False, no_color=bool(os.environ.get("NO_COLOR")) or None)
