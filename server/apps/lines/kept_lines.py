"""Incoming lines as they are kept, read page by page, and taken away when they are old."""

from collections.abc import Collection
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Connection, Select, delete, func, insert, select

from tidings.server.apps.lines import tables
from tidings.server.apps.lines.tables import accounts, incoming

# Lines taken by one sweep: some milliseconds of the one thread that writes.
PIECE = 1000


class Line(Struct, frozen=True):
    """An incoming line, as it is kept."""

    id: int
    group_id: int
    account_id: int
    line_account_id: str
    incoming_line_id: str
    duplicate: bool
    received_ms: int
    details: str | None
    """A JSON object: the further fields."""


_lines: Final[Select[Any]] = select(
    incoming.c.id,
    incoming.c.group_id,
    incoming.c.account_id,
    accounts.c.line_account_id,
    incoming.c.incoming_line_id,
    incoming.c.is_duplicate,
    incoming.c.received_ms,
    incoming.c.details,
).select_from(incoming.join(accounts, accounts.c.id == incoming.c.account_id))


def page_lines(
    connection: Connection,
    *,
    group_ids: Collection[int] | None,
    account_id: int | None,
    before: int | None,
    limit: int,
) -> list[Line]:
    """At most `limit` lines of some groups (None: of all), or of one account of theirs; newest first."""
    query = _of(group_ids)
    if account_id is not None:
        query = query.where(incoming.c.account_id == account_id)
    if before is not None:
        query = query.where(incoming.c.id < before)
    return [Line(*row) for row in connection.execute(query.order_by(incoming.c.id.desc()).limit(limit))]


def lines_between(
    connection: Connection, *, group_ids: Collection[int] | None, after: int, up_to: int, limit: int
) -> list[Line]:
    """The first `limit` of the lines behind `after` up to and with `up_to`, oldest first."""
    query = _of(group_ids).where(incoming.c.id > after, incoming.c.id <= up_to)
    return [Line(*row) for row in connection.execute(query.order_by(incoming.c.id).limit(limit))]


def last_line(connection: Connection) -> int:
    """The greatest id that is kept; 0 where nothing is."""
    return connection.scalar(select(func.max(incoming.c.id))) or 0


def sweep(connection: Connection, *, before_ms: int, archive: bool) -> int:
    """Delete a piece of the lines that came before a time, or move it to the archive; how many: PIECE at most.

    Figures stay, and who has written to which account.
    """
    old = select(incoming.c.id).where(incoming.c.received_ms < before_ms)
    ids = connection.scalars(old.order_by(incoming.c.received_ms, incoming.c.id).limit(PIECE)).all()
    if not ids:
        return 0
    these = incoming.c.id.in_(ids)
    if archive:
        columns = [column.name for column in tables.archive.c]
        rows = select(*(incoming.c[name] for name in columns)).where(these)
        connection.execute(insert(tables.archive).from_select(columns, rows))
    connection.execute(delete(incoming).where(these))
    return len(ids)


def _of(group_ids: Collection[int] | None) -> Select[Any]:
    return _lines if group_ids is None else _lines.where(incoming.c.group_id.in_(group_ids))
