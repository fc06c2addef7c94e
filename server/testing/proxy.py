"""A TCP proxy with a bad line in it, for clients of any kind: another process, another language, a browser."""

import socket

import trio

from tidings.server.testing.faults import PIECE_BYTES, Faults, FaultyStream, reset_stream

# Links at a time; each holds a piece in either direction. One more is reset.
LINKS = 256

# Kernel buffers would hide a stall for megabytes: with these it is felt after some 100 KB.
BUFFER_BYTES = 65536

# Seconds to reach the server: it is on this machine.
CONNECT_SECONDS = 5.0


class Proxy:
    """Passes bytes between its own port and the server's, with faults in either direction.

    `to_server` and `to_client` serve all links, present and to come. Belongs to one event loop.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        to_server: Faults | None = None,
        to_client: Faults | None = None,
        seed: int = 0,
    ) -> None:
        """Take where the server is, what is wrong in each direction, and what makes chance repeatable."""
        self.to_server = to_server or Faults()
        self.to_client = to_client or Faults()
        self.refuses = False
        """Whether whoever comes is reset at once, as where nobody listens."""
        self.host = host
        self.port = 0
        """Where it listens, once it does."""
        self._target = (host, port)
        self._seed = seed
        self._accepted = 0
        self._links: set[FaultyStream] = set()
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    @property
    def links(self) -> int:
        """Connections that pass through it now."""
        return len(self._links)

    def url(self, scheme: str = "http") -> str:
        """Its address; `https` and `wss` are for a server that speaks TLS."""
        return f"{scheme}://{self.host}:{self.port}"

    def stall(self) -> None:
        """Let nothing pass in either direction. Connections are still accepted."""
        self.to_server.stall()
        self.to_client.stall()

    def release(self) -> None:
        """Let it flow again in both directions."""
        self.to_server.release()
        self.to_client.release()

    async def reset(self) -> None:
        """Cut every link with RST. Newcomers are served; set `refuses` to keep them out."""
        for link in list(self._links):
            await link.reset()

    async def drop(self) -> None:
        """Cut every link with an orderly end."""
        for link in list(self._links):
            await link.drop()

    async def aclose(self) -> None:
        """Stop listening and cut every link. Idempotent; returns when nothing is left of it."""
        self._scope.cancel()
        await self._ended.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until `aclose` or cancellation. Nothing that a peer does makes this raise."""
        try:
            with self._scope:
                listeners = await trio.open_tcp_listeners(0, host=self.host)
                for listener in listeners:
                    listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
                self.port = listeners[0].socket.getsockname()[1]
                task_status.started()
                await trio.serve_listeners(self._serve, listeners)
        finally:
            self._ended.set()

    async def _serve(self, client: trio.SocketStream) -> None:
        if self.refuses or len(self._links) >= LINKS:
            await reset_stream(client)
            return
        self._accepted += 1
        link = FaultyStream(
            client, sending=self.to_client, receiving=self.to_server, seed=self._seed + self._accepted
        )
        self._links.add(link)
        try:
            server = await self._reach_server()
            if server is None:
                await link.reset()
            else:
                await self._join(link, server)
        finally:
            self._links.discard(link)

    async def _reach_server(self) -> trio.SocketStream | None:
        sock = trio.socket.socket()
        with trio.move_on_after(CONNECT_SECONDS):
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
                await sock.connect(self._target)
                return trio.SocketStream(sock)
            except OSError:
                pass
            except trio.Cancelled:
                sock.close()
                raise
        sock.close()
        return None

    async def _join(self, link: FaultyStream, server: trio.SocketStream) -> None:
        """Pass bytes until both directions have ended, one of them broke, or a fault has cut the link."""
        broken = False

        async def pump(source: trio.abc.ReceiveStream, sink: trio.abc.HalfCloseableStream) -> None:
            nonlocal broken
            try:
                while data := await source.receive_some(PIECE_BYTES):
                    await sink.send_all(data)
                await sink.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                broken = True
                nursery.cancel_scope.cancel()

        async def both() -> None:
            async with trio.open_nursery() as pumps:
                pumps.start_soon(pump, link, server)
                pumps.start_soon(pump, server, link)
            nursery.cancel_scope.cancel()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(both)
                # Also where both directions are stuck below.
                await link.wait_over()
                nursery.cancel_scope.cancel()
        finally:
            # A reset goes through as a reset, whoever began it.
            if link.ending == "reset" or (broken and link.ending is None):
                await link.reset()
                await reset_stream(server)
            else:
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(server)
