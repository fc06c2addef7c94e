"""What the client tells of itself: a value for each change of its connection."""

from dataclasses import dataclass
from typing import Any

from tidings.client.errors import CommandRefused, ConnectionLost
from tidings.client.publications import Gap, Recovered
from tidings.client.queued import Queued


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection stands."""

    connection_id: str
    user_id: str
    username: str
    expires_at: int
    """Unix seconds at which the token ends."""
    attempt: int
    """How many attempts it took; 1 where the first one did."""


@dataclass(frozen=True, slots=True)
class Resubscribed:
    """After a reconnection every subscription stands again."""

    channels: tuple[str, ...]
    lost: tuple[Gap, ...]
    """What was published meanwhile and cannot be had any more, also on channels that come unasked. Empty:
    nothing is lost."""
    recovered: tuple[Recovered, ...] = ()
    """What was published meanwhile and is handed over, at its place and before anything newer. The inbox
    follows without being listed here."""


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection was lost, or an attempt failed; another one follows."""

    attempt: int
    """Of the attempt that comes."""
    delay: float
    """Seconds until then."""
    code: int
    """The WebSocket close code or HTTP status that ended the last one; 1006 where TCP just ended."""
    why: str


@dataclass(frozen=True, slots=True)
class TokenExpiring:
    """The token ends soon. With a token provider the client renews it by itself."""

    expires_at: int
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class SendFailed:
    """A message that waited to be sent will not be sent any more; those behind it will."""

    message: Queued
    error: CommandRefused | ConnectionLost
    """Why it was refused; ConnectionLost where it may have arrived, and repeating it could double it."""


@dataclass(frozen=True, slots=True)
class NotAcknowledged:
    """The server refuses for good to note what was dealt with of the inbox.

    On this connection nothing more is acknowledged, and what was not comes again on the next one, where it is
    tried anew. Told in whichever way is acknowledged; `Client.ack` raises the same error.
    """

    offset: int
    """Of the last publication that was to be acknowledged."""
    error: CommandRefused


@dataclass(frozen=True, slots=True)
class Notice:
    """A word of the server's that this client does not know, as a later version may send."""

    type: str
    channel: str | None
    data: Any


Event = Connected | Resubscribed | Reconnecting | TokenExpiring | SendFailed | NotAcknowledged | Notice
