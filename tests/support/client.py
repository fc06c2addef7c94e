"""A WebSocket client that can do everything wrong: it writes the bytes that a test asks for."""

import random
from typing import Any

import msgspec
import trio

from support.frames import client_frame
from tidings.protocol.frames import Opcode

# Never the same mask twice in a row, and the same ones in every process: masked frames name test cases.
_masks = random.Random("masks")

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Closed(Exception):
    """The server closed; `code` is None where TCP ended without a close frame."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True, length: int | None = None) -> bytes:
    """A client's frame; `length` lies about the payload's."""
    return client_frame(opcode, payload, fin=fin, mask=_masks.randbytes(4), declared=length)


class RawClient:
    """A client on any trio stream. Every wait is bounded by the test's own deadline."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.answers_pings = False
        """Whether `receive_json` answers pings, as a real client does; else they are skipped."""
        self._buffer = bytearray()

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send_all(data)

    async def handshake(
        self,
        path: str = "/ws",
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        replace: dict[str, str | None] | None = None,
    ) -> tuple[int, dict[str, str], Any]:
        """Ask for a WebSocket; status, headers and decoded JSON body of the answer.

        `headers` are added, `replace` changes or (None) leaves out the usual ones.
        """
        if token is not None:
            path += ("&" if "?" in path else "?") + f"token={token}"
        fields: dict[str, str | None] = {
            "Host": "127.0.0.1",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": KEY,
        }
        fields |= replace or {}
        lines = [f"GET {path} HTTP/1.1"]
        lines += [
            f"{name}: {value}" for name, value in (fields | (headers or {})).items() if value is not None
        ]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        return await self.response()

    async def response(self) -> tuple[int, dict[str, str], Any]:
        """Read an HTTP answer: status, headers (lower case), decoded JSON body (or bytes, or None)."""
        while b"\r\n\r\n" not in self._buffer:
            await self._fill()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        self._buffer = bytearray(rest)
        if status == 101:
            return status, fields, None
        while len(self._buffer) < int(fields["content-length"]):
            await self._fill()
        body = bytes(self._buffer)
        return status, fields, msgspec.json.decode(body) if "json" in fields["content-type"] else body

    async def send_json(self, message: Any) -> None:
        """Send a text message."""
        await self.send(masked(Opcode.TEXT, msgspec.json.encode(message)))

    async def send_text(self, text: str) -> None:
        """Send a text message as it is."""
        await self.send(masked(Opcode.TEXT, text.encode()))

    async def send_packed(self, message: Any) -> None:
        """Send a MessagePack message."""
        await self.send(masked(Opcode.BINARY, msgspec.msgpack.encode(message)))

    async def send_close(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a close frame; None leaves the code out."""
        payload = b"" if code is None else code.to_bytes(2) + reason.encode()
        await self.send(masked(Opcode.CLOSE, payload))

    async def command(self, kind: str, data: dict[str, Any] | None = None, *, id: str | None = None) -> Any:  # noqa: A002
        """Send a command and read until its answer (the first message that bears its id)."""
        command_id = id or f"c-{kind}"
        await self.send_json({"type": kind, "data": data or {}, "id": command_id})
        while True:
            message = await self.receive_json()
            if message.get("id") == command_id:
                return message

    async def packed_command(self, kind: str, data: dict[str, Any] | None = None) -> Any:
        """As `command`, in MessagePack; asserts that every answer is, too."""
        await self.send_packed({"type": kind, "data": data or {}, "id": f"c-{kind}"})
        while (message := await self.receive_packed()).get("id") != f"c-{kind}":
            pass
        return message

    async def receive_packed(self) -> Any:
        """The next message, which must be MessagePack in a binary frame."""
        opcode, payload = await self.receive_frame()
        assert opcode == Opcode.BINARY, opcode
        return msgspec.msgpack.decode(payload)

    async def receive_frame(self) -> tuple[int, bytes]:
        """The next frame: first byte's opcode, payload. Raises Closed when TCP has ended."""
        head = await self._exactly(2)
        length = head[1] & 0x7F
        assert head[0] & 0x80, "the server never fragments"
        assert not head[0] & 0x70, "the server sets no reserved bit"
        assert not head[1] & 0x80, "the server never masks"
        if length == 126:
            length = int.from_bytes(await self._exactly(2))
        elif length == 127:
            length = int.from_bytes(await self._exactly(8))
        return head[0] & 0x0F, await self._exactly(length)

    async def receive_json(self) -> Any:
        """The next message, decoded. Raises Closed on a close frame; pings and pongs are skipped."""
        while True:
            opcode, payload = await self.receive_frame()
            if opcode == Opcode.TEXT:
                return msgspec.json.decode(payload)
            if opcode == Opcode.BINARY:
                return msgspec.msgpack.decode(payload)
            if opcode == Opcode.CLOSE:
                raise Closed(int.from_bytes(payload[:2]) if payload else None, payload[2:].decode())
            if opcode == Opcode.PING and self.answers_pings:
                await self.send(masked(Opcode.PONG, payload))

    async def closed(self) -> Closed:
        """Read until the server closes; how it did."""
        while True:
            try:
                await self.receive_json()
            except Closed as closed:
                return closed

    async def until_closed(self) -> tuple[list[Any], Closed]:
        """All messages until the server closes, and how it did."""
        messages = []
        try:
            while True:
                messages.append(await self.receive_json())
        except Closed as closed:
            return messages, closed

    async def at_end(self) -> bool:
        """Whether the server ends TCP, too, without a further message."""
        try:
            return not await self.stream.receive_some(1)
        except trio.BrokenResourceError:
            return True

    async def aclose(self) -> None:
        """Close TCP, without a close frame."""
        await self.stream.aclose()

    async def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._fill()
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def _fill(self) -> None:
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            raise Closed(None, "reset") from None
        if not data:
            raise Closed(None, "end of TCP")
        self._buffer += data
