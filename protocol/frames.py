"""RFC 6455 frames: building them as a server, finding their ends, and watching a client's.

A server's frames are unmasked (section 5.1), so one `bytes` object serves every receiver. Ours are
never fragmented: the FIN bit is always set.
"""

import struct
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


class FrameWatch:
    """Walks the headers of a client's frames, for limits that must hold before anything is buffered.

    An engine that leaves parsing to a library shows it every byte first: `feed` says how many of them
    are safe to hand on. Payloads are skipped, not looked at. Chopping the input in any way gives the
    same answer.
    """

    __slots__ = (
        "_fragments",
        "_header",
        "_max_fragments",
        "_max_message",
        "_message_bytes",
        "_skip",
        "control_frames",
        "violation",
    )

    def __init__(self, *, max_message: int, max_fragments: int) -> None:
        """Take the limits: bytes of a message, frames of a message."""
        self._max_message = max_message
        self._max_fragments = max_fragments
        self._header = b""
        """The begun header; at most 14 bytes."""
        self._skip = 0
        """Bytes of payload still to come."""
        self._message_bytes = 0
        self._fragments = 0
        self.control_frames = 0
        """Pings and pongs seen; whoever counts them on sets it back to 0."""
        self.violation: Violation | None = None

    def feed(self, data: bytes) -> int:
        """How many leading bytes of `data` break no limit; when not all, `violation` says which."""
        at = 0
        size = len(data)
        while at < size and self.violation is None:
            if self._skip:
                step = min(self._skip, size - at)
                self._skip -= step
                at += step
                continue
            begun = len(self._header)
            header = self._header + data[at : at + 14 - begun]
            needed = self._header_length(header)
            if len(header) < needed:
                self._header = header
                return size
            # A header that breaks a limit is not handed on, even where its first bytes already were.
            self._check(header)
            if self.violation is None:
                self._header = b""
                at += needed - begun
        return at

    @staticmethod
    def _header_length(header: bytes) -> int:
        if len(header) < 2:
            return 2
        return 2 + {126: 2, 127: 8}.get(header[1] & 0x7F, 0) + (4 if header[1] & MASKED else 0)

    def _check(self, header: bytes) -> None:
        opcode = header[0] & 0x0F
        length = header[1] & 0x7F
        if length == 126:
            length = int.from_bytes(header[2:4])
        elif length == 127:
            length = int.from_bytes(header[2:10])
            if length >> 63:
                self._break(CloseCode.PROTOCOL_ERROR, "the highest bit of a frame's length must be 0")
                return
        self._skip = length
        if opcode & 0x8:
            self._check_control(opcode, length)
            return
        if opcode != Opcode.CONTINUATION:
            self._message_bytes = 0
            self._fragments = 0
        self._message_bytes += length
        self._fragments += 1
        if self._message_bytes > self._max_message:
            self._break(CloseCode.TOO_BIG, f"a message may have {self._max_message} bytes")
        elif self._fragments > self._max_fragments:
            self._break(CloseCode.POLICY_VIOLATION, f"a message may have {self._max_fragments} fragments")

    def _check_control(self, opcode: int, length: int) -> None:
        if length > CONTROL_BYTES:
            self._break(CloseCode.PROTOCOL_ERROR, "a control frame's payload may have 125 bytes")
        elif opcode != Opcode.CLOSE:
            self.control_frames += 1

    def _break(self, code: CloseCode, reason: str) -> None:
        self.violation = Violation(code, reason)
