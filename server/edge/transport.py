"""Bytes in and out of one peer: a plain socket, or any trio stream (TLS, and memory streams in tests).

A plain socket is kept as the standard library's non-blocking socket, so that the outbox can send inline;
trio is asked only to wait.
"""

import socket
import ssl
import struct
from contextlib import suppress
from typing import Protocol

import trio

from tidings.server.delivery.outbox import Outbox, Send

RECEIVE_BYTES = 16384

# Fields of Linux's `struct tcp_info` (linux/tcp.h): tcpi_notsent_bytes; tcpi_bytes_sent, tcpi_bytes_retrans.
_TCP_INFO_BYTES = 256
_NOT_SENT, _NOT_SENT_AT = struct.Struct("=I"), 144
_SENT_AND_AGAIN, _SENT_AT = struct.Struct("=QQ"), 200

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Transport(Protocol):
    """One peer's bytes. Methods that wait may be cancelled; the transport is then fit only for closing."""

    last_received: float
    """trio.current_time() of the last inbound bytes, or of the start."""

    @property
    def send_nowait(self) -> Send | None:
        """The outbox's inline send, where there is one."""

    async def receive(self) -> bytes:
        """The next bytes; b"" at the end. A connection that broke ends too: b""."""

    def receive_nowait(self) -> bytes | None:
        """What has come already, as `receive` gives it; None where only waiting tells."""

    async def send_all(self, data: bytes) -> None:
        """Send everything, before there is an outbox. Raises trio.BrokenResourceError."""

    async def pump(self, outbox: Outbox) -> None:
        """Drain an outbox until its last frame has gone out, or nobody is there to read it."""

    def bytes_sent(self, outbox: Outbox) -> int:
        """Bytes that went out since the outbox was there, through it and past it."""

    async def linger(self) -> None:
        """Tell the peer that nothing follows, and drop what it still sends, until it ends or the caller's deadline.

        Closing with unread bytes resets the connection, and a reset can overtake the close frame that
        told the peer why.
        """

    async def close(self, *, reset: bool = False) -> None:
        """Free the descriptor at once; with `reset`, the kernel drops what it still holds. Never blocks."""


class SocketTransport:
    """A plain TCP socket."""

    __slots__ = ("_closed", "_socket", "last_received")

    def __init__(self, sock: socket.socket) -> None:
        """Own a connected, non-blocking socket."""
        self._socket = sock
        self._closed = False
        self.last_received = trio.current_time()

    @property
    def send_nowait(self) -> Send | None:
        """The socket's own `send`."""
        return self._socket.send

    async def receive(self) -> bytes:
        """The next bytes, or b"" at the end."""
        await trio.lowlevel.checkpoint_if_cancelled()
        waited = False
        while True:
            try:
                data = self._socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
                waited = True
                continue
            except OSError:
                return b""
            self.last_received = trio.current_time()
            if not waited:
                # A peer that sends faster than we read must not keep the loop to itself.
                await trio.lowlevel.cancel_shielded_checkpoint()
            return data

    def receive_nowait(self) -> bytes | None:
        """What the kernel has, if it has anything."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        self.last_received = trio.current_time()
        return data

    async def send_all(self, data: bytes) -> None:
        """Send everything."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
            except OSError as error:
                raise trio.BrokenResourceError from error

    async def pump(self, outbox: Outbox) -> None:
        """Send what waits whenever the socket takes more."""
        while await outbox.wait_pending():
            await trio.lowlevel.wait_writable(self._socket)
            outbox.flush()

    def bytes_sent(self, outbox: Outbox) -> int:
        """What the kernel counts, where it does."""
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
            sent, again = _SENT_AND_AGAIN.unpack_from(info, _SENT_AT)
            (waiting,) = _NOT_SENT.unpack_from(info, _NOT_SENT_AT)
        except (OSError, struct.error):
            return outbox.bytes_sent
        return int(sent - again + waiting)

    async def linger(self) -> None:
        """Send FIN, then discard until the peer's."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        while await self.receive():
            pass

    async def close(self, *, reset: bool = False) -> None:
        """Close the socket; nobody waits on it any more."""
        if self._closed:
            return
        self._closed = True
        if reset:
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()


class StreamTransport:
    """Any trio stream: TLS over a socket, or a memory stream."""

    __slots__ = ("_socket", "_stream", "last_received")

    def __init__(self, stream: trio.abc.Stream, sock: socket.socket | None = None) -> None:
        """Own a stream, and the socket under it where there is one."""
        self._stream = stream
        self._socket = sock
        self.last_received = trio.current_time()

    @property
    def send_nowait(self) -> Send | None:
        """None: TLS may have to wait for the peer, so everything goes through the write task."""
        return None

    async def receive(self) -> bytes:
        """The next bytes, or b"" at the end."""
        try:
            data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError):
            return b""
        self.last_received = trio.current_time()
        return data

    def receive_nowait(self) -> bytes | None:
        """None: only asking the stream tells."""
        return None

    async def send_all(self, data: bytes) -> None:
        """Send everything."""
        await self._stream.send_all(data)

    async def pump(self, outbox: Outbox) -> None:
        """Join what waits and send it, one piece after another."""
        while await outbox.wait_pending():
            piece = outbox.take()
            try:
                await self._stream.send_all(piece)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                outbox.break_off()
                return
            except trio.Cancelled:
                # Nobody knows how much of the piece went out: nothing may follow it.
                outbox.discard()
                raise
            outbox.taken(len(piece))

    def bytes_sent(self, outbox: Outbox) -> int:
        """All of it goes through the outbox."""
        return outbox.bytes_sent

    async def linger(self) -> None:
        """Close the sending direction where the stream has one, then discard until the peer's end."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
            elif self._socket is not None:
                # Under TLS the close frame was sent as a record of its own; FIN tells the rest.
                self._socket.shutdown(socket.SHUT_WR)
        while await self.receive():
            pass

    async def close(self, *, reset: bool = False) -> None:
        """Drop the stream without TLS's farewell: the WebSocket close frame has said it already."""
        if reset and self._socket is not None:
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        # Shielded, since it never blocks: a cancelled connection still has its end to log.
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._stream)
