"""Figures of groups and accounts, told as they change: the newest, and of each a few times a second at most."""

from collections.abc import Callable
from typing import Final

import structlog
import trio

from tidings.protocol.messages.lines import AccountStats, GroupStats
from tidings.server.apps.lines.board import AccountState, Board, GroupState
from tidings.server.apps.lines.news import PAUSE, PIECE
from tidings.server.extension import PublishRefused, Push, group_channel

_log = structlog.get_logger("tidings.lines")

# Some milliseconds.
_TURN: Final = 50

_EVENTS: Final = {GroupStats: "group_stats_update", AccountStats: "account_stats_update"}


class Figures:
    """What has changed and is still to be told; `turn` is taken again and again by one task.

    What has changed is noted, not the figures: they are read when they are told, so that the last that anybody
    hears are the newest. Between two turns `interval` passes, and in a turn each is told once.
    """

    def __init__(self, push: Push, interval: float, now_ms: Callable[[], int]) -> None:
        """Take who tells, the seconds between two turns, and a clock of Unix milliseconds."""
        self._push = push
        self._interval = interval
        self._now_ms = now_ms
        self._groups: dict[GroupState, None] = {}
        self._accounts: dict[AccountState, None] = {}
        self._wanted = trio.Event()

    def changed(self, group: GroupState, *accounts: AccountState) -> None:
        """Have a group's figures told, and those of accounts of its. On the loop; never waits."""
        self._groups[group] = None
        for account in accounts:
            self._accounts[account] = None
        self._wanted.set()

    async def turn(self) -> None:
        """Tell what has changed, once something has."""
        await self._wanted.wait()
        self._wanted = trio.Event()
        groups, self._groups = self._groups, {}
        accounts, self._accounts = self._accounts, {}
        for number, group in enumerate(groups, 1):
            await self._tell(group, Board.group_stats(group, self._now_ms()))
            await _breathe(number)
        for number, account in enumerate(accounts, 1):
            await self._tell(account.group, Board.account_stats(account, self._now_ms()))
            await _breathe(number)
        await trio.sleep(self._interval)

    async def _tell(self, group: GroupState, figures: GroupStats | AccountStats) -> None:
        try:
            # Not kept: who comes later gets a snapshot.
            await self._push.announce(group_channel(str(group.id)), _EVENTS[type(figures)], figures)
        except PublishRefused as refused:
            # They are told again with the next change.
            _log.warning("figures were not told", group=group.id, error=str(refused))


async def _breathe(number: int) -> None:
    if number % PIECE == 0:
        # As news are: ten thousand accounts at midnight are more than a dashboard's outbox takes at once.
        await trio.sleep(PAUSE)
    elif number % _TURN == 0:
        # The memory broker's announcing is no checkpoint.
        await trio.lowlevel.checkpoint()
