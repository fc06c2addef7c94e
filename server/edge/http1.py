"""HTTP/1.1 on one connection: one request after another, until either side has had enough."""

import structlog
import trio

from tidings.server.edge.body import HandlerClock
from tidings.server.edge.context import Context
from tidings.server.edge.exchange import Http1Exchange
from tidings.server.edge.handshake import RETRY_AFTER
from tidings.server.edge.head import Head, read_head
from tidings.server.edge.transport import Transport
from tidings.server.http import BodyRefused, HttpHandler, PeerGone, Request, Response, refusal

_FAULT = refusal(500, "internal", "the server failed to do this; it was not your fault")
_TOO_SLOW = refusal(503, "unavailable", "the server took too long", [RETRY_AFTER])
_EXPECTATION = refusal(417, "bad_request", "Expect: only 100-continue is known")

_log = structlog.get_logger("tidings.http")


class Http1:
    """One connection's heads and answers. At worst it holds a head, 32 KiB of what follows, and a body's piece."""

    __slots__ = ("_answered", "_context", "_handler", "_leftover", "_reusable", "_transport")

    def __init__(
        self, context: Context, handler: HttpHandler, transport: Transport, *, reusable: bool
    ) -> None:
        """Without `reusable`, the first answer is the last: this socket is one too many."""
        self._context = context
        self._handler = handler
        self._transport = transport
        self._reusable = reusable
        self._leftover = b""
        self._answered = 0

    async def next_head(self, *, peer: str, secure: bool) -> Head | Response | None:
        """The next request's head, or the refusal to end with, or None when the connection is over.

        Waits `handshake_timeout` for the first head, and for a later one from its first byte; for that
        byte, `idle_timeout`.
        """
        if self._answered and not await self._wait_request():
            return None
        config = self._context.config
        timeout = config.heartbeat.handshake_timeout
        deadline = trio.current_time() + timeout
        late = False

        # A scope only for what has not come yet: most heads come whole, and a scope costs as much as a send.
        async def receive() -> bytes:
            nonlocal late
            # No more than the head's limit of it comes this way before it is waited for, or refused.
            data = self._transport.receive_nowait()
            if data is not None:
                return data
            with trio.move_on_at(deadline):
                return await self._transport.receive()
            late = True
            return b""

        head = await read_head(
            receive, self._leftover, limit=config.limits.head_bytes, peer=peer, secure=secure
        )
        if late:
            return refusal(408, "bad_request", f"the request head must be complete within {timeout:g} s")
        return head

    async def answer(self, head: Head, request: Request) -> bool:
        """Have a request answered; whether the connection may go on with the next."""
        self._answered += 1
        config = self._context.config
        scope = trio.CancelScope(deadline=trio.current_time() + config.heartbeat.handler_timeout)
        exchange = Http1Exchange(
            self._transport,
            head,
            request,
            HandlerClock(scope),
            body_bytes=config.http.body_bytes,
            body_timeout=config.http.body_timeout,
            answer_timeout=config.http.answer_timeout,
            may_go_on=self._may_go_on,
        )
        expected = request.header(b"expect") if request.http_version == "1.1" else None
        if expected is not None and expected.lower() != b"100-continue":
            exchange.closes = True
            instead: Response | None = _EXPECTATION
        else:
            instead = await self._handle(exchange, scope)
        if not await self._complete(exchange, instead):
            await self._transport.close(reset=True)
            return False
        if not exchange.closes:
            if exchange.body.ended:
                self._leftover = exchange.body.leftover
                return True
            with trio.move_on_after(config.heartbeat.close_timeout):
                if await exchange.body.drain():
                    self._leftover = exchange.body.leftover
                    return True
        await self.linger()
        return False

    async def refuse(self, response: Response, *, head_only: bool = False) -> None:
        """Answer without a handler, as the last thing on this connection."""
        with trio.move_on_after(self._context.config.heartbeat.close_timeout):
            try:
                await self._transport.send_all(response.encode(head_only=head_only))
            except trio.BrokenResourceError:
                return
            await self._transport.linger()

    async def linger(self) -> None:
        """Let the client read its answer before the connection is closed, also one that is still sending."""
        with trio.move_on_after(self._context.config.heartbeat.close_timeout):
            await self._transport.linger()

    async def _wait_request(self) -> bool:
        """Wait for the first byte of another request; False when none comes."""
        if self._leftover:
            # A handler that never waits must not answer one pipelined request after another.
            await trio.lowlevel.checkpoint()
        with trio.move_on_after(self._context.config.http.idle_timeout):
            # An old client's empty line behind its body is not the next request yet.
            while self._leftover in (b"", b"\r\n"):
                data = await self._transport.receive()
                if not data:
                    return False
                self._leftover += data
            return True
        return False

    async def _handle(self, exchange: Http1Exchange, scope: trio.CancelScope) -> Response | None:
        """Let the handler answer; its faults and its slowness are answers too, where it gave none."""
        instead = _FAULT
        faulty = False
        try:
            with scope:
                await self._handler(exchange)
            if scope.cancelled_caught:
                instead = _TOO_SLOW
                _log.warning("request took too long", path=exchange.request.path)
        except* (PeerGone, BodyRefused):
            pass
        except* Exception as group:
            faulty = True
            _log.error("request failed", path=exchange.request.path, exc_info=group)
        if exchange.ended or exchange.gone or exchange.body.gone or exchange.body.refusal is not None:
            return None
        if instead is _FAULT and not faulty:
            _log.error("request failed", path=exchange.request.path, reason="the handler gave no answer")
        return instead

    async def _complete(self, exchange: Http1Exchange, instead: Response | None) -> bool:
        """Answer what the handler did not; False when the client must not take what it has for an answer."""
        if exchange.ended:
            return True
        response = exchange.body.refusal or instead
        if exchange.begun or response is None:
            return False
        try:
            await exchange.replace(response)
        except PeerGone:
            return False
        return True

    def _may_go_on(self) -> bool:
        return (
            self._reusable
            and not self._context.draining
            and self._answered < self._context.config.http.requests_per_connection
        )
