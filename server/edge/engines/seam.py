"""The seam between a connection and the WebSocket implementation under it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.extensions import ExtensionOffer
from tidings.protocol.frames import Framing, Opcode
from tidings.protocol.headers import ANY_DATA
from tidings.server.delivery.outbox import Outbox
from tidings.server.edge.transport import Transport

# A message that has begun must get on: 64 KiB in this time is what a bad mobile line manages, and a peer
# that sends a byte now and then to look alive does not.
MESSAGE_SECONDS = 60.0


class Upgrade(msgspec.Struct, frozen=True):
    """A WebSocket handshake that the front door has read, checked and accepted."""

    key: bytes
    """`Sec-WebSocket-Key`, checked: base64 of 16 bytes (RFC 6455 section 4.2.1)."""
    subprotocol: str | None = None
    """To be named in the answer."""
    leftover: bytes = b""
    """Bytes that arrived behind the head."""
    extensions: Sequence[ExtensionOffer] = ()
    """What the client offers; an engine that knows none of it says nothing."""


class EngineLimits(msgspec.Struct, frozen=True):
    """What a peer may send."""

    message_bytes: int
    fragments_per_message: int
    accepts: frozenset[Opcode] = ANY_DATA
    """Which messages the dialect takes: others end the connection with 1003 (section 7.4.1)."""
    later_bytes: int = 0
    """The most that `allow` will ever raise `message_bytes` to."""


class Ended(Exception):
    """No further message will come. `code` and `reason` say why.

    With `by_peer` the peer closed (1006: TCP ended without a close frame). Otherwise the peer broke the
    protocol, and whoever holds the WebSocket must `close` it with this code.
    """

    def __init__(self, code: CloseCode | int, reason: str, *, by_peer: bool) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.by_peer = by_peer


class WebSocket(Protocol):
    """One WebSocket after its handshake.

    All its bytes leave through the connection's outbox, so whole frames made elsewhere may be offered
    there directly; that is what `send_frame` is.
    """

    @property
    def framing(self) -> Framing:
        """What makes frames of messages for this peer. The same object for all who may share a frame."""

    def send_frame(self, frame: bytes) -> None:
        """Offer whole frames made elsewhere. Never blocks, never raises."""

    def ping(self) -> None:
        """Send a ping. Whatever the peer sends next proves that it lives."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame behind what waits; nothing can be sent after it. Idempotent: the first stands."""

    def allow(self, message_bytes: int) -> None:
        """Take messages of so many bytes from now on, at most the limits' `later_bytes`."""

    def receive_nowait(self) -> str | bytes | None:
        """What `receive` gives, where it is here already; None where only that tells. Raises Ended."""

    async def receive(self) -> str | bytes:
        """The next whole message: `str` of a text message, `bytes` of a binary one.

        Raises Ended, and goes on raising it. Cancelling loses no message.
        """


class Engine(Protocol):
    """A WebSocket implementation."""

    @property
    def name(self) -> str:
        """As in `[server] engine`."""

    def accept(
        self,
        upgrade: Upgrade,
        transport: Transport,
        outbox: Outbox,
        limits: EngineLimits,
        on_control: Callable[[int], None],
    ) -> AbstractAsyncContextManager[WebSocket]:
        """Answer the handshake on entering; the WebSocket is used within the block, in the task that opened it.

        `on_control` is told how many pings and pongs came in, and how many times 16 fragments beyond a
        message's first: they cost work as messages do. It is synchronous, does not raise, and may close
        the WebSocket.

        Tasks that an engine needs end with the block. An exception that leaves one of them is a fault of
        the engine: it leaves the block too, alone or in a group, and the connection sees to that.
        """
