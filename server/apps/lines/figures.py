"""Figures of groups and accounts, told as they change: the newest, and of each a few times a second at most."""

from collections.abc import Callable
from typing import Final

import structlog
import trio

from tidings.protocol.messages.lines import AccountStats, GroupStats
from tidings.server.apps.lines.board import AccountState, Board, GroupState
from tidings.server.apps.lines.news import PAUSE, PIECE
from tidings.server.extension import Push, group_channel

# Some milliseconds.
_TURN: Final = 50
_RETRY: Final = 1.0

_EVENTS: Final = {GroupStats: "group_stats_update", AccountStats: "account_stats_update"}

_log = structlog.get_logger("tidings.lines")


class Figures:
    """What has changed and is still to be told.

    What has changed is noted, not the figures: they are read when they are told, so that the last that anybody
    hears are the newest. Each group has a task of its own while it has something to tell, so that none waits for
    another; between two of its rounds `interval` passes, and in a round each account is told once.
    """

    def __init__(self, push: Push, interval: float, now_ms: Callable[[], int]) -> None:
        """Take who tells, the seconds between two rounds, and a clock of Unix milliseconds."""
        self._push = push
        self._interval = interval
        self._now_ms = now_ms
        self._changed: dict[GroupState, dict[AccountState, None]] = {}
        """What is to be told of the groups that have something to tell; an account's word is its group's, too."""
        self._running: set[GroupState] = set()

    def start(self, nursery: trio.Nursery) -> None:
        """Take where the tasks run; before the first change."""
        self._nursery = nursery

    def changed(self, group: GroupState, *accounts: AccountState) -> None:
        """Have a group's figures told, and those of accounts of its. On the loop; never waits."""
        waiting = self._changed.setdefault(group, {})
        for account in accounts:
            waiting[account] = None
        if group not in self._running:
            self._running.add(group)
            self._nursery.start_soon(self._run, group, name="lines: figures")

    async def _run(self, group: GroupState) -> None:
        """Tell a group's figures until there is nothing to tell."""
        try:
            # What else changes in this moment is told with it.
            await trio.lowlevel.checkpoint()
            while group in self._changed:
                accounts = self._changed.pop(group)
                try:
                    await self._tell_all(group, accounts)
                except Exception as error:
                    _log.warning("figures wait", group=group.id, error=str(error))
                    self._changed[group] = accounts | self._changed.get(group, {})
                    await trio.sleep(_RETRY)
                else:
                    await trio.sleep(self._interval)
        finally:
            self._running.discard(group)

    async def _tell_all(self, group: GroupState, accounts: dict[AccountState, None]) -> None:
        """Tell a group's figures, then those of accounts, each of which is taken out once it is told."""
        await self._tell(group, Board.group_stats(group, self._now_ms()))
        for number, account in enumerate(list(accounts), 1):
            await self._tell(group, Board.account_stats(account, self._now_ms()))
            del accounts[account]
            if number % PIECE == 0:
                # As news are: ten thousand accounts are more than a dashboard's outbox takes at once.
                await trio.sleep(PAUSE)
            elif number % _TURN == 0:
                # The memory broker's announcing is no checkpoint.
                await trio.lowlevel.checkpoint()

    async def _tell(self, group: GroupState, figures: GroupStats | AccountStats) -> None:
        # Not kept: who comes later gets a snapshot.
        await self._push.announce(group_channel(str(group.id)), _EVENTS[type(figures)], figures)
