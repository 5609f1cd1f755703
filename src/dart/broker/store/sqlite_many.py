"""Many rows in one statement.

Python gives its lock away for each step of a statement. While the event loop is busy the writing thread gets it back
only after five milliseconds: a row a step would be 200 rows a second, just when there are most.
"""

import sqlite3
from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

ROWS_MAX = 512
"""Of one statement; more make it no cheaper. All numbers of rows are made of powers of two, so that each table has
few statements, which SQLite keeps ready."""


def insert(connection: sqlite3.Connection, table: str, columns: int, rows: Iterable[tuple[Any, ...]]) -> None:
    """Insert rows of so many columns, in order.

    Args:
        connection: In a transaction.
        table: Its name, with names of columns where they are not all.
        columns: Of each row.
        rows: The rows.
    """
    one = f"({', '.join('?' * columns)})"
    # An old SQLite allows no more than 999 parameters.
    parameters_max = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
    most = min(ROWS_MAX, _power_of_two(parameters_max // columns))
    left = iter(rows)
    while chunk := list(islice(left, most)):
        while chunk:
            amount = _power_of_two(len(chunk))
            statement = f"INSERT INTO {table} VALUES {', '.join([one] * amount)}"  # noqa: S608 - names of our own
            connection.execute(statement, tuple(chain.from_iterable(chunk[:amount])))
            del chunk[:amount]


def _power_of_two(most: int) -> int:
    """The largest one that is no larger."""
    return 1 << (most.bit_length() - 1)
