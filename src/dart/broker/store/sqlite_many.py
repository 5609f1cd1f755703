"""Many rows in one statement.

Python gives its lock away for each step of a statement. While the event loop is busy the writing thread gets it back
only after five milliseconds: a row a step would be 200 rows a second, just when there are most.
"""

import sqlite3
from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

ROWS = 50
"""Of one statement; with 14 columns below the 999 parameters that the oldest SQLite allows."""


def insert(connection: sqlite3.Connection, table: str, columns: int, rows: Iterable[tuple[Any, ...]]) -> None:
    """Insert rows of so many columns, in order.

    Args:
        connection: In a transaction.
        table: Its name, with names of columns where they are not all.
        columns: Of each row.
        rows: The rows.
    """
    one = f"({', '.join('?' * columns)})"
    several = f"INSERT INTO {table} VALUES {', '.join([one] * ROWS)}"  # noqa: S608 - names of our own
    left = iter(rows)
    while len(chunk := list(islice(left, ROWS))) == ROWS:
        connection.execute(several, tuple(chain.from_iterable(chunk)))
    connection.executemany(f"INSERT INTO {table} VALUES {one}", chunk)  # noqa: S608 - as above
