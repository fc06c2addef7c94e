"""The floor in Python: one epoll loop, and for each message nothing but `send` on every socket of its room.

No checks, no queues, no answer to anything but a handshake, a message, a ping and a close: what is left is the
kernel's part of a fan-out, and the least that Python can add to it. Sends block, for SEND_SECONDS at most: one
client that does not read holds up all others, and is then dropped. Fragments are not put together.
"""

import base64
import gc
import hashlib
import os
import select
import socket
import struct
from collections import defaultdict
from contextlib import suppress

import msgspec

from tidings.bench.replies import Done, Ready

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_BACKLOG = 4096
_RECEIVE_BYTES = 65536
SEND_SECONDS = 5

_STDIN = 0
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x81, 0x82, 0x88, 0x89, 0x8A


def unmasked(frame: bytes) -> bytes:
    """A client's frame as the server's with the same payload. The frame is whole."""
    at = {126: 4, 127: 10}.get(frame[1] & 0x7F, 2)
    key, payload = frame[at : at + 4], frame[at + 4 :]
    length = len(payload)
    mask = int.from_bytes((key * (length // 4 + 1))[:length])
    head = bytes((frame[0], frame[1] & 0x7F)) + frame[2:at]
    return head + (int.from_bytes(payload) ^ mask).to_bytes(length)


def end_of_frame(data: bytes, at: int) -> int:
    """Where the client's frame that begins at `at` ends; 0 while that is not to be seen."""
    if len(data) - at < 2:
        return 0
    length = data[at + 1] & 0x7F
    head = {126: 4, 127: 10}.get(length, 2)
    if head > 2:
        if len(data) - at < head:
            return 0
        length = int.from_bytes(data[at + 2 : at + head])
    return at + head + 4 + length


def accept(head: bytes) -> bytes:
    """The answer to a handshake."""
    key = next(line[18:].strip() for line in head.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key:"))
    digest = base64.b64encode(hashlib.sha1(key + _GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n"
    )


class Loop:
    """All connections."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self.epoll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        self.rests: dict[int, bytes] = {}
        """What has come of a head or a frame begun."""
        self.rooms: defaultdict[bytes, dict[int, socket.socket]] = defaultdict(dict)
        self.room_of: dict[int, dict[int, socket.socket]] = {}

    def run(self) -> None:
        """Serve until standard input ends."""
        listening = self.listener.fileno()
        self.epoll.register(listening, select.EPOLLIN)
        self.epoll.register(_STDIN, select.EPOLLIN)
        while True:
            for fd, _ in self.epoll.poll():
                if fd == listening:
                    self._admit()
                elif fd == _STDIN:
                    lines = os.read(_STDIN, 4096)
                    if not lines:
                        return
                    gc.collect()
                    for _ in range(lines.count(b"\n")):
                        say(Done())
                elif fd in self.sockets and not self._read(fd):
                    self._forget(fd)

    def _admit(self) -> None:
        sock, _ = self.listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel's own limit of time: Python's would ask poll() before every send.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_SECONDS, 0))
        self.sockets[sock.fileno()] = sock
        self.epoll.register(sock.fileno(), select.EPOLLIN)

    def _read(self, fd: int) -> bool:
        """Whether the connection goes on."""
        try:
            data = self.sockets[fd].recv(_RECEIVE_BYTES)
        except OSError:
            return False
        if not data:
            return False
        data = self.rests.pop(fd, b"") + data
        at = 0
        if fd not in self.room_of:
            at = data.find(b"\r\n\r\n") + 4
            if at < 4:
                self.rests[fd] = data
                return True
            self._join(fd, data[:at])
        while end := end_of_frame(data, at):
            if end > len(data):
                break
            if not self._take(fd, unmasked(data[at:end])):
                return False
            at = end
        if at < len(data):
            self.rests[fd] = data[at:]
        return True

    def _join(self, fd: int, head: bytes) -> None:
        send(self.sockets[fd], accept(head))
        room = self.rooms[head.split(b" ", 2)[1]]
        room[fd] = self.sockets[fd]
        self.room_of[fd] = room

    def _take(self, fd: int, frame: bytes) -> bool:
        """Do what a frame asks for; whether the connection goes on."""
        if frame[0] in (_TEXT, _BINARY):
            for sock in self.room_of[fd].values():
                send(sock, frame)
        elif frame[0] == _PING:
            send(self.sockets[fd], bytes((_PONG,)) + frame[1:])
        elif frame[0] == _CLOSE:
            send(self.sockets[fd], frame)
            return False
        return True

    def _forget(self, fd: int) -> None:
        self.epoll.unregister(fd)
        self.rests.pop(fd, None)
        self.room_of.pop(fd, {}).pop(fd, None)
        self.sockets.pop(fd).close()


def send(sock: socket.socket, data: bytes) -> None:
    """Send all of it, or see to it that the connection ends."""
    try:
        whole = sock.send(data) == len(data)
    except OSError:
        whole = False
    if not whole:
        # Its own event closes it: no room changes while it is sent to.
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def say(line: msgspec.Struct) -> None:
    """Write a line."""
    print(msgspec.json.encode(line).decode(), flush=True)


def main() -> None:
    """Serve."""
    loop = Loop()
    say(Ready(ready=True, port=loop.listener.getsockname()[1]))
    loop.run()


if __name__ == "__main__":
    gc.disable()
    main()
