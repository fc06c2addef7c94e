"""The messages of rooms and between users, an app that a server runs unless its owner leaves it out."""

from typing import Literal

import msgspec

from tidings.protocol.messages import commands, events
from tidings.protocol.messages.registry import Registry

OWNER = "rooms"


class RoomChanged(msgspec.Struct, frozen=True, omit_defaults=True):
    """`room_changed`: a kept room has other settings or members; told to whoever is in."""

    room: str
    change: Literal["settings", "member", "removed", "left", "owner"]
    """What has changed: title, topic or policy; a member's role, also a new member's; a member was removed, or has
    left; there is another owner."""
    by: str
    """The id of the user who has done it."""
    user_id: str | None = None
    """Whom it is about; None for settings."""


class RoomInvitation(msgspec.Struct, frozen=True):
    """`room_invitation`: somebody has become a member of a kept room; in their inbox."""

    room: str
    title: str
    by: str
    """The id of the user who has invited them."""


def register(registry: Registry) -> None:
    """Name them, as the app does on a server."""
    for name, payload in (
        ("join_room", commands.JoinRoom),
        ("leave_room", commands.LeaveRoom),
        ("room_subscribe", commands.JoinRoom),
        ("room_unsubscribe", commands.LeaveRoom),
    ):
        registry.command(name, payload, owner=OWNER)
    registry.command("room_message", commands.RoomMessage, owner=OWNER, open_fields=True)
    registry.command("user_message", commands.UserMessage, owner=OWNER, open_fields=True)
    registry.event("room_message", events.RoomMessage, owner=OWNER)
    registry.event("room_changed", RoomChanged, owner=OWNER)
    registry.event("room_invitation", RoomInvitation, owner=OWNER)
