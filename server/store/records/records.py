"""Records as a service: one thread that writes in groups, and a few that read beside it."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar, cast

import structlog
import trio
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from tidings.server.store.errors import StoreRefused, StoreUnavailable
from tidings.server.store.records.databases import Database, Fault, database_of, words
from tidings.server.store.records.groups import GroupCommit, Operation, Taken
from tidings.server.store.records.migrating import Migrations, bring_up
from tidings.server.store.writer import Done, GroupWriter, Pending

# Connections that read. On SQLite more would only take the interpreter from the loop; on PostgreSQL they wait for
# the network, and an administrator counts them for each node.
READERS: Final = 4

# Operations that may wait to be written: closures of a few hundred bytes, and a few seconds' work.
MOST_WAITING: Final = 10_000

T = TypeVar("T")

_log = structlog.get_logger("tidings.store")


class Records:
    """What apps keep in tables. Made at any time, prepared once, and run until the server ends.

    Operations and functions that read get a connection of SQLAlchemy's in a thread. They must return plain values,
    not a `Result`, which needs its connection; and must have no effect but on that connection.
    """

    def __init__(
        self, url: str, data_dir: Path, migrations: Sequence[Migrations], *, alone: bool = False
    ) -> None:
        """Take `store.url` and `server.data_dir`, and the revisions of each app's tables, in order.

        `alone` is for a server: no other may be on this database.
        """
        self._alone = alone
        self._url = url
        self._data_dir = data_dir
        self._migrations = migrations
        self._database: Database | None = None
        self._groups: GroupCommit | None = None
        self._reader: Engine | None = None
        self._writer: GroupWriter[Operation] | None = None
        self._reading = trio.CapacityLimiter(READERS)

    @property
    def waiting(self) -> int:
        """Operations whose results are still to come."""
        return self._writer.waiting if self._writer is not None else 0

    @property
    def groups(self) -> int:
        """Groups committed so far."""
        return self._writer.groups if self._writer is not None else 0

    # --- life ----------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect, and bring the tables to this version. Blocks. Raises StoreRefused, naming what to do."""
        database = database_of(self._url, self._data_dir)
        database.create()
        groups = GroupCommit(database, alone=self._alone)
        try:
            # Claimed before anything is changed: an older server may be at work.
            groups.open()
            for step in bring_up(database, self._migrations):
                _log.info("tables migrated", owner=step.owner, before=step.before, after=step.after)
        except BaseException as error:
            groups.close()
            if isinstance(error, Taken):
                raise StoreRefused(
                    f"{database.place}: another server runs on this database. Stop that one, or give this server a"
                    " database of its own (store.url, server.data_dir): of what one ends the other would not hear"
                ) from error
            if isinstance(error, SQLAlchemyError | OSError):
                raise database.refusal("cannot be written to", error) from error
            raise
        self._database, self._groups, self._reader = database, groups, database.reader(READERS)
        self._writer = self._make_writer(groups, database.most_in_group)

    async def prepare(self) -> None:
        """Do as `open`, in a thread, where nobody has. Raises StoreRefused."""
        if self._database is None:
            await self._in_thread(self.open)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; what was submitted before is committed first. Raises StoreRefused at first."""
        await self.prepare()
        assert self._writer is not None
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._writer.run)
                task_status.started()
        finally:
            await self._shut()

    def close(self) -> None:
        """Close what `open` opened, where `run` never ran. Idempotent."""
        groups, self._groups = self._groups, None
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.dispose()
        # The last to leave moves SQLite's write-ahead log into the database: not one that may only read.
        if groups is not None:
            groups.close()

    async def _shut(self) -> None:
        with trio.CancelScope(shield=True):
            # Readings take milliseconds, and nobody can interrupt one.
            places = [object() for _ in range(READERS)]
            for place in places:
                await self._reading.acquire_on_behalf_of(place)
            try:
                await self._in_thread(self.close)
            finally:
                for place in places:
                    self._reading.release_on_behalf_of(place)

    # --- writing and reading -------------------------------------------------------------------------

    def submit(self, operation: Operation, on_done: Done | None = None) -> Pending[Operation]:
        """Have an operation carried out and committed, in order with all others; never waits.

        What the operation raises undoes it alone, and is raised to whoever waits for it. It may be called twice, as
        where its transaction met a deadlock, and must not end the transaction, which it shares with others.

        `on_done` gets the result once it is committed, on the loop, in the order of commitment, before anybody is
        woken. Raises StoreUnavailable at once when too much waits already, or the records are not open.
        """
        if self._writer is None or self._groups is None:
            raise StoreUnavailable("the records are not open")
        return self._writer.submit(operation, on_done)

    async def write(self, operation: Callable[[Connection], T], on_done: Done | None = None) -> T:
        """Submit and wait for the result; durable when this returns.

        Raises what the operation did, and StoreUnavailable: then nothing of it was done, but for one case. A
        connection to PostgreSQL that is lost during the commit leaves open whether it was.

        Cancelled, it ends at once, and the operation is carried out all the same.
        """
        return cast(T, await self.submit(operation, on_done).wait())

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Call a function in a thread, with a connection that sees one moment of what is committed.

        Raises what the function does, and StoreUnavailable. The function may be called twice. Cancelled, this ends
        at once; the thread goes on to the end of the reading, which the database bounds.
        """
        if self._reader is None:
            raise StoreUnavailable("the records are not open")
        return await self._in_thread(partial(self._read, function), limiter=self._reading)

    def _read(self, function: Callable[[Connection], T]) -> T:
        assert self._database is not None
        is_again = False
        while True:
            if self._reader is None:
                raise StoreUnavailable("the records are closed")
            try:
                with self._reader.connect() as connection:
                    return function(connection)
            except Exception as error:
                fault = self._database.fault(error)
                if fault is Fault.OPERATION:
                    raise
                if fault is Fault.DATABASE or is_again:
                    raise StoreUnavailable(f"cannot read: {words(error)}") from error
                # The connection may have died with a server that is back by now.
                is_again = True

    # --- where the work is done: a test on virtual time, which cannot wait for threads, does it in place ---

    def _make_writer(self, groups: GroupCommit, most_in_group: int) -> GroupWriter[Operation]:
        return GroupWriter(groups.commit, most_in_group=most_in_group, most_waiting=MOST_WAITING)

    async def _in_thread(self, function: Callable[[], T], limiter: trio.CapacityLimiter | None = None) -> T:
        # Who is in the limiter may be abandoned: it lets go of its place when it has ended.
        return await trio.to_thread.run_sync(
            function, limiter=limiter, abandon_on_cancel=limiter is not None
        )


__all__ = ["MOST_WAITING", "READERS", "Migrations", "Operation", "Records"]
