"""What is done to the rows: functions of a connection, each an operation or a reading of its own.

A server has its database for itself, and one connection that writes: what an operation counts holds until its
commit.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from tidings.server.apps.notifications.bodies import NewNotification
from tidings.server.apps.notifications.tables import notes
from tidings.server.extension import user_channel
from tidings.server.extension.tables import put_event

# Rows deleted by one sweep: some milliseconds of the one thread that writes.
PIECE: Final = 500


class Note(NamedTuple):
    """One notification of a user."""

    id: int
    title: str
    message: str
    type: str
    icon: str | None
    link: str | None
    created_ms: int
    read_ms: int | None
    """None: not read yet."""


class NotePage(NamedTuple):
    """Some of a user's notifications, newest first."""

    notes: list[Note]
    unread: int
    """Of all that the user has, in the same moment."""
    next: int | None
    """Before which id the next page begins; None on the last one."""


class Created(NamedTuple):
    """A notification that was asked for, and what the user has not read with it."""

    note: Note
    unread: int
    is_new: bool
    """Whether it was made now, and not before with the same idempotency key."""


class Changed(NamedTuple):
    """How many notifications a change has reached, and what the user has not read now."""

    changed: int
    unread: int
    recounted: bool
    """Whether that number may be another than before."""


class Swept(NamedTuple):
    """What became too old."""

    deleted: int
    unread: Mapping[str, int]
    """Of the users for whom something unread was among it."""


# Built once: building one takes longer than carrying it out.
_user: Final = notes.c.user_id == bindparam("of_user")
_is_unread: Final = notes.c.read_ms.is_(None)
_columns: Final = [notes.c[name] for name in Note._fields]
_insert: Final = insert(notes)
_count: Final = select(func.count()).select_from(notes).where(_user, _is_unread)
_kept: Final = notes.alias("kept")
_trim: Final = delete(notes).where(
    _user,
    notes.c.id
    <= select(_kept.c.id)
    .where(_kept.c.user_id == bindparam("of_user"))
    .order_by(_kept.c.id.desc())
    .offset(bindparam("keep"))
    .limit(1)
    .scalar_subquery(),
)


_keyed: Final = select(*_columns).where(_user, notes.c.idempotency_key == bindparam("of_key"))


def create(
    connection: Connection,
    user_id: str,
    *,
    asked: NewNotification,
    now_ms: int,
    keep: int,
    idempotency_key: str | None = None,
) -> Created | None:
    """Add one, drop the user's oldest beyond `keep`, and leave its event for the user's inbox.

    One that has the key already is what was asked for, and nothing is done; None where it shows something else.
    Operations are carried out one after another, so that of two with one key the second finds the first's.
    """
    if idempotency_key is not None:
        known = connection.execute(_keyed, {"of_user": user_id, "of_key": idempotency_key}).one_or_none()
        if known is not None:
            note = Note(*known)
            is_same = (note.title, note.message, note.type, note.icon, note.link) == (
                asked.title,
                asked.message,
                asked.type,
                asked.icon,
                asked.link,
            )
            return Created(note, unread(connection, user_id), is_new=False) if is_same else None
    row = {
        "user_id": user_id,
        "title": asked.title,
        "message": asked.message,
        "type": asked.type,
        "icon": asked.icon,
        "link": asked.link,
        "created_ms": now_ms,
        "read_ms": None,
        "idempotency_key": idempotency_key,
    }
    key = connection.execute(_insert, row).inserted_primary_key
    assert key is not None
    connection.execute(_trim, {"of_user": user_id, "keep": keep})
    note_id = int(key[0])
    put_event(connection, user_channel(user_id), "notification", payload(note_id, asked))
    note = Note(
        note_id, asked.title, asked.message, asked.type, asked.icon, asked.link, now_ms, read_ms=None
    )
    return Created(note, unread(connection, user_id), is_new=True)


def payload(note_id: int, asked: NewNotification) -> dict[str, str]:
    """What is pushed. The id is text: numbers of 64 bits are more than JavaScript can tell apart."""
    more = {"icon": asked.icon, "link": asked.link}
    return {
        "id": str(note_id),
        "title": asked.title,
        "message": asked.message,
        "type": asked.type,
        **{name: value for name, value in more.items() if value is not None},
    }


def unread(connection: Connection, user_id: str) -> int:
    """How many the user has not read."""
    return connection.execute(_count, {"of_user": user_id}).scalar_one()


def page(
    connection: Connection, user_id: str, *, before: int | None, limit: int, only_unread: bool
) -> NotePage:
    """Some, newest first. New ones that come meanwhile stand before them all, and move nothing."""
    query = select(*_columns).where(notes.c.user_id == user_id)
    if before is not None:
        query = query.where(notes.c.id < before)
    if only_unread:
        query = query.where(_is_unread)
    # One more than asked for tells whether there is another page.
    rows = connection.execute(query.order_by(notes.c.id.desc()).limit(limit + 1)).all()
    found = [Note(*row) for row in rows[:limit]]
    return NotePage(found, unread(connection, user_id), found[-1].id if len(rows) > limit else None)


def mark_read(connection: Connection, user_id: str, *, note_id: int, now_ms: int) -> Changed | None:
    """Note that one is read; one that was stays as it is. None where the user has no such."""
    is_read = _is_read(connection, user_id, note_id)
    if is_read is None:
        return None
    if not is_read:
        connection.execute(update(notes).where(notes.c.id == note_id).values(read_ms=now_ms))
    return Changed(int(not is_read), unread(connection, user_id), recounted=not is_read)


def mark_all_read(connection: Connection, user_id: str, *, up_to: int | None, now_ms: int) -> Changed:
    """Note that all are read, or those up to an id."""
    change = update(notes).where(notes.c.user_id == user_id, _is_unread).values(read_ms=now_ms)
    if up_to is not None:
        change = change.where(notes.c.id <= up_to)
    count = connection.execute(change).rowcount
    return Changed(count, unread(connection, user_id), recounted=count > 0)


def remove(connection: Connection, user_id: str, *, note_id: int) -> Changed | None:
    """Delete one. None where the user has no such."""
    is_read = _is_read(connection, user_id, note_id)
    if is_read is None:
        return None
    connection.execute(delete(notes).where(notes.c.id == note_id))
    return Changed(1, unread(connection, user_id), recounted=not is_read)


def remove_all(connection: Connection, user_id: str, *, only_read: bool) -> Changed:
    """Delete all, or those that are read."""
    before = unread(connection, user_id)
    change = delete(notes).where(notes.c.user_id == user_id)
    if only_read:
        change = change.where(notes.c.read_ms.is_not(None))
    count = connection.execute(change).rowcount
    now = unread(connection, user_id)
    return Changed(count, now, recounted=now != before)


def sweep(connection: Connection, *, before_ms: int) -> Swept:
    """Delete a piece of those that were made before a time, the oldest first. There may be more of them."""
    old = select(notes.c.id, notes.c.user_id, notes.c.read_ms).where(notes.c.created_ms < before_ms)
    rows = connection.execute(old.order_by(notes.c.created_ms).limit(PIECE)).all()
    if not rows:
        return Swept(0, {})
    connection.execute(delete(notes).where(notes.c.id.in_([row.id for row in rows])))
    users = {row.user_id for row in rows if row.read_ms is None}
    return Swept(len(rows), {user_id: unread(connection, user_id) for user_id in sorted(users)})


def _is_read(connection: Connection, user_id: str, note_id: int) -> bool | None:
    """Whether the user has read it; None where the user has no such."""
    query = select(notes.c.read_ms).where(notes.c.id == note_id, notes.c.user_id == user_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else row.read_ms is not None
