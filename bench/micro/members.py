"""Subscribers with real outboxes and no sockets."""

from collections.abc import Callable
from functools import partial

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.dialects.base import Dialect
from tidings.protocol.frames import Framing, build_frame
from tidings.protocol.messages.answers import ConnectionStats
from tidings.protocol.positions import Position
from tidings.server.config import Limits
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.outbox import Outbox, Send
from tidings.server.identity import Identity

ROOM = "room:micro"
EPOCH = "micro"

# A socket that takes everything at once, and costs as little as a call can.
takes_all: Send = len


def takes_nothing(_data: bytes | memoryview) -> int:
    """A socket whose buffer is full."""
    raise BlockingIOError


def outbox(send: Send, limit: int = Limits().outbox_bytes) -> Outbox:
    """The outbox of a connection that nobody asks about."""
    return Outbox(limit, send=send, on_overflow=_nobody, on_broken=_nobody)


def _nobody() -> None:
    """Nobody is told."""


class Member:
    """A connection as the hub knows one."""

    def __init__(self, number: int, dialect: Dialect, send: Send = takes_all) -> None:
        self.connection_id = f"micro-{number}"
        self.peer = "192.0.2.1"
        self.identity = Identity(f"user-{number}", f"user-{number}", expires_at=2**31)
        self.dialect = dialect
        self.framing: Framing = build_frame
        # Each has its own, as each has a socket.
        self.direct: Callable[[bytes], int] | None = partial(send)
        self.device = ""
        self._outbox = outbox(send)
        self.offer: Callable[[bytes], None] = self._outbox.offer

    @property
    def is_queueing(self) -> bool:
        """Whether something waits."""
        return self._outbox.is_queueing

    @property
    def took_all(self) -> bool:
        """Whether nothing waits."""
        return not self._outbox.pending_bytes

    @property
    def has_room(self) -> bool:
        """Whether more may be offered at leisure."""
        return self._outbox.has_room

    async def wait_room(self) -> None:
        """Wait until it has room."""
        await self._outbox.wait_room()

    def fell_short(self, data: bytes, sent: int | None) -> None:
        """Keep what its socket did not take."""
        self._outbox.fell_short(data, sent)

    @property
    def pending_bytes(self) -> int:
        """Bytes that wait."""
        return self._outbox.pending_bytes

    @property
    def bytes_sent(self) -> int:
        """Bytes that its socket took."""
        return self._outbox.bytes_sent

    def close(self, code: CloseCode, reason: str | None = None) -> bool:
        """Nobody here closes anybody."""
        raise AssertionError(f"closed: {code} {reason}")

    def leave(self, channel: str) -> bool:
        """Nor takes anybody out."""
        raise AssertionError(f"taken out of {channel}")

    def connection_stats(self) -> ConnectionStats:
        """Nor asks."""
        raise AssertionError("asked")


def room(dialect: Dialect, count: int) -> tuple[Hub, list[Member]]:
    """A hub with a room of so many."""
    hub = Hub()
    members = [Member(number, dialect) for number in range(count)]
    for member in members:
        hub.connect(member)
        hub.subscribe(member, ROOM, Position(EPOCH, 0))
    return hub, members
