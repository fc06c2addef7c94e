"""RFC 6455 frames: building them as a server, and finding their ends.

A server's frames are unmasked (section 5.1), so one `bytes` object serves every receiver. Ours are
never fragmented: the FIN bit is always set.
"""

import struct
from collections.abc import Callable
from enum import IntEnum

from tidings.protocol.close_codes import CloseCode, is_sendable

FIN = 0x80
RESERVED_BITS = 0x70
MASKED = 0x80


class Opcode(IntEnum):
    """What a frame carries (section 5.2)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


#: A control frame's payload is at most this long (section 5.5).
CONTROL_BYTES = 125

PING = bytes((FIN | Opcode.PING, 0))
"""A ping without payload. Any inbound byte proves life, so a pong need not be matched to its ping."""

Framing = Callable[[int, bytes], bytes]
"""Makes a whole frame of an opcode and a payload: `build_frame`, or a `Deflater` of deflate.py."""

_length_16 = struct.Struct("!BBH").pack
_length_64 = struct.Struct("!BBQ").pack


def build_frame(opcode: int, payload: bytes) -> bytes:
    """A whole, unmasked frame."""
    length = len(payload)
    if length < 126:
        return bytes((FIN | opcode, length)) + payload
    if length < 65536:
        return _length_16(FIN | opcode, 126, length) + payload
    return _length_64(FIN | opcode, 127, length) + payload


def build_close(code: int, reason: str = "") -> bytes:
    """A close frame. A reason too long for a control frame is cut between characters.

    A code that must not be sent (1005, 1006, or one out of range) gives a frame without a code.
    """
    if not is_sendable(code):
        return build_frame(Opcode.CLOSE, b"")
    text = reason.encode("utf-8", "replace")[: CONTROL_BYTES - 2].decode("utf-8", "ignore")
    return build_frame(Opcode.CLOSE, code.to_bytes(2) + text.encode())


def end_of_begun_frame(frames: bytes, sent: int) -> int:
    """Where the frame ends of which byte `sent - 1` was the last to go out.

    `frames` is a run of whole frames as `build_frame` makes them. `sent` itself is returned when it
    stands between two frames. Anything that is not such a run (the handshake answer) is one piece,
    never to be cut.
    """
    at = 0
    size = len(frames)
    while at < sent:
        if not frames[at] & FIN:
            return size
        length = frames[at + 1]
        if length < 126:
            at += 2 + length
        elif length == 126:
            at += 4 + int.from_bytes(frames[at + 2 : at + 4])
        else:
            at += 10 + int.from_bytes(frames[at + 2 : at + 10])
    return at


class Violation(Exception):
    """The peer broke a rule; the connection must be closed with `code`."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def protocol_error(reason: str) -> Violation:
    """What most broken rules are: 1002."""
    return Violation(CloseCode.PROTOCOL_ERROR, reason)
