"""The network connection as the WebSocket library is given it."""

import ssl
from collections.abc import Awaitable, Callable

import trio

from tidings.client.urls import Address

# What one read takes at most: a burst of publications in one piece.
RECEIVE_BYTES = 65536

#: Opens the connection to a server. Raises OSError, ssl.SSLError or trio.BrokenResourceError.
Dial = Callable[[Address], Awaitable[trio.abc.Stream]]


def dialing(context: ssl.SSLContext | None = None) -> Dial:
    """A `Dial` by TCP, with TLS for wss; `context` says whom to trust, by default whom the system trusts."""

    async def dial(address: Address) -> trio.abc.Stream:
        if not address.tls:
            return await trio.open_tcp_stream(address.host, address.port)
        stream = await trio.open_ssl_over_tcp_stream(
            address.host,
            address.port,
            ssl_context=context or ssl.create_default_context(),
            https_compatible=True,
        )
        try:
            await stream.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    return dial


class WatchedStream(trio.abc.Stream):
    """A stream that knows when it last received something, and says when it has ended.

    The library waits without bound for a handshake's answer, also when TCP has ended before it: it is
    told here. And it never waits in closing: the WebSocket's close frame has said everything.
    """

    def __init__(self, stream: trio.abc.Stream, ended: Callable[[], None]) -> None:
        self._stream = stream
        self._ended = ended
        self.last_received = trio.current_time()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes, b"" at the end; TLS's complaints count as a broken connection."""
        try:
            data = bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._ended()
            raise
        if data:
            self.last_received = trio.current_time()
        else:
            self._ended()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything. Cancelled half-way, nothing may follow."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there may be room."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close at once."""
        self._ended()
        await trio.aclose_forcefully(self._stream)
        await trio.lowlevel.checkpoint()
