"""Reading a request's head from an untrusted peer."""

import h11
import msgspec
import trio

from tidings.server.edge.transport import Transport
from tidings.server.http import Request, Response, refusal

# h11 bounds the head's bytes but not its lines; browsers send some 20 headers, proxies add a few.
MAX_HEADERS = 128


class Head(msgspec.Struct, frozen=True):
    """A request head, and the bytes that came behind it."""

    request: Request
    leftover: bytes


async def read_head(transport: Transport, *, limit: int, peer: str, secure: bool) -> Head | Response | None:
    """A well-formed head, or the refusal to answer with, or None when the peer went away first.

    `limit` is in bytes. The caller brings the deadline. Refused beside what h11 refuses (RFC 9112):
    what it lets through and proxies disagree on, since a request that two programs read differently is
    how one is smuggled past the other.
    """
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=limit)
    received = bytearray()
    while True:
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
        data = await transport.receive()
        if not data:
            return None
        received += data
        parser.receive_data(data)
    leftover = parser.trailing_data[0]
    head = bytes(received[: len(received) - len(leftover)])
    if len(head) > limit or len(event.headers) > MAX_HEADERS:
        return _too_large(limit)
    request = Request(
        method=event.method.decode("ascii"),
        target=event.target.decode("latin-1"),
        headers=[(bytes(name), bytes(value)) for name, value in event.headers],
        http_version=event.http_version.decode("ascii"),
        peer=peer,
        secure=secure,
    )
    wrong = _smuggling(request, head)
    if wrong is not None:
        return refusal(400, "bad_request", wrong)
    return Head(request, leftover)


def _smuggling(request: Request, head: bytes) -> str | None:
    """What is wrong with a head that h11 took."""
    names = [name for name, _ in request.headers]
    if request.http_version not in ("1.0", "1.1"):
        return "the version must be HTTP/1.1"
    if names.count(b"host") > 1 or names.count(b"content-length") > 1:
        return "a header that may stand once stands twice"
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version != "1.1"):
        return "Transfer-Encoding with Content-Length, or before HTTP/1.1"
    if not request.target.startswith("/") and request.target != "*":
        return "the target must be a path"
    if b"\n " in head or b"\n\t" in head:
        return "header lines must not be folded"
    if head.count(b"\n") != head.count(b"\r\n"):
        return "lines must end with CR LF"
    return None


def _too_large(limit: int) -> Response:
    return refusal(431, "too_large", f"the request head may have {limit} bytes and {MAX_HEADERS} headers")


async def send_response(transport: Transport, response: Response, *, head_only: bool = False) -> None:
    """Send an answer and let the peer read it. The caller brings the deadline."""
    try:
        await transport.send_all(response.encode(head_only=head_only))
    except trio.BrokenResourceError:
        return
    await transport.linger()
