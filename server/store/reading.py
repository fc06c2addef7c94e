"""What is read beside the writer, in threads. Each reading sees one moment: what was committed before it."""

import sqlite3
from typing import Final, NamedTuple

from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.config.channels import ChannelPolicy
from tidings.server.store.rows import from_json
from tidings.server.store.schema import LEAD_MS, OFFSET_BITS, row_id

_OFFSET: Final = (1 << OFFSET_BITS) - 1

# The first that is young enough; those behind it are as young, or younger.
_FIRST: Final = (
    "SELECT id, time_ms FROM publications WHERE id BETWEEN ? AND ? AND time_ms > ? ORDER BY id LIMIT 1"
)
# Or the last that is too old; those before it are older, whatever a clock said.
_LAST: Final = (
    "SELECT id FROM publications WHERE id BETWEEN ? AND ? AND time_ms <= ? ORDER BY id DESC LIMIT 1"
)
_HEADS: Final = """
    SELECT json_group_array(json_array(id, event, length(payload), user_id, excluded_session, time_ms)) FROM (
        SELECT * FROM publications WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?
    )"""
# Byte for byte, whatever they are, and in one call.
_PAYLOADS: Final = """
    SELECT CAST(group_concat(payload, '') AS BLOB) FROM (
        SELECT payload FROM publications WHERE id BETWEEN ? AND ? ORDER BY id
    )"""

_Head = tuple[int, str, int, str | None, str | None, int]


class Kept(NamedTuple):
    """What a channel keeps, from some offset on."""

    position: Position
    first: int
    publications: list[Publication]


def read_history(
    connection: sqlite3.Connection,
    channel: str,
    after: int,
    *,
    limit: int,
    most_bytes: int,
    policy: ChannelPolicy,
    now_ms: int,
) -> Kept | None:
    """As `Broker.history` says; None for a channel that was never begun. Raises sqlite3.Error."""
    connection.execute("BEGIN")
    try:
        row = connection.execute(
            'SELECT id, epoch, "offset", low FROM channels WHERE name = ?', (channel,)
        ).fetchone()
        if row is None:
            return None
        number, epoch, offset, low = row
        oldest = max(low, offset - policy.history_size + 1)
        last_row = row_id(number, offset)
        age_ms = now_ms - int(policy.history_age * 1000)
        found = connection.execute(_FIRST, (row_id(number, oldest), last_row, age_ms)).fetchone()
        if found is None:
            first = offset + 1
        elif found[1] <= now_ms + LEAD_MS:
            first = found[0] & _OFFSET
        else:
            first = behind_the_old(connection, found[0], last_row, age_ms) & _OFFSET
        begin = max(first, min(after, offset) + 1)
        publications: list[Publication] = []
        if begin <= offset and limit > 0:
            publications = _read(
                connection, channel, epoch, (row_id(number, begin), last_row, limit), most_bytes
            )
        return Kept(Position(epoch, offset), first, publications)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _read(
    connection: sqlite3.Connection, channel: str, epoch: str, rows: tuple[int, int, int], most_bytes: int
) -> list[Publication]:
    heads = from_json(connection, _HEADS, rows, list[_Head])
    total = 0
    for count, head in enumerate(heads, 1):
        total += head[2]
        if total >= most_bytes:
            del heads[count:]
            break
    [payloads] = connection.execute(_PAYLOADS, (heads[0][0], heads[-1][0])).fetchone()
    publications = []
    at = 0
    for number, event, length, user_id, excluded_session, time_ms in heads:
        payload = payloads[at : at + length]
        at += length
        publications.append(
            Publication(
                channel, event, payload, number & _OFFSET, epoch, time_ms, user_id, excluded_session
            )
        )
    return publications


def behind_the_old(connection: sqlite3.Connection, first: int, last: int, time_ms: int) -> int:
    """Where what is too old ends, between two rows of a channel, the first of which has a time yet to come.

    Looks at each of them, which only a clock that was wrong makes necessary. Raises sqlite3.Error.
    """
    found = connection.execute(_LAST, (first, last, time_ms)).fetchone()
    return first if found is None else int(found[0]) + 1
