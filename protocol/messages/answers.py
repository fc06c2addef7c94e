"""What the server says about the connection itself. None of these can be published by anybody."""

from typing import Any, Literal

import msgspec

from tidings.protocol.errors import ErrorCode
from tidings.protocol.messages.registry import Registry
from tidings.protocol.positions import Position


class Connected(msgspec.Struct, frozen=True):
    """The connection is authenticated, and subscribed to its user, group and role channels and to `all`."""

    connection_id: str
    user_id: str
    username: str
    ping_interval: float
    """Seconds of silence after which the server pings."""
    pong_timeout: float
    """Further seconds of silence after which it gives the connection up."""
    expires_at: int
    """Unix seconds at which the token ends."""
    inbox: Position | None = None
    """Where this device stands in the user's channel: what comes after it follows. None: no inbox is kept."""
    channels: dict[str, Position] = {}
    """Where the other channels stand that were subscribed to unasked: what is published from now on follows."""


class Pong(msgspec.Struct, frozen=True):
    """Answers `ping`."""


class PresentMember(msgspec.Struct, frozen=True, omit_defaults=True):
    """Somebody who is present in a channel."""

    user_id: str
    username: str
    kind: Literal["user", "device", "service"] = "user"


class Subscribed(msgspec.Struct, frozen=True):
    """The subscription stands: what was missed follows where it was recovered, then what comes after `offset`."""

    channel: str
    epoch: str
    offset: int
    """Of the last publication before the subscription."""
    recovered: bool = False
    """Whether everything between the position asked for and `offset` follows; if not, nothing of it does."""
    members: list[PresentMember] | msgspec.UnsetType = msgspec.UNSET
    """Who is present, where that was asked for."""


class Unsubscribed(msgspec.Struct, frozen=True):
    """The subscription ended: nothing of the channel follows."""

    channel: str


class Published(msgspec.Struct, frozen=True):
    """The broker accepted a publication and gave it this offset."""

    channel: str
    offset: int


class Acked(msgspec.Struct, frozen=True):
    """What this device has received is noted: up to this offset, or further where it had said so before."""

    channel: str
    offset: int


class Passed(msgspec.Struct, frozen=True):
    """`position`: the channel stands here; what lies before was not for this connection, or is of another epoch."""

    channel: str
    epoch: str
    offset: int


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """A publication as `history` lists it."""

    type: str
    channel: str
    offset: int
    timestamp: str
    data: Any
    """The payload; to be encoded as JSON it may be its JSON text, as `msgspec.Raw`."""
    user_id: str | None = None


class HistoryPage(msgspec.Struct, frozen=True):
    """`history`: what a channel keeps after a position, oldest first."""

    channel: str
    publications: list[Kept]
    epoch: str
    offset: int
    """Of the channel's last publication: there is more where the list ends before it."""
    complete: bool
    """Whether the list begins right after the position asked for: if not, what lies between is lost."""


class PresenceList(msgspec.Struct, frozen=True):
    """`presence`: who is present in a channel."""

    channel: str
    members: list[PresentMember]


class Joined(msgspec.Struct, frozen=True, omit_defaults=True):
    """`joined`: a user's first connection came into a channel."""

    channel: str
    user_id: str
    username: str
    kind: Literal["user", "device", "service"] = "user"


class Left(msgspec.Struct, frozen=True, omit_defaults=True):
    """`left`: a user's last connection has left a channel, and not come back for a while."""

    channel: str
    user_id: str
    username: str
    kind: Literal["user", "device", "service"] = "user"


class Refreshed(msgspec.Struct, frozen=True):
    """The new token is in force."""

    expires_at: int


class ConnectionStats(msgspec.Struct, frozen=True):
    """Figures of the asking connection."""

    connection_id: str
    connected_seconds: float
    channels: list[str]
    commands: int
    errors: int
    bytes_sent: int
    outbox_bytes: int


class ServerStats(msgspec.Struct, frozen=True):
    """Figures of this server since it started."""

    connections: int
    users: int
    channels: int
    subscriptions: int
    publications: int
    deliveries: int
    encodings: int
    """How many times a publication was encoded: once per dialect that had a subscriber."""
    outbox_bytes: int
    bytes_sent: int
    closes: dict[str, int]
    """Ended connections by close code."""


class Stats(msgspec.Struct, frozen=True, omit_defaults=True):
    """Answers `stats`."""

    connection: ConnectionStats
    server: ServerStats | None = None
    """For admins only."""


class Error(msgspec.Struct, frozen=True, omit_defaults=True):
    """A command was refused. The connection goes on unless a close follows."""

    code: ErrorCode
    message: str
    retry_after: float | None = None
    """Seconds to wait before the same command can succeed."""


class TokenExpiring(msgspec.Struct, frozen=True):
    """The token ends soon: `refresh`, or the connection is closed with 3005."""

    expires_at: int


class Disconnect(msgspec.Struct, frozen=True):
    """The server is about to close the connection."""

    code: int
    reason: str
    reconnect: bool
    delay: float = 0.0
    """Seconds to wait before reconnecting: each client gets its own, so that they do not return together."""


def register(registry: Registry) -> None:
    """Name the built-in answers."""
    for name, payload in (
        ("connected", Connected),
        ("pong", Pong),
        ("subscribed", Subscribed),
        ("unsubscribed", Unsubscribed),
        ("published", Published),
        ("acked", Acked),
        ("position", Passed),
        ("history", HistoryPage),
        ("presence", PresenceList),
        ("joined", Joined),
        ("left", Left),
        ("refreshed", Refreshed),
        ("stats", Stats),
        ("error", Error),
        ("token_expiring", TokenExpiring),
        ("disconnect", Disconnect),
    ):
        registry.answer(name, payload, owner="tidings")
