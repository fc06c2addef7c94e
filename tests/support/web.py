"""An HTTP/1.1 client that sends the bytes a test asks for, and handlers that do what a test needs."""

from dataclasses import dataclass
from typing import Any

import h11
import msgspec
import trio

from support.client import RawClient
from tidings.server.http import Exchange, Response, respond


@dataclass
class Answer:
    """One answer, read to its end."""

    status: int
    fields: dict[str, str]
    body: bytes
    informed: tuple[int, ...] = ()
    """The informational answers that came before it."""

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)

    @property
    def code(self) -> str:
        """The code of a refusal."""
        return str(self.json["error"]["code"])


class Truncated(Exception):
    """The connection ended before the answer did; `received` is what there was of it."""

    def __init__(self, received: bytes) -> None:
        super().__init__(received)
        self.received = received


class WebClient:
    """Reads answers by h11's client half, one after another. Every wait is bounded by the test's own deadline."""

    def __init__(self, raw: RawClient) -> None:
        self.raw = raw
        self._buffer = b""

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.raw.send(data)

    async def get(
        self, target: str = "/", *fields: str, method: str = "GET", version: str = "1.1"
    ) -> Answer:
        """Send a request without a body and read the answer."""
        await self.send(request(target, *fields, method=method, version=version))
        return await self.answer(method)

    async def post(self, body: bytes, *fields: str, target: str = "/") -> Answer:
        """Send a body with its length and read the answer."""
        await self.send(request(target, f"Content-Length: {len(body)}", *fields, method="POST") + body)
        return await self.answer("POST")

    async def answer(self, method: str = "GET") -> Answer:
        """The next answer. Raises Truncated."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        parser.send(h11.EndOfMessage())
        received, self._buffer = self._buffer, b""
        if received:
            parser.receive_data(received)
        head: h11.Response | None = None
        body = b""
        informed: list[int] = []
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError:
                raise Truncated(received) from None
            match event:
                case h11.NEED_DATA:
                    data = await self._receive()
                    received += data
                    parser.receive_data(data)
                case h11.InformationalResponse():
                    informed.append(event.status_code)
                case h11.Response():
                    head = event
                case h11.Data():
                    body += bytes(event.data)
                case h11.EndOfMessage():
                    break
                case _:
                    raise Truncated(received)
        assert head is not None
        self._buffer = parser.trailing_data[0]
        fields = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        return Answer(head.status_code, fields, body, tuple(informed))

    async def rest(self) -> bytes:
        """Everything until the server ends the connection, in whichever way."""
        received, self._buffer = self._buffer, b""
        while data := await self._receive():
            received += data
        return received

    async def _receive(self) -> bytes:
        try:
            return bytes(await self.raw.stream.receive_some(65536))
        except trio.BrokenResourceError:
            return b""


def request(target: str = "/", *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request's head; `Host: x` is there unless a field names one."""
    host = () if any(field.lower().startswith("host:") for field in fields) else ("Host: x",)
    return "\r\n".join((f"{method} {target} HTTP/{version}", *host, *fields, "", "")).encode("latin-1")


def chunked(*pieces: bytes) -> bytes:
    """A body in chunks, each piece one."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


async def echo(exchange: Exchange) -> None:
    """Answer what was asked: method, target and body."""
    body = b""
    while piece := await exchange.receive():
        body += piece
    told = {
        "method": exchange.request.method,
        "target": exchange.request.target,
        "body": body.decode("latin-1"),
    }
    await respond(exchange, Response(200, msgspec.json.encode(told)))


async def deaf(exchange: Exchange) -> None:
    """Answer 403 without a look at the body."""
    await respond(exchange, Response(403, b'{"error": {"code": "forbidden", "message": "no"}}'))
