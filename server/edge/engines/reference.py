r"""The reference engine: trio-websocket, contained.

The library parses frames, validates UTF-8, answers pings and echoes closes. It never touches the socket:
it reads from and writes to a stream of ours, so that every byte passes a watch on the way in and the one
outbox on the way out. What that contains:

- It sees a handshake rebuilt from checked parts, never the client's own bytes: a `\xff` in a header
  cannot raise out of it, nothing can be rejected, no half-open handshake keeps its task.
- Limits are enforced on frame headers before it sees them: it is never in the state in which one
  oversized message followed by a ping raises LocalProtocolError, and it buffers no more than a message.
- It never closes: close frames are ours, sealed into the outbox; its own attempts to send afterwards
  (a pong, an echo) fall on the sealed outbox, and its unbounded `aclose()` is never called.
- On a protocol error it would drop TCP without a word; here its stream's `aclose` only ends its reading,
  and the connection sends the close frame with the code that the library found.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
import trio_websocket

from tidings.protocol.close_codes import REASONS, CloseCode
from tidings.protocol.frame_watch import FrameWatch
from tidings.protocol.frames import FIN, Opcode, Violation, build_frame
from tidings.server.delivery.outbox import Outbox
from tidings.server.edge.engines.seam import MESSAGE_SECONDS, Ended, EngineLimits, Upgrade
from tidings.server.edge.engines.sending import Sending
from tidings.server.edge.transport import Transport

_CLOSE_FRAME = FIN | Opcode.CLOSE

# One whole message may wait between the library's reader and the connection; a second stops the reading,
# which is the back-pressure. 0 would cost a task switch more for each message.
_WAITING_MESSAGES = 1


class _Stream(trio.abc.Stream):
    """What the library takes for its network connection."""

    def __init__(
        self,
        head: bytes,
        leftover: bytes,
        transport: Transport,
        outbox: Outbox,
        watch: FrameWatch,
        on_control: Callable[[int], None],
    ) -> None:
        self._head = head
        self._leftover = leftover
        self._transport = transport
        self._outbox = outbox
        self.watch = watch
        self._on_control = on_control
        self.echoed_close = False
        """Whether the library has answered a close frame of the peer's."""
        self.refused = False
        """Whether the watch's violation is what ended the reading: all before it was good."""
        self._counted = 0
        self._complete_by: float | None = None
        """When the message that has begun must be complete, on trio's clock."""
        self.accepted = trio.Event()
        """Set once the library has answered the handshake."""
        self._ended = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:  # noqa: ARG002  we choose the size
        if self._head:
            head, self._head = self._head, b""
            return head
        # Bytes that came early would be taken for the handshake's, and lie there until more arrive.
        if not self.accepted.is_set():
            await self.accepted.wait()
        if self._ended:
            self.refused = True
            raise trio.ClosedResourceError
        if self._leftover:
            data, self._leftover = self._leftover, b""
        else:
            data = await self._receive()
        good = self.watch.feed(data)
        if self.watch.control_frames:
            self._on_control(self.watch.control_frames)
            self.watch.control_frames = 0
        if good < len(data):
            # What stood before the violation, or up to the peer's close, is as good as ever; the next
            # read ends it all.
            self._ended = True
            if not good:
                self.refused = True
                raise trio.ClosedResourceError
            return data[:good]
        return data

    async def _receive(self) -> bytes:
        """The next bytes, unless a begun message is not getting on."""
        watch = self.watch
        if not watch.is_inside:
            self._complete_by = None
            return await self._transport.receive()
        if self._complete_by is None or watch.messages != self._counted:
            self._counted = watch.messages
            self._complete_by = trio.current_time() + MESSAGE_SECONDS
        with trio.move_on_at(self._complete_by):
            return await self._transport.receive()
        watch.violation = Violation(
            CloseCode.POLICY_VIOLATION, f"a message must be complete within {MESSAGE_SECONDS:g} s"
        )
        self.refused = self._ended = True
        raise trio.ClosedResourceError

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        data = bytes(data)
        if data[0] == _CLOSE_FRAME:
            self.echoed_close = True
            self._outbox.seal(data)
        else:
            self._outbox.offer(data)
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self._ended = True
        await trio.lowlevel.checkpoint()


class ReferenceWebSocket(Sending):
    """A WebSocket whose frames trio-websocket parses."""

    __slots__ = ("_library", "_stream")

    def __init__(
        self, library: trio_websocket.WebSocketConnection, stream: _Stream, outbox: Outbox
    ) -> None:
        # The library can compress, but only what it sends itself: a frame for each connection.
        super().__init__(outbox, build_frame)
        self._library = library
        self._stream = stream

    def allow(self, message_bytes: int) -> None:
        """Take messages of so many bytes from now on."""
        self._stream.watch.allow(message_bytes)

    async def receive(self) -> str | bytes:
        """The next whole message."""
        try:
            return await self._library.get_message()
        except trio_websocket.ConnectionClosed as closed:
            raise self._ended(closed.reason) from None

    def _ended(self, reason: trio_websocket.CloseReason | None) -> Ended:
        violation = self._stream.watch.violation
        if violation is not None and self._stream.refused and not self._stream.echoed_close:
            return Ended(violation.code, violation.reason, by_peer=False)
        code = CloseCode.ABNORMAL if reason is None else reason.code
        text = (reason.reason if reason else None) or ""
        if self._stream.echoed_close or code == CloseCode.ABNORMAL:
            return Ended(code, text, by_peer=True)
        # Neither the peer's close nor the end of TCP: the library found the frames wrong.
        known = REASONS.get(CloseCode(code)) if code in set(CloseCode) else None
        return Ended(code, text or known or "protocol error", by_peer=False)


class ReferenceEngine:
    """trio-websocket behind the seam."""

    name = "reference"

    @asynccontextmanager
    async def accept(
        self,
        upgrade: Upgrade,
        transport: Transport,
        outbox: Outbox,
        limits: EngineLimits,
        on_control: Callable[[int], None],
    ) -> AsyncIterator[ReferenceWebSocket]:
        """Let the library answer a handshake that cannot fail."""
        watch = FrameWatch(
            max_message=limits.message_bytes,
            max_fragments=limits.fragments_per_message,
            accepts=limits.accepts,
        )
        stream = _Stream(_clean_head(upgrade), upgrade.leftover, transport, outbox, watch, on_control)
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(
                nursery,
                stream,
                message_queue_size=_WAITING_MESSAGES,
                # In characters, and the watch counts bytes: this limit is never the first to be met.
                max_message_size=max(limits.message_bytes, limits.later_bytes),
            )
            library = await request.accept(subprotocol=upgrade.subprotocol)
            del upgrade
            stream.accepted.set()
            yield ReferenceWebSocket(library, stream, outbox)
            nursery.cancel_scope.cancel()


def _clean_head(upgrade: Upgrade) -> bytes:
    """The handshake as the library is to see it: nothing of the client's but the checked key."""
    lines = [
        b"GET / HTTP/1.1",
        b"Host: tidings",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: " + upgrade.key,
    ]
    if upgrade.subprotocol is not None:
        lines.append(b"Sec-WebSocket-Protocol: " + upgrade.subprotocol.encode("ascii"))
    return b"\r\n".join(lines) + b"\r\n\r\n"
