"""What a dashboard is shown when it comes in: what its user has not received, then how everything stands.

Told piece by piece as it has room, by a task that ends with the dashboard. It hears its group only once it has been
sent all that came before, so that lines come in their order; and what is told of the board is read when it is told,
behind all that was published before.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import msgspec
import structlog
import trio
from sqlalchemy import Connection

from tidings.protocol.messages.lines import AccountStats, AccountStatusChange, IncomingLine
from tidings.server.apps.lines.acks import acked
from tidings.server.apps.lines.board import MOST_RECENT, AccountState, Board, GroupState
from tidings.server.apps.lines.incoming import Line, lines_between
from tidings.server.apps.lines.news import Newsroom
from tidings.server.extension import CloseCode, Guest, PublishRefused, Push, group_channel
from tidings.server.extension.tables import StoreUnavailable

#: Accounts, or lines, told in one go: some 30 KB.
PIECE: Final = 100
_RETRY: Final = 1.0

_log = structlog.get_logger("tidings.lines")


class Show:
    """What one dashboard has been told."""

    __slots__ = ("group", "guest", "scopes", "since", "told")

    def __init__(self, guest: Guest, group: GroupState | None) -> None:
        self.guest = guest
        self.group = group
        """None: it watches all."""
        self.since = 0
        """The last line that was sent to others when it came in."""
        self.told: int | None = 0
        """While it catches up: the line up to which it has been sent all, 0 for none. None: it has caught up."""
        self.scopes: set[trio.CancelScope] = set()
        """Of the tasks that tell it something."""


class Shows:
    """The dashboards of one server."""

    def __init__(self, push: Push, board: Board, news: Newsroom, now_ms: Callable[[], int]) -> None:
        """Take whose tables and channels they are, the board and its news, and a clock of Unix milliseconds."""
        self._push = push
        self._news = news
        self._board = board
        self._now_ms = now_ms
        self._shows: dict[str, Show] = {}
        """By connection."""

    def start(self, nursery: trio.Nursery) -> None:
        """Take where the tasks of dashboards run; before the first comes in."""
        self._nursery = nursery

    def entered(self, guest: Guest, group: GroupState | None) -> None:
        """A dashboard of a group, or (None) of all, has come in."""
        show = self._shows[guest.connection_id] = Show(guest, group)
        show.since = self._published(show)
        self._tell(show, partial(self._begin, show))

    def left(self, guest: Guest) -> None:
        """A dashboard has gone."""
        show = self._shows.pop(guest.connection_id, None)
        if show is not None:
            for scope in show.scopes:
                scope.cancel()

    def of_connection(self, connection_id: str) -> Show | None:
        """The dashboard of a connection; None where it is none."""
        return self._shows.get(connection_id)

    def added(self, group: GroupState) -> None:
        """There is a new group, for those who watch all."""
        for show in self._shows.values():
            # Who is still catching up comes to it.
            if show.group is None and show.told is None:
                self._tell(show, partial(self._add, show, group))

    def _tell(self, show: Show, telling: Callable[[], Awaitable[None]]) -> None:
        """Start a task that ends with the dashboard."""
        scope = trio.CancelScope()
        show.scopes.add(scope)
        self._nursery.start_soon(self._run, show, scope, telling, name="lines: show")

    async def _run(
        self, show: Show, scope: trio.CancelScope, telling: Callable[[], Awaitable[None]]
    ) -> None:
        with scope:
            try:
                await telling()
            except Exception:
                _log.exception("a dashboard was not shown everything", connection=show.guest.connection_id)
                # It comes again, and is shown all then.
                show.guest.close(CloseCode.INSUFFICIENT_STATE)
        show.scopes.discard(scope)

    async def _add(self, show: Show, group: GroupState) -> None:
        await self._hear(show, group, 0)
        await self._show_group(show.guest, group)

    async def _begin(self, show: Show) -> None:
        """Send what was missed, let it hear its groups, and show how they stand."""
        told: int | None = await self._read(partial(acked, user_id=show.guest.identity.user_id))
        # Who has never acknowledged any has missed none but those since it came in.
        told = await self._catch_up(show, show.since if told is None else told)
        heard: list[GroupState] = []
        while more := [group for group in self._groups(show) if group not in heard]:
            # Those that were made meanwhile, too.
            for group in more:
                await self._hear(show, group, told)
            heard += more
        show.told = None
        for group in heard:
            await self._show_group(show.guest, group)

    async def _catch_up(self, show: Show, told: int) -> int:
        """Send the lines that its user has not acknowledged, nearly up to where others are; up to which it was."""
        group_ids = None if show.group is None else [show.group.id]
        while not show.guest.is_closing:
            up_to = self._published(show)
            if told < up_to:
                await self._send(show, told, up_to, group_ids)
                show.told = told = up_to
            # All since the first look are at hand: on a busy board more have come whenever one has read the last.
            if self._published(show) - told <= MOST_RECENT:
                break
        return told

    async def _send(self, show: Show, after: int, up_to: int, group_ids: list[int] | None) -> None:
        """Send the lines behind one up to another."""
        while not show.guest.is_closing:
            reading = partial(lines_between, group_ids=group_ids, after=after, up_to=up_to, limit=PIECE)
            lines: list[Line] = await self._read(reading)
            if lines:
                await self._room(show.guest)
                show.guest.tell(*map(_line, lines))
                after = lines[-1].id
            if len(lines) < PIECE:
                return

    def _groups(self, show: Show) -> list[GroupState]:
        """Those that it hears."""
        return list(self._board.groups.values()) if show.group is None else [show.group]

    def _published(self, show: Show) -> int:
        """Up to which line all of its groups' were sent to those who hear them."""
        if show.group is not None:
            return show.group.published
        first = self._news.first_waiting()
        last = max((group.published for group in self._board.groups.values()), default=0)
        return last if first is None else first - 1

    def ack_of(self, show: Show, line_id: int) -> int:
        """Up to which line it has received all, where it has received one; 0 for none.

        A line may come while some before it are still to be sent: of other groups, or missed ones.
        """
        if show.told is not None:
            return min(line_id, show.told)
        return line_id if show.group is not None else min(line_id, self._published(show))

    async def _hear(self, show: Show, group: GroupState, told: int) -> None:
        """Let it hear a group, tell it the lines that came since `told`, and show how the group stands."""
        guest, channel = show.guest, group_channel(str(group.id))
        while not (guest.is_closing or guest.hears(channel)):
            try:
                await guest.hear(channel)
            except PublishRefused as refused:
                _log.warning("a dashboard waits for a group", group=group.id, error=str(refused))
                await trio.sleep(_RETRY)
        # No await since it hears the group: what others have been sent by now it is told, and no more comes twice.
        recent = list(group.recent)
        last = [] if group.announcing is None else [group.announcing]
        guest.tell(*(line for line in (*recent, *last) if line.id > told))
        if len(recent) == MOST_RECENT and recent[0].id > told:
            # More than are at hand.
            await self._send(show, told, recent[0].id - 1, [group.id])

    async def _show_group(self, guest: Guest, group: GroupState) -> None:
        """Tell a group's figures, then each account's status and figures."""
        await self._room(guest)
        guest.tell(self._board.group_stats(group, self._now_ms()))
        # Those that come meanwhile are told as they come.
        accounts = list(group.accounts.values())
        for begin in range(0, len(accounts), PIECE):
            await self._room(guest)
            if guest.is_closing:
                return
            guest.tell(*(said for each in accounts[begin : begin + PIECE] for said in self._account(each)))

    def _account(self, account: AccountState) -> tuple[AccountStatusChange, AccountStats]:
        now_ms = self._now_ms()
        status = AccountStatusChange(account.name, account.status, account.group.id, now_ms // 1000)
        return status, self._board.account_stats(account, now_ms)

    async def _read(self, read: Callable[[Connection], Any]) -> Any:
        while True:
            try:
                return await self._push.tables.read(read)
            except StoreUnavailable as error:
                _log.warning("a dashboard waits for what it missed", error=str(error))
                await trio.sleep(_RETRY)

    async def _room(self, guest: Guest) -> None:
        await guest.wait_room()
        await trio.lowlevel.checkpoint()


def _line(line: Line) -> IncomingLine:
    return IncomingLine(
        line.id,
        line.line_account_id,
        line.incoming_line_id,
        line.group_id,
        line.duplicate,
        line.received_ms // 1000,
        {} if line.details is None else msgspec.json.decode(line.details),
    )
