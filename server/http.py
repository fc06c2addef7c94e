"""A request and its answer, as the front door and the application behind it exchange them."""

from collections.abc import Awaitable, Callable
from functools import cached_property
from http import HTTPStatus
from typing import Protocol
from urllib.parse import parse_qsl, unquote

import msgspec

Headers = list[tuple[bytes, bytes]]


class Request(msgspec.Struct, frozen=True, dict=True):
    """A request's head. Header names are lower case.

    A handshake asks for ten headers and three times for the path, so both are worked out once.
    """

    method: str
    target: str
    headers: Headers
    http_version: str
    peer: str
    """The client's address: the socket's, or what a trusted proxy says."""
    secure: bool

    @cached_property
    def path(self) -> str:
        """The target's path, percent-decoded."""
        return unquote(self.target.partition("?")[0])

    def query(self, name: str) -> str | None:
        """The first value of a query parameter; bad UTF-8 in it becomes U+FFFD."""
        query = self.target.partition("?")[2]
        if not query:
            return None
        return next((value for key, value in parse_qsl(query, keep_blank_values=True) if key == name), None)

    def header(self, name: bytes) -> bytes | None:
        """The one value of a header; a repeated one is joined with commas (RFC 9110 section 5.3)."""
        return self._values.get(name)

    def text(self, name: bytes) -> str | None:
        """As `header`, as text: latin-1, in which every byte is a character."""
        value = self.header(name)
        return None if value is None else value.decode("latin-1")

    @cached_property
    def _values(self) -> dict[bytes, bytes]:
        values = dict(self.headers)
        if len(values) < len(self.headers):
            all_values: dict[bytes, list[bytes]] = {}
            for name, value in self.headers:
                all_values.setdefault(name, []).append(value)
            values = {name: b", ".join(each) for name, each in all_values.items()}
        return values


class Response(msgspec.Struct, frozen=True):
    """An answer with its whole body."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Headers = []

    @property
    def fields(self) -> Headers:
        """All headers but those that frame the body."""
        return [(b"Content-Type", self.content_type.encode()), *self.headers]

    def encode(self, *, head_only: bool = False) -> bytes:
        """The answer as bytes, telling that the connection ends with it. For answers of our own wording only."""
        reason = HTTPStatus(self.status).phrase
        lines = [
            f"HTTP/1.1 {self.status} {reason}".encode(),
            b"Content-Length: %d" % len(self.body),
            b"Connection: close",
            *(name + b": " + value for name, value in self.fields),
        ]
        return b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if head_only else self.body)


def refusal(status: int, code: str, message: str, headers: Headers | None = None) -> Response:
    """A refusal with the JSON body that all of them have: `{"error": {"code", "message"}}`."""
    body = msgspec.json.encode({"error": {"code": code, "message": message}})
    return Response(status, body, headers=headers or [])


class BodyRefused(Exception):
    """The request's body is too large, too slow or malformed. The front door has the answer ready."""

    def __init__(self, response: Response) -> None:
        """Take what the client is answered."""
        super().__init__(response.status)
        self.response = response


class PeerGone(Exception):
    """The client went away before its request was answered."""


class Exchange(Protocol):
    """One request and its answer: read the body or leave it, then `start`, then `send` until the last piece.

    All waiting here is bounded by the front door's deadlines, and may be cancelled.
    """

    always: Headers
    """Added to whatever is answered, also by the front door in the application's place; set before that."""

    @property
    def request(self) -> Request:
        """The request's head."""

    async def receive(self) -> bytes:
        """The next piece of the body; b"" at its end, and ever after.

        Raises BodyRefused, after which whatever else is answered, the client gets that refusal; PeerGone.
        """

    async def start(self, status: int, headers: Headers) -> None:
        """Begin the answer. Without a Content-Length it is framed as the client's version allows.

        Header names and values are checked (ValueError): nothing may smuggle a line break into the head.
        Raises PeerGone.
        """

    async def send(self, data: bytes, *, more: bool = False) -> None:
        """Send a piece of the answer's body; the last one ends it.

        Raises PeerGone, also for a peer that does not read within the deadline.
        """


async def respond(exchange: Exchange, response: Response) -> None:
    """Give an answer with its whole body. Raises ValueError, PeerGone."""
    await exchange.start(response.status, response.fields)
    await exchange.send(response.body)


#: Answers one request. What it raises is logged, and answered 500 where nothing was begun.
HttpHandler = Callable[[Exchange], Awaitable[None]]
