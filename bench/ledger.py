"""What arrived, against what had to arrive: offsets rise by one, at every client."""

from typing import NamedTuple

import msgspec

from tidings.bench.profiles import CHANNEL, Message
from tidings.bench.wire import TEXT, Frame, Malformed, split_frames

# Problems told in words; the rest are counted.
TOLD = 20

_decode = msgspec.json.Decoder(Message).decode


class Delivery(NamedTuple):
    """A publication of the room, at one client."""

    offset: int
    sent: float


Event = Delivery | Message | Frame


class Batch:
    """What one piece of a stream holds.

    The same bytes reach every client of a room, so a piece like the one before is not parsed again: a
    client then costs a comparison, and one process carries thousands.
    """

    __slots__ = ("count", "data", "events", "first", "is_plain", "last", "rest", "sents")

    def __init__(self, data: bytes) -> None:
        """Parse. Raises Malformed."""
        self.data = data
        frames, self.rest = split_frames(data)
        self.events: list[Event] = [_event(frame) for frame in frames]
        deliveries = [event for event in self.events if isinstance(event, Delivery)]
        self.count = len(deliveries)
        self.sents = [delivery.sent for delivery in deliveries]
        self.first = deliveries[0].offset if deliveries else 0
        self.last = deliveries[-1].offset if deliveries else 0
        self.is_plain = len(deliveries) == len(frames) and self.last - self.first + 1 == self.count
        """Whether it holds contiguous publications and nothing else (or is a part of one frame)."""


def _event(frame: Frame) -> Event:
    if frame.opcode != TEXT:
        return frame
    try:
        message = _decode(frame.payload)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Malformed(f"not a message: {error}") from None
    if message.channel == CHANNEL and message.offset is not None:
        return Delivery(message.offset, message.data.sent)
    return message


class Ledger:
    """The sums over all clients of a process."""

    def __init__(self) -> None:
        self.received = 0
        self.missing = 0
        """Publications that some client should have seen between two that it saw."""
        self.repeated = 0
        """Publications that came twice, or after a later one."""
        self.pings = 0
        self.problems: list[str] = []
        self.problem_count = 0

    def problem(self, text: str) -> None:
        """Note what must not happen."""
        self.problem_count += 1
        if len(self.problems) < TOLD:
            self.problems.append(text)

    def out_of_order(self, client: int, expected: int, offset: int) -> None:
        """Note a publication that is not the next one."""
        if offset > expected:
            self.missing += offset - expected
        else:
            self.repeated += 1
        self.problem(f"client {client}: expected offset {expected}, got {offset}")
