"""What is done to the tables of rooms, each in one transaction. Blocking: for the threads of the records.

Nothing here has any effect beside the connection's, since an operation may be run twice. Who may do what is looked
up in the same transaction: between the question and the deed nobody is removed.
"""

from typing import Final

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from tidings.protocol.errors import ErrorCode
from tidings.protocol.messages.rooms import RoomChanged
from tidings.server.apps.rooms.entities import Bounds, Done, Member, Rejected, Room, Who
from tidings.server.apps.rooms.reading import find, load_one
from tidings.server.apps.rooms.rules import MANAGERS, Change, Role
from tidings.server.apps.rooms.tables import members, rooms
from tidings.server.extension import user_channel
from tidings.server.extension.tables import put_event

_IS_MEMBER: Final = members.c.role != "removed"


# --- rooms ---------------------------------------------------------------------------------------


def create(connection: Connection, room: Room, who: Who, bounds: Bounds) -> Done[Room]:
    """Keep a room. Raises Rejected."""
    _check_owned(connection, who, room.owner_id, bounds)
    try:
        with connection.begin_nested():
            connection.execute(insert(rooms).values(**msgspec.structs.asdict(room)))
    except IntegrityError:
        raise Rejected(
            ErrorCode.CONFLICT, f"{room.name}: there is a room of this name: choose another - at `$.name`"
        ) from None
    owner: Role = "owner"
    _put(connection, room.name, Member(room.owner_id, owner, room.created_ms))
    return Done(room, Change(room.name, room.policy, {room.owner_id: owner}, is_whole=True))


def change(connection: Connection, name: str, who: Who, wanted: dict[str, str]) -> Done[Room]:
    """Give a room another title, topic or policy. Raises Rejected."""
    before = find(connection, name)
    _check_manager(connection, name, who)
    after = msgspec.structs.replace(before, **wanted)
    if after == before:
        return Done(before)
    connection.execute(update(rooms).where(rooms.c.name == name).values(**wanted))
    return Done(after, Change(name, after.policy), RoomChanged(name, "settings", who.user_id))


def end(connection: Connection, name: str, who: Who, now_ms: int) -> Done[Room]:
    """Begin to delete a room: nobody enters it from here on. Raises Rejected."""
    room = find(connection, name)
    if not who.is_admin and room.owner_id != who.own_id:
        raise Rejected(ErrorCode.FORBIDDEN, f"{name}: only the owner of a room deletes it")
    connection.execute(update(rooms).where(rooms.c.name == name).values(deleted_ms=now_ms))
    return Done(room, Change(name, is_ending=True))


def forget(connection: Connection, name: str) -> Done[None]:
    """Delete what `end` has left, once the history is gone. Idempotent: it says what there is then."""
    ended = connection.execute(delete(rooms).where(rooms.c.name == name, rooms.c.deleted_ms.is_not(None)))
    if ended.rowcount:
        connection.execute(delete(members).where(members.c.room == name))
    return load_one(connection, name)


# --- members -------------------------------------------------------------------------------------


def put_member(
    connection: Connection,
    name: str,
    who: Who,
    user_id: str,
    role: Role,
    bounds: Bounds,
    *,
    now_ms: int,
    invites: bool,
) -> Done[Member]:
    """Invite a user, or change what a member is. `invites`: whether a new member is told. Raises Rejected."""
    room = find(connection, name)
    is_owner = who.is_admin or room.owner_id == who.own_id
    _check_manager(connection, name, who)
    before = _member(connection, name, user_id)
    after = Member(user_id, role, now_ms)
    if before is not None and before.role == role:
        return Done(before)
    is_new = before is None or before.role == "removed"
    if role == "owner":
        if not is_owner:
            raise Rejected(ErrorCode.FORBIDDEN, f"{name}: only its owner hands a room over")
        return _hand_over(connection, room, who, after, bounds, is_new=is_new)
    if user_id == room.owner_id:
        raise Rejected(
            ErrorCode.CONFLICT,
            f"{user_id} owns the room: hand it over first, by the role owner for another",
        )
    is_promotion = role == "admin" or (before is not None and before.role == "admin")
    if is_promotion and not is_owner and not (role == "member" and user_id == who.own_id):
        raise Rejected(
            ErrorCode.FORBIDDEN, f"{name}: only its owner makes admins, and makes them members again"
        )
    if is_new:
        _check_room_for(connection, name, bounds, is_known=before is not None)
    _put(connection, name, after)
    if is_new and invites:
        payload = {"room": name, "title": room.title, "by": who.user_id}
        put_event(connection, user_channel(user_id), "room_invitation", payload)
    return Done(
        after, Change(name, roles={user_id: role}), RoomChanged(name, "member", who.user_id, user_id)
    )


def _hand_over(
    connection: Connection, room: Room, who: Who, after: Member, bounds: Bounds, *, is_new: bool
) -> Done[Member]:
    if is_new:
        raise Rejected(ErrorCode.CONFLICT, f"{after.user_id} is no member of the room: invite them first")
    _check_owned(connection, who, after.user_id, bounds)
    connection.execute(update(rooms).where(rooms.c.name == room.name).values(owner_id=after.user_id))
    _put(connection, room.name, after)
    _put(connection, room.name, Member(room.owner_id, "admin", after.since_ms))
    return Done(
        after,
        Change(room.name, roles={after.user_id: "owner", room.owner_id: "admin"}),
        RoomChanged(room.name, "owner", who.user_id, after.user_id),
    )


def remove_member(
    connection: Connection, name: str, who: Who, user_id: str, bounds: Bounds, *, now_ms: int
) -> Done[Member | None]:
    """Remove a user, member or not, for good; or let one leave, who may come back. Raises Rejected."""
    room = find(connection, name)
    before = _member(connection, name, user_id)
    if user_id != who.own_id:
        _check_manager(connection, name, who)
    if user_id == room.owner_id:
        raise Rejected(
            ErrorCode.CONFLICT, f"{user_id} owns the room: hand it over first, or delete the room"
        )
    if user_id == who.own_id:
        # Who was removed would be in again by leaving.
        if before is None or before.role == "removed":
            raise Rejected(ErrorCode.NOT_FOUND, f"{user_id} is no member of {name}")
        at = (members.c.room == name) & (members.c.user_id == user_id)
        connection.execute(delete(members).where(at))
        return Done(
            None, Change(name, roles={user_id: None}), RoomChanged(name, "left", who.user_id, user_id)
        )
    is_owner = who.is_admin or room.owner_id == who.own_id
    if before is not None and before.role == "admin" and not is_owner:
        raise Rejected(ErrorCode.FORBIDDEN, f"{name}: only its owner removes admins")
    if before is not None and before.role == "removed":
        return Done(before)
    if before is None:
        _check_rows(connection, name, bounds)
    after = Member(user_id, "removed", now_ms)
    _put(connection, name, after)
    # Who was no member is nobody's loss, and whoever looks after the room may remove any number of names.
    news = None if before is None else RoomChanged(name, "removed", who.user_id, user_id)
    return Done(after, Change(name, roles={user_id: "removed"}), news)


# --- what several of them do ---------------------------------------------------------------------


def _check_manager(connection: Connection, name: str, who: Who) -> None:
    if who.is_admin:
        return
    own = None if who.own_id is None else _member(connection, name, who.own_id)
    if own is None or own.role not in MANAGERS:
        raise Rejected(ErrorCode.FORBIDDEN, f"{name}: only its owner and admins may do this")


def _check_owned(connection: Connection, who: Who, user_id: str, bounds: Bounds) -> None:
    """Whether a user may own one room more. What the server's administrators give is not counted."""
    if who.is_admin:
        return
    owned = select(func.count()).select_from(rooms).where(rooms.c.owner_id == user_id)
    if connection.execute(owned).scalar_one() >= bounds.owned:
        raise Rejected(
            ErrorCode.LIMIT_REACHED, f"{user_id} owns {bounds.owned} rooms, as many as one may: delete one"
        )


def _check_room_for(connection: Connection, name: str, bounds: Bounds, *, is_known: bool) -> None:
    """Whether there may be one member more; `is_known` where they have a row already."""
    inside = select(func.count()).select_from(members).where(members.c.room == name, _IS_MEMBER)
    if connection.execute(inside).scalar_one() >= bounds.members:
        raise Rejected(ErrorCode.LIMIT_REACHED, f"{name} has {bounds.members} members, as many as it may")
    if not is_known:
        _check_rows(connection, name, bounds)


def _check_rows(connection: Connection, name: str, bounds: Bounds) -> None:
    """Whether there may be a row more: who is removed keeps one, so that a member can always be removed."""
    rows = select(func.count()).select_from(members).where(members.c.room == name)
    if connection.execute(rows).scalar_one() >= 2 * bounds.members:
        raise Rejected(
            ErrorCode.LIMIT_REACHED, f"{name} remembers as many removed users as it may have members"
        )


def _member(connection: Connection, name: str, user_id: str) -> Member | None:
    columns = (members.c.user_id, members.c.role, members.c.since_ms)
    row = connection.execute(
        select(*columns).where(members.c.room == name, members.c.user_id == user_id)
    ).one_or_none()
    return None if row is None else Member(*row)


def _put(connection: Connection, name: str, member: Member) -> None:
    values = {"role": member.role, "since_ms": member.since_ms}
    at = (members.c.room == name) & (members.c.user_id == member.user_id)
    if not connection.execute(update(members).where(at).values(**values)).rowcount:
        connection.execute(insert(members).values(room=name, user_id=member.user_id, **values))
