"""So many at a time: what thousands do at once must not keep everybody else waiting."""

from collections import deque
from collections.abc import Callable

import trio


class Turns:
    """Lets a few tasks pass in each turn of the event loop, in the order in which they came.

    An event loop runs all that is runnable before it looks at anything else. When a load balancer dies,
    thousands of connections become runnable in one turn, to end: half a second in which no room gets a word.
    """

    def __init__(self, each: int) -> None:
        """Take how many may pass in a turn."""
        self._each = each
        self._left = each
        """How many may still pass in this turn."""
        self._waiting = trio.lowlevel.ParkingLot()
        self._later: deque[Callable[[], object]] = deque()
        self._taken = trio.Event()

    async def take(self) -> None:
        """Pass, now or in a later turn. Does not wait unless it must; cancelling takes nothing from others."""
        if self._left:
            self._left -= 1
            self._taken.set()
        else:
            await self._waiting.park()

    def soon(self, callback: Callable[[], object]) -> None:
        """Call back in a later turn, as one of those who pass in it: for what cannot wait. It must not raise."""
        self._later.append(callback)
        self._taken.set()

    async def run(self) -> None:
        """Begin the turns, until cancelled. Nobody passes beyond the first ones without it."""
        while True:
            await self._taken.wait()
            self._taken = trio.Event()
            while self._left < self._each or self._later:
                await trio.lowlevel.checkpoint()
                self._left = self._each
                while self._left and self._later:
                    self._left -= 1
                    self._later.popleft()()
                self._left -= len(self._waiting.unpark(count=self._left))
