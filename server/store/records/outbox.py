"""Events that leave with a commit: rows beside those they tell of; after a crash both are there, or neither.

An operation puts them; who publishes reads them from the first on, publishes, and deletes. One that was published
may be found again, after a crash before its deletion: publish it with an idempotency key made of `id` and
`created_ms`, which no other event shares, also where a copy of the database was restored.

In SQLite ids rise in the order of commits. PostgreSQL gives an id before the commit: of two nodes the one with the
lower id may commit later. So read from 0 each time, `after_id` being for the next page of one pass; and two events
stand in the order of what they tell of only where both operations have locked, or changed, the same row before.
"""

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
)

from tidings.protocol.channels import is_channel
from tidings.protocol.messages.fields import EVENT
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

_is_event: Final = re.compile(EVENT).fullmatch

# Built once: building one takes longer than carrying it out.
_insert: Final = insert(_outbox)


_place: Final = func.row_number().over(partition_by=_outbox.c.channel, order_by=_outbox.c.id)
# Places are given to ids: the payloads, which may be large, are not sorted.
_placed: Final = select(_outbox.c.id, _place.label("place")).subquery()
_next_events: Final = (
    select(_outbox, _placed.c.place)
    .join(_placed, _placed.c.id == _outbox.c.id)
    .where(_placed.c.place <= bindparam("in_turn"))
    .order_by(_placed.c.place, _outbox.c.id)
    .limit(bindparam("most"))
)
_first_id: Final = select(func.min(_outbox.c.id))


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
    """Leave an event to be published after the commit; returns its id. `payload` is what msgspec can encode.

    Raises ValueError or TypeError for what can never be published, which undoes the operation that it is raised in.
    What only the server knows, as whether the payload is the event's, is found out later: such an event is logged.
    """
    if not is_channel(channel):
        raise ValueError(f"{channel!r} is no channel's name")
    if _is_event(event) is None:
        raise ValueError(f"{event!r} is no event's name: 1 to 64 of A-Z a-z 0-9 _ . : -")
    if not isinstance(payload, Mapping):
        raise TypeError(f"the payload of {event} must be a mapping, and is {type(payload).__name__}")
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


class Waiting(NamedTuple):
    """Some of the events that wait."""

    events: list[OutboxEvent]
    """In an order in which those of each channel stand as their ids do, from its first on."""
    first_id: int | None
    """The lowest id of all that wait; None where nothing does."""
    is_all: bool
    """Whether nothing else waits."""


def next_events(connection: Connection, in_turn: int, limit: int) -> Waiting:
    """The next to publish: at most `in_turn` of each channel, so that one with thousands keeps nobody else waiting.

    Every channel's first comes before any channel's second: with `limit` channels there may be no second.
    """
    rows = connection.execute(_next_events, {"in_turn": in_turn, "most": limit + 1}).all()
    first_id = connection.execute(_first_id).scalar()
    events = [OutboxEvent(*row[:-1]) for row in rows[:limit]]
    is_all = len(rows) <= limit and all(row[-1] < in_turn for row in rows)
    return Waiting(events, first_id, is_all)


def first_events(connection: Connection, after_id: int, limit: int) -> list[OutboxEvent]:
    """The first events with a higher id, at most `limit`, in the order of their ids."""
    query = select(_outbox).where(_outbox.c.id > after_id).order_by(_outbox.c.id).limit(limit)
    return [OutboxEvent(*row) for row in connection.execute(query)]


def delete_events(connection: Connection, ids: Iterable[int]) -> None:
    """Forget events that were published, as many as one page of them. Those that are not there do no harm."""
    connection.execute(delete(_outbox).where(_outbox.c.id.in_(list(ids))))
