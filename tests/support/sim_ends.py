"""The two ends of a simulated link: what the server takes for a socket or a stream, and a client for its stream."""

import socket
from collections.abc import Callable
from typing import cast

import trio

from support.sim_network import Lane, Link, Receiver
from tidings.server.delivery.outbox import Outbox, Send
from tidings.server.edge.transport import RECEIVE_BYTES, StreamTransport


class LinkTransport:
    """The server's end as a plain socket: sent inline, into a kernel of finite room."""

    __slots__ = ("_link", "last_received")

    def __init__(self, link: Link) -> None:
        self._link = link
        self.last_received = trio.current_time()

    @property
    def send_nowait(self) -> Send | None:
        """The kernel's `send`."""
        return self._link.down.send

    def receive_nowait(self) -> bytes | None:
        """Nothing comes but in the network's own time."""
        return None

    async def receive(self) -> bytes:
        """The next bytes, or b"" at the end."""
        try:
            data = await self._link.receiver.receive(RECEIVE_BYTES, self._link.is_freed)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""
        if data:
            self.last_received = trio.current_time()
        return data

    async def send_all(self, data: bytes) -> None:
        """Send everything."""
        await _send_all(self._link.down, data)

    async def pump(self, outbox: Outbox) -> None:
        """Send what waits whenever the kernel takes more."""
        while await outbox.wait_pending():
            await _wait_writable(self._link.down)
            outbox.flush()

    def bytes_sent(self, outbox: Outbox) -> int:
        """Nobody asks for what went past the outbox."""
        return outbox.bytes_sent

    async def linger(self) -> None:
        """Send the end, then discard until the peer's."""
        self._link.down.finish()
        while await self.receive():
            pass

    async def close(self, *, reset: bool = False) -> None:
        """Free it."""
        self._link.free(reset=reset)


class LinkStream(trio.abc.Stream):
    """An end as a trio stream: the server's, as TLS has it, or a client's that reads in a task."""

    def __init__(
        self, receiver: Receiver, out: Lane, closed: Callable[[], bool], close: Callable[[], None]
    ):
        self._receiver = receiver
        self._out = out
        self._is_closed = closed
        self._close = close

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes."""
        return await self._receiver.receive(max_bytes or RECEIVE_BYTES, self._is_closed)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything, as there is room."""
        if self._is_closed():
            raise trio.ClosedResourceError
        await _send_all(self._out, bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for room."""
        await _wait_writable(self._out)

    async def aclose(self) -> None:
        """Close at once."""
        self._close()
        self._receiver.wake()
        self._out.writable.unpark_all()
        await trio.lowlevel.checkpoint()


class _SocketBelow:
    """What is asked of the socket under TLS."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.resets = False

    def setsockopt(self, _level: int, _name: int, _value: bytes) -> None:
        """Only ever asked to end with RST."""
        self.resets = True

    def shutdown(self, _how: int) -> None:
        """Only ever asked to end the sending direction."""
        self._link.down.finish()


def stream_transport(link: Link) -> StreamTransport:
    """The server's end as TLS has it: a stream, and a socket below."""
    below = _SocketBelow(link)
    stream = LinkStream(link.receiver, link.down, link.is_freed, lambda: link.free(reset=below.resets))
    return StreamTransport(stream, cast(socket.socket, below))


def client_stream(link: Link) -> LinkStream:
    """The client's end as a stream."""
    receiver = Receiver(link.down)
    return LinkStream(receiver, link.up, lambda: link.left_at is not None, link.leave)


async def _wait_writable(lane: Lane) -> None:
    await trio.lowlevel.checkpoint_if_cancelled()
    while lane.used >= lane.room and not lane.broken and not lane.finished:
        await lane.writable.park()
    await trio.lowlevel.cancel_shielded_checkpoint()


async def _send_all(lane: Lane, data: bytes) -> None:
    rest = data
    while rest:
        try:
            rest = rest[lane.send(rest) :]
        except BlockingIOError:
            await _wait_writable(lane)
        except OSError as error:
            raise trio.BrokenResourceError from error
    await trio.lowlevel.checkpoint()
