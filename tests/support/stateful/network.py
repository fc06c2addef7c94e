"""A scripted network: real transports over a kernel whose buffers, stalls and breaks are a test's to choose."""

import errno
import socket
from collections import deque
from typing import Any

import trio
from trio.lowlevel import ParkingLot


class Line:
    """One connection as its kernels see it: what was sent and not yet read, each way, and how each way ended.

    Towards the client at most `room` bytes wait unread; towards the server whatever the client wrote, in
    the pieces in which it comes.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.stalled = False
        """Whether the client does not read."""
        self.outbound = bytearray()
        self.inbound: deque[bytes] = deque()
        self.client_ended = False
        """Whether the client has sent FIN."""
        self.client_gone = False
        """Whether the client's end is closed: what is sent now is answered with RST."""
        self.server_ended = False
        self.server_closed = False
        self.was_reset = False
        self.lingers_not = False
        """Whether closing shall reset, as SO_LINGER with 0 seconds asks."""
        self.sent = 0
        """Bytes that the server's kernel has taken."""
        self._readable, self._writable, self._audible = ParkingLot(), ParkingLot(), ParkingLot()

    # --- the client's end ----------------------------------------------------------------------------

    def write(self, pieces: list[bytes]) -> None:
        if not (self.server_closed or self.was_reset or self.client_ended):
            self.inbound.extend(pieces)
            self._readable.unpark_all()

    async def read(self) -> bytes:
        """What waits for the client; b"" at the end, or once it has gone itself."""
        while not (self.client_gone or self.was_reset):
            if not self.stalled:
                if self.outbound:
                    data = bytes(self.outbound)
                    self.outbound.clear()
                    self._writable.unpark_all()
                    return data
                if self.server_ended:
                    return b""
            await self._audible.park()
        return b""

    def stall(self) -> None:
        self.stalled = True

    def resume(self) -> None:
        self.stalled = False
        self._audible.unpark_all()

    def end_writing(self) -> None:
        """FIN: the client says no more, and goes on reading."""
        self.client_ended = True
        self._wake()

    def close_client(self) -> None:
        """The client is gone: FIN, and RST for whatever is sent afterwards."""
        self.client_ended = self.client_gone = True
        self.outbound.clear()
        self._wake()

    def reset(self) -> None:
        """RST, from either side: nothing that waits is delivered."""
        self.was_reset = True
        self.outbound.clear()
        self.inbound.clear()
        self._wake()

    # --- the server's end ----------------------------------------------------------------------------

    def send(self, data: bytes | memoryview) -> int:
        if self.server_closed:
            raise OSError(errno.EBADF, "closed")
        if self.was_reset or self.server_ended:
            raise BrokenPipeError
        if self.client_gone:
            self.reset()
            return len(data)  # taken by the kernel, and never delivered
        taken = bytes(data[: max(0, self.room - len(self.outbound))])
        if not taken:
            raise BlockingIOError
        self.outbound += taken
        self.sent += len(taken)
        self._audible.unpark_all()
        return len(taken)

    def receive(self, most: int) -> bytes:
        if self.server_closed:
            raise OSError(errno.EBADF, "closed")
        if self.was_reset:
            raise ConnectionResetError
        if self.inbound:
            piece = self.inbound.popleft()
            if len(piece) > most:
                self.inbound.appendleft(piece[most:])
            return piece[:most]
        if self.client_ended:
            return b""
        raise BlockingIOError

    def end_server(self) -> None:
        self.server_ended = True
        self._audible.unpark_all()

    def close_server(self) -> None:
        """Close; as a kernel does, with a reset where something lies unread."""
        if self.lingers_not or self.inbound:
            self.reset()
        self.server_closed = self.server_ended = True
        self._wake()

    async def wait_readable(self) -> None:
        await self._wait(self._readable, lambda: bool(self.inbound or self.client_ended))

    async def wait_writable(self) -> None:
        await self._wait(self._writable, lambda: self.client_gone or len(self.outbound) < self.room)

    async def _wait(self, lot: ParkingLot, ready: Any) -> None:
        if self.server_closed:
            raise trio.ClosedResourceError
        if ready() or self.was_reset:
            await trio.lowlevel.checkpoint()
            return
        while not (ready() or self.was_reset):
            await lot.park()
            if self.server_closed:
                raise trio.ClosedResourceError

    def _wake(self) -> None:
        for lot in (self._readable, self._writable, self._audible):
            lot.unpark_all()


class ScriptedSocket:
    """What SocketTransport takes for the standard library's non-blocking socket."""

    def __init__(self, line: Line) -> None:
        self.line = line

    def send(self, data: bytes | memoryview) -> int:
        return self.line.send(data)

    def recv(self, most: int) -> bytes:
        return self.line.receive(most)

    def getsockopt(self, level: int, name: int, size: int) -> bytes:  # noqa: ARG002  as a socket's
        raise OSError(errno.ENOPROTOOPT, "this kernel counts nothing")

    def setsockopt(self, level: int, name: int, value: Any) -> None:  # noqa: ARG002  as a socket's
        if (level, name) == (socket.SOL_SOCKET, socket.SO_LINGER):
            self.line.lingers_not = True

    def shutdown(self, how: int) -> None:  # noqa: ARG002  always for writing
        if self.line.server_closed or self.line.was_reset:
            raise OSError(errno.ENOTCONN, "not connected")
        self.line.end_server()

    def close(self) -> None:
        self.line.close_server()


class ScriptedStream(trio.abc.Stream):
    """What StreamTransport takes for a TLS stream: sends wait for the peer, and cannot be ended alone."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._sending = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._sending, "two tasks send on one stream"
        self._sending = True
        try:
            rest = memoryview(bytes(data))
            await trio.lowlevel.checkpoint()
            while rest:
                try:
                    rest = rest[self.line.send(rest) :]
                except BlockingIOError:
                    await self.line.wait_writable()
                except OSError as error:
                    raise (
                        trio.ClosedResourceError if self.line.server_closed else trio.BrokenResourceError
                    ) from error
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        await self.line.wait_writable()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        while True:
            try:
                return self.line.receive(max_bytes or 65536)
            except BlockingIOError:
                await self.line.wait_readable()
            except OSError as error:
                raise (
                    trio.ClosedResourceError if self.line.server_closed else trio.BrokenResourceError
                ) from error

    async def aclose(self) -> None:
        self.line.close_server()
        await trio.lowlevel.checkpoint()


class _Waiting:
    """trio.lowlevel, with what waits for a descriptor waiting for a scripted socket instead."""

    def __getattr__(self, name: str) -> Any:
        return getattr(trio.lowlevel, name)

    @staticmethod
    async def wait_readable(sock: ScriptedSocket) -> None:
        await sock.line.wait_readable()

    @staticmethod
    async def wait_writable(sock: ScriptedSocket) -> None:
        await sock.line.wait_writable()

    @staticmethod
    def notify_closing(sock: ScriptedSocket) -> None:
        """Nothing: `close` wakes whoever waits."""


class ScriptedTrio:
    """Stands for `trio` in the module of the transports, so that the real ones run over scripted sockets."""

    lowlevel = _Waiting()

    def __getattr__(self, name: str) -> Any:
        return getattr(trio, name)
