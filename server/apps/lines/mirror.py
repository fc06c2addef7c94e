"""Statuses that no device has written: of accounts whose devices have gone. The table has them a little later.

What is lost with the process is no loss: at the start nobody is online.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import structlog
import trio

from tidings.server.apps.lines.accounts import write_statuses
from tidings.server.apps.lines.board import AccountState
from tidings.server.extension import Push
from tidings.server.extension.tables import StoreUnavailable

_AT_ONCE: Final = 2_000
_RETRY: Final = 1.0

_log = structlog.get_logger("tidings.lines")


class Mirror:
    """What is still to be written, each account once; `turn` is taken again and again by one task."""

    def __init__(self, push: Push, now_ms: Callable[[], int]) -> None:
        """Take whose tables they are, and a clock of Unix milliseconds."""
        self._push = push
        self._now_ms = now_ms
        self._dirty: dict[AccountState, None] = {}
        self._wanted = trio.Event()

    def changed(self, accounts: Iterable[AccountState]) -> None:
        """Have statuses written as they are when their turn comes. On the loop; never waits."""
        self._dirty.update(dict.fromkeys(accounts))
        if self._dirty:
            self._wanted.set()

    async def turn(self) -> None:
        """Write some, once there are any."""
        await self._wanted.wait()
        some = list(self._dirty)[:_AT_ONCE]
        # Taken as they are now: operations are carried out in the order in which they are given, so what a device
        # says from here on is written behind this.
        statuses = [(account.id, account.status) for account in some]
        for account in some:
            del self._dirty[account]
        try:
            await self._push.tables.write(partial(write_statuses, statuses=statuses, now_ms=self._now_ms()))
        except StoreUnavailable as error:
            _log.warning(
                "statuses wait to be written", accounts=len(self._dirty) + len(some), error=str(error)
            )
            self._dirty = dict.fromkeys(some) | self._dirty
            await trio.sleep(_RETRY)
        if not self._dirty:
            self._wanted = trio.Event()
