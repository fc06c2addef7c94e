"""What is read beside the writer, in threads. Each reading sees one moment: what was committed before it."""

import sqlite3
from typing import Final, NamedTuple

from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.config.channels import ChannelPolicy
from tidings.server.store.rows import from_json
from tidings.server.store.schema import OFFSET_BITS, row_id

_OFFSET: Final = (1 << OFFSET_BITS) - 1

# Times do not fall from row to row, so those that are too old come first.
_FIRST: Final = "SELECT id FROM publications WHERE id BETWEEN ? AND ? AND time_ms > ? ORDER BY id LIMIT 1"
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
        found = connection.execute(
            _FIRST, (row_id(number, oldest), last_row, now_ms - int(policy.history_age * 1000))
        ).fetchone()
        first = offset + 1 if found is None else found[0] & _OFFSET
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


def read_devices(connection: sqlite3.Connection, channel: str) -> list[tuple[str, int, int]]:
    """The devices of a channel by name: what each has acknowledged, and when it was seen. Raises sqlite3.Error."""
    return sorted(
        from_json(
            connection,
            "SELECT json_group_array(json_array(d.name, d.acknowledged, d.seen_ms)) FROM devices d"
            " JOIN channels c ON c.id = d.channel WHERE c.name = ?",
            (channel,),
            list[tuple[str, int, int]],
        )
    )
