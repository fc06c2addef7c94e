"""Many rows in one statement.

Each call into SQLite lets go of the interpreter, and beside a busy loop thread taking it again may cost 5 ms. So
what a group writes goes in with one call for each table, and what it reads comes back as one row of JSON.
"""

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")


# SQLite takes 32,766 parameters; no table that is written so has more than seven columns.
_ROWS: Final = 4_096


def insert(
    connection: sqlite3.Connection, into: str, rows: Sequence[Sequence[Any]], conflict: str = ""
) -> None:
    """Insert rows, none of whose first columns is NULL; with one call, where there are not thousands."""
    for begin in range(0, len(rows), _ROWS):
        table, parameters = values(rows[begin : begin + _ROWS])
        connection.execute(
            f"INSERT INTO {into} SELECT * FROM {table} WHERE column1 IS NOT NULL {conflict}",  # noqa: S608  ours
            parameters,
        )


def values(rows: Sequence[Sequence[Any]]) -> tuple[str, list[Any]]:
    """Rows as a table of `column1`, `column2`, ... with its parameters; some behind the last are all NULL.

    Parameters, and not JSON: that would end a text at its NUL.
    """
    width = len(rows[0])
    parameters = [value for row in rows for value in row]
    size = 1 << (len(rows) - 1).bit_length()
    # Filled up to a power of two: so there are twelve statements to a table, and not one for each number of rows.
    parameters += [None] * ((size - len(rows)) * width)
    return _table(width, size), parameters


@lru_cache(maxsize=256)
def _table(width: int, size: int) -> str:
    row = f"({','.join('?' * width)})"
    return f"(VALUES {','.join([row] * size)})"


def as_json(value: object) -> str:
    """A parameter for `json_each`."""
    return msgspec.json.encode(value).decode()


def from_json(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any], shape: type[T]) -> T:
    """The one value, JSON, of a query's one row."""
    # Two calls: the second step would only say that there is no other row.
    [text] = connection.execute(sql, parameters).fetchone()
    return msgspec.json.decode(text, type=shape)
