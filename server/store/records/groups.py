"""Groups of operations, each group in one transaction, each operation behind a savepoint of its own."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError

from tidings.server.store.records.databases import Database, Fault, words

Operation = Callable[[Connection], Any]

# A server that does not answer is not asked again at once: each attempt takes seconds, and many groups may wait.
PAUSE_SECONDS: Final = 1.0

# How long a server that starts waits for the one before it to let go.
CLAIM_SECONDS: Final = 5.0

_SAVEPOINT: Final = "operation"

# What ends a transaction, or begins one; ROLLBACK TO a savepoint does not.
_ENDS: Final = re.compile(
    r"\s*(?:commit|end|abort|begin|start\s+transaction|prepare\s+transaction"
    r"|rollback(?!\s+(?:work\s+|transaction\s+)?to\b))\b",
    re.IGNORECASE,
)


class Meddled(RuntimeError):
    """An operation tried to end the transaction, which is its group's."""


class Taken(OSError):
    """The database belongs to another server."""


class _Apart(Exception):
    """Nothing of the group was committed, by the fault of one of it: each must be carried out alone."""


class GroupCommit:
    """Holds the connection that writes. `commit` is the work of one thread, and does what a `GroupWriter` asks."""

    def __init__(self, database: Database, *, alone: bool = False) -> None:
        """Take the database, and whether it has to be this server's alone; nothing is connected before `open`."""
        self._database = database
        self._alone = alone
        self._engine: Engine = database.writer()
        self._connection: Connection | None = None
        self._in_operation = False
        self._meddled: Meddled | None = None
        self._not_before = 0.0
        self._why = ""
        event.listen(self._engine, "commit", self._transaction_ends)
        event.listen(self._engine, "rollback", self._transaction_ends)
        event.listen(self._engine, "before_cursor_execute", self._executes)

    def open(self) -> None:
        """Connect, so that what is wrong shows early. Raises what SQLAlchemy does, OSError, and Taken."""
        deadline = time.monotonic() + CLAIM_SECONDS
        while True:
            try:
                self._connection = self._claimed(self._engine.connect())
            except Taken:
                # The one before this may be about to end, or its end to be noticed.
                if time.monotonic() > deadline:
                    raise
                time.sleep(CLAIM_SECONDS / 20)
            else:
                return

    def close(self) -> None:
        """Let go of the connection. Idempotent; a commit after it connects again."""
        self._drop()
        self._database.release()

    def commit(self, operations: list[Operation]) -> list[object]:
        """As `writer.Commit` says: the results, durable; an exception for whom nothing was done.

        Raises OSError where the database failed, and `_Apart` where each must be asked for alone: nothing of the
        group was done then. One exception: a connection that is lost while it commits leaves open what was.
        """
        is_again = False
        while True:
            is_committing = False
            connection = self._connect()
            try:
                results = self._carry_out(connection, operations)
                is_committing = True
                connection.commit()
            except Exception as error:
                self._drop()
                fault = self._database.fault(error)
                if not is_again and (fault is Fault.AGAIN or (fault is Fault.LOST and not is_committing)):
                    is_again = True
                    continue
                if fault is not Fault.OPERATION:
                    raise OSError(words(error)) from error
                if isinstance(error, _Apart):
                    error = error.__cause__ if isinstance(error.__cause__, Exception) else error
                elif not is_committing:
                    # The savepoint has gone: SQLite may roll everything back by itself, as where the disk is full.
                    raise OSError(f"the transaction was lost: {words(error)}") from error
                # Else a constraint that is checked at the end.
                if len(operations) > 1:
                    raise _Apart from error
                return [error]
            else:
                return results

    def _carry_out(self, connection: Connection, operations: list[Operation]) -> list[object]:
        connection.begin()
        return [self._carry_out_one(connection, operation) for operation in operations]

    def _carry_out_one(self, connection: Connection, operation: Operation) -> object:
        connection.exec_driver_sql(f"SAVEPOINT {_SAVEPOINT}")
        result: object
        try:
            with self._guarding():
                result = operation(connection)
            if connection.in_nested_transaction():
                raise RuntimeError("the operation has left a savepoint open")  # noqa: TRY301  as if it had raised it
            # Fails on PostgreSQL where the operation went on after an error: then nothing of it was done.
            connection.exec_driver_sql(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        except Exception as error:
            if self._database.fault(error) is not Fault.OPERATION:
                raise
            result = error
        if self._meddled is not None:
            # Whatever the operation made of the exception, SQLAlchemy holds the transaction for ended.
            raise _Apart from self._meddled
        if isinstance(result, Exception):
            while (nested := connection.get_nested_transaction()) is not None:
                nested.rollback()
            connection.exec_driver_sql(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
            connection.exec_driver_sql(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        return result

    # --- the connection ------------------------------------------------------------------------------

    def _connect(self) -> Connection:
        if self._connection is None:
            if time.monotonic() < self._not_before:
                raise OSError(self._why)
            try:
                self._connection = self._claimed(self._engine.connect())
            except (SQLAlchemyError, OSError) as error:
                self._why = words(error)
                self._not_before = time.monotonic() + PAUSE_SECONDS
                raise OSError(self._why) from error
        return self._connection

    def _claimed(self, connection: Connection) -> Connection:
        """The connection of a server that the database belongs to. Raises Taken."""
        is_ours = False
        try:
            is_ours = not self._alone or self._database.claim(connection)
        finally:
            if not is_ours:
                connection.close()
        if not is_ours:
            raise Taken("another server has this database")
        return connection

    def _drop(self) -> None:
        """Close the connection, in whatever state it is: the server rolls back what was not committed."""
        connection, self._connection = self._connection, None
        self._meddled = None
        if connection is not None:
            for step in (connection.invalidate, connection.close):
                with suppress(SQLAlchemyError):
                    step()

    # --- what an operation must not do ---------------------------------------------------------------

    @contextmanager
    def _guarding(self) -> Iterator[None]:
        self._in_operation = True
        try:
            yield
        finally:
            self._in_operation = False

    def _transaction_ends(self, _connection: Connection) -> None:
        if self._in_operation:
            self._meddled = Meddled(
                "an operation must not end the transaction: it is shared, and committed after the operation"
            )
            raise self._meddled

    def _executes(self, *arguments: Any) -> None:
        if self._in_operation and _ENDS.match(arguments[2]):
            raise Meddled(
                "an operation must not end the transaction, nor begin one: it runs in one that is shared"
            )
