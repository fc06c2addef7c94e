"""What arrived, against what had to arrive: offsets rise by one, at every client."""

from array import array
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from tidings.bench.profiles import CHANNEL, Message, channel_of
from tidings.bench.wire import TEXT, Frame, Malformed, split_frames

# Problems told in words; the rest are counted.
TOLD = 20

# Never a position: of a batch that cannot be taken whole, and of a client that takes none whole.
NOT_WHOLE = -1
NOT_EASY = -2

_ROOMS = channel_of("")

_decode = msgspec.json.Decoder(Message).decode


class Delivery(NamedTuple):
    """A publication of the room, at one client."""

    offset: int
    sent: float


Event = Delivery | Message | Frame


class Batch:
    """What one piece of a stream holds.

    The same bytes reach every client of a room, so a piece like the one before is not parsed again: a
    client then costs a comparison, and one process carries thousands. Such a client only stamps the
    batch; what follows from the stamps is added up when somebody asks, or when the next batch comes.
    """

    __slots__ = (
        "_events", "before", "channel", "count", "data", "first", "is_plain", "last", "rest", "sents", "stamp",
        "stamps",
    )  # fmt: skip

    def __init__(self, data: bytes, channel: str = CHANNEL) -> None:
        """Parse a piece of the stream of a client in the room of `channel`. Raises Malformed."""
        self.data = data
        self.channel = channel
        frames, self.rest = split_frames(data)
        events = [_event(frame, channel) for frame in frames]
        deliveries = [event for event in events if type(event) is Delivery]
        self.count = len(deliveries)
        self.sents = [delivery.sent for delivery in deliveries]
        self.first = deliveries[0].offset if deliveries else 0
        self.last = deliveries[-1].offset if deliveries else 0
        self.is_plain = len(deliveries) == len(frames) and all(
            event.offset == offset for offset, event in enumerate(deliveries, self.first)
        )
        """Whether it holds contiguous publications and nothing else (or is a part of one frame)."""
        self._events: list[Event] | None = None if self.is_plain else events
        self.before = self.first - 1 if self.count and self.is_plain and not self.rest else NOT_WHOLE
        """The position of the clients that take it whole and have nothing left over."""
        self.stamps: array[float] = array("d")
        """When clients took it whole, of those not yet added up."""
        self.stamp: Callable[[float], None] = self.stamps.append

    @property
    def events(self) -> list[Event]:
        """What it holds, one by one. Of a plain one it is made only when somebody did not expect that."""
        if self._events is not None:
            return self._events
        return [_event(frame, self.channel) for frame in split_frames(self.data)[0]]


def _event(frame: Frame, channel: str) -> Event:
    if frame.opcode != TEXT:
        return frame
    try:
        message = _decode(frame.payload)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Malformed(f"not a message: {error}") from None
    if message.offset is not None and message.channel is not None:
        if message.channel == channel:
            return Delivery(message.offset, message.data.sent)
        if message.channel.startswith(_ROOMS):
            raise Malformed(f"a publication of {message.channel} in {channel}")
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
