"""Events that leave with a commit: rows beside those they tell of; after a crash both are there, or neither.

An operation puts them; who publishes reads them from the first on, publishes, and deletes. One that was published
may be found again, after a crash before its deletion: publish it with an idempotency key made of `id` and
`created_ms`, which no other event shares, also where a copy of the database was restored.

In SQLite ids rise in the order of commits. PostgreSQL gives an id before the commit: of two nodes the one with the
lower id may commit later. So read from 0 each time, `after_id` being for the next page of one pass; and two events
stand in the order of what they tell of only where both operations have locked, or changed, the same row before.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, Text, delete, func, insert, select

from tidings.server.store.records.types import AUTO_ID

metadata: Final = MetaData()

_outbox: Final = Table(
    "tidings_outbox",
    metadata,
    Column("id", AUTO_ID, primary_key=True),
    Column("channel", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("excluded_session", Text),
    Column("then", Text),
    Column("created_ms", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

# Built once: building one takes longer than carrying it out.
_insert: Final = insert(_outbox)


class OutboxEvent(NamedTuple):
    """An event that waits to be published."""

    id: int
    channel: str
    event: str
    payload: str
    """A JSON object."""
    excluded_session: str | None
    """A session that is not to get it."""
    then: str | None
    """What follows once it was published, in the words of whoever put it."""
    created_ms: int
    """Unix milliseconds."""


def put_event(
    connection: Connection,
    channel: str,
    event: str,
    payload: Mapping[str, Any],
    *,
    excluded_session: str | None = None,
    then: str | None = None,
) -> int:
    """Leave an event to be published after the commit; returns its id. `payload` is what msgspec can encode."""
    row = {
        "channel": channel,
        "event": event,
        "payload": msgspec.json.encode(payload).decode(),
        "excluded_session": excluded_session,
        "then": then,
        "created_ms": time.time_ns() // 1_000_000,
    }
    key = connection.execute(_insert, row).inserted_primary_key
    assert key is not None
    return int(key[0])


def last_event(connection: Connection, channel: str, event: str | None = None) -> int | None:
    """The id of the last event that waits for a channel, of all or of one kind; None where none does."""
    found = select(func.max(_outbox.c.id)).where(_outbox.c.channel == channel)
    return connection.execute(found if event is None else found.where(_outbox.c.event == event)).scalar()


def first_events(connection: Connection, after_id: int, limit: int) -> list[OutboxEvent]:
    """The first events with a higher id, at most `limit`, in the order of their ids."""
    query = select(_outbox).where(_outbox.c.id > after_id).order_by(_outbox.c.id).limit(limit)
    return [OutboxEvent(*row) for row in connection.execute(query)]


def delete_events(connection: Connection, ids: Iterable[int]) -> None:
    """Forget events that were published, as many as one page of them. Those that are not there do no harm."""
    connection.execute(delete(_outbox).where(_outbox.c.id.in_(list(ids))))
