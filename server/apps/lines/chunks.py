"""Long lists in pieces: each database bounds the parameters of one statement."""

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

# SQLite takes 32,766 parameters and PostgreSQL 65,535; with ten for each of these it is within both.
PER_STATEMENT: Final = 1000


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The items in pieces of at most PER_STATEMENT, in order."""
    for start in range(0, len(items), PER_STATEMENT):
        yield items[start : start + PER_STATEMENT]
