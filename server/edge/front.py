"""The front door: accepts sockets, reads heads, and hands them to a WebSocket connection or to HTTP."""

import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from typing import NamedTuple

import structlog
import trio

from tidings.server.edge.connection import Connection
from tidings.server.edge.context import Context
from tidings.server.edge.dispatch import MessageHandler
from tidings.server.edge.engines.seam import Upgrade
from tidings.server.edge.handshake import RETRY_AFTER, Accepted, Gate, client_address, is_within
from tidings.server.edge.http1 import Http1
from tidings.server.edge.transport import SocketTransport, StreamTransport, Transport
from tidings.server.http import HttpHandler, Request, Response, refusal
from tidings.server.identity import Identity
from tidings.server.limits import Occasionally, Occupancy
from tidings.server.tuning import TlsGarbage

# A burst of connections waits here while the loop is busy; the kernel caps it at net.core.somaxconn.
BACKLOG = 4096

# Connections taken in one turn before everybody else runs: with its handshake each costs half a millisecond.
ACCEPTS_PER_TURN = 8

# What `accept` may fail with while the listener is sound: the peer has gone again, or the machine is out
# of descriptors or memory for the moment. Anything else is a fault, and must be seen.
_PEER_GONE = {errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH,
              errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.EOPNOTSUPP, errno.EPERM, errno.ECONNRESET}  # fmt: skip
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

# Out of descriptors, trying again at once would only burn the processor; connections end meanwhile.
EXHAUSTED_PAUSE = 0.1

# The kernel's own bounds on what we set: seconds of keepalive, milliseconds of user timeout.
_KEEPALIVE_SECONDS = 32767
_INT_MAX = 2**31 - 1

_FULL = refusal(503, "unavailable", "too many connections", [RETRY_AFTER])
_CROWDED = refusal(429, "limit_reached", "too many connections of this address", [RETRY_AFTER])

_log = structlog.get_logger("tidings.front")


def open_listeners(
    host: str, port: int, prepare: Callable[[socket.socket], None] = lambda _listener: None
) -> list[socket.socket]:
    """Listening, non-blocking sockets on every address of `host`. Raises OSError.

    With port 0 all of them share the port that the first one got. `prepare` sees each before anybody can
    connect.
    """
    listeners: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, proto, _, address in dict.fromkeys(found):
            listener = socket.socket(family, kind, proto)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if port == 0 and len(listeners) > 1:
                address = (address[0], listeners[0].getsockname()[1], *address[2:])
            listener.bind(address)
            prepare(listener)
            listener.listen(BACKLOG)
            listener.setblocking(False)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


class _Opening(NamedTuple):
    """A WebSocket about to be opened."""

    connection: Connection
    upgrade: Upgrade
    identity: Identity | None
    through: str | None
    """The client's address, where it came through a proxy and is not counted yet."""


class Front:
    """Everything between `accept` and a connection of either kind."""

    def __init__(
        self,
        context: Context,
        *,
        messages: MessageHandler,
        http: HttpHandler,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Take what handles messages, what answers plain HTTP, and the context of a port that speaks TLS."""
        self._context = context
        self._http = http
        self._tls = tls
        self._gate = Gate(context)
        self._messages = messages
        self._garbage = TlsGarbage(lambda: context.admission.open)
        self._refusals = Occasionally()
        self._exhausted = Occasionally(1)
        self.connections: set[Connection] = set()
        """The living WebSocket connections, for the shutdown."""
        self.busy = Occupancy()
        """What the shutdown waits for: WebSockets, and requests that are being answered."""

    async def listen(self, listener: socket.socket, connections: trio.Nursery) -> None:
        """Accept until cancelled. Each socket gets a task in `connections`, which outlives this one."""
        while True:
            await trio.lowlevel.wait_readable(listener)
            for _ in range(ACCEPTS_PER_TURN):
                try:
                    sock, address = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _EXHAUSTED:
                        held = self._exhausted.passes()
                        if held is not None:
                            _log.error("out of descriptors or memory", error=str(error), held=held)
                        await trio.sleep(EXHAUSTED_PAUSE)
                        break
                    if error.errno in _PEER_GONE:
                        continue
                    raise
                self._admit(sock, address[0], connections)
            await trio.lowlevel.checkpoint()

    def _admit(self, sock: socket.socket, peer: str, connections: trio.Nursery) -> None:
        sock.setblocking(False)
        admission = self._context.admission
        if admission.is_overflowing:
            self._turn_away(sock, peer, _FULL)
            return
        if not self._is_proxy(peer) and admission.is_overflowing_from(peer):
            self._turn_away(sock, peer, _CROWDED)
            return
        connections.start_soon(self.serve_socket, sock, peer, name="connection")

    def _turn_away(self, sock: socket.socket, peer: str, response: Response) -> None:
        """Too many even for reading what they want: say so, if the kernel takes it at once, and close."""
        self._note("overflow", response.status, peer)
        with sock, suppress(OSError):
            sock.send(response.encode())

    def tune(self, sock: socket.socket) -> None:
        """Set what connections inherit from their listener: seven system calls once, and not for each."""
        # All three ways of noticing a dead peer: keepalive alone never does while data is pending,
        # TCP_USER_TIMEOUT alone never on an idle connection, and pings need a window to go through.
        heartbeat = self._context.config.heartbeat
        bound = heartbeat.ping_interval + heartbeat.pong_timeout
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        idle = _clamp(heartbeat.ping_interval, _KEEPALIVE_SECONDS)
        between = _clamp(heartbeat.pong_timeout / 2, _KEEPALIVE_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, between)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _clamp(bound * 1000, _INT_MAX))

    async def serve_socket(self, sock: socket.socket, peer: str) -> None:
        """Serve an accepted, non-blocking socket until it ends."""
        transport: Transport
        if self._tls is None:
            transport = SocketTransport(sock)
        else:
            stream = trio.SSLStream(
                trio.SocketStream(trio.socket.from_stdlib_socket(sock)),
                self._tls,
                server_side=True,
                https_compatible=True,
            )
            transport = StreamTransport(stream, sock)
        await self.serve(transport, peer)
        if self._tls is not None:
            self._garbage.note_ended()

    async def serve(self, transport: Transport, peer: str) -> None:
        """Serve one peer until it ends, and close its transport. Nothing it sends makes this raise."""
        admission = self._context.admission
        # Counted from the first byte on: silent sockets of one host must not use up the total. What
        # comes through a proxy is counted once the client's address is known.
        is_proxy = self._is_proxy(peer)
        too_many = _FULL if admission.is_full else None
        if too_many is None and not is_proxy and admission.is_crowded(peer):
            too_many = _CROWDED
        with admission.socket(), nullcontext() if is_proxy else admission.address(peer):
            try:
                opening = await self._serve_http(transport, peer, too_many)
                if opening is not None:
                    # Here, and not where the handshake was judged: a WebSocket that lives for days needs
                    # none of what stood on the stack then.
                    connection, through = opening.connection, opening.through
                    running = connection.run(opening.upgrade, opening.identity)
                    del opening
                    with (
                        self.busy.enter(),
                        nullcontext() if through is None else admission.address(through),
                    ):
                        self.connections.add(connection)
                        try:
                            await running
                        finally:
                            self.connections.discard(connection)
            except* Exception as group:
                # A fault of ours before there was a connection to contain it.
                _log.error("request failed", peer=peer, exc_info=group)
            finally:
                await transport.close()

    async def _serve_http(
        self, transport: Transport, peer: str, too_many: Response | None
    ) -> _Opening | None:
        """Answer requests until the peer has enough, or asks for a WebSocket and may have it."""
        http = Http1(self._context, self._http, transport, reusable=too_many is None)
        while True:
            head = await http.next_head(peer=peer, secure=self._tls is not None)
            if head is None:
                return None
            if isinstance(head, Response):
                self._note("head", head.status, peer)
                await http.refuse(head)
                return None
            request = self._with_client_address(head.request)
            # A connection that waits for its next request is not inside: nobody waits for it.
            with self.busy.enter():
                if self._gate.is_endpoint(request) or self._gate.wants_upgrade(request):
                    opening = self._judge(request, head.leftover, transport, peer, too_many)
                    if isinstance(opening, _Opening):
                        return opening
                    self._note("handshake", opening.status, request.peer)
                    await http.refuse(opening, head_only=request.method == "HEAD")
                    return None
                if not await http.answer(head, request):
                    return None
            del head, request  # an idle connection does not need them

    def _judge(
        self, request: Request, leftover: bytes, transport: Transport, peer: str, too_many: Response | None
    ) -> _Opening | Response:
        through_proxy = self._is_proxy(peer)
        verdict: Accepted | Response
        if too_many is not None:
            verdict = too_many
        elif through_proxy and self._context.admission.is_crowded(request.peer):
            verdict = _CROWDED
        else:
            verdict = self._gate.judge(request)
        if isinstance(verdict, Response):
            return verdict
        return _Opening(
            Connection(
                self._context, self._messages, transport, verdict.dialect, request.peer, verdict.device
            ),
            Upgrade(verdict.key, verdict.subprotocol, leftover, verdict.extensions),
            verdict.identity,
            request.peer if through_proxy else None,
        )

    def _is_proxy(self, peer: str) -> bool:
        trusted = self._context.config.server.trusted_proxies
        return bool(trusted) and is_within(peer, trusted)

    def _with_client_address(self, request: Request) -> Request:
        trusted: Sequence[str] = self._context.config.server.trusted_proxies
        if not trusted:
            return request
        peer = client_address(request.peer, request.headers, trusted)
        return Request(
            request.method, request.target, request.headers, request.http_version, peer, request.secure
        )

    def _note(self, stage: str, status: int, peer: str) -> None:
        self._context.refusals[stage, str(status)] += 1
        held = self._refusals.passes()
        if held is not None:
            _log.info("refused", stage=stage, status=status, peer=peer, held=held)


def _clamp(value: float, most: int) -> int:
    return max(1, int(min(value, most)))
