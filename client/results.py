"""What the server answers, as values."""

import msgspec

from tidings.protocol.messages import answers


class Published(msgspec.Struct, frozen=True):
    """A publication was accepted, and this is its position."""

    channel: str
    offset: int
    epoch: str | None = None
    """None where the answer does not tell it, as over the WebSocket."""
    durability: str | None = None
    """What was promised: `memory` ends with the server's process, `disk` was synced. None: it was not told."""
    dropped: int = 0
    """How many older publications, which somebody has not acknowledged, made room: the user's inbox was full."""


class ServerStats(answers.ServerStats, frozen=True):
    """Figures of a server since it started."""

    uptime_seconds: float = 0.0
    version: str = ""


class UserConnection(msgspec.Struct, frozen=True):
    """One connection of a user."""

    connection_id: str
    username: str
    dialect: str
    peer: str
    connected_seconds: float
    channels: list[str]
    outbox_bytes: int


class UserConnections(msgspec.Struct, frozen=True):
    """Whether a user is there, and by which connections."""

    user_id: str
    online: bool
    connections: list[UserConnection]
