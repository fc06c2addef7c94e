"""Columns that mean the same in SQLite and PostgreSQL."""

from typing import Final

from sqlalchemy import BigInteger, Integer, Text
from sqlalchemy.types import TypeEngine

AUTO_ID: Final[TypeEngine[int]] = BigInteger().with_variant(Integer, "sqlite")
"""For a primary key that the database counts up: SQLite does that for its own INTEGER alone, which is 64 bits wide.

SQLite gives the number of a last row that was deleted again, but to a table with `sqlite_autoincrement=True`.
"""

BYTEWISE: Final[TypeEngine[str]] = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is sorted by bytes, on both alike: for what pages go by."""
