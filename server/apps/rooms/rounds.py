"""Work that is tried until it is done."""

from collections.abc import Awaitable, Callable
from math import inf
from typing import Final

import trio

# Mostly an event is still to be published; a disk that is full takes longer.
_FIRST_DELAY: Final = 0.02
_LONGEST_DELAY: Final = 5.0


class Rounds:
    """Rounds of some work: one at once whenever there is more of it, and again after a while where any is left."""

    def __init__(self, work: Callable[[], Awaitable[bool]]) -> None:
        """Take what does one round, says whether all is done, and raises nothing."""
        self._work = work
        self._woken = trio.Event()

    def wake(self) -> None:
        """Say that there is more to do. It does not wait for what could not be done before."""
        self._woken.set()

    async def run(self) -> None:
        """Work, until cancelled."""
        delay = inf
        while True:
            with trio.move_on_after(delay) as pause:
                await self._woken.wait()
            delay = min(2 * delay, _LONGEST_DELAY) if pause.cancelled_caught else _FIRST_DELAY
            self._woken = trio.Event()
            if await self._work():
                delay = inf
