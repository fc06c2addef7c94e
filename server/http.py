"""A request and its answer, as the front door and the pages behind it exchange them."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

import msgspec

Headers = list[tuple[bytes, bytes]]


class Request(msgspec.Struct, frozen=True):
    """A request's head. Header names are lower case."""

    method: str
    target: str
    headers: Headers
    http_version: str
    peer: str
    """The client's address: the socket's, or what a trusted proxy says."""
    secure: bool

    @property
    def path(self) -> str:
        """The target's path, percent-decoded."""
        return unquote(self.target.partition("?")[0])

    def query(self, name: str) -> str | None:
        """The first value of a query parameter; bad UTF-8 in it becomes U+FFFD."""
        query = self.target.partition("?")[2]
        return next((value for key, value in parse_qsl(query, keep_blank_values=True) if key == name), None)

    def header(self, name: bytes) -> bytes | None:
        """The one value of a header; a repeated one is joined with commas (RFC 9110 section 5.3)."""
        values = [value for key, value in self.headers if key == name]
        return b", ".join(values) if values else None

    def text(self, name: bytes) -> str | None:
        """As `header`, as text: latin-1, in which every byte is a character."""
        value = self.header(name)
        return None if value is None else value.decode("latin-1")


class Response(msgspec.Struct, frozen=True):
    """An answer with its whole body."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Headers = []

    def encode(self, *, head_only: bool = False) -> bytes:
        """The answer as bytes, telling that the connection ends with it."""
        reason = HTTPStatus(self.status).phrase
        lines = [
            f"HTTP/1.1 {self.status} {reason}".encode(),
            b"Content-Type: " + self.content_type.encode(),
            b"Content-Length: %d" % len(self.body),
            b"Connection: close",
            *(name + b": " + value for name, value in self.headers),
        ]
        return b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if head_only else self.body)


def refusal(status: int, code: str, message: str, headers: Headers | None = None) -> Response:
    """A refusal with the JSON body that all of them have: `{"error": {"code", "message"}}`."""
    body = msgspec.json.encode({"error": {"code": code, "message": message}})
    return Response(status, body, headers=headers or [])


#: Answers a plain HTTP request, which has no body yet: where an HTTP application plugs in, and will want one.
HttpHandler = Callable[[Request], Awaitable[Response]]
