"""The client's side of RFC 6455, as little as a load generator needs.

Independent of `tidings.protocol.frames` on purpose: a server that builds its frames wrongly must not be
measured by a client that shares the mistake.
"""

import base64
import os
from typing import NamedTuple

TEXT = 0x1
CLOSE = 0x8
PING = 0x9
PONG = 0xA

_FIN = 0x80
_MASKED = 0x80


class Malformed(Exception):
    """Bytes that no server may send, or that none of those measured does (fragments)."""


class Frame(NamedTuple):
    """One whole frame."""

    opcode: int
    payload: bytes


def client_frame(opcode: int, payload: bytes) -> bytes:
    """A whole, masked frame (section 5.3)."""
    length = len(payload)
    if length < 126:
        head = bytes((_FIN | opcode, _MASKED | length))
    elif length < 65536:
        head = bytes((_FIN | opcode, _MASKED | 126)) + length.to_bytes(2)
    else:
        head = bytes((_FIN | opcode, _MASKED | 127)) + length.to_bytes(8)
    key = os.urandom(4)
    mask = int.from_bytes((key * (length // 4 + 1))[:length])
    return head + key + (int.from_bytes(payload) ^ mask).to_bytes(length)


def close_frame(code: int) -> bytes:
    """A close frame without a reason."""
    return client_frame(CLOSE, code.to_bytes(2))


def split_frames(data: bytes) -> tuple[list[Frame], bytes]:
    """The whole frames in `data`, and the bytes of the one begun behind them. Raises Malformed."""
    frames = []
    at = 0
    size = len(data)
    while size - at >= 2:
        first, length = data[at], data[at + 1]
        if not first & _FIN or first & 0x70 or first & 0x0F not in (TEXT, CLOSE, PING, PONG):
            raise Malformed(f"first byte 0x{first:02x}")
        if length & _MASKED:
            raise Malformed("a server's frame is masked")
        begin = at + 2
        if length == 126:
            begin += 2
            length = int.from_bytes(data[at + 2 : begin])
        elif length == 127:
            begin += 8
            length = int.from_bytes(data[at + 2 : begin])
        if size < begin or size - begin < length:
            break
        frames.append(Frame(first & 0x0F, data[begin : begin + length]))
        at = begin + length
    return frames, data[at:]


def handshake(path: str) -> bytes:
    """An upgrade request (section 4.1)."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()
