"""How many notifications each user has not read, told to all of the user's connections after each change.

A number is taken inside its transaction and noted in the order of the commits, and one task tells them one after
another: so the last that a connection hears is the newest, and nobody is told of steps in between that it overtook.
"""

from typing import Final

import structlog
import trio

from tidings.server.extension import PublishRefused, Push, user_channel

EVENT: Final = "unread_count"

_log = structlog.get_logger("tidings.notifications")


class UnreadCounts:
    """What is still to be told: a number for each user, some 200 bytes each, for as long as the telling takes."""

    def __init__(self, push: Push) -> None:
        """Take who tells."""
        self._push = push
        self._waiting: dict[str, int] = {}
        self._noted = trio.Event()

    def note(self, user_id: str, unread: int) -> None:
        """Have a number told, in place of an older one that was not yet. On the loop, in the order of commits."""
        # A user who waits keeps the place, so that nobody is passed over for one who changes all the time.
        self._waiting[user_id] = unread
        self._noted.set()

    async def run(self) -> None:
        """Tell, until cancelled. What cannot be told is dropped: the next change, or the list, says it again."""
        while True:
            await self._noted.wait()
            self._noted = trio.Event()
            while self._waiting:
                user_id = next(iter(self._waiting))
                unread = self._waiting.pop(user_id)
                try:
                    # Never kept: who comes later asks, and a number of earlier would be wrong.
                    await self._push.announce(user_channel(user_id), EVENT, {"unread": unread})
                except PublishRefused as refused:
                    _log.warning("an unread count was not told", user=user_id, error=str(refused))
                except Exception:
                    # The others' counts must not stand still for the fault that one has met.
                    _log.exception("an unread count was not told", user=user_id)
                # The memory broker's announcing is no checkpoint, and a sweep may leave many.
                await trio.lowlevel.checkpoint()
