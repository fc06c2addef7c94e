"""Many rows in one statement.

Each call into SQLite lets go of the interpreter, and beside a busy loop thread taking it again may cost 5 ms. So
what a group writes goes in with one call for each table, and what it reads comes back as one row of JSON.
"""

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def insert(
    connection: sqlite3.Connection, into: str, rows: Sequence[Sequence[Any]], conflict: str = ""
) -> None:
    """Insert rows, none of whose first columns is NULL, with one call."""
    if not rows:
        return
    width = len(rows[0])
    values = [value for row in rows for value in row]
    size = 1 << (len(rows) - 1).bit_length()
    # Filled up to a power of two: so there are ten statements to a table, and not one for each number of rows.
    values += [None] * ((size - len(rows)) * width)
    connection.execute(_insert(into, width, size, conflict), values)


@lru_cache(maxsize=256)
def _insert(into: str, width: int, size: int, conflict: str) -> str:
    row = f"({','.join('?' * width)})"
    return (
        f"INSERT INTO {into} SELECT * FROM (VALUES {','.join([row] * size)})"  # noqa: S608  ours, all of it
        f" WHERE column1 IS NOT NULL {conflict}"
    )


def as_json(value: object) -> str:
    """A parameter for `json_each`."""
    return msgspec.json.encode(value).decode()


def from_json(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any], shape: type[T]) -> T:
    """The one value, JSON, of a query's one row."""
    # Two calls: the second step would only say that there is no other row.
    [text] = connection.execute(sql, parameters).fetchone()
    return msgspec.json.decode(text, type=shape)
