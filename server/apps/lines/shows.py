"""What a dashboard is shown when it comes in: how everything stands, then what its user has not received.

Told piece by piece as it has room, by a task that ends with the dashboard. Whatever is told is read when it is
told, behind all that was published before: so nothing older comes behind something newer.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import structlog
import trio
from sqlalchemy import Connection

from tidings.protocol.messages.lines import AccountStats, AccountStatusChange, IncomingLine
from tidings.server.apps.lines.acks import acked
from tidings.server.apps.lines.board import AccountState, Board, GroupState
from tidings.server.apps.lines.incoming import Line, lines_after
from tidings.server.extension import Guest, PublishRefused, Push, group_channel
from tidings.server.extension.tables import StoreUnavailable

#: Accounts, or lines, told in one go: some 30 KB.
PIECE: Final = 100
#: Lines that a user is sent on return; older ones are read over HTTP.
MOST_MISSED: Final = 1_000
_RETRY: Final = 1.0

_log = structlog.get_logger("tidings.lines")


class Shows:
    """The dashboards of one server."""

    def __init__(self, push: Push, board: Board, now_ms: Callable[[], int]) -> None:
        """Take whose tables and channels they are, the board, and a clock of Unix milliseconds."""
        self._push = push
        self._board = board
        self._now_ms = now_ms
        self._scopes: dict[Guest, set[trio.CancelScope]] = {}
        """Of the tasks that tell each dashboard something."""
        self._watch_all: set[Guest] = set()
        self._connections: set[str] = set()

    def start(self, nursery: trio.Nursery) -> None:
        """Take where the tasks of dashboards run; before the first comes in."""
        self._nursery = nursery

    def entered(self, guest: Guest, group: GroupState | None) -> None:
        """A dashboard of a group, or (None) of all, has come in, and hears what is published from now on."""
        groups = list(self._board.groups.values()) if group is None else [group]
        # What is being published now may reach it or not: better twice than never.
        cuts = {each: max(each.published, each.announcing) for each in groups}
        if group is None:
            self._watch_all.add(guest)
        self._scopes[guest] = set()
        self._connections.add(guest.connection_id)
        self._tell(guest, partial(self._show, guest, cuts))

    def left(self, guest: Guest) -> None:
        """A dashboard has gone."""
        self._watch_all.discard(guest)
        self._connections.discard(guest.connection_id)
        for scope in self._scopes.pop(guest, set()):
            scope.cancel()

    def is_shown(self, connection_id: str) -> bool:
        """Whether a connection is a dashboard's."""
        return connection_id in self._connections

    def added(self, group: GroupState) -> None:
        """There is a new group, for those who watch all."""
        for guest in self._watch_all:
            self._tell(guest, partial(self._show_group, guest, group))

    def _tell(self, guest: Guest, show: Callable[[], Awaitable[None]]) -> None:
        """Start a task that ends with the dashboard."""
        scope = trio.CancelScope()
        self._scopes[guest].add(scope)
        self._nursery.start_soon(self._run, guest, scope, show, name="lines: show")

    async def _run(
        self, guest: Guest, scope: trio.CancelScope, show: Callable[[], Awaitable[None]]
    ) -> None:
        with scope:
            try:
                await show()
            except Exception:
                _log.exception("a dashboard was not shown everything", connection=guest.connection_id)
        self._scopes.get(guest, set()).discard(scope)

    async def _show(self, guest: Guest, cuts: Mapping[GroupState, int]) -> None:
        for group in cuts:
            await self._show_group(guest, group)
        await self._catch_up(guest, cuts)

    async def _hear(self, guest: Guest, group: GroupState) -> None:
        channel = group_channel(str(group.id))
        while not (guest.is_closing or guest.hears(channel)):
            try:
                await guest.hear(channel)
            except PublishRefused as refused:
                _log.warning("a dashboard waits for a group", group=group.id, error=str(refused))
                await trio.sleep(_RETRY)

    async def _show_group(self, guest: Guest, group: GroupState) -> None:
        """Tell a group's figures, then each account's status and figures."""
        # Who watches all hears those not yet that were made since it was let in.
        await self._hear(guest, group)
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

    async def _catch_up(self, guest: Guest, cuts: Mapping[GroupState, int]) -> None:
        """Send the lines that its user has not acknowledged; whoever never has is sent none."""
        by_id = {group.id: cut for group, cut in cuts.items()}
        up_to = max(by_id.values(), default=0)
        user_id = guest.identity.user_id
        group_ids = None if guest in self._watch_all else list(by_id)

        def read(connection: Connection) -> list[Line]:
            after = acked(connection, user_id)
            if after is None:
                return []
            return lines_after(connection, group_ids=group_ids, after=after, up_to=up_to, limit=MOST_MISSED)

        missed = [line for line in await self._read(read) if line.id <= by_id.get(line.group_id, 0)]
        for begin in range(0, len(missed), PIECE):
            await self._room(guest)
            if guest.is_closing:
                return
            guest.tell(*map(_told, missed[begin : begin + PIECE]))

    async def _read(self, read: Callable[[Connection], list[Line]]) -> list[Line]:
        while True:
            try:
                return await self._push.tables.read(read)
            except StoreUnavailable as error:
                _log.warning("a dashboard waits for what it missed", error=str(error))
                await trio.sleep(_RETRY)

    async def _room(self, guest: Guest) -> None:
        await guest.wait_room()
        await trio.lowlevel.checkpoint()


def _told(line: Line) -> IncomingLine:
    return IncomingLine(
        line.id,
        line.line_account_id,
        line.incoming_line_id,
        line.group_id,
        line.duplicate,
        line.received_ms // 1000,
    )
