"""Records in SQLite: one file, which other processes may write to as well."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool

from tidings.server.store.errors import StoreRefused
from tidings.server.store.records.databases import LOCK_SECONDS, MIGRATION_LOCK_SECONDS, Database, Fault
from tidings.server.store.records.files import (
    APPLICATION_ID,
    check_file,
    claim_file,
    create_file,
    damaged,
)
from tidings.server.store.writer import MOST_IN_GROUP

# RETURNING, which SQLAlchemy uses.
_LEAST_SQLITE: Final = (3, 35, 0)

# The write-ahead log is cut back to this where a long reader had kept it from going into the database.
_LOG_BYTES: Final = 64 * 1024 * 1024

# A mistake in the statement or its values. All other codes say that the file, its disk or its locks fail.
_OWN_CODES: Final = frozenset({
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_MISUSE,
    sqlite3.SQLITE_RANGE,
    sqlite3.SQLITE_TOOBIG,
})  # fmt: skip


class SQLite(Database):
    """One file. Its journal is a write-ahead log: readers do not wait for who writes, nor the other way round."""

    most_in_group: ClassVar[int] = MOST_IN_GROUP

    def __init__(self, path: Path) -> None:
        self.path = path
        self._claim = -1

    @property
    def place(self) -> str:
        """The file."""
        return str(self.path)

    def exists(self) -> bool:
        """Whether the file is there, with something in it."""
        return self.path.exists() and self.path.stat().st_size > 0

    def create(self) -> None:
        """Make the file where there is none, for us; refuse another program's and a damaged one."""
        if sqlite3.sqlite_version_info < _LEAST_SQLITE:
            least = ".".join(map(str, _LEAST_SQLITE))
            raise StoreRefused(
                f"Python uses SQLite {sqlite3.sqlite_version}, and records need {least} or newer: install a Python"
                " with a newer one, or keep records in PostgreSQL (store.url)"
            )
        try:
            check_file(self.path)
            create_file(self.path)
        except OSError as error:
            raise self.refusal("cannot be opened", error) from error
        with self._refusing(), closing(self._connect(seconds=MIGRATION_LOCK_SECONDS)) as connection:
            self._settle(connection)

    def claim(self, connection: Connection) -> bool:  # noqa: ARG002  SQLite's own locks are for a transaction
        """By a lock on a file beside it, which ends with the process."""
        if self._claim < 0:
            self._claim = claim_file(self.path)
        return self._claim >= 0

    def release(self) -> None:
        """Let go of the file."""
        claim, self._claim = self._claim, -1
        if claim >= 0:
            os.close(claim)

    def writer(self) -> Engine:
        """Begins each transaction with the lock: who read first and wrote then could be refused at any time."""
        engine = create_engine("sqlite://", creator=self._connect, poolclass=NullPool, hide_parameters=True)
        return _beginning(engine, "BEGIN IMMEDIATE")

    def reader(self, connections: int) -> Engine:
        """The first reading of a transaction is its snapshot."""

        def connect() -> sqlite3.Connection:
            connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
            return connection

        engine = create_engine(
            "sqlite://",
            creator=connect,
            poolclass=QueuePool,
            pool_size=connections,
            max_overflow=0,
            hide_parameters=True,
        )
        return _beginning(engine, "BEGIN")

    def migrator(self) -> Engine:
        """Without foreign keys: a table is changed by a copy of it, and what refers to it must not go meanwhile."""

        def connect() -> sqlite3.Connection:
            connection = self._connect(seconds=MIGRATION_LOCK_SECONDS)
            connection.execute("PRAGMA foreign_keys = OFF")
            return connection

        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)
        return _beginning(engine, "BEGIN IMMEDIATE")

    def lock(self, connection: Connection) -> None:
        """Nothing to do: the transaction has begun with the lock."""

    def check_migrated(self, connection: Connection) -> None:
        """Look for rows that refer to rows which are not there; nothing else has."""
        found = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if found is not None:
            raise StoreRefused(
                f"{self.path}: a migration leaves rows of {found[0]} that refer to no {found[2]}"
            )

    def fault(self, error: BaseException) -> Fault:
        """By SQLite's own code: Python calls a full disk and a misspelt column by the same name."""
        if isinstance(error, DBAPIError):
            error = error.orig or error
        code = getattr(error, "sqlite_errorcode", None) if isinstance(error, sqlite3.Error) else None
        # Python's own complaints, about a parameter for instance, have no code.
        return Fault.OPERATION if code is None or code & 0xFF in _OWN_CODES else Fault.DATABASE

    def cure(self, error: BaseException) -> str:
        """The same for whatever is not the statement's own."""
        if isinstance(error, DBAPIError | sqlite3.Error) and self.fault(error) is Fault.OPERATION:
            return ""
        return "Set server.data_dir or store.url to where the server may write"

    def _connect(self, seconds: float = LOCK_SECONDS) -> sqlite3.Connection:
        # Transactions are begun by us, and DDL is part of them: hence isolation_level None. Each connection is used
        # by one thread at a time, but not always by the one that opened it. Not made: who removed it wants to know.
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            # Every commit is on the disk before it returns, also when the power fails.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            connection.execute("PRAGMA cell_size_check = ON")
        except BaseException:
            connection.close()
            raise
        return connection

    def _settle(self, connection: sqlite3.Connection) -> None:
        self._is_ours(connection)
        [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise damaged(self.path, found)
        connection.execute("PRAGMA journal_mode = WAL")
        # Two processes may start at once on no file.
        connection.execute("BEGIN IMMEDIATE")
        try:
            if not self._is_ours(connection):
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        finally:
            connection.execute("COMMIT")

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        """Whether it is marked as ours; False where it is empty. Raises StoreRefused where it is another's."""
        [application] = connection.execute("PRAGMA application_id").fetchone()
        [version] = connection.execute("PRAGMA user_version").fetchone()
        [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application == APPLICATION_ID:
            return True
        if application or version or tables:
            raise StoreRefused(
                f"{self.path}: this is another program's database: move it away, or name a file of the server's own"
                " (server.data_dir, store.url)"
            )
        return False

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if isinstance(error, sqlite3.OperationalError):  # locked, read only, no room
                raise self.refusal("cannot be used", error) from error
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                raise StoreRefused(
                    f"{self.path}: this is no SQLite database, or its beginning was overwritten: name another file"
                    " (server.data_dir, store.url), or restore a copy that `tidings backup` made"
                ) from error
            raise damaged(self.path, str(error)) from error


def _beginning(engine: Engine, statement: str) -> Engine:
    """Have the transactions of an engine begin with a statement: Python's driver begins none by itself now."""

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)

    event.listen(engine, "begin", begin)
    return engine
