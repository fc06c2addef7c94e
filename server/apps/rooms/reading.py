"""What is read from the tables of rooms. Blocking: for the threads of the records."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select

from tidings.protocol.errors import ErrorCode
from tidings.server.apps.rooms.entities import Done, Left, Member, Rejected, Room, Who
from tidings.server.apps.rooms.rules import Change, Role
from tidings.server.apps.rooms.tables import members, rooms
from tidings.server.extension import room_channel
from tidings.server.store.records.outbox import last_event


def load(connection: Connection) -> list[Change]:
    """All rooms as the rules have them."""
    roles: dict[str, dict[str, Role | None]] = {}
    for room, user_id, role in connection.execute(
        select(members.c.room, members.c.user_id, members.c.role)
    ):
        roles.setdefault(room, {})[user_id] = role
    found = connection.execute(select(rooms.c.name, rooms.c.policy, rooms.c.deleted_ms))
    return [
        Change(name, policy, roles.get(name, {}), is_whole=True, is_ending=deleted_ms is not None)
        for name, policy, deleted_ms in found
    ]


def load_one(connection: Connection, name: str) -> Done[None]:
    """One room as the rules have it, also where there is none."""
    row = connection.execute(select(rooms).where(rooms.c.name == name)).one_or_none()
    if row is None:
        return Done(None, Change(name, is_ended=True))
    found = connection.execute(select(members.c.user_id, members.c.role).where(members.c.room == name))
    roles: dict[str, Role | None] = {row.user_id: row.role for row in found}
    change = Change(name, row.policy, roles, is_whole=True, is_ending=row.deleted_ms is not None)
    return Done(None, change)


def find(connection: Connection, name: str) -> Room:
    """A room. Raises Rejected."""
    found = connection.execute(
        select(rooms).where(rooms.c.name == name, rooms.c.deleted_ms.is_(None))
    ).one_or_none()
    if found is None:
        raise Rejected(ErrorCode.NOT_FOUND, f"{name}: no room of this name is kept")
    return _room(found)


def page(connection: Connection, who: Who, *, after: str, limit: int) -> tuple[list[Room], str | None]:
    """Rooms that somebody may enter, by name, and behind which the next page begins."""
    wanted: list[ColumnElement[bool]] = [rooms.c.deleted_ms.is_(None), rooms.c.name > after]
    if not who.is_admin:
        role = members.c.role
        wanted.append(or_(role.is_(None) & (rooms.c.policy != "invited"), role != "removed"))
    own = and_(members.c.room == rooms.c.name, members.c.user_id == who.own_id)
    query = select(rooms).outerjoin(members, own).where(*wanted).order_by(rooms.c.name).limit(limit + 1)
    found = [_room(row) for row in connection.execute(query)]
    return found[:limit], found[limit - 1].name if len(found) > limit else None


def members_page(
    connection: Connection, name: str, *, after: str, limit: int, removed: bool
) -> tuple[list[Member], str | None]:
    """The members of a room, by id, with the `removed` ones if asked for; and behind whom the next page begins."""
    wanted: list[ColumnElement[bool]] = [members.c.room == name, members.c.user_id > after]
    if not removed:
        wanted.append(members.c.role != "removed")
    columns = (members.c.user_id, members.c.role, members.c.since_ms)
    query = select(*columns).where(*wanted).order_by(members.c.user_id).limit(limit + 1)
    found = [Member(*row) for row in connection.execute(query)]
    return found[:limit], found[limit - 1].user_id if len(found) > limit else None


def what_is_left(connection: Connection, name: str) -> Left:
    """What there still is of a room that was to be deleted."""
    ending = select(rooms.c.name).where(rooms.c.name == name, rooms.c.deleted_ms.is_not(None))
    is_ending = connection.execute(ending).one_or_none() is not None
    return Left(is_ending, last_event(connection, room_channel(name)) is not None)


def _room(row: Row[Any]) -> Room:
    return Room(row.name, row.title, row.topic, row.policy, row.owner_id, row.created_ms)
