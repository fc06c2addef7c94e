"""The messages of rooms and between users, an app that a server runs unless its owner leaves it out."""

from tidings.protocol.messages import commands, events
from tidings.protocol.messages.registry import Registry

OWNER = "rooms"


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
