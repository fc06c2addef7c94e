"""Reading a request's head from an untrusted peer."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import h11

from tidings.server.edge.plain_head import MAX_HEADERS, read_plain
from tidings.server.http import Request, Response, refusal

# h11 folds equal lengths, `5, 5` or two lines, into one; two programs may still disagree about which counts.
_find_lengths = re.compile(rb"\r\ncontent-length:([^\r]*)", re.IGNORECASE).findall


@dataclass(slots=True)
class Head:
    """A request head, and what came behind it."""

    request: Request
    parser: h11.Connection | None
    """Has read the head of a request whose body comes in chunks, which are its next events. None for any other."""
    leftover: bytes
    """The bytes that arrived behind the head."""
    length: int | None
    """The body's length in bytes; None for a body in chunks."""
    keep_alive: bool
    """Whether the client means to send another request."""


async def read_head(
    receive: Callable[[], Awaitable[bytes]], received: bytes, *, limit: int, peer: str, secure: bool
) -> Head | Response | None:
    """A well-formed head, or the refusal to answer with, or None when `receive` gives b"" first.

    `received` arrived before, `limit` is in bytes. The caller brings the deadline. Refused beside what
    h11 refuses (RFC 9112): what it lets through and proxies disagree on, since a request that two programs
    read differently is how one is smuggled past the other.
    """
    if not received:
        received = await receive()
        if not received:
            return None
    plain = read_plain(received, limit=limit, peer=peer, secure=secure)
    if plain is None:
        return await read_any(receive, received, limit=limit, peer=peer, secure=secure)
    request, end = plain
    return _head(request, None, received[end:])


async def read_any(
    receive: Callable[[], Awaitable[bytes]], received: bytes, *, limit: int, peer: str, secure: bool
) -> Head | Response | None:
    """As `read_head`, by h11, whatever the head looks like."""
    # One for each request: h11 learns nothing of the answers, so it could not begin a second cycle. It
    # costs 3 µs of some 60.
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=limit)
    raw = bytearray(received)
    fed = 0
    forgiven = False
    while True:
        # RFC 9112 section 2.2: an empty line before the request is an old client's end of the last body.
        if not fed and not forgiven and raw.startswith(b"\r\n"):
            forgiven = True
            del raw[:2]
        if len(raw) > fed and raw != b"\r":
            parser.receive_data(bytes(raw[fed:]))
            fed = len(raw)
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == 431:
                return _too_large(limit)
            # h11's message quotes the request, which may hold a token.
            return refusal(400, "bad_request", "not an HTTP/1.1 request")
        if isinstance(event, h11.Request):
            break
        if event is not h11.NEED_DATA:
            return None
        data = await receive()
        if not data:
            return None
        raw += data
    leftover = parser.trailing_data[0]
    del raw[len(raw) - len(leftover) :]
    if len(raw) > limit or len(event.headers) > MAX_HEADERS:
        return _too_large(limit)
    request = Request(
        method=event.method.decode("ascii"),
        target=event.target.decode("latin-1"),
        headers=[(bytes(name), bytes(value)) for name, value in event.headers],
        http_version=event.http_version.decode("ascii"),
        peer=peer,
        secure=secure,
    )
    wrong = _smuggling(request, raw)
    if wrong is not None:
        return refusal(400, "bad_request", wrong)
    return _head(request, parser, leftover)


def _head(request: Request, parser: h11.Connection | None, leftover: bytes) -> Head:
    chunked = request.header(b"transfer-encoding") is not None
    return Head(
        request,
        parser if chunked else None,
        leftover,
        length=None if chunked else int(request.header(b"content-length") or 0),
        keep_alive=_keeps_alive(request),
    )


def _smuggling(request: Request, raw: bytearray) -> str | None:
    """What is wrong with a head that h11 took."""
    # The lines first: what follows counts on them.
    if b"\n " in raw or b"\n\t" in raw:
        return "header lines must not be folded"
    if raw.count(b"\n") != raw.count(b"\r\n"):
        return "lines must end with CR LF"
    names = [name for name, _ in request.headers]
    if request.http_version not in ("1.0", "1.1"):
        return "the version must be HTTP/1.1"
    if names.count(b"host") > 1:
        return "a header that may stand once stands twice"
    if b"content-length" in names:
        lengths = _find_lengths(raw)
        if len(lengths) > 1 or b"," in lengths[0]:
            return "a header that may stand once stands twice"
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version != "1.1"):
        return "Transfer-Encoding with Content-Length, or before HTTP/1.1"
    if not request.target.startswith("/") and request.target != "*":
        return "the target must be a path"
    return None


def _keeps_alive(request: Request) -> bool:
    """RFC 9112 section 9.3; for HTTP/1.0 the older custom, which ab and some proxies still follow."""
    value = request.header(b"connection")
    if value is None:
        return request.http_version == "1.1"
    options = [option.strip() for option in value.lower().split(b",")]
    return b"close" not in options and (request.http_version == "1.1" or b"keep-alive" in options)


def _too_large(limit: int) -> Response:
    return refusal(431, "too_large", f"the request head may have {limit} bytes and {MAX_HEADERS} headers")
