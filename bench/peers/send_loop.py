"""The floor: one epoll loop, and for each message nothing but `send` on every socket.

No checks, no queues, no answer to anything but a handshake and a message: what is left is the kernel's
part of a fan-out, and the least that Python can add to it. No server of this kind can be below it.
"""

import base64
import gc
import hashlib
import select
import socket

import msgspec

from tidings.bench.replies import Ready

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_BACKLOG = 4096


def unmasked(frame: bytes) -> bytes:
    """A client's frame as the server's with the same payload. The frame is whole, and of text."""
    at = {126: 4, 127: 10}.get(frame[1] & 0x7F, 2)
    key, payload = frame[at : at + 4], frame[at + 4 :]
    length = len(payload)
    mask = int.from_bytes((key * (length // 4 + 1))[:length])
    head = bytes((frame[0], frame[1] & 0x7F)) + frame[2:at]
    return head + (int.from_bytes(payload) ^ mask).to_bytes(length)


def accept(head: bytes) -> bytes:
    """The answer to a handshake."""
    key = next(line[18:].strip() for line in head.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key:"))
    digest = base64.b64encode(hashlib.sha1(key + _GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n"
    )


def main() -> None:
    """Serve until killed."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
    epoll = select.epoll()
    epoll.register(listener.fileno(), select.EPOLLIN)
    sockets: dict[int, socket.socket] = {}
    print(msgspec.json.encode(Ready(ready=True, port=listener.getsockname()[1])).decode(), flush=True)
    while True:
        for fd, _ in epoll.poll():
            if fd == listener.fileno():
                sock, _ = listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sockets[sock.fileno()] = sock
                epoll.register(sock.fileno(), select.EPOLLIN)
                continue
            data = sockets[fd].recv(65536)
            if data.startswith(b"GET "):
                sockets[fd].send(accept(data))
            elif data and data[0] == 0x81:
                frame = unmasked(data)
                for sock in sockets.values():
                    sock.send(frame)
            else:  # a close frame, or the end
                epoll.unregister(fd)
                sockets.pop(fd).close()


if __name__ == "__main__":
    gc.disable()
    main()
