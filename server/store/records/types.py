"""Columns that mean the same in SQLite and PostgreSQL."""

from typing import Final

from sqlalchemy import BigInteger, Integer
from sqlalchemy.types import TypeEngine

AUTO_ID: Final[TypeEngine[int]] = BigInteger().with_variant(Integer, "sqlite")
"""For a primary key that the database counts up: SQLite does that for its own INTEGER alone, which is 64 bits wide.

SQLite gives the number of a last row that was deleted again, but to a table with `sqlite_autoincrement=True`.
"""
