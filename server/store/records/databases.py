"""What the two databases have in common: how they are opened, and whose fault an error is."""

import enum
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from tidings.server.store.errors import StoreRefused
from tidings.server.store.records.files import sqlite_path

# Seconds that a statement waits for somebody else's lock. Another process that writes needs milliseconds.
LOCK_SECONDS: Final = 5

# A migration waits for another node's, which may rewrite a large table.
MIGRATION_LOCK_SECONDS: Final = 60

# What an error is told in: a line, not a screen.
_LONGEST: Final = 300


class Fault(enum.Enum):
    """What an error means for the operations beside the one that met it."""

    OPERATION = "nothing: it is that operation's own"
    AGAIN = "the database has rolled everything back, so that it can be done again"
    LOST = "the connection is gone, and what was not committed with it"
    DATABASE = "the database fails, for whoever comes"


class Database(ABC):
    """A database of records. All of this blocks; engines connect when they are used, not when they are made."""

    most_in_group: ClassVar[int]
    """Operations that one transaction can take without harm."""

    @property
    @abstractmethod
    def place(self) -> str:
        """For people, without a password."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is anything to connect to; a file may be still to be made."""

    @abstractmethod
    def create(self) -> None:
        """Make it where that is ours to do, and check that it can be used. Raises StoreRefused."""

    @abstractmethod
    def writer(self) -> Engine:
        """For the one connection that writes; its transactions begin with the right to write."""

    @abstractmethod
    def reader(self, connections: int) -> Engine:
        """For connections that only read, each transaction from one snapshot."""

    @abstractmethod
    def migrator(self) -> Engine:
        """For connections that change tables."""

    @abstractmethod
    def claim(self, connection: Connection) -> bool:
        """Take it for this server, as long as the connection that writes lives; False where another has it.

        Others may write beside it, as `tidings user add`, but not publish what commits leave behind: a server's own
        connections would not hear of it.
        """

    @abstractmethod
    def release(self) -> None:
        """Let go of what `claim` took beside the connection. Idempotent."""

    @abstractmethod
    def lock(self, connection: Connection) -> None:
        """Keep other processes from migrating until the transaction ends."""

    @abstractmethod
    def check_migrated(self, connection: Connection) -> None:
        """Look, in the migration's transaction, for what it may have broken. Raises StoreRefused."""

    @abstractmethod
    def fault(self, error: BaseException) -> Fault:
        """Whose fault an error is; anything that the database did not raise is the operation's."""

    @abstractmethod
    def cure(self, error: BaseException) -> str:
        """What to do about an error; nothing where it was the statement's own."""

    def refusal(self, doing: str, error: BaseException, cure: str = "") -> StoreRefused:
        """Say what cannot be done, and what to do."""
        return StoreRefused(
            f"{self.place}: {doing}: {words(error)}. {self.cure(error) or cure}".rstrip(". ")
        )


def words(error: BaseException) -> str:
    """What a database said, in a line; without the statement and its parameters, which hold people's data."""
    if isinstance(error, DBAPIError):
        error = error.orig or error
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__


def database_of(url: str, data_dir: Path) -> Database:
    """The database that `store.url` means. Raises StoreRefused."""
    path = sqlite_path(url, data_dir)
    if path is not None:
        from tidings.server.store.records.sqlite import SQLite  # noqa: PLC0415  only the one that is used

        return SQLite(path)
    if url.startswith(("postgresql:", "postgresql+psycopg:", "postgres:")):
        from tidings.server.store.records.postgresql import PostgreSQL  # noqa: PLC0415

        return PostgreSQL(url)
    # Not the URL itself: whatever is wrong with it, it may hold a password.
    raise StoreRefused(
        "store.url: begins neither with sqlite:/// nor with postgresql://, which are the databases that records can"
        " be kept in"
    )
