"""The notifications of one server's users: each change first in the database, then told.

A new one is a row and an event of the same commit: the event goes to the user's inbox once that is on disk, however
often publishing fails before, and also where the process is killed in between.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import msgspec
import structlog
import trio

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.fields import explain
from tidings.server.apps.notifications import notes
from tidings.server.apps.notifications.bodies import NewNotification
from tidings.server.apps.notifications.notes import Changed, Created, Note, NotePage, Swept
from tidings.server.apps.notifications.pace import OwnPace
from tidings.server.apps.notifications.refusals import check_key, check_recipient, unavailable
from tidings.server.apps.notifications.unread import UnreadCounts
from tidings.server.config import Notifications as Settings
from tidings.server.extension import PublishRefused, Push
from tidings.server.extension.tables import StoreUnavailable, wall_ms

# An age is days: nobody sees whether it was an hour more.
_SWEEP_SECONDS: Final = 3600.0

# What runs in the page that it is put into. A browser passes over spaces in front, and over upper case.
_SCRIPTS: Final = ("javascript:", "data:", "vbscript:")

# As long as any id, to see whether what is pushed would fit.
_LONGEST_ID: Final = 10**18 - 1

_log = structlog.get_logger("tidings.notifications")


class Notifications:
    """Belongs to one server; `counts.run` and `sweep_often` are tasks of it.

    All but `create` raise StoreUnavailable. Cancelled, a change ends at once, and is carried out all the same.
    """

    def __init__(self, settings: Settings, push: Push, now_ms: Callable[[], int] = wall_ms) -> None:
        """Take the section, the server whose users are told, and a clock of Unix milliseconds."""
        self._settings = settings
        self._push = push
        self._now_ms = now_ms
        self.counts = UnreadCounts(push)
        self.pace = OwnPace()
        """Of those who call over HTTP; programs inside are not counted."""

    async def create(
        self,
        user_id: str,
        asked: NewNotification,
        *,
        idempotency_key: str | None = None,
        is_known: bool = False,
    ) -> Note:
        """Keep a notification, and have it pushed to the user's inbox; on disk when this returns.

        Idempotent with a key, for as long as the one that it made is in the list: that one is returned again, as it
        is now. Raises PublishRefused, and nothing was done: not_found for a user whom nobody knows (unless
        `is_known`), conflict for a key that has made something else, invalid_data, unavailable. Cancelled, it ends
        at once, and may have been kept; then it is pushed, too.
        """
        if idempotency_key is not None:
            check_key(idempotency_key)
        if not is_known:
            await check_recipient(self._push, user_id)
        # Refused by the relay later it would be in the list, and nobody had been told.
        checked = self._push.check("notification", notes.payload(_LONGEST_ID, asked), under="")
        if isinstance(checked, Refusal):
            raise PublishRefused(checked)
        operation = partial(
            notes.create,
            user_id=user_id,
            asked=asked,
            now_ms=self._now_ms(),
            keep=self._settings.keep,
            idempotency_key=idempotency_key,
        )

        def tell(created: Created | None) -> None:
            if created is not None and created.is_new:
                self.counts.note(user_id, created.unread)

        try:
            created = await self._push.tables.write(operation, tell)
        except StoreUnavailable as error:
            raise PublishRefused(unavailable(error)) from error
        if created is None:
            message = f"idempotency_key: {user_id} has another notification that was made with it"
            raise PublishRefused(Refusal(ErrorCode.CONFLICT, message))
        return created.note

    async def page(self, user_id: str, *, before: int | None, limit: int, only_unread: bool) -> NotePage:
        """Some of a user's, newest first."""
        read = partial(notes.page, user_id=user_id, before=before, limit=limit, only_unread=only_unread)
        return await self._push.tables.read(read)

    async def unread(self, user_id: str) -> int:
        """How many a user has not read."""
        return await self._push.tables.read(partial(notes.unread, user_id=user_id))

    async def mark_read(self, user_id: str, note_id: int) -> Changed | None:
        """Note that a user has read one; idempotent. None where there is no such."""
        return await self._change(
            user_id, partial(notes.mark_read, user_id=user_id, note_id=note_id, now_ms=self._now_ms())
        )

    async def mark_all_read(self, user_id: str, *, up_to: int | None = None) -> Changed:
        """Note that a user has read all, or those up to an id; idempotent."""
        changed = await self._change(
            user_id, partial(notes.mark_all_read, user_id=user_id, up_to=up_to, now_ms=self._now_ms())
        )
        assert changed is not None
        return changed

    async def remove(self, user_id: str, note_id: int) -> Changed | None:
        """Delete one of a user's. None where there is no such."""
        return await self._change(user_id, partial(notes.remove, user_id=user_id, note_id=note_id))

    async def remove_all(self, user_id: str, *, only_read: bool = False) -> Changed:
        """Delete all of a user's, or those that are read; idempotent."""
        changed = await self._change(
            user_id, partial(notes.remove_all, user_id=user_id, only_read=only_read)
        )
        assert changed is not None
        return changed

    async def sweep_often(self) -> None:
        """Delete what is too old, until cancelled; what cannot be deleted is tried again later."""
        while True:
            try:
                await self.sweep()
            except StoreUnavailable as error:
                _log.warning("old notifications are still to be deleted", error=str(error))
            except Exception:
                # As a table that this user of the database may not touch: whoever mends that restarts no server.
                _log.exception("old notifications are still to be deleted")
            await trio.sleep(_SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Delete what is too old, piece by piece, so that other writers come in between."""
        before_ms = self._now_ms() - self._settings.max_age * 1000

        def tell(swept: Swept) -> None:
            for user_id, unread in swept.unread.items():
                self.counts.note(user_id, unread)

        deleted = notes.PIECE
        while deleted == notes.PIECE:
            swept = await self._push.tables.write(partial(notes.sweep, before_ms=before_ms), tell)
            deleted = swept.deleted

    async def _change(self, user_id: str, operation: Callable[..., Changed | None]) -> Changed | None:
        def tell(changed: Changed | None) -> None:
            if changed is not None and changed.recounted:
                self.counts.note(user_id, changed.unread)

        return await self._push.tables.write(operation, tell)


def plain(given: object) -> object:
    """A mapping of whatever kind as a dict, of which alone JSON is made."""
    return dict(given) if isinstance(given, Mapping) else given


def judged(given: object) -> NewNotification:
    """What a program gives, a mapping or the Struct, if it may be kept. Raises PublishRefused, naming the field."""
    try:
        # Also of a Struct, whose fields nobody has looked at yet. A lone surrogate has no encoding.
        fields: Any = msgspec.json.decode(msgspec.json.encode(plain(given)))
        asked = msgspec.convert(fields, NewNotification)
    except msgspec.ValidationError as error:
        raise PublishRefused(Refusal(ErrorCode.INVALID_DATA, explain(error))) from error
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        message = f"the notification cannot be carried as JSON: {error}"
        raise PublishRefused(Refusal(ErrorCode.INVALID_DATA, message)) from error
    check_link(asked.link)
    return asked


def check_link(link: str | None) -> None:
    """Raise PublishRefused for a link that would run in the page of whoever clicks it."""
    if link is not None and link.lstrip(" ").lower().startswith(_SCRIPTS):
        message = "a link leads somewhere, and this one runs in the reader's page - at `$.link`"
        raise PublishRefused(Refusal(ErrorCode.INVALID_DATA, message))


# --- of which server -----------------------------------------------------------------------------

_running: Final[dict[Push, Notifications]] = {}


def begin(push: Push, notifications: Notifications) -> None:
    """Say that they are this server's, until `end`."""
    _running[push] = notifications


def end(push: Push) -> None:
    """Say that the server ends."""
    del _running[push]


def notifications_of(push: Push) -> Notifications:
    """Those of a server. Raises LookupError where it keeps none, or has not begun."""
    try:
        return _running[push]
    except KeyError:
        raise LookupError(
            "this server keeps no notifications: name the app in server.apps, as"
            ' ["*", "notifications"], and ask once it runs'
        ) from None
