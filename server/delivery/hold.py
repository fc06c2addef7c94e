"""What is published while a subscriber is still being sent what it missed."""

from collections import deque
from collections.abc import Callable, Sequence

from tidings.protocol.positions import Position


def _nobody() -> None:
    """Nobody waits."""


class Hold:
    """One subscriber's place in a channel between the cut and the live fan-out.

    The cut is at `head`: what the hub was given up to there is read from the history, and every later frame
    of the channel waits here, in order. Nothing is on both sides, and nothing is between them.

    Memory: at most `limit` bytes for each subscriber that is behind; the frames are shared with everybody
    else who waits for them. Over the limit nothing more is kept: the subscriber cannot catch up, and has to
    come again from where it is then (3010).
    """

    __slots__ = (
        "_limit",
        "_offsets",
        "bytes",
        "channel",
        "frames",
        "head",
        "is_over",
        "on_over",
        "overflowed",
        "sent",
    )

    def __init__(self, channel: str, head: Position, limit: int) -> None:
        """Take the position of the last publication given to the hub, and the bound in bytes."""
        self.channel = channel
        self.head = head
        self._limit = limit
        self.frames: deque[bytes] = deque()
        self._offsets: deque[int] = deque()
        """Where the subscriber is behind each frame; 0 where that is not known, or no further."""
        self.bytes = 0
        self.sent = 0
        """The offset up to which the subscriber has been sent everything; only whoever replays changes it."""
        self.overflowed = False
        self.is_over = False
        """Whether the subscription has ended, or gone live."""
        self.on_over: Callable[[], None] = _nobody
        """Told when the subscription ends before it is live. Synchronous."""

    def add(self, frames: Sequence[bytes], offsets: Sequence[int]) -> bool:
        """Keep frames, and the offset of each, behind those that wait; False when they did not fit, ever."""
        if not self.overflowed:
            self.bytes += sum(map(len, frames))
            self.frames.extend(frames)
            self._offsets.extend(offsets)
            if self.bytes > self._limit:
                self.overflowed = True
                self.frames.clear()
                self._offsets.clear()
        return not self.overflowed

    def take(self, most: int) -> list[bytes]:
        """The next frames, at most `most` bytes and at least one where there is one; they count as sent."""
        taken: list[bytes] = []
        size = 0
        while self.frames and (not taken or size + len(self.frames[0]) <= most):
            taken.append(self.frames.popleft())
            size += len(taken[-1])
            self.sent = max(self.sent, self._offsets.popleft())
        self.bytes -= size
        return taken

    def end(self) -> None:
        """The subscription has ended: nothing of this is sent any more. Idempotent."""
        if not self.is_over:
            self.is_over = True
            self.frames.clear()
            self._offsets.clear()
            self.on_over()
