"""The server's side of RFC 6455, without I/O: bytes of a client in, its messages and control frames out."""

import codecs
import functools
from typing import NamedTuple

from tidings.protocol.close_codes import CloseCode, is_sendable
from tidings.protocol.deflate import RSV1, Inflater
from tidings.protocol.frames import FIN, MASKED, Opcode, Violation, protocol_error
from tidings.protocol.headers import ANY_DATA, FRAGMENTS_PER_UNIT, Assembly, Header, State, read_header
from tidings.protocol.masking import unmask

_new_utf8_decoder = codecs.getincrementaldecoder("utf-8")

_WHOLE_TEXT = FIN | Opcode.TEXT

#: A header of a payload of less than 126 bytes: two bytes, and the mask.
_SHORT_HEADER = 6
#: The same with two more bytes for the length.
_LONG_HEADER = 8


class Ping(NamedTuple):
    """A ping, to be answered with a pong of the same payload (section 5.5.2)."""

    payload: bytes


class Pong(NamedTuple):
    """A pong, asked for or not (section 5.5.3)."""

    payload: bytes


class Closing(NamedTuple):
    """The peer's close frame; nothing comes after it (section 5.5.1)."""

    code: int
    """1005 where the frame has none."""
    reason: str


Event = str | bytes | Ping | Pong | Closing
"""A text message, a binary message, or a control frame."""


@functools.cache  # of the three sets that there are
def _whole_frames(accepts: frozenset[Opcode]) -> bytes:
    """First bytes of frames that are messages by themselves."""
    return bytes(FIN | opcode for opcode in accepts)


class MessageParser:
    """Turns what a client sends into messages.

    `feed` takes the bytes as they come, in any pieces; `next_event` gives what they amount to, one event
    a call and each as soon as its last byte is there. How the bytes were chopped changes nothing.

    Memory: what was fed and is not yet asked for, and one message of at most `max_message` bytes. What
    is refused is refused from its header, before its payload is kept; text is checked as it comes, and
    compressed data is inflated no further than the limit.
    """

    __slots__ = (
        "_assembly",
        "_at",
        "_buffer",
        "_ended",
        "_frame",
        "_inflater",
        "_max_message",
        "_message",
        "_taken",
        "_whole",
    )

    def __init__(
        self,
        *,
        max_message: int,
        max_fragments: int,
        accepts: frozenset[Opcode] = ANY_DATA,
        inflater: Inflater | None = None,
    ) -> None:
        """Take the limits: bytes of a message, as sent and as inflated, and frames of a message.

        `accepts` are the opcodes that may begin a message, `inflater` the negotiated `permessage-deflate`.
        """
        self._max_message = max_message
        self._assembly = Assembly(max_message=max_message, max_fragments=max_fragments, accepts=accepts)
        self._inflater = inflater
        self._whole = _whole_frames(accepts)
        self._buffer = b""
        self._at = 0
        self._frame: Header | None = None
        """The data frame under way; its payload is taken as it comes."""
        self._taken = 0
        """Bytes of its payload that were taken."""
        self._message: _Message | None = None
        """The message under way, where it does not come as one whole frame."""
        self._ended: Violation | bool = False
        """Whether nothing more will come: after a close frame, or a violation."""

    def allow(self, max_message: int) -> None:
        """Take messages of so many bytes from now on; one that has begun keeps the bound on what it inflates to."""
        self._max_message = self._assembly.max_message = max_message

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if self._ended:
            return
        at = self._at
        self._buffer = data if at == len(self._buffer) else self._buffer[at:] + data
        self._at = 0

    @property
    def is_inside(self) -> bool:
        """Whether a message, or a frame, has begun and is not complete; to be asked when no event is left."""
        return self._at < len(self._buffer) or self._message is not None

    @property
    def owes_units(self) -> bool:
        """Whether there were enough fragments since `take_units` to be charged."""
        return self._assembly.continuations >= FRAGMENTS_PER_UNIT

    def take_units(self) -> int:
        """What the fragments since the last call cost of the peer's rate."""
        return self._assembly.take_units()

    @property
    def is_in_message(self) -> bool:
        """Whether a message has begun and is not complete: control frames do not count."""
        return self._message is not None

    def next_event(self) -> Event | None:
        """The next event; None when it needs more bytes, and for ever after a close frame.

        Raises Violation, and goes on raising it.
        """
        # The short path: a whole, uncompressed message in one frame, all of it here. Nearly every one is.
        buffer, at = self._buffer, self._at
        size = len(buffer)
        if size - at < _SHORT_HEADER or buffer[at] not in self._whole or self._message is not None:
            return self._next_carefully()
        length = buffer[at + 1] - MASKED
        body = at + _SHORT_HEADER
        if length == 126 and size - at >= _LONG_HEADER:
            length = buffer[at + 2] << 8 | buffer[at + 3]
            body = at + _LONG_HEADER
            # 125 and less is not the shortest form here; 126 and 127 are lengths as others.
            if length < 126:
                return self._next_carefully()
        elif not 0 <= length < 126:
            return self._next_carefully()
        end = body + length
        if end > size or length > self._max_message:
            return self._next_carefully()
        payload = unmask(buffer[body:end], buffer[body - 4 : body])
        if end == size:
            # An idle connection must not hold what it read last.
            self._buffer = b""
            self._at = 0
        else:
            self._at = end
        if buffer[at] != _WHOLE_TEXT:
            return payload
        try:
            return payload.decode()
        except UnicodeDecodeError:
            raise self._end(_bad_text()) from None

    def _next_carefully(self) -> Event | None:
        if self._ended:
            if isinstance(self._ended, Violation):
                raise self._end(self._ended)
            return None
        try:
            event = self._step()
        except Violation as violation:
            raise self._end(violation) from None
        if event is None or self._at == len(self._buffer):
            # While waiting, nothing is held but a begun header or control frame.
            self._buffer = self._buffer[self._at :]
            self._at = 0
        return event

    def _end(self, violation: Violation) -> Violation:
        """Let go of everything; the exception to raise.

        Never the one that is kept: what was raised has a traceback, and by that would hold the parser, its
        connection and all that is theirs in a cycle.
        """
        self._ended = Violation(violation.code, violation.reason)
        self._buffer = b""
        self._at = 0
        self._frame = self._message = None
        return Violation(violation.code, violation.reason)

    def _step(self) -> Event | None:
        """Walk frames until one of them completes an event. Raises Violation."""
        while True:
            frame = self._frame
            if frame is None:
                frame = read_header(self._buffer, self._at, meaningful=RSV1 if self._inflater else 0)
                if frame is None:
                    return None
                if frame.is_control:
                    return self._control(frame)
                self._begin(frame)
            message = self._message
            assert message is not None
            if not self._take_payload(frame, message):
                return None
            self._frame = None
            if frame.fin:
                self._message = None
                return message.finish()

    def _begin(self, frame: Header) -> None:
        """Begin a data frame, and a message where it is the first."""
        state = self._assembly.begin_frame(frame)
        if self._message is None:
            inflater = self._inflater if frame.compressed else None
            self._message = _Message(self._max_message, text=state is State.IN_TEXT, inflater=inflater)
        self._frame = frame
        self._taken = 0
        self._at = frame.end

    def _take_payload(self, frame: Header, message: "_Message") -> bool:
        """Take what is here of a frame's payload; whether that is all of it."""
        piece = self._buffer[self._at : self._at + frame.length - self._taken]
        if piece:
            turn = self._taken % 4
            message.add(unmask(piece, frame.mask[turn:] + frame.mask[:turn]))
            self._at += len(piece)
            self._taken += len(piece)
        return self._taken == frame.length

    def _control(self, frame: Header) -> Event | None:
        """A control frame, once it is whole."""
        end = frame.end + frame.length
        if end > len(self._buffer):
            return None
        payload = unmask(self._buffer[frame.end : end], frame.mask)
        self._at = end
        if frame.opcode == Opcode.PING:
            return Ping(payload)
        if frame.opcode == Opcode.PONG:
            return Pong(payload)
        closing = _closing(payload)
        self._ended = True
        self._at = len(self._buffer)
        self._frame = self._message = None
        return closing


class _Message:
    """A message that comes in pieces, or compressed."""

    __slots__ = ("_inflater", "_most", "_payload", "_utf8")

    def __init__(self, most: int, *, text: bool, inflater: Inflater | None) -> None:
        self._most = most
        # One growing buffer: pieces of a byte each, kept apart, would take fifty times their size.
        self._payload = bytearray()
        self._utf8 = _new_utf8_decoder() if text else None
        self._inflater = inflater

    def add(self, data: bytes) -> None:
        """Add unmasked payload. Raises Violation at the first byte that cannot be right.

        Half a surrogate pair, which UTF-8 must not have, is told by its third byte.
        """
        if self._inflater is None:
            self._payload += data
            self._check(data)
            return
        known = len(self._payload)
        try:
            self._inflater.inflate(data, self._payload, self._most)
        finally:
            # Also before a violation: what came first decides, as it does where each came by itself.
            self._check(bytes(self._payload[known:]))

    def finish(self) -> str | bytes:
        """The whole message. Raises Violation."""
        if self._inflater is not None:
            known = len(self._payload)
            try:
                self._inflater.finish(self._payload, self._most)
            finally:
                self._check(bytes(self._payload[known:]))
        if self._utf8 is None:
            return bytes(self._payload)
        self._check(b"", final=True)
        return self._payload.decode()

    def _check(self, data: bytes, *, final: bool = False) -> None:
        if self._utf8 is not None:
            try:
                self._utf8.decode(data, final)
            except UnicodeDecodeError:
                raise _bad_text() from None


def _bad_text() -> Violation:
    return Violation(CloseCode.INVALID_DATA, "a text message must be valid UTF-8")


def _closing(payload: bytes) -> Closing:
    """A close frame's payload (section 5.5.1). Raises Violation."""
    if not payload:
        return Closing(CloseCode.NO_STATUS, "")
    if len(payload) == 1:
        raise protocol_error("a close code has two bytes")
    code = int.from_bytes(payload[:2])
    if not is_sendable(code):
        raise protocol_error("a close code that must not be sent")
    try:
        return Closing(code, payload[2:].decode())
    except UnicodeDecodeError:
        raise Violation(CloseCode.INVALID_DATA, "a close reason must be valid UTF-8") from None
