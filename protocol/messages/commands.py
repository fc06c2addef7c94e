"""What a client asks for. Each Struct is the `data` of one command, and names its answer."""

from typing import Annotated, Any

import msgspec

from tidings.protocol.messages.fields import (
    ChannelName,
    DeviceName,
    EventName,
    IdempotencyKey,
    RoomName,
    Text,
    Token,
    UserId,
)
from tidings.protocol.messages.registry import Registry
from tidings.protocol.positions import Position


class Authenticate(msgspec.Struct, frozen=True):
    """Says who is speaking, where no token came with the handshake. Answer: `connected`."""

    token: Token
    device: DeviceName | None = None


class Ping(msgspec.Struct, frozen=True):
    """The application's heartbeat. Answer: `pong`."""


class Subscribe(msgspec.Struct, frozen=True):
    """Asks for a channel's publications. Answer: `subscribed`, then the publications."""

    channel: ChannelName
    since: Position | None = None
    """The last position heard: what came after it is sent, if all of it is still kept. One that never was is no
    error: nothing is recovered from it."""
    presence: bool = False
    """Whether the answer shall say who is there."""


class Unsubscribe(msgspec.Struct, frozen=True):
    """Ends a subscription. Answer: `unsubscribed`, and nothing of the channel after it."""

    channel: ChannelName


class JoinRoom(msgspec.Struct, frozen=True):
    """Subscribes to `room:<room>`. Answer: `subscribed`. `room_subscribe` is its other name."""

    room: RoomName
    since: Position | None = None
    """As for `subscribe`."""
    presence: bool = False


class LeaveRoom(msgspec.Struct, frozen=True):
    """Unsubscribes from `room:<room>`. Answer: `unsubscribed`. `room_unsubscribe` is its other name."""

    room: RoomName


class RoomMessage(msgspec.Struct, frozen=True):
    """Says something in a room one has joined. Answer: `published`. Further fields reach the room too."""

    room: RoomName
    text: Text


class UserMessage(msgspec.Struct, frozen=True):
    """Says something to one user, who gets it now or on return. Answer: `published`. Further fields arrive too."""

    to: UserId
    text: Text


class Publish(msgspec.Struct, frozen=True):
    """Publishes an event to a channel, where token or policy permit. Answer: `published`."""

    channel: ChannelName
    event: EventName
    payload: dict[str, Any]
    idempotency_key: IdempotencyKey | None = None
    """The same key again publishes nothing again: for a command whose answer was lost."""


class Ack(msgspec.Struct, frozen=True):
    """Says that everything in the user's own channel up to an offset has been received. Answer: `acked`."""

    channel: ChannelName
    offset: int


class History(msgspec.Struct, frozen=True):
    """Asks for what a channel keeps. Answer: `history`."""

    channel: ChannelName
    since: Position | None = None
    """Only what came after this position; without it, from the oldest."""
    limit: Annotated[int, msgspec.Meta(ge=1)] = 100
    """The server has a limit of its own, too."""


class Presence(msgspec.Struct, frozen=True):
    """Asks who is present in a channel. Answer: `presence`."""

    channel: ChannelName


class Refresh(msgspec.Struct, frozen=True):
    """Replaces the token of a living connection by a newer one of the same user. Answer: `refreshed`."""

    token: Token


class Stats(msgspec.Struct, frozen=True):
    """Asks for figures: of this connection, and of the server for admins. Answer: `stats`."""


def register(registry: Registry) -> None:
    """Name the commands of every server; those of rooms are in `rooms`."""
    for name, payload in (
        ("authenticate", Authenticate),
        ("ping", Ping),
        ("subscribe", Subscribe),
        ("unsubscribe", Unsubscribe),
        ("publish", Publish),
        ("ack", Ack),
        ("history", History),
        ("presence", Presence),
        ("refresh", Refresh),
        ("stats", Stats),
    ):
        registry.command(name, payload, owner="tidings")
