"""The headers of a client's frames: the rules that each must keep by itself, and as part of a message."""

from enum import Enum
from typing import NamedTuple

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.frames import (
    CONTROL_BYTES,
    FIN,
    MASKED,
    RESERVED_BITS,
    Opcode,
    Violation,
    protocol_error,
)

#: The longest header of a client's frame: two bytes, eight of length, four of mask (section 5.2).
HEADER_BYTES = 14

_OPCODES = frozenset(Opcode)

# Below these a frame's length must not be written in 2, in 8 bytes (section 5.2).
_LEAST_LENGTH = {126: 126, 127: 65536}


class Header(NamedTuple):
    """What a frame's header says."""

    fin: bool
    compressed: bool
    """RSV1, which `permessage-deflate` gives a meaning (RFC 7692 section 6)."""
    opcode: int
    length: int
    """Of the payload, in bytes."""
    mask: bytes
    end: int
    """Where the payload begins."""

    @property
    def is_control(self) -> bool:
        """Whether the frame stands for itself, and may stand between a message's fragments (section 5.5)."""
        return self.opcode >= Opcode.CLOSE


def header_length(data: bytes, at: int = 0) -> int:
    """How long the header is that begins at `at`, as far as its first bytes tell."""
    if len(data) < at + 2:
        return 2
    second = data[at + 1]
    return 2 + {126: 2, 127: 8}.get(second & 0x7F, 0) + (4 if second & MASKED else 0)


def read_header(data: bytes, at: int = 0, *, meaningful: int = 0) -> Header | None:
    """The header that begins at `at`; None when more bytes are needed.

    `meaningful` are the reserved bits to which an extension gave a meaning. Raises Violation. A header
    is judged whole, and in a fixed order, so that chopping the input in any way gives the same verdict,
    also where a header is wrong in two ways.
    """
    end = at + header_length(data, at)
    if len(data) < end:
        return None
    first, second = data[at], data[at + 1]
    opcode = first & 0x0F
    if first & RESERVED_BITS & ~meaningful:
        raise protocol_error("a reserved bit is set")
    if opcode not in _OPCODES:
        raise protocol_error("the opcode is reserved")
    if not second & MASKED:
        raise protocol_error("a client's frames must be masked")
    length = second & 0x7F
    if length >= 126:
        least = _LEAST_LENGTH[length]
        length = int.from_bytes(data[at + 2 : end - 4])
        if length < least:
            raise protocol_error("a frame's length must be written in its shortest form")
        if length >> 63:
            raise protocol_error("the highest bit of a frame's length must be 0")
    header = Header(
        bool(first & FIN), bool(first & RESERVED_BITS), opcode, length, data[end - 4 : end], end
    )
    if header.is_control:
        _judge_control(header)
    return header


def _judge_control(header: Header) -> None:
    if header.length > CONTROL_BYTES:
        raise protocol_error("a control frame's payload may have 125 bytes")
    if not header.fin:
        raise protocol_error("a control frame must not be fragmented")
    if header.compressed:
        raise protocol_error("a control frame must not be compressed")


# Continuation frames that cost as much of a peer's rate as a message does: one takes some 4 µs, and a
# message in 1,024 of them a thousand times what the same bytes take in one frame.
FRAGMENTS_PER_UNIT = 16


class State(Enum):
    """Where in a message a client is."""

    BETWEEN = "between messages"
    IN_TEXT = "in a text message"
    IN_BINARY = "in a binary message"


# What a data frame leads to, before its FIN bit ends the message (section 5.4). What is missing is wrong.
_STATES: dict[tuple[State, int], State] = {
    (State.BETWEEN, Opcode.TEXT): State.IN_TEXT,
    (State.BETWEEN, Opcode.BINARY): State.IN_BINARY,
    (State.IN_TEXT, Opcode.CONTINUATION): State.IN_TEXT,
    (State.IN_BINARY, Opcode.CONTINUATION): State.IN_BINARY,
}

#: What an endpoint takes that has no preference.
ANY_DATA = frozenset({Opcode.TEXT, Opcode.BINARY})


class Assembly:
    """The message under way: which data frame may come next, and how much of a message there may be."""

    __slots__ = (
        "_accepts",
        "_bytes",
        "_fragments",
        "_max_fragments",
        "continuations",
        "max_message",
        "messages",
        "state",
    )

    def __init__(self, *, max_message: int, max_fragments: int, accepts: frozenset[Opcode]) -> None:
        """Take the limits (bytes of a message, frames of a message) and which opcodes may begin one."""
        self.max_message = max_message
        self._max_fragments = max_fragments
        self._accepts = accepts
        self._bytes = 0
        self._fragments = 0
        self.continuations = 0
        """Frames that continued a message, not yet counted as units."""
        self.state = State.BETWEEN
        self.messages = 0
        """Messages whose last frame has begun."""

    def begin_frame(self, header: Header) -> State:
        """Take the next data frame's header; the message it belongs to. Raises Violation.

        Everything that can be refused is refused here, from declared lengths, before a payload is kept.
        """
        state = _STATES.get((self.state, header.opcode))
        if state is None:
            raise protocol_error(f"a {Opcode(header.opcode).name.lower()} frame {self.state.value}")
        if header.opcode and header.opcode not in self._accepts:
            taken = " and ".join(sorted(opcode.name.lower() for opcode in self._accepts))
            raise Violation(CloseCode.UNSUPPORTED_DATA, f"only {taken} messages are understood here")
        if header.compressed and not header.opcode:
            raise protocol_error("only a message's first frame says that it is compressed")
        self._bytes += header.length
        self._fragments += 1
        self.continuations += not header.opcode
        if self._bytes > self.max_message:
            raise Violation(CloseCode.TOO_BIG, f"a message may have {self.max_message} bytes")
        if self._fragments > self._max_fragments:
            raise Violation(
                CloseCode.POLICY_VIOLATION, f"a message may have {self._max_fragments} fragments"
            )
        if header.fin:
            self.messages += 1
            self._bytes = self._fragments = 0
            self.state = State.BETWEEN
        else:
            self.state = state
        return state

    def take_units(self) -> int:
        """What the fragments since the last call cost of the peer's rate."""
        units, self.continuations = divmod(self.continuations, FRAGMENTS_PER_UNIT)
        return units
