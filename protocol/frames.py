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


_OPCODES = frozenset(Opcode)

# Below these a frame's length must not be written in 2, in 8 bytes (section 5.2).
_LEAST_LENGTH = {126: 126, 127: 65536}


class FrameWatch:
    """Walks the headers of a client's frames, for rules and limits that must hold before anything is buffered.

    An engine that leaves parsing to a library shows it every byte first: `feed` says how many of them
    are safe to hand on. Payloads are skipped, not looked at, and nothing behind a close frame is safe.
    A header is judged whole, and in a fixed order, so that chopping the input in any way gives the same
    verdict, also where a header is wrong in two ways.
    """

    __slots__ = (
        "_fragments",
        "_header",
        "_max_fragments",
        "_max_message",
        "_message_bytes",
        "_skip",
        "control_frames",
        "finished",
        "messages",
        "violation",
    )

    def __init__(self, *, max_message: int, max_fragments: int) -> None:
        """Take the limits: bytes of a message, frames of a message."""
        self._max_message = max_message
        self._max_fragments = max_fragments
        self._header = b""
        """The begun header; less than 14 bytes."""
        self._skip = 0
        """Bytes of payload still to come."""
        self._message_bytes = 0
        self._fragments = 0
        self.control_frames = 0
        """Pings and pongs seen; whoever counts them on sets it back to 0."""
        self.messages = 0
        """Messages whose last frame has begun."""
        self.violation: Violation | None = None
        self.finished = False
        """Whether a close frame has begun: what follows it means nothing (section 5.5.1)."""

    def feed(self, data: bytes) -> int:
        """How many leading bytes of `data` are safe; when not all, `violation` or `finished` says why."""
        at = 0
        size = len(data)
        while at < size and self.violation is None:
            if self._skip:
                step = min(self._skip, size - at)
                self._skip -= step
                at += step
                continue
            if self.finished:
                break
            begun = len(self._header)
            header = self._header + data[at : at + 14 - begun]
            needed = self._header_length(header)
            if len(header) < needed:
                self._header = header
                return size
            # A header that breaks a limit is not handed on, even where its first bytes already were.
            self.violation = self._judge(header)
            if self.violation is None:
                self._header = b""
                at += needed - begun
        return at

    @property
    def is_inside(self) -> bool:
        """Whether a message, or a frame, has begun and is not complete."""
        return bool(self._header or self._skip or self._fragments)

    @staticmethod
    def _header_length(header: bytes) -> int:
        if len(header) < 2:
            return 2
        return 2 + {126: 2, 127: 8}.get(header[1] & 0x7F, 0) + (4 if header[1] & MASKED else 0)

    def _judge(self, header: bytes) -> Violation | None:
        opcode = header[0] & 0x0F
        if header[0] & RESERVED_BITS:
            return _protocol_error("a reserved bit is set")
        if opcode not in _OPCODES:
            return _protocol_error("the opcode is reserved")
        if not header[1] & MASKED:
            return _protocol_error("a client's frames must be masked")
        length = header[1] & 0x7F
        if length >= 126:
            least = _LEAST_LENGTH[length]
            length = int.from_bytes(header[2:4] if length == 126 else header[2:10])
            if length < least:
                return _protocol_error("a frame's length must be written in its shortest form")
            if length >> 63:
                return _protocol_error("the highest bit of a frame's length must be 0")
        self._skip = length
        if opcode & 0x8:
            return self._judge_control(opcode, length)
        return self._judge_data(opcode, length, fin=bool(header[0] & FIN))

    def _judge_control(self, opcode: int, length: int) -> Violation | None:
        if length > CONTROL_BYTES:
            return _protocol_error("a control frame's payload may have 125 bytes")
        if opcode == Opcode.CLOSE:
            self.finished = True
        else:
            self.control_frames += 1
        return None

    def _judge_data(self, opcode: int, length: int, *, fin: bool) -> Violation | None:
        if opcode != Opcode.CONTINUATION:
            self._message_bytes = self._fragments = 0
        self._message_bytes += length
        self._fragments += 1
        if self._message_bytes > self._max_message:
            return Violation(CloseCode.TOO_BIG, f"a message may have {self._max_message} bytes")
        if self._fragments > self._max_fragments:
            return Violation(
                CloseCode.POLICY_VIOLATION, f"a message may have {self._max_fragments} fragments"
            )
        if fin:
            self.messages += 1
            self._message_bytes = self._fragments = 0
        return None


def _protocol_error(reason: str) -> Violation:
    return Violation(CloseCode.PROTOCOL_ERROR, reason)
