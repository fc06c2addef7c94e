"""The HTTP routes by which users see their notifications, and say which they have read."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

from litestar import HttpMethod, delete, get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, Parameter
from msgspec import UNSET

from tidings.protocol.errors import ErrorCode
from tidings.protocol.publications import iso_milliseconds
from tidings.server.answers import options
from tidings.server.apps.notifications.bodies import (
    NOTE_ID,
    ChangedNotifications,
    NotificationEntry,
    NotificationPage,
    ReadUpTo,
    UnreadNotifications,
)
from tidings.server.apps.notifications.notes import Changed, Note
from tidings.server.apps.notifications.refusals import answering, unknown_note
from tidings.server.apps.notifications.service import notifications_of
from tidings.server.extension import SECURITY, Caller, Identity, Push, Refused, answers, users_only

# As many as a screen shows, and as people still scroll.
_PER_PAGE: Final = 50
_MOST_PER_PAGE: Final = 200

NOTIFICATIONS: Final = "/api/v1/notifications"

_NoteId = Annotated[
    str,
    Parameter(
        description="The notification's id.", schema_extra={"pattern": f"^{NOTE_ID}$", "example": "17"}
    ),
]

_is_note_id: Final = re.compile(NOTE_ID).fullmatch

NO_USER: Final = "A key has no notifications: this needs a user's token."
TOO_OFTEN: Final = (
    "The caller has written too often; or too many requests. `Retry-After` says when to come again."
)
COMMON: Final[dict[str, Any]] = {"security": SECURITY, "tags": ["notifications"]}
_OWN: Final[dict[str, Any]] = {"guards": [users_only], **COMMON}
_UNKNOWN: Final = "No notification of the caller's has this id."
_ALL_READ: Final = ReadUpTo()


def own_routes() -> Sequence[HTTPRouteHandler]:
    """The routes."""
    return [
        options(NOTIFICATIONS, HttpMethod.GET, HttpMethod.DELETE),
        page,
        unread,
        mark_all_read,
        mark_read,
        remove_all,
        remove,
    ]


@get(
    NOTIFICATIONS,
    operation_id="notifications",
    summary="The caller's notifications, newest first",
    description="Pages stay where they are while new ones come.",
    responses=answers(admins=False, words={403: NO_USER}),
    **_OWN,
)
async def page(
    push: NamedDependency[Push],
    caller: Caller,
    limit: Annotated[
        int, Parameter(ge=1, le=_MOST_PER_PAGE, description="Notifications on one page, at most.")
    ] = _PER_PAGE,
    before: Annotated[
        str | None,
        Parameter(
            description="`next` of the page before: only older ones than this id.",
            schema_extra={"pattern": f"^{NOTE_ID}$"},
        ),
    ] = None,
    unread: Annotated[bool, Parameter(description="Only those that are not read.")] = False,
) -> NotificationPage:
    """A page, and the count of the same moment."""
    user_id = own_id(caller)
    if before is not None and _is_note_id(before) is None:
        raise Refused(ErrorCode.INVALID_DATA, "before: expected the `next` of another page")
    with answering():
        found = await notifications_of(push).page(
            user_id, before=None if before is None else int(before), limit=limit, only_unread=unread
        )
    following = None if found.next is None else str(found.next)
    return NotificationPage([entry(note) for note in found.notes], found.unread, following)


@get(
    f"{NOTIFICATIONS}/unread",
    operation_id="unreadNotifications",
    summary="How many notifications the caller has not read",
    description="The event `unread_count` tells the user's connections the same after each change.",
    responses=answers(admins=False, words={403: NO_USER}),
    **_OWN,
)
async def unread(push: NamedDependency[Push], caller: Caller) -> UnreadNotifications:
    """The count alone."""
    user_id = own_id(caller)
    with answering():
        return UnreadNotifications(await notifications_of(push).unread(user_id))


@post(
    f"{NOTIFICATIONS}/{{notification_id:str}}/read",
    operation_id="markNotificationRead",
    summary="Mark a notification as read",
    description="One that was read before stays as it is.",
    status_code=200,
    responses=answers(admins=False, words={403: NO_USER, 404: _UNKNOWN, 429: TOO_OFTEN}),
    **_OWN,
)
async def mark_read(
    notification_id: _NoteId, push: NamedDependency[Push], caller: Caller
) -> ChangedNotifications:
    """Mark one."""
    user_id, note_id = own_id(caller), _known_form(notification_id)
    notifications_of(push).pace.change(user_id)
    with answering():
        return _changed(await notifications_of(push).mark_read(user_id, note_id))


@post(
    f"{NOTIFICATIONS}/read",
    operation_id="markNotificationsRead",
    summary="Mark all notifications as read",
    description="With `up_to` only those up to the newest that the user has seen: what came since stays unread. "
    "The body may be left out.",
    status_code=200,
    responses=answers(body=True, admins=False, words={403: NO_USER, 429: TOO_OFTEN}),
    **_OWN,
)
async def mark_all_read(
    push: NamedDependency[Push], caller: Caller, data: JSONBody[ReadUpTo] = _ALL_READ
) -> ChangedNotifications:
    """Mark all, or those that were seen."""
    user_id = own_id(caller)
    notifications_of(push).pace.change(user_id)
    with answering():
        up_to = None if data.up_to is UNSET else int(data.up_to)
        return _changed(await notifications_of(push).mark_all_read(user_id, up_to=up_to))


@delete(
    NOTIFICATIONS,
    operation_id="deleteNotifications",
    summary="Delete all of the caller's notifications",
    status_code=200,
    responses=answers(admins=False, words={403: NO_USER, 429: TOO_OFTEN}),
    **_OWN,
)
async def remove_all(
    push: NamedDependency[Push],
    caller: Caller,
    read: Annotated[bool, Parameter(description="Only those that are read.")] = False,
) -> ChangedNotifications:
    """Delete all, or those that were read."""
    user_id = own_id(caller)
    notifications_of(push).pace.change(user_id)
    with answering():
        return _changed(await notifications_of(push).remove_all(user_id, only_read=read))


@delete(
    f"{NOTIFICATIONS}/{{notification_id:str}}",
    operation_id="deleteNotification",
    summary="Delete a notification",
    status_code=200,
    responses=answers(admins=False, words={403: NO_USER, 404: _UNKNOWN, 429: TOO_OFTEN}),
    **_OWN,
)
async def remove(
    notification_id: _NoteId, push: NamedDependency[Push], caller: Caller
) -> ChangedNotifications:
    """Delete one."""
    user_id, note_id = own_id(caller), _known_form(notification_id)
    notifications_of(push).pace.change(user_id)
    with answering():
        return _changed(await notifications_of(push).remove(user_id, note_id))


def own_id(caller: Identity) -> str:
    """Whose notifications it is about. Raises Refused for a key, which is nobody's."""
    if caller.kind == "service":
        raise Refused(
            ErrorCode.FORBIDDEN,
            "notifications are a user's, and a key is no user: this needs a user's token",
        )
    return caller.user_id


def entry(note: Note) -> NotificationEntry:
    """A notification as it is listed."""
    return NotificationEntry(
        id=str(note.id),
        title=note.title,
        message=note.message,
        type=note.type,
        created_at=iso_milliseconds(note.created_ms),
        icon=UNSET if note.icon is None else note.icon,
        link=UNSET if note.link is None else note.link,
        read_at=UNSET if note.read_ms is None else iso_milliseconds(note.read_ms),
    )


def _known_form(notification_id: str) -> int:
    """The number of an id; what is none belongs to no notification."""
    if _is_note_id(notification_id) is None:
        raise unknown_note()
    return int(notification_id)


def _changed(changed: Changed | None) -> ChangedNotifications:
    if changed is None:
        raise unknown_note()
    return ChangedNotifications(changed.changed, changed.unread)
