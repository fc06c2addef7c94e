"""The native engine: our own protocol code under the connection's three tasks, with none of its own.

Frames are parsed by `protocol/parser.py` in the read task, straight from the transport's bytes. What
is answered on the protocol's own behalf (the 101, pongs, the echo of a close) goes to the outbox as
everything else does: inline where the socket takes it, else by the write task, which under TLS joins
what waits. So there is nothing here that could wait on a peer but `receive`.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext

import trio

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.deflate import DeflateOptions, Deflater, negotiate
from tidings.protocol.frames import Framing, Opcode, Violation, build_close, build_frame
from tidings.protocol.parser import Closing, MessageParser, Ping, Pong
from tidings.protocol.upgrade import switching_protocols
from tidings.server.delivery.outbox import Outbox
from tidings.server.edge.engines.seam import MESSAGE_SECONDS, Ended, EngineLimits, Upgrade
from tidings.server.edge.engines.sending import Sending
from tidings.server.edge.transport import Transport

# So many messages or control frames of one read are handled before everybody else has a turn: about a
# millisecond of ordinary commands.
EVENTS_PER_TURN = 32


class NativeWebSocket(Sending):
    """A WebSocket whose frames we parse."""

    __slots__ = (
        "_complete_by",
        "_ended",
        "_in_turn",
        "_on_control",
        "_parser",
        "_transport",
    )

    def __init__(
        self,
        parser: MessageParser,
        framing: Framing,
        transport: Transport,
        outbox: Outbox,
        on_control: Callable[[int], None],
    ) -> None:
        super().__init__(outbox, framing)
        self._parser = parser
        self._transport = transport
        self._on_control = on_control
        self._in_turn = 0
        """Events since somebody else had a turn."""
        self._complete_by: float | None = None
        """When what has begun, a message or a control frame, must be complete, on trio's clock."""
        self._ended: Ended | None = None

    def allow(self, message_bytes: int) -> None:
        """Take messages of so many bytes from now on."""
        self._parser.allow(message_bytes)

    def receive_nowait(self) -> str | bytes | None:
        """The next whole message of what was read, until it is somebody else's turn."""
        parser = self._parser
        while self._in_turn < EVENTS_PER_TURN:
            try:
                event = parser.next_event()
            except Violation as violation:
                raise self._end(violation.code, violation.reason, by_peer=False) from None
            if event is None:
                return None
            self._in_turn += 1
            if isinstance(event, (str, bytes)):
                self._complete_by = None
                if parser.owes_units:
                    self._charge()
                return event
            if not parser.is_in_message:
                self._complete_by = None
            self._control(event)
        return None

    async def receive(self) -> str | bytes:
        """The next whole message."""
        while True:
            message = self.receive_nowait()
            if message is not None:
                return message
            if self._in_turn >= EVENTS_PER_TURN:
                # Before an event is taken, so that cancelling loses none.
                self._in_turn = 0
                await trio.lowlevel.checkpoint()
            else:
                self._charge()
                self._parser.feed(await self._read())

    def _charge(self) -> None:
        """Count what fragments cost."""
        units = self._parser.take_units()
        if units:
            self._on_control(units)

    def _control(self, event: Ping | Pong | Closing) -> None:
        """Answer a control frame. Raises Ended at the peer's close."""
        if isinstance(event, Closing):
            self._outbox.seal(build_close(event.code, event.reason))
            raise self._end(event.code, event.reason, by_peer=True)
        if isinstance(event, Ping):
            self._outbox.offer(build_frame(Opcode.PONG, event.payload))
        self._on_control(1)

    async def _read(self) -> bytes:
        """The next bytes. Raises Ended: when TCP has ended, or a begun message does not get on."""
        if self._ended is not None:
            raise self._end(self._ended.code, self._ended.reason, by_peer=self._ended.by_peer)
        self._in_turn = 0
        data = None
        if not self._parser.is_inside:
            self._complete_by = None
            data = await self._transport.receive()
        else:
            if self._complete_by is None:
                self._complete_by = trio.current_time() + MESSAGE_SECONDS
            with trio.move_on_at(self._complete_by):
                data = await self._transport.receive()
        if data is None:
            reason = f"a message must be complete within {MESSAGE_SECONDS:g} s"
            raise self._end(CloseCode.POLICY_VIOLATION, reason, by_peer=False)
        if not data:
            raise self._end(CloseCode.ABNORMAL, "", by_peer=True)
        return data

    def _end(self, code: int, reason: str, *, by_peer: bool) -> Ended:
        """Note why it is over; the exception to raise, new each time, since each grows a traceback."""
        self._ended = Ended(code, reason, by_peer=by_peer)
        return Ended(code, reason, by_peer=by_peer)


class NativeEngine:
    """Our own protocol code behind the seam."""

    name = "native"

    def __init__(self, deflate: DeflateOptions | None = None) -> None:
        """Take how to compress; None: nothing is compressed."""
        self._deflate = deflate
        self._deflaters: dict[int, Deflater] = {}
        """By window: connections of one window share their frames."""

    def accept(
        self,
        upgrade: Upgrade,
        transport: Transport,
        outbox: Outbox,
        limits: EngineLimits,
        on_control: Callable[[int], None],
    ) -> AbstractAsyncContextManager[NativeWebSocket]:
        """Answer the handshake. There is nothing to wait for, nor to leave behind."""
        agreement = None if self._deflate is None else negotiate(upgrade.extensions, self._deflate)
        outbox.offer(
            switching_protocols(upgrade.key, upgrade.subprotocol, agreement.answer if agreement else None)
        )
        parser = MessageParser(
            max_message=limits.message_bytes,
            max_fragments=limits.fragments_per_message,
            accepts=limits.accepts,
            inflater=agreement.inflater() if agreement else None,
        )
        if upgrade.leftover:
            parser.feed(upgrade.leftover)
        framing = self._deflater(agreement.server_window) if agreement else build_frame
        return nullcontext(NativeWebSocket(parser, framing, transport, outbox, on_control))

    def _deflater(self, window: int) -> Deflater:
        assert self._deflate is not None
        if window not in self._deflaters:
            self._deflaters[window] = Deflater(window, self._deflate)
        return self._deflaters[window]
