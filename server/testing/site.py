"""A real server in a test's nursery: on a free port of this machine, in real time."""

import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import trio
import trio.testing

from tidings.server.app import Listening, Server
from tidings.server.config import Config
from tidings.server.push import Push
from tidings.server.shutdown import Stop
from tidings.server.testing.client import RawClient
from tidings.server.testing.faults import Faults
from tidings.server.testing.journal import journal
from tidings.server.testing.proxy import Proxy
from tidings.server.testing.settings import HOST, configured

# Seconds beyond the drain after which a server that was asked to end has failed to, on a busy machine.
GRACE_SECONDS = 20.0


class ServerEnded(Exception):
    """The server has ended although nobody asked it to, or is asked for something while it is stopped."""


class TestServer:
    """A running server and ways to reach it. Made by `serving`, or by the fixture `tidings_server`."""

    # pytest would take the name for a test's.
    __test__ = False

    def __init__(
        self, nursery: trio.Nursery, config: Config, faults: list[dict[str, Any]], parts: Mapping[str, Any]
    ) -> None:
        self.settings = config
        """The whole configuration it runs with, in `sections.keys`."""
        self.faults = faults
        """Errors it has logged. What is left here at the end fails the test: clear it where they are meant."""
        self._nursery = nursery
        self._parts = parts
        self._server: Server | None = None
        self._listening: Listening | None = None
        self._stop = Stop()
        self._ended = trio.Event()
        self._is_stopping = False
        self._clients: list[RawClient] = []

    # --- where and who -------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """The address it listens on."""
        return HOST

    @property
    def port(self) -> int:
        """The port it listens on; the same after a restart."""
        return self.settings.server.port

    @property
    def url(self) -> str:
        """Its address for HTTP, as `http://127.0.0.1:41952`."""
        return self._url("http")

    @property
    def ws_url(self) -> str:
        """Its native WebSocket endpoint, as `ws://127.0.0.1:41952/ws`."""
        return f"{self._url('ws')}/ws"

    @property
    def api_key(self) -> str:
        """An API key for its HTTP API (`X-API-Key`)."""
        return self.settings.auth.api_keys[0]

    def token(self, user_id: str, roles: Sequence[str] = (), *, ttl: int = 3600, **claims: Any) -> str:
        """A token for a user, good for `ttl` seconds. `claims`: username, group_id, session_id.

        Raises ValueError for what the server would not accept.
        """
        return self._running.context.authenticator.issue(user_id, roles=roles, ttl=ttl, **claims)

    @property
    def push(self) -> Push:
        """The server as its own apps see it: publish, ask who is there, disconnect."""
        return self._running.context.push

    # --- clients -------------------------------------------------------------------------------------

    async def connect(
        self,
        user_id: str = "alice",
        *,
        roles: Sequence[str] = (),
        channels: Sequence[str] = (),
        token: str | None = None,
        path: str = "/ws",
        subprotocols: Sequence[str] = (),
        through: Proxy | None = None,
        tls: ssl.SSLContext | None = None,
        **claims: Any,
    ) -> RawClient:
        """A client that is connected as a user, and subscribed to `channels`; closed at the end of the test.

        `tls` is the context with which to speak TLS, where the server does. Raises ConnectionRefused when
        the server refuses the handshake, Closed when it closes, TimedOut, OSError.
        """
        target = f"{path}{'&' if '?' in path else '?'}token={quote(token or self.token(user_id, roles, **claims))}"
        port = self.port if through is None else through.port
        stream: trio.abc.Stream = await trio.open_tcp_stream(HOST, port)
        if tls is not None:
            stream = trio.SSLStream(stream, tls, server_hostname="localhost", https_compatible=True)
        client = RawClient(stream)
        self._clients.append(client)
        await client.handshake(target, host=f"{HOST}:{port}", subprotocols=subprotocols)
        await client.welcome()
        for channel in channels:
            await client.subscribe(channel)
        return client

    async def watch(self, *channels: str) -> RawClient:
        """An administrator who sees all that is published to some channels from now on, whoever's they are."""
        return await self.connect("watcher", roles=["admin"], channels=channels)

    async def proxy(
        self, *, to_server: Faults | None = None, to_client: Faults | None = None, seed: int = 0
    ) -> Proxy:
        """A proxy in front of it on another free port, until the end of the test. It outlives restarts."""
        proxy = Proxy(HOST, self.port, to_server=to_server, to_client=to_client, seed=seed)
        await self._nursery.start(proxy.run)
        return proxy

    # --- ending and beginning ------------------------------------------------------------------------

    async def stop(self, *, graceful: bool = True) -> None:
        """End the server: tell every client and drain, or reset all at once. Idempotent.

        Connecting is refused from then on. Raises TooSlowError when the shutdown outlives its drain.
        """
        if self._server is None:
            return
        self._is_stopping = True
        if graceful:
            self._stop.request("the test")
        else:
            self._stop.abort.cancel()
        with trio.fail_after(self.settings.server.drain_seconds + GRACE_SECONDS):
            await self._ended.wait()

    async def start(self) -> None:
        """Begin again after `stop`: on the same port, with the same secret, otherwise as new."""
        if self._server is not None:
            return
        self._is_stopping = False
        stop, ended = self._stop, self._ended = Stop(), trio.Event()
        # Whatever it refuses to start on is the caller's error, and not a crash of the server.
        server = Server(self.settings, **self._parts)
        self._listening = await self._nursery.start(self._run, server, stop, ended)
        self._server = server

    async def restart(self, *, graceful: bool = True) -> None:
        """Stop and start again, to see how clients come back."""
        await self.stop(graceful=graceful)
        await self.start()

    async def _run(
        self, server: Server, stop: Stop, ended: trio.Event, *, task_status: trio.TaskStatus[Listening]
    ) -> None:
        async def watched(*, task_status: trio.TaskStatus[list[Listening]]) -> None:
            await server.run(stop, http_at_once=False, task_status=task_status)

        try:
            async with trio.open_nursery() as nursery:
                task_status.started((await nursery.start(watched))[0])
        finally:
            self._server = None
            ended.set()
        if not self._is_stopping:
            raise ServerEnded("the server has ended by itself")

    async def aclose_clients(self) -> None:
        """End every client's TCP without a word. Never blocks."""
        for client in self._clients:
            await client.aclose()

    @property
    def _running(self) -> Server:
        if self._server is None:
            raise ServerEnded("the server is stopped")
        return self._server

    def _url(self, scheme: str) -> str:
        if self._listening is None:
            raise ServerEnded("the server has not started")
        return self._listening.url(scheme)


@asynccontextmanager
async def serving(settings: Mapping[str, Any] | None = None, **parts: Any) -> AsyncIterator[TestServer]:
    """Serve on a free port until the end of the block. Nothing is left afterwards: no task, no socket, no file.

    `settings` are by `section.key`; `parts` go to `tidings.server.app.Server`. A server that crashes
    cancels the block and raises; errors it has logged raise ServerFaults at its end. Raises ConfigError.
    """
    if isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock):
        raise TypeError(
            "a test server has real sockets, which take real time: do without autojump_clock and mock_clock"
        )
    with (
        tempfile.TemporaryDirectory(prefix="tidings-") as data_dir,
        socket.socket() as reserved,
        journal() as kept,
    ):
        # Bound, and never listening: the port stays ours while the server is stopped, and nobody who
        # connects meanwhile is given it as a port of his own, and so connected to himself.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((HOST, 0))
        config = configured(settings or {}, port=reserved.getsockname()[1], data_dir=data_dir)
        async with trio.open_nursery() as nursery:
            server = TestServer(nursery, config, kept.faults, parts)
            await server.start()
            try:
                yield server
            finally:
                await server.aclose_clients()
            await server.stop(graceful=False)
            nursery.cancel_scope.cancel()
        kept.check()
