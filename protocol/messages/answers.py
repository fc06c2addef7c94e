"""What the server says about the connection itself. None of these can be published by anybody."""

import msgspec

from tidings.protocol.errors import ErrorCode
from tidings.protocol.messages.registry import Registry


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


class Pong(msgspec.Struct, frozen=True):
    """Answers `ping`."""


class Subscribed(msgspec.Struct, frozen=True):
    """The subscription stands: the publications after `offset` follow."""

    channel: str
    epoch: str
    offset: int
    recovered: bool = False
    """Whether everything after the position asked for follows: nothing does while no history is kept."""


class Unsubscribed(msgspec.Struct, frozen=True):
    """The subscription ended: nothing of the channel follows."""

    channel: str


class Published(msgspec.Struct, frozen=True):
    """The broker accepted a publication and gave it this offset."""

    channel: str
    offset: int


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
        ("refreshed", Refreshed),
        ("stats", Stats),
        ("error", Error),
        ("token_expiring", TokenExpiring),
        ("disconnect", Disconnect),
    ):
        registry.answer(name, payload, owner="tidings")
    # The wire protocol names these too; a publication must never be mistaken for one.
    registry.reserve("acked", "history", "presence", "joined", "left", owner="tidings")
