"""What an app keeps in tables, as the app sees it: read, write, and publish what was written.

An operation is a function of a connection of SQLAlchemy's, called in a thread. What it publishes it leaves with its
rows (`put_event`): both are there after a crash, or neither, and the event goes out once its commit is on disk.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    # Loaded where an app has tables: SQLAlchemy alone takes a tenth of a second.
    from sqlalchemy import Connection

    from tidings.server.store.records.records import Records

T = TypeVar("T")


def wall_ms() -> int:
    """Unix milliseconds, as tables hold times."""
    return time.time_ns() // 1_000_000


class Tables:
    """The tables of one server's apps. Each app keeps to its own, whose names begin with the app's."""

    def __init__(self, records: "Records", wake: Callable[[], None]) -> None:
        """Take the records, and what says that a commit may have left events."""
        self._records = records
        self._wake = wake

    async def read(self, function: "Callable[[Connection], T]") -> T:
        """Call a function in a thread, with a connection that sees one moment of what is committed.

        It returns plain values, not a `Result`, which needs its connection, and may be called twice. Raises what it
        raises, and StoreUnavailable. Cancelled, this ends at once, and the reading ends in its thread.
        """
        return await self._records.read(function)

    async def write(
        self, operation: "Callable[[Connection], T]", on_done: Callable[[T], None] | None = None
    ) -> T:
        """Carry an operation out and commit it, in order with all others; on disk when this returns.

        The transaction is shared with others that come at the same time: what the operation raises undoes it alone.
        It may be called twice, where its transaction met a deadlock, so it has no effect but on its connection.

        `on_done` gets the result once it is committed, on the event loop, in the order of the commits, before
        anybody is woken: the place to keep something in memory in step with the tables. It must not raise.

        Raises what the operation did, and StoreUnavailable: then nothing of it was done, but where a connection to
        PostgreSQL was lost during the commit. Cancelled, it ends at once, and the operation is carried out.
        """

        def done(result: object) -> None:
            self._wake()
            if on_done is not None:
                on_done(cast(T, result))

        return cast(T, await self._records.submit(cast(Any, operation), done).wait())
