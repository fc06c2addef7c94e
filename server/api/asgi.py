"""From the front door's exchange to an ASGI 3 application, for one request at a time.

There is no lifespan: the server's nurseries own what lives longer than a request. How long a request may
take is the front door's to bound.
"""

from typing import Any, cast
from urllib.parse import unquote_to_bytes

import trio
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from tidings.server.http import Exchange, PeerGone, Request


class BadPath(ValueError):
    """The path's percent-decoded bytes are not UTF-8."""


class ProtocolBreach(RuntimeError):
    """The application did not keep to ASGI: a fault of ours."""


def http_scope(request: Request) -> HTTPScope:
    """The `http` scope of a request. Raises BadPath.

    HEAD is passed on as GET: it is answered the same (RFC 9110 section 9.3.2), and `Call` leaves the body out.
    """
    raw_path, _, query = request.target.encode("latin-1").partition(b"?")
    try:
        path = unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError as error:
        raise BadPath from error
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": request.http_version,
        "method": "GET" if request.method == "HEAD" else request.method,
        "scheme": "https" if request.secure else "http",
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": request.headers,
        # The port is not known behind a proxy, and nobody needs it.
        "client": (request.peer, 0),
        "server": None,
        "extensions": {},
    }
    return cast(HTTPScope, scope)


class Call:
    """One request on its way through the application: its `receive` and `send`."""

    def __init__(self, exchange: Exchange) -> None:
        """Take the exchange."""
        self.status: int | None = None
        """What was answered; None until it is."""
        self._exchange = exchange
        self._without_body = exchange.request.method == "HEAD"
        self._body_read = False
        self._complete = False
        self._gone = False
        self._over = trio.Event()

    async def run(self, app: ASGIApp, scope: HTTPScope) -> None:
        """Let the application answer. Raises PeerGone, ProtocolBreach, and what the application raises."""
        try:
            await app(cast(Scope, scope), cast(Receive, self._receive), cast(Send, self._send))
        except Exception as error:
            if self._gone:
                # Whatever the application made of it; it may have come in a group or in another's name.
                raise PeerGone from error
            raise
        finally:
            self._over.set()
        if self._gone:
            raise PeerGone
        if not self._complete:
            raise ProtocolBreach("the application returned before its answer was complete")

    async def _receive(self) -> dict[str, Any]:
        """Pieces of the body; behind it a disconnect, once the answer is complete or the client gone.

        Raises BodyRefused and PeerGone: an application that waits for its body has nothing else to do.
        """
        if not self._body_read and not self._over.is_set():
            try:
                piece = await self._exchange.receive()
            except PeerGone:
                self._go()
                raise
            self._body_read = not piece
            return {"type": "http.request", "body": piece, "more_body": bool(piece)}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        """Pass a piece of the answer on. Raises ProtocolBreach; after the client went it does nothing."""
        if self._gone:
            return
        try:
            match message:
                case {"type": "http.response.start"} if self.status is None:
                    await self._start(int(message["status"]), message.get("headers", ()))
                case {"type": "http.response.body"} if self.status is not None and not self._complete:
                    await self._body(message.get("body", b""), more=message.get("more_body", False))
                case _:
                    raise ProtocolBreach(f"{message['type']} out of turn")
        except PeerGone:
            self._go()

    async def _start(self, status: int, headers: Any) -> None:
        if not 200 <= status <= 599:
            raise ProtocolBreach(f"{status} is not the status of an answer")
        self.status = status
        own = [(bytes(name), bytes(value)) for name, value in headers]
        await self._exchange.start(status, own)

    async def _body(self, data: bytes, *, more: bool) -> None:
        if self._without_body:
            data = b""
        if not more:
            await self._exchange.send(data)
            self._complete = True
            self._over.set()
        elif data:
            await self._exchange.send(data, more=True)

    def _go(self) -> None:
        self._gone = True
        self._over.set()
