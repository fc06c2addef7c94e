"""What is published while a subscriber is still being sent what it missed."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from tidings.protocol.positions import Position

# What a frame costs beside its bytes, which it mostly shares with others: its places in two queues.
FRAME_COST: Final = 100


def _nobody() -> None:
    """Nobody waits."""


class Allowance:
    """What may wait for one connection in the holds of all its channels together, in bytes."""

    __slots__ = ("_left",)

    def __init__(self, limit: int) -> None:
        self._left = limit

    def take(self, cost: int) -> bool:
        """Use some; False, and nothing used, where there is not so much."""
        if cost > self._left:
            return False
        self._left -= cost
        return True

    def give_back(self, cost: int) -> None:
        """It waits no longer."""
        self._left += cost


class Hold:
    """One subscriber's place in a channel between the cut and the live fan-out.

    The cut is at `head`: what the hub was given up to there is read from the history, and every later frame
    of the channel waits here, in order. Nothing is on both sides, and nothing is between them.

    Memory: what the connection's allowance has; the frames are shared with everybody else who waits for
    them. Beyond it nothing more is kept: the subscriber cannot catch up, and has to come again from where it is
    then (3010).
    """

    __slots__ = (
        "_allowance",
        "_offsets",
        "bytes",
        "channel",
        "frames",
        "head",
        "is_lost",
        "is_over",
        "on_over",
        "sent",
    )

    def __init__(self, channel: str, head: Position, allowance: Allowance) -> None:
        """Take the position of the last publication given to the hub, and what may wait."""
        self.channel = channel
        self.head = head
        self._allowance = allowance
        self.frames: deque[bytes] = deque()
        self._offsets: deque[int] = deque()
        """Where the subscriber is behind each frame; 0 where that is not known, or no further."""
        self.bytes = 0
        self.sent = 0
        """The offset up to which the subscriber has been sent everything; only whoever replays changes it."""
        self.is_lost = False
        """Whether the subscriber cannot be sent all of it: too much came, or the channel began a new epoch."""
        self.is_over = False
        """Whether the subscription has ended, or gone live."""
        self.on_over: Callable[[], None] = _nobody
        """Told when the subscription ends before it is live. Synchronous."""

    def add(self, frames: Sequence[bytes], offsets: Sequence[int]) -> bool:
        """Keep frames, and the offset of each, behind those that wait; False when they did not fit, ever."""
        if self.is_lost:
            return False
        size = sum(map(len, frames))
        if not self._allowance.take(size + FRAME_COST * len(frames)):
            self.spoil()
            return False
        self.bytes += size
        self.frames.extend(frames)
        self._offsets.extend(offsets)
        return True

    def take(self, most: int) -> list[bytes]:
        """The next frames, at most `most` bytes and at least one where there is one; they count as sent."""
        taken: list[bytes] = []
        size = 0
        while self.frames and (not taken or size + len(self.frames[0]) <= most):
            taken.append(self.frames.popleft())
            size += len(taken[-1])
            self.sent = max(self.sent, self._offsets.popleft())
        self.bytes -= size
        self._allowance.give_back(size + FRAME_COST * len(taken))
        return taken

    def spoil(self) -> None:
        """What it holds back for cannot be had any more: nothing of this is sent, nor does it go live."""
        self.is_lost = True
        self._clear()

    def end(self) -> None:
        """The subscription has ended: nothing of this is sent any more. Idempotent."""
        if not self.is_over:
            self.is_over = True
            self._clear()
            self.on_over()

    def _clear(self) -> None:
        self._allowance.give_back(self.bytes + FRAME_COST * len(self.frames))
        self.bytes = 0
        self.frames.clear()
        self._offsets.clear()
