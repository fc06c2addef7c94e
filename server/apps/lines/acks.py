"""Up to which line users of dashboards have received all: functions of a connection."""

from sqlalchemy import Connection, insert, select, update

from tidings.server.apps.lines.kept_lines import last_line
from tidings.server.apps.lines.tables import acks


def note_ack(connection: Connection, user_id: str, line_id: int) -> int:
    """Note that a user has received all up to a line; up to where that is now.

    It never goes back, and not beyond what there is: lines to come are not received.
    """
    before = acked(connection, user_id)
    now = max(min(line_id, last_line(connection)), before or 0)
    if before is None:
        connection.execute(insert(acks), {"user_id": user_id, "line_id": now})
    elif now != before:
        connection.execute(update(acks).where(acks.c.user_id == user_id).values(line_id=now))
    return now


def acked(connection: Connection, user_id: str) -> int | None:
    """Up to where a user has received all; None for one who has never said so."""
    return connection.scalar(select(acks.c.line_id).where(acks.c.user_id == user_id))
