"""The payloads of built-in events: what is published to channels.

A payload published from outside is checked against its Struct and then carried as it was given, so
further fields arrive too. Field names are the documents' where a document shows them.
"""

from typing import Any

import msgspec

from tidings.protocol.messages.registry import Registry


class UserUpdated(msgspec.Struct, frozen=True, omit_defaults=True):
    """`user:updated`: a user's record changed; fields that did not change may be absent."""

    id: str
    username: str | None = None
    email: str | None = None
    roles: list[str] | None = None
    group_id: str | None = None


class UserDeleted(msgspec.Struct, frozen=True, omit_defaults=True):
    """`user:deleted`: the account is gone; the client logs out."""

    id: str
    username: str | None = None


class PasswordChanged(msgspec.Struct, frozen=True, omit_defaults=True):
    """`user:password-changed`: by the user on another device, or by an administrator."""

    id: str
    by: str | None = None


class ForceLogout(msgspec.Struct, frozen=True):
    """`force_logout`: this login has ended, as when the user logged in elsewhere."""

    reason: str
    message: str


class Notification(msgspec.Struct, frozen=True, omit_defaults=True):
    """`notification`: something to show to one user."""

    title: str
    message: str
    type: str = "info"
    icon: str | None = None
    link: str | None = None
    id: str | None = None
    """Of one that is kept: by it the user marks it read. None: it is shown, and nothing is kept of it."""


class UnreadCount(msgspec.Struct, frozen=True):
    """`unread_count`: how many notifications the user has not read, after each change; never kept."""

    unread: int


class SyncUpdate(msgspec.Struct, frozen=True, omit_defaults=True):
    """`sync_update`: another device of the user has changed something."""

    device: str | None = None
    changes: int | None = None


class SystemMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """`system_message`: from the operators, to one or to all."""

    message: str
    level: str = "info"
    code: int | None = None


class DataUpdate(msgspec.Struct, frozen=True):
    """`data_update`: a record was created, changed or deleted."""

    entity: str
    action: str
    id: str
    data: dict[str, Any] = {}


class UserMessage(msgspec.Struct, frozen=True, omit_defaults=True, rename={"sender": "from"}):
    """`user_message`: from one user to another; further fields of the command follow these."""

    sender: str
    """The sender's user id."""
    to: str
    """The receiver's."""
    text: str
    username: str | None = None
    """The sender's name, where the server knows who has sent it."""


class RoomMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """`room_message`: said in a room; further fields of the command follow these.

    The server names a member who says something, and the message. A back end's has what that gives it.
    """

    text: str
    id: str | None = None
    room: str | None = None
    user_id: str | None = None
    username: str | None = None


def register(registry: Registry) -> None:
    """Name the events of every server; that of rooms is in `rooms`."""
    for name, payload in (
        ("user:updated", UserUpdated),
        ("user:deleted", UserDeleted),
        ("force_logout", ForceLogout),
        ("notification", Notification),
        ("unread_count", UnreadCount),
        ("sync_update", SyncUpdate),
        ("system_message", SystemMessage),
        ("data_update", DataUpdate),
        ("user_message", UserMessage),
    ):
        registry.event(name, payload, owner="tidings")
    # Who logs in with the new password knows of it.
    registry.event("user:password-changed", PasswordChanged, owner="tidings", earlier_logins=True)
