"""The store as a service: the locked directory, the writer's thread, and a few readers beside it."""

import sqlite3
import time
from collections.abc import Callable, Container, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog
import trio

from tidings.server.policies import Policies
from tidings.server.store.data_dir import DataDir
from tidings.server.store.database import NAME, open_database, open_for_reading
from tidings.server.store.errors import StoreRefused, StoreUnavailable
from tidings.server.store.log import MessageLog
from tidings.server.store.requests import ListRevocations, Operation, Revocation, Revoke, Sweep, Swept
from tidings.server.store.wal import damaged
from tidings.server.store.writer import Done, GroupWriter, Pending

# As long as any publisher goes on trying.
KEY_SECONDS: Final = 300.0

# Two at a time: more would only take the interpreter from the loop, which all of them share.
READERS: Final = 2

SWEEP_SECONDS: Final = 5.0

T = TypeVar("T")

_log = structlog.get_logger("tidings.store")


class Store:
    """What stays on disk in one directory. Made at any time, opened once, and run until the server ends."""

    def __init__(
        self,
        directory: Path,
        policies: Policies,
        *,
        devices: int = 16,
        device_age: float = 30 * 86_400.0,
        key_seconds: float = KEY_SECONDS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take `server.data_dir`, and the limits of inboxes; `MessageLog` says what the clocks are for."""
        self._directory = directory
        self._policies = policies
        self._limits = {"devices": devices, "device_age": device_age, "key_seconds": key_seconds}
        self._clock = clock
        self._monotonic = monotonic
        self._writer: GroupWriter[Operation] = self._make_writer()
        self._reading = trio.CapacityLimiter(READERS)
        self._readers: list[sqlite3.Connection] = []
        self._log: MessageLog | None = None
        self._data_dir: DataDir | None = None
        self._connection: sqlite3.Connection | None = None
        self.in_use: Container[str] = frozenset()
        """Channels that must not be forgotten, nor change their epoch. Looked at in the writer's thread."""
        self.expired = 0
        """Publications that left an inbox by their age, before all its devices had acknowledged them."""

    @property
    def path(self) -> Path:
        """Of the database."""
        return self._directory / NAME

    @property
    def waiting(self) -> int:
        """Operations whose results are still to come."""
        return self._writer.waiting

    @property
    def groups(self) -> int:
        """Groups committed so far."""
        return self._writer.groups

    # --- life ----------------------------------------------------------------------------------------

    def open(self) -> None:
        """Lock the directory, check the database and make it ready. Blocks, for long where it is large.

        `run` does it where nobody has. Raises StoreRefused, naming the file and the cure.
        """
        data_dir = DataDir(self._directory)
        connection: sqlite3.Connection | None = None
        try:
            connection = open_database(self.path)
            self._readers = [open_for_reading(self.path) for _ in range(READERS)]
            self._log = MessageLog(
                connection,
                self._policies,
                devices=int(self._limits["devices"]),
                device_age=self._limits["device_age"],
                key_seconds=self._limits["key_seconds"],
                clock=self._clock,
                monotonic=self._monotonic,
                in_use=lambda channel: channel in self.in_use,
            )
        except BaseException as error:
            for reader in self._readers:
                reader.close()
            self._readers = []
            if connection is not None:
                connection.close()
            data_dir.close()
            if isinstance(error, sqlite3.OperationalError):
                raise StoreRefused(f"{self.path}: cannot be used: {error}") from error
            if isinstance(error, sqlite3.Error):
                raise damaged(self.path, str(error)) from error
            raise
        self._data_dir, self._connection = data_dir, connection

    async def prepare(self) -> None:
        """Do as `open`, in a thread, where nobody has. Raises StoreRefused."""
        if self._log is None:
            await self._in_thread(self.open)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; what was submitted before is committed first. Raises StoreRefused at first."""
        await self.prepare()
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._writer.run)
                nursery.start_soon(self._sweep, name="store sweeps")
                task_status.started()
        finally:
            await self._shut()

    def close(self) -> None:
        """Close what `open` opened, where `run` never ran. Idempotent."""
        log, self._log = self._log, None
        if log is not None:
            log.flush()
        for connection in (*self._readers, self._connection):
            if connection is not None:
                connection.close()
        self._readers, self._connection = [], None
        if self._data_dir is not None:
            self._data_dir.close()
            self._data_dir = None

    async def _shut(self) -> None:
        with trio.CancelScope(shield=True):
            # Readings take milliseconds, and nobody can interrupt one.
            places = [object() for _ in range(READERS)]
            for place in places:
                await self._reading.acquire_on_behalf_of(place)
            try:
                # The last to leave moves the write-ahead log into the database.
                await self._in_thread(self.close)
            finally:
                for place in places:
                    self._reading.release_on_behalf_of(place)

    # --- writing and reading -------------------------------------------------------------------------

    def submit(
        self, operation: Operation, on_done: Done | None = None, *, size: int = 0
    ) -> Pending[Operation]:
        """As `GroupWriter.submit`. Raises StoreUnavailable at once where the store is not open."""
        if self._log is None:
            raise StoreUnavailable("the store is not open")
        return self._writer.submit(operation, on_done, size=size)

    async def do(self, operation: Operation, on_done: Done | None = None, *, size: int = 0) -> Any:
        """Submit and wait for the result, as `Pending.wait`."""
        return await self.submit(operation, on_done, size=size).wait()

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call a function with a reader's connection, in a thread. Raises StoreUnavailable.

        Cancelled, it ends with the reading, which takes milliseconds.
        """
        if self._log is None:
            raise StoreUnavailable("the store is not open")
        try:
            return await self._in_thread(partial(self._with_reader, function), limiter=self._reading)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"cannot read: {error}") from error

    async def add_revocation(self, revocation: Revocation) -> None:
        """Store a revocation, joined with an earlier one; durable when this returns. Raises StoreUnavailable."""
        await self.do(Revoke(revocation))

    async def revocations(self) -> Sequence[Revocation]:
        """Those whose time is not over, in no order. Raises StoreUnavailable."""
        found: Sequence[Revocation] = await self.do(ListRevocations())
        return found

    async def sweep(self) -> Swept:
        """Delete a piece of what nobody can ask for any more; `run` does it all along. Raises StoreUnavailable."""
        swept: Swept = await self.do(Sweep(self.in_use))
        self.expired += swept.expired
        return swept

    async def _sweep(self) -> None:
        failing = False
        while True:
            await trio.sleep(SWEEP_SECONDS)
            try:
                while (await self.sweep()).more:
                    pass
            except StoreUnavailable as error:
                if not failing:
                    _log.warning("cannot tidy up the store; trying again", error=str(error))
                failing = True
            else:
                failing = False

    def _commit(self, operations: list[Operation]) -> Sequence[object]:
        if self._log is None:
            raise OSError("the store is not open")
        return self._log.commit(operations)

    def _with_reader(self, function: Callable[[sqlite3.Connection], T]) -> T:
        # At most READERS at a time, by the limiter.
        reader = self._readers.pop()
        try:
            return function(reader)
        finally:
            self._readers.append(reader)

    # --- where the work is done: a test on virtual time, which cannot wait for threads, does it in place ---

    def _make_writer(self) -> GroupWriter[Operation]:
        return GroupWriter(self._commit)

    async def _in_thread(self, function: Callable[[], T], limiter: trio.CapacityLimiter | None = None) -> T:
        return await trio.to_thread.run_sync(function, limiter=limiter)
