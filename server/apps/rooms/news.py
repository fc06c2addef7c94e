"""What has changed in a room, told to those who are in it, in the order of the commits.

It is announced and never kept: a hundred invitations would push a hundred messages out of the room's history. Who
is not in misses nothing, since the room itself says what it is; and after a crash nobody is in.
"""

from collections import deque
from typing import Final

import structlog
import trio

from tidings.protocol.messages.rooms import RoomChanged
from tidings.server.extension import PublishRefused, Push, room_channel

EVENT: Final = "room_changed"

# Some 300 bytes each. More wait only where the broker does not get on.
MOST_WAITING: Final = 1_000

_log = structlog.get_logger("tidings.rooms")


class News:
    """What is still to be told. Belongs to one server; `run` is a task."""

    def __init__(self) -> None:
        self._waiting: deque[RoomChanged] = deque()
        self._dropped = 0
        self._noted = trio.Event()

    def note(self, news: RoomChanged) -> None:
        """Have something told. On the loop, in the order of the commits."""
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append(news)
        self._noted.set()

    def forget(self, room: str) -> None:
        """Tell nothing more of a room that is being deleted: who hears it next is in another one."""
        self._waiting = deque(news for news in self._waiting if news.room != room)

    async def run(self, push: Push) -> None:
        """Tell, until cancelled. What cannot be told is dropped, and logged."""
        while True:
            await self._noted.wait()
            self._noted = trio.Event()
            while self._waiting:
                news = self._waiting.popleft()
                try:
                    await push.announce(room_channel(news.room), EVENT, news)
                except PublishRefused as refused:
                    _log.warning("a change of a room was not told", room=news.room, error=str(refused))
                # The memory broker's announcing is no checkpoint.
                await trio.lowlevel.checkpoint()
            if self._dropped:
                _log.warning("changes of rooms were not told: too many waited", count=self._dropped)
                self._dropped = 0
