"""A small WebSocket client for tests: it hides nothing, and no wait of it is without bound."""

import base64
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
import trio

from tidings.protocol.frames import Opcode
from tidings.server.testing.faults import reset_stream

# Seconds that a wait may take. Long for a busy machine, short for a person who watches a test hang.
PATIENCE = 5.0

# Messages kept for later while another is waited for. A test that floods a client reads as it goes.
KEPT_MESSAGES = 10_000

# The longest head or body of an HTTP answer that is read: ours are a hundredth of it.
_ANSWER_BYTES = 1 << 20

_RECEIVE_BYTES = 65536

Message = dict[str, Any]


class TimedOut(AssertionError):
    """What a test waited for has not come in time; the message says what came instead."""


class ConnectionRefused(AssertionError):
    """The server answered the handshake with something other than 101."""

    def __init__(self, status: int, body: Any) -> None:
        """Take the answer."""
        super().__init__(f"the handshake was answered {status}: {body}")
        self.status = status
        self.body = body


class Closed(Exception):
    """The server has closed. `code` is None where TCP ended without a close frame."""

    def __init__(self, code: int | None, reason: str) -> None:
        """Take what the close frame said, or how TCP ended."""
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class _Frame(NamedTuple):
    opcode: int
    payload: bytes


class RawClient:
    """A WebSocket client on any trio stream; `TestServer.connect` makes them.

    Reads only while somebody waits, and answers pings then. One task at a time may wait. Methods raise
    TimedOut after `patience` seconds, and Closed once the server has closed; cancelling them is safe
    between messages only.
    """

    def __init__(self, stream: trio.abc.Stream, *, patience: float = PATIENCE) -> None:
        """Own a stream on which nothing was said yet."""
        self.stream = stream
        self.patience = patience
        self.connected: Message = {}
        """What the server's `connected` said: connection_id, user_id, …"""
        self.pending: deque[Message] = deque()
        """Messages that came while another was waited for, oldest first."""
        self._buffer = bytearray()
        self._packed = False
        self._commands = 0
        self._closed: Closed | None = None
        self._has_closed = False
        """Whether our own close frame has gone out."""

    # --- speaking ------------------------------------------------------------------------------------

    async def command(self, kind: str, data: Mapping[str, Any] | None = None, **fields: Any) -> Message:
        """Send a command and return its answer, which may be an `error`. `fields` add to `data`.

        What else comes meanwhile stays in `pending`. The answer comes behind everything that was
        published before it, so after `command("ping")` whatever this client shall have is there.
        """
        self._commands += 1
        command_id = f"test-{self._commands}"
        await self.send({"type": kind, "data": {**(data or {}), **fields}, "id": command_id})
        return await self._first(lambda message: message.get("id") == command_id, f"answer to {kind}")

    async def subscribe(self, channel: str) -> Message:
        """Subscribe, and return what `subscribed` said. Raises AssertionError when refused."""
        answer = await self.command("subscribe", channel=channel)
        if answer["type"] != "subscribed":
            raise AssertionError(f"{channel}: {answer['data']}")
        data: Message = answer["data"]
        return data

    async def send(self, message: Any) -> None:
        """Send anything as a message, in the encoding that was agreed on."""
        if self._packed:
            await self.send_frame(Opcode.BINARY, msgspec.msgpack.encode(message))
        else:
            await self.send_frame(Opcode.TEXT, msgspec.json.encode(message))

    async def send_frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        """Send a frame, right or wrong."""
        await self.send_bytes(_masked(opcode, payload, fin=fin))

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        async with self._patiently(f"the server to read {len(data)} bytes"):
            try:
                await self.stream.send_all(data)
            except trio.BrokenResourceError:
                # The close frame that says why may still be there to read.
                raise await self._how_it_ended() from None

    # --- listening -----------------------------------------------------------------------------------

    async def publication(self, channel: str | None = None, event: str | None = None) -> Message:
        """The next publication, or the next of a channel or event. Others stay in `pending`."""

        def matches(message: Message) -> bool:
            of_channel = "channel" in message if channel is None else message.get("channel") == channel
            return of_channel and "offset" in message and event in (None, message["type"])

        return await self._first(
            matches, f"publication of {event or 'any event'} to {channel or 'any channel'}"
        )

    async def message(self, kind: str | None = None) -> Message:
        """The next message of any kind, or of one type. Others stay in `pending`."""
        return await self._first(lambda message: kind in (None, message["type"]), kind or "message")

    async def received(self) -> list[Message]:
        """Everything that was meant for this client until now and that nobody has taken, without sleeping.

        Asks the server for a `pong` and takes all that came before it. The way to say that something did
        *not* come: `assert not await client.received()`.
        """
        await self.command("ping")
        messages = list(self.pending)
        self.pending.clear()
        return messages

    async def closed(self) -> Closed:
        """Read until the server closes, and return how it did. What comes before stays in `pending`."""
        try:
            await self._first(lambda _: False, "close")
        except Closed as closed:
            return closed
        raise AssertionError  # nothing matches

    # --- ending --------------------------------------------------------------------------------------

    async def close(self, code: int = 1000, reason: str = "") -> Closed:
        """Close in an orderly way; return the server's answer."""
        self._has_closed = True
        await self.send_frame(Opcode.CLOSE, code.to_bytes(2) + reason.encode())
        closed = await self.closed()
        await self.aclose()
        return closed

    async def reset(self) -> None:
        """End TCP with RST, as a crash does. Never blocks."""
        self._closed = self._closed or Closed(None, "reset by the test")
        await reset_stream(self.stream)

    async def aclose(self) -> None:
        """End TCP without a word. Idempotent; never blocks."""
        self._closed = self._closed or Closed(None, "ended by the test")
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self.stream)

    # --- beginning -----------------------------------------------------------------------------------

    async def handshake(
        self,
        target: str,
        *,
        host: str,
        subprotocols: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Ask for a WebSocket. Raises ConnectionRefused."""
        fields = {
            "Host": host,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        }
        if subprotocols:
            fields["Sec-WebSocket-Protocol"] = ", ".join(subprotocols)
        fields |= headers or {}
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        await self.send_bytes(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        async with self._patiently("answer to the handshake"):
            status, answered = await self._read_head()
            if status != 101:
                raise ConnectionRefused(status, await self._read_body(answered))
        self._packed = answered.get("sec-websocket-protocol", "").endswith(".msgpack")

    async def welcome(self) -> None:
        """Wait for `connected`."""
        self.connected = (await self.message("connected"))["data"]

    # --- inside --------------------------------------------------------------------------------------

    async def _first(self, matches: Callable[[Message], bool], what: str) -> Message:
        for at, message in enumerate(self.pending):
            if matches(message):
                del self.pending[at]
                return message
        async with self._patiently(what):
            while True:
                message = await self._read_message()
                if matches(message):
                    return message
                self._keep(message)

    def _keep(self, message: Message) -> None:
        if len(self.pending) >= KEPT_MESSAGES:
            raise AssertionError(f"{KEPT_MESSAGES} messages have come that nobody took")
        self.pending.append(message)

    @asynccontextmanager
    async def _patiently(self, what: str) -> AsyncIterator[None]:
        with trio.move_on_after(self.patience) as scope:
            yield
        if scope.cancelled_caught:
            kinds = ", ".join(str(message.get("type")) for message in self.pending) or "nothing"
            raise TimedOut(f"waited {self.patience:g} s for: {what}; there is: {kinds}")

    async def _read_message(self) -> Message:
        while True:
            frame = await self._read_frame()
            match frame.opcode:
                case Opcode.TEXT | Opcode.BINARY:
                    codec = msgspec.json if frame.opcode == Opcode.TEXT else msgspec.msgpack
                    message: Message = codec.decode(frame.payload)
                    return message
                case Opcode.PING:
                    await self.stream.send_all(_masked(Opcode.PONG, frame.payload))
                case Opcode.CLOSE:
                    code = int.from_bytes(frame.payload[:2]) if frame.payload else None
                    self._closed = Closed(code, frame.payload[2:].decode())
                    # Answered, or the server would wait for us until its time-out.
                    await self._farewell(frame.payload)
                    raise self._closed

    async def _farewell(self, payload: bytes) -> None:
        if self._has_closed:
            return
        try:
            await self.stream.send_all(_masked(Opcode.CLOSE, payload))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # it closed both at once

    async def _how_it_ended(self) -> Closed:
        try:
            while True:
                self._keep(await self._read_message())
        except Closed as closed:
            return closed

    async def _read_frame(self) -> _Frame:
        """A frame of the server's, which are never fragmented, compressed or masked.

        Nothing is taken from the buffer before the frame is whole: a cancelled read begins it anew.
        """
        await self._fill(2)
        begin, length = 2, self._buffer[1]
        if self._buffer[0] & 0x70 or not self._buffer[0] & 0x80 or length & 0x80:
            raise AssertionError(f"not a server's frame: {bytes(self._buffer[:16])!r}")
        if length >= 126:
            begin = 4 if length == 126 else 10
            await self._fill(begin)
            length = int.from_bytes(self._buffer[2:begin])
        await self._fill(begin + length)
        frame = _Frame(self._buffer[0] & 0x0F, bytes(self._buffer[begin : begin + length]))
        del self._buffer[: begin + length]
        return frame

    async def _read_head(self) -> tuple[int, dict[str, str]]:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            await self._fill(len(self._buffer) + 1, at_most=_ANSWER_BYTES)
        first, *rest = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        fields = (line.partition(":") for line in rest)
        return int(first.split(" ")[1]), {name.lower(): value.strip() for name, _, value in fields}

    async def _read_body(self, fields: Mapping[str, str]) -> Any:
        await self._fill(int(fields.get("content-length", 0)), at_most=_ANSWER_BYTES)
        body = bytes(self._buffer)
        return msgspec.json.decode(body) if "json" in fields.get("content-type", "") else body.decode()

    async def _fill(self, size: int, *, at_most: int | None = None) -> None:
        """Read until there are so many bytes."""
        while len(self._buffer) < size:
            if self._closed is not None:
                raise self._closed
            if at_most is not None and size > at_most:
                raise AssertionError(f"an answer of over {at_most} bytes")
            try:
                data = await self.stream.receive_some(_RECEIVE_BYTES)
            except trio.BrokenResourceError:
                data, how = b"", "TCP was reset"
            else:
                how = "TCP has ended"
            if not data:
                self._closed = Closed(None, how)
                raise self._closed
            self._buffer += data


def _masked(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A client's frame (RFC 6455 section 5.3)."""
    length = len(payload)
    first = (0x80 if fin else 0) | opcode
    if length < 126:
        head = bytes((first, 0x80 | length))
    elif length < 65536:
        head = bytes((first, 0x80 | 126)) + length.to_bytes(2)
    else:
        head = bytes((first, 0x80 | 127)) + length.to_bytes(8)
    key = os.urandom(4)
    stretched = (key * (length // 4 + 1))[:length]
    # As one large number: a loop over the bytes takes some 100 ms for a message of 1 MiB.
    masked = int.from_bytes(payload) ^ int.from_bytes(stretched)
    return head + key + masked.to_bytes(length)
