"""`Broadcaster`: the document's pushes, for programs that run inside the server: apps, and whoever embeds it."""

from collections.abc import Mapping
from typing import Any, Final

from tidings.protocol.channels import ALL
from tidings.protocol.errors import Refusal
from tidings.server.apps.notifications.bodies import NewNotification
from tidings.server.apps.notifications.notes import Note
from tidings.server.apps.notifications.refusals import (
    check_event,
    check_recipient,
    check_room,
    check_user_id,
)
from tidings.server.apps.notifications.service import judged, notifications_of, plain
from tidings.server.brokers.base import Receipt
from tidings.server.extension import PublishRefused, Push, room_channel, user_channel

KNOWLEDGE_BASE: Final = "knowledge_base"
"""The `entity` of what `send_knowledge_update` tells of."""


class Broadcaster:
    """Notifications, sync updates, changes of the knowledge base, and system messages.

    It asks nobody for permission: who may send what is its caller's to decide. Every method raises `PublishRefused`
    where nothing was sent; its `refusal` has the code: `invalid_data`, naming the field, `too_large`,
    `unavailable`, and of one user `not_found`, where this server keeps its users (accounts) and has none of this
    id. Cancelled, a method ends at once, and may have sent it or not. None is idempotent, but for
    `send_notification` with a key.

    A user's inbox keeps what was sent to that user: an absent one gets it on return.
    """

    def __init__(self, push: Push) -> None:
        """Take the server. It may be still to start."""
        self._push = push

    async def send_notification(
        self,
        user_id: str,
        notification: Mapping[str, Any] | NewNotification,
        *,
        idempotency_key: str | None = None,
    ) -> Note:
        """Keep a notification in the user's list, and push it: `{"title", "message", "type", "icon", "link"}`.

        `type` is `info` unless given; `icon` and `link` may be left out. On disk when this returns; pushed a moment
        later, also where this process does not live to do it. Raises LookupError where the app does not run.

        With a key, 1 to 128 characters chosen once for each notification of a user, it may be called again: for as
        long as the one that it made is in the list, that one is returned. `conflict` for a key that has made
        something else.
        """
        keeping = notifications_of(self._push)
        return await keeping.create(user_id, judged(notification), idempotency_key=idempotency_key)

    async def send_sync_update(
        self, user_id: str, update: Mapping[str, Any], *, is_known: bool = False
    ) -> Receipt:
        """Tell a user's devices that one has changed something: `{"device", "changes"}`, and what else helps.

        All of them are told, also the one that has done it: it knows its name. With `is_known` nobody is asked
        whether there is such a user, as where a token has just said so.
        """
        if is_known:
            check_user_id(user_id)
        else:
            await check_recipient(self._push, user_id)
        return await self._put(user_channel(user_id), "sync_update", update)

    async def send_knowledge_update(
        self,
        entity_id: str,
        action: str,
        data: Mapping[str, Any],
        *,
        user_id: str | None = None,
        room: str | None = None,
    ) -> Receipt:
        """Tell that something of the knowledge base was created, changed or deleted: to a user, a room, or all.

        It arrives as `data_update {entity: "knowledge_base", action, id, data}`. Raises ValueError where both a
        user and a room are named.
        """
        if user_id is not None and room is not None:
            raise ValueError("a user or a room: what is for both is two updates")
        channel = ALL
        if user_id is not None:
            await check_recipient(self._push, user_id)
            channel = user_channel(user_id)
        elif room is not None:
            check_room(room)
            channel = room_channel(room)
        update = {"entity": KNOWLEDGE_BASE, "action": action, "id": entity_id, "data": plain(data)}
        return await self._put(channel, "data_update", update)

    async def send_system_message(
        self, message: Mapping[str, Any], *, user_id: str | None = None
    ) -> Receipt:
        """Tell something from the operators, `{"message", "level"}`, to one user or to all who are connected."""
        channel = ALL
        if user_id is not None:
            await check_recipient(self._push, user_id)
            channel = user_channel(user_id)
        return await self._put(channel, "system_message", message)

    async def send_message(self, event: str, data: Mapping[str, Any]) -> Receipt:
        """Tell all who are connected anything that may be published; a built-in event's data must fit it."""
        check_event(event)
        return await self._put(ALL, event, data, under=".data")

    async def _put(
        self, channel: str, event: str, payload: Mapping[str, Any], *, under: str = ""
    ) -> Receipt:
        outcome = await self._push.submit(channel, event, payload, under=under)
        if isinstance(outcome, Refusal):
            raise PublishRefused(outcome)
        return outcome
