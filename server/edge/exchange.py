"""One request and its answer over HTTP/1.1: the front door's side of the seam in `server/http.py`."""

import re
from collections.abc import Callable
from http import HTTPStatus

import trio

from tidings.server.edge.body import Body, HandlerClock
from tidings.server.edge.head import Head
from tidings.server.edge.transport import Transport
from tidings.server.http import Headers, PeerGone, Request, Response

# A peer must take this much of an answer within `answer_timeout`: whoever reads at all, reads on.
PIECE_BYTES = 65536

_PHRASES = {int(status): status.phrase.encode() for status in HTTPStatus}
_STATUSES = range(200, 600)

# RFC 9110 section 5.6.2 and 5.5; a line break or NUL in either would be a header, or an answer, of the peer's.
_is_name = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_is_value = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch
_is_length = re.compile(rb"[0-9]{1,18}").fullmatch

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Http1Exchange:
    """Implements `Exchange`. The head waits for the body's first piece, so that both leave in one send."""

    __slots__ = (
        "_answer_timeout",
        "_bodiless",
        "_chunked",
        "_clock",
        "_head",
        "_lines",
        "_may_go_on",
        "_rest",
        "_status",
        "_transport",
        "always",
        "begun",
        "body",
        "closes",
        "ended",
        "gone",
        "request",
    )

    def __init__(
        self,
        transport: Transport,
        head: Head,
        request: Request,
        clock: HandlerClock,
        *,
        body_bytes: int,
        body_timeout: float,
        answer_timeout: float,
        may_go_on: Callable[[], bool],
    ) -> None:
        """Take bytes, seconds, and what tells whether the connection may serve another request."""
        self.request = request
        self.always: Headers = []
        self._transport = transport
        self._head = head
        self._clock = clock
        self._answer_timeout = answer_timeout
        self._may_go_on = may_go_on
        expects = request.http_version == "1.1" and request.header(b"expect") is not None
        self.body = Body(
            head,
            transport,
            clock,
            limit=body_bytes,
            timeout=body_timeout,
            on_first_wait=self._send_continue if expects else None,
        )
        self._lines: list[bytes] | None = None
        """The answer's head until it is sent; `_status` is 0 before `start`."""
        self._status = 0
        self._rest: int | None = None
        """Bytes of the body that the head has promised and that are not sent yet."""
        self._chunked = self._bodiless = False
        self.begun = False
        """Whether the client may have read something of an answer: no other can be given."""
        self.ended = False
        """Whether the answer is complete."""
        self.closes = False
        """Whether the connection ends with this answer."""
        self.gone = False
        """Whether the peer went away, or does not read: whatever is left of the answer has no reader."""

    async def receive(self) -> bytes:
        """The next piece of the body; b"" at its end."""
        return await self.body.receive()

    async def start(self, status: int, headers: Headers) -> None:
        """Note the answer's head, which leaves with the first piece of its body."""
        if not self._is_replaced:
            self._start(status, headers)

    async def send(self, data: bytes, *, more: bool = False) -> None:
        """Send a piece of the answer's body; the last one ends it."""
        if not self._is_replaced:
            await self._send(data, more=more)

    async def replace(self, response: Response) -> None:
        """Answer this, whatever the handler has prepared. Only while nothing has begun. Raises PeerGone."""
        assert not self.begun
        self._status = 0
        self._start(response.status, response.fields)
        await self._send(response.body, more=False)

    @property
    def _is_replaced(self) -> bool:
        return self.body.refusal is not None and not self.begun

    def _start(self, status: int, headers: Headers) -> None:
        if self.gone:
            raise PeerGone
        if self._status:
            raise RuntimeError("the answer was started before")
        if status not in _STATUSES:
            raise ValueError(f"{status} is not a final status")
        self._bodiless = status in (204, 304) or self.request.method == "HEAD"
        self._rest = None
        self._chunked = False
        lines = [b"HTTP/1.1 %d %b" % (status, _PHRASES.get(status, b""))]
        for name, value in (*headers, *self.always) if self.always else headers:
            if not _is_name(name) or not _is_value(value):
                raise ValueError(f"not a header: {name!r}: {value!r}")
            match name.lower():
                case b"content-length":
                    if not _is_length(value) or self._rest is not None:
                        raise ValueError(f"not one Content-Length: {value!r}")
                    self._rest = int(value)
                case b"transfer-encoding" | b"keep-alive":
                    raise ValueError(f"{name!r} is the connection's")
                case b"connection":
                    self.closes = self.closes or b"close" in value.lower()
                case _:
                    lines.append(name + b": " + value)
        self._status, self._lines = status, lines

    async def _send(self, data: bytes, *, more: bool) -> None:
        if self.gone:
            raise PeerGone
        if not self._status or self.ended:
            raise RuntimeError("the answer was not started, or has ended")
        head = b"" if self._lines is None else self._frame(self._lines, len(data), more=more)
        if self._bodiless:
            data = b""
        elif self._chunked:
            data = (b"%x\r\n%b\r\n" % (len(data), data) if data else b"") + (b"" if more else b"0\r\n\r\n")
        elif self._rest is not None:
            if len(data) > self._rest or (not more and len(data) < self._rest):
                raise ValueError("the body is not as long as its Content-Length")
            self._rest -= len(data)
        self._lines = None
        self.begun = True
        await self._write(head + data)
        if more:
            # A handler that has much to say, to a client that reads fast: the others want their turn.
            await trio.lowlevel.checkpoint()
        else:
            self.ended = True

    def _frame(self, lines: list[bytes], size: int, *, more: bool) -> bytes:
        """The head, and with it how the body's end is told (RFC 9112 section 6.3)."""
        if self._rest is None and not more and not (self._bodiless and not size):
            self._rest = size
        if self._rest is not None and self._status != 204:
            lines.append(b"Content-Length: %d" % self._rest)
        elif self._rest is None and not self._bodiless:
            if self.request.http_version == "1.1":
                self._chunked = True
                lines.append(b"Transfer-Encoding: chunked")
            else:
                self.closes = True
        if not (self._head.keep_alive and self._may_go_on() and self.body.may_be_drained):
            self.closes = True
        if self.closes:
            lines.append(b"Connection: close")
        elif self.request.http_version != "1.1":
            lines.append(b"Connection: keep-alive")
        return b"\r\n".join(lines) + b"\r\n\r\n"

    async def _send_continue(self) -> None:
        if not self.begun:
            await self._write(_CONTINUE)

    async def _write(self, data: bytes) -> None:
        sent = 0
        send = self._transport.send_nowait
        if send is not None:
            # Nearly always the kernel takes an answer at once, and a deadline would cost more than the send.
            try:
                sent = send(data)
            except BlockingIOError:
                pass
            except OSError:
                self.gone = True
                raise PeerGone from None
        if sent == len(data):
            return
        with self._clock.stopped():
            for at in range(sent, len(data), PIECE_BYTES):
                with trio.move_on_after(self._answer_timeout) as scope:
                    try:
                        await self._transport.send_all(data[at : at + PIECE_BYTES])
                    except trio.BrokenResourceError:
                        self.gone = True
                if scope.cancelled_caught or self.gone:
                    self.gone = True
                    raise PeerGone
