"""The line board of one server: groups, devices and dashboards, each change first in the tables, then told.

What comes from the tables is taken over in the step in which its commit comes back, so that memory, figures and
news follow the commits, in their order.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

import structlog
import trio
from sqlalchemy import Connection

from tidings.protocol.messages.lines import AccountStats, AccountStatusChange, GroupStats, IncomingLine
from tidings.server.apps.lines import accounts, acks, customers, groups, incoming
from tidings.server.apps.lines.accounts import Account, Entry, Synced
from tidings.server.apps.lines.board import AccountState, GroupState, load
from tidings.server.apps.lines.codes import new_code
from tidings.server.apps.lines.days import day_of
from tidings.server.apps.lines.figures import Figures
from tidings.server.apps.lines.groups import CodeTaken, Group
from tidings.server.apps.lines.holdings import Device, Holdings
from tidings.server.apps.lines.incoming import Added, AddedLine
from tidings.server.apps.lines.ingest import Ingest, Reported
from tidings.server.apps.lines.mirror import Mirror
from tidings.server.apps.lines.news import News, Newsroom
from tidings.server.apps.lines.shows import Shows
from tidings.server.apps.lines.steadily import steadily
from tidings.server.config import Lines as Settings
from tidings.server.extension import CloseCode, Push
from tidings.server.extension.tables import StoreUnavailable, wall_ms

# An age is days: nobody sees whether it was an hour more.
_SWEEP_SECONDS: Final = 3600.0
# A wall clock may be put right at any time.
_LOOK_SECONDS: Final = 30.0

T = TypeVar("T")

_log = structlog.get_logger("tidings.lines")


def device_id(group: Group) -> str:
    """The user id that stands for a group's active code: who reads it cannot come in by it."""
    return f"device:{group.id}.{group.code_id}"


class Replaced(Exception):
    """The device is gone, or another connection has taken its place."""


class Lines:
    """Belongs to one server. Methods that wait raise StoreUnavailable; then nothing was done, and nothing told.

    Cancelled, a change ends at once, and is carried out all the same.
    """

    def __init__(self, settings: Settings, now_ms: Callable[[], int] = wall_ms) -> None:
        """Take the section, and a clock of Unix milliseconds."""
        self.settings = settings
        self.now_ms = now_ms

    async def open(self, push: Push) -> None:
        """Load the board. Nobody is online yet."""
        self.push = push
        now_ms = self.now_ms()
        await push.tables.write(partial(accounts.reset_statuses, now_ms=now_ms))

        def everything(connection: Connection) -> tuple[list[Group], list[Account], int]:
            return (
                groups.load_groups(connection),
                accounts.load_accounts(connection),
                incoming.last_line(connection),
            )

        found, its_accounts, last_line = await push.tables.read(everything)
        self.board = board = load(found, its_accounts, now_ms, last_line)
        self.news = Newsroom(push)
        self.figures = Figures(push, self.settings.stats_interval, self.now_ms)
        self.mirror = Mirror(push, self.now_ms)
        self.holdings = Holdings(board, single=self.settings.devices == "single")
        self.ingest = Ingest(
            push, board, self.now_ms, on_added=self._added, on_turned=lambda it: self._changed(it.group, it)
        )
        self.shows = Shows(push, board, self.news, self.now_ms)
        self.codes = {group.record.code: group for group in board.groups.values() if group.record.code}
        """The groups by their active codes."""
        self.old_codes = set(await push.tables.read(groups.disabled_codes))
        """Those that were active once."""
        self._turning = trio.Event()
        """Set where a group's day may end sooner than was thought."""
        _log.info("line board", groups=len(board.groups), accounts=len(board.accounts))

    def start(self, nursery: trio.Nursery) -> None:
        """Start the tasks, each of which goes on until it is cancelled."""
        for what, turn in (
            ("ingest", self.ingest.turn),
            ("news", self.news.turn),
            ("mirror", self.mirror.turn),
            ("days", self._turn_days),
            ("sweeping", self._sweep),
        ):
            nursery.start_soon(steadily, turn, what, name=f"lines: {what}")
        self.figures.start(nursery)
        self.shows.start(nursery)

    # --- groups --------------------------------------------------------------------------------------

    def groups(self) -> list[Group]:
        """All of them, oldest first."""
        return [group.record for group in self.board.groups.values()]

    def group(self, group_id: int) -> Group | None:
        """One of them."""
        group = self.board.groups.get(group_id)
        return None if group is None else group.record

    def stats(self, group_id: int) -> GroupStats | None:
        """A group's figures."""
        group = self.board.groups.get(group_id)
        return None if group is None else self.board.group_stats(group, self._today(group))

    def account_stats(
        self, group_id: int, *, after: int | None, limit: int
    ) -> list[tuple[Account, AccountStats]]:
        """At most `limit` of a group's accounts, oldest first, behind the row `after`, with their figures."""
        group = self.board.groups.get(group_id)
        if group is None:
            return []
        now_ms = self._today(group)
        page: list[tuple[Account, AccountStats]] = []
        for account in group.accounts.values():
            if len(page) == limit:
                break
            if after is None or account.id > after:
                page.append((account.record(), self.board.account_stats(account, now_ms)))
        return page

    async def create_group(self, name: str, time_zone: str) -> Group:
        """Add a group, with a first code. Raises ZoneInfoNotFoundError."""
        # Before anything is written. A small file, read once for each zone.
        ZoneInfo(time_zone)
        now_ms = self.now_ms()

        def done(group: Group) -> None:
            state = self.board.add_group(group, self.now_ms())
            self._set_code(state, None)
            self.shows.added(state)
            self._turning.set()
            _log.info("line group made", group=group.id, code=group.code_id)

        return await self._with_code(
            lambda code: partial(
                groups.create_group, name=name, time_zone=time_zone, code=code, now_ms=now_ms
            ),
            done,
        )

    async def change_group(self, group_id: int, name: str | None, time_zone: str | None) -> Group | None:
        """Change what is given; None where there is no such group. With another zone today is counted anew."""
        group = self.board.groups.get(group_id)
        if group is None:
            return None
        now_ms = self.now_ms()
        change = partial(
            groups.change_group, group_id=group_id, name=name, time_zone=time_zone, now_ms=now_ms
        )
        if time_zone is None:
            return await self.push.tables.write(change, self._group_changed)
        return await self._count_again(group, change, ZoneInfo(time_zone))

    async def _count_again(
        self, group: GroupState, change: Callable[[Connection], Group | None] | None, zone: ZoneInfo
    ) -> Group | None:
        """Change a group, if anything is to be changed, and count its accounts' lines of today in a zone."""
        # What is written meanwhile would be counted to another day. Until it is done, whoever has lost patience:
        # the store has deadlines of its own.
        with trio.CancelScope(shield=True):
            async with self.ingest.quiet:
                now_ms = self.now_ms()
                wanted = dict.fromkeys((each.id for each in group.accounts.values()), day_of(now_ms, zone))

                def count(connection: Connection) -> tuple[Group | None, dict[int, accounts.Counts]]:
                    changed = None if change is None else change(connection)
                    return changed, incoming.count_day(connection, wanted)

                def done(counted: tuple[Group | None, dict[int, accounts.Counts]]) -> None:
                    changed, counts = counted
                    self._group_changed(changed)
                    told = [self.board.by_id(account_id) for account_id in counts]
                    for account in told:
                        self.board.set_counts(account, counts[account.id])
                    self._changed(group, *told)

                changed, _ = await self.push.tables.write(count, done)
        return changed

    def _group_changed(self, record: Group | None) -> None:
        if record is not None:
            self.board.change_group(record, self.now_ms())
            self._turning.set()

    async def new_code(self, group_id: int) -> Group | None:
        """Give a group another code; devices that came in by the old one are sent away. None: no such group."""
        now_ms = self.now_ms()
        return await self._with_code(
            lambda code: partial(groups.renew_code, group_id=group_id, code=code, now_ms=now_ms),
            self._code_changed,
        )

    async def disable_code(self, group_id: int, code_id: int) -> Group | None:
        """Disable a code, and send its devices away; None where the group has no such code."""
        now_ms = self.now_ms()
        operation = partial(groups.disable_code, group_id=group_id, code_id=code_id, now_ms=now_ms)
        return await self.push.tables.write(operation, self._code_changed)

    async def _with_code(
        self, operation: Callable[[str], Callable[[Connection], T]], done: Callable[[T], None]
    ) -> T:
        """Carry out an operation that takes a new code: another one, where somebody has it, or had."""
        while True:
            try:
                return await self.push.tables.write(operation(new_code()), done)
            except CodeTaken:
                continue

    def _code_changed(self, record: Group | None) -> None:
        if record is None:
            return
        group = self.board.groups[record.id]
        before = group.record
        self.board.change_group(record, self.now_ms())
        self._set_code(group, before)
        if before.code_id is not None and before.code_id != record.code_id:
            sent_away = self.push.disconnect(
                device_id(before), CloseCode.DISCONNECTED, "activation code disabled"
            )
            _log.info("activation code disabled", group=group.id, code=before.code_id, devices=sent_away)
        self._changed(group)

    def _set_code(self, group: GroupState, before: Group | None) -> None:
        if before is not None and before.code is not None:
            self.codes.pop(before.code, None)
            self.old_codes.add(before.code)
        if group.record.code is not None:
            self.codes[group.record.code] = group

    # --- what devices report -------------------------------------------------------------------------

    async def _may_report(self, device: Device) -> None:
        """Wait until news may be made. Raises Replaced where the device is gone, or another connection's."""
        await self.news.wait_room(device.group)
        if not device.is_current:
            # What a newer connection has said meanwhile would be undone by it.
            raise Replaced

    async def sync(
        self, device: Device, entries: Sequence[tuple[Entry, str]], *, besides: Collection[str] = ()
    ) -> Synced:
        """Take all that a device holds, with statuses; it goes on holding some `besides`. Raises Replaced."""
        group = device.group
        await self._may_report(device)
        now_ms = self.now_ms()
        statuses = {entry.line_account_id: status for entry, status in entries}

        def take(connection: Connection) -> Synced:
            synced = accounts.sync_accounts(
                connection,
                group.id,
                [entry for entry, _ in entries],
                most=self.settings.accounts,
                now_ms=now_ms,
            )
            own = [*synced.created, *synced.updated]
            said = [(account.id, statuses[account.line_account_id]) for account in own]
            accounts.write_statuses(connection, said, now_ms=now_ms)
            return synced

        def done(synced: Synced) -> None:
            own = [self.board.take(account) for account in (*synced.created, *synced.updated)]
            said = [(account, statuses[account.name]) for account in own]
            changed = self.holdings.reported(device, said, is_all=True, besides=besides)
            # A new one that is offline is news, too. Each once, and in the order in which they were said.
            fresh = [self.board.accounts[account.line_account_id] for account in synced.created]
            self.status_changed(list(dict.fromkeys([*changed, *fresh])))
            self._mirror_unheard(said)

        return await self.push.tables.write(take, done)

    async def set_status(self, device: Device, account: AccountState, status: str) -> None:
        """Take an account's status."""
        await self._may_report(device)
        operation = partial(accounts.write_statuses, statuses=[(account.id, status)], now_ms=self.now_ms())

        def done(_: None) -> None:
            said = [(account, status)]
            self.status_changed(self.holdings.reported(device, said, is_all=False))
            self._mirror_unheard(said)

        await self.push.tables.write(operation, done)

    async def add_incoming(self, device: Device, lines: Sequence[Reported]) -> None:
        """Keep incoming lines; each has its result, or the error, when this returns."""
        await self._may_report(device)
        await self.ingest.add(lines)

    async def sync_customer(
        self, group: GroupState, *, customer_id: str, account_id: int | None, details: str
    ) -> int:
        """Keep a customer; the row's id. Raises DetailsTooLong."""
        return await self.push.tables.write(
            partial(
                customers.sync_customer,
                group_id=group.id,
                customer_id=customer_id,
                account_id=account_id,
                details=details,
                now_ms=self.now_ms(),
            )
        )

    async def sync_follow_up(
        self, group: GroupState, *, customer_id: str, client_id: str | None, content: str, details: str
    ) -> int | None:
        """Keep what was done about a customer; the row's id. None: no such customer. Raises DetailsTooLong."""
        return await self.push.tables.write(
            partial(
                customers.sync_follow_up,
                group_id=group.id,
                customer_id=customer_id,
                client_id=client_id,
                content=content,
                details=details,
                now_ms=self.now_ms(),
            )
        )

    async def acknowledge(self, user_id: str, line_id: int) -> int:
        """Note that a dashboard's user has received all lines up to one; up to where that is now."""
        return await self.push.tables.write(partial(acks.note_ack, user_id=user_id, line_id=line_id))

    # --- inside --------------------------------------------------------------------------------------

    def _mirror_unheard(self, said: Sequence[tuple[AccountState, str]]) -> None:
        """Have the table put right where it now says what a device said that has gone since."""
        self.mirror.changed(account for account, status in said if account.status != status)

    def status_changed(self, accounts: Sequence[AccountState]) -> None:
        """Tell of changes, and have them written: also those that a device has, since another's may be behind."""
        now_s = self.now_ms() // 1000
        by_group: dict[GroupState, list[News]] = {}
        for account in accounts:
            event = AccountStatusChange(account.name, account.status, account.group.id, now_s)
            by_group.setdefault(account.group, []).append(event)
        for group, events in by_group.items():
            self.news.tell(group, *events)
            self._changed(group)
        self.mirror.changed(accounts)

    def _added(self, lines: Sequence[tuple[Reported, AddedLine]], added: Added, received_ms: int) -> None:
        for account_id, counts in added.counts.items():
            account = self.board.by_id(account_id)
            if counts != account.counts:
                self.board.set_counts(account, counts)
                self._changed(account.group, account)
        by_group: dict[GroupState, list[News]] = {}
        for line, result in lines:
            if not result.is_repeat:
                account = line.account
                event = IncomingLine(
                    result.id,
                    account.name,
                    line.name,
                    account.group.id,
                    result.is_duplicate,
                    received_ms // 1000,
                    dict(line.extra),
                )
                by_group.setdefault(account.group, []).append(event)
        for group, events in by_group.items():
            self.news.tell(group, *events)

    def _changed(self, group: GroupState, *accounts: AccountState) -> None:
        self.figures.changed(group, *accounts)

    def _today(self, group: GroupState) -> int:
        """Now, with the group's day turned where it has ended."""
        now_ms = self.now_ms()
        _, turned = self.board.today(group, now_ms)
        if turned:
            self._changed(group, *turned)
        return now_ms

    async def _turn_days(self) -> None:
        """Begin new days as they come, and tell what that has changed."""
        self._turning = trio.Event()
        now_ms = self.now_ms()
        next_ms = now_ms + _LOOK_SECONDS * 1000
        for group in list(self.board.groups.values()):
            before = group.day.number
            self._today(group)
            if group.day.number != before:
                _log.info("a new day", group=group.id, zone=group.zone.key, day=group.day.number)
                self._changed(group)
            if group.latest > group.day.number:
                # A clock was put back: what was counted on a day that is still to come is none of today's.
                group.latest = 0
                await self._count_again(group, None, group.zone)
            next_ms = min(next_ms, group.day.ends_ms)
            # A group of 10,000 accounts takes some milliseconds.
            await trio.lowlevel.checkpoint()
        with trio.move_on_after(max(0.001, (next_ms - self.now_ms()) / 1000)):
            await self._turning.wait()

    async def _sweep(self) -> None:
        """Take away a piece of the lines that are too old; where that was all, wait."""
        before_ms = self.now_ms() - int(self.settings.incoming_age * 1000)
        archive = self.settings.old_incoming == "archive"
        count = 0
        try:
            operation = partial(incoming.sweep, before_ms=before_ms, archive=archive)
            count = await self.push.tables.write(operation)
        except StoreUnavailable as error:
            _log.warning("old incoming lines stay for now", error=str(error))
        if count:
            _log.info("old incoming lines", gone=count, archived=archive)
        if count < incoming.PIECE:
            await trio.sleep(_SWEEP_SECONDS)


# --- of which server -----------------------------------------------------------------------------

_running: Final[dict[Push, Lines]] = {}


def begin(push: Push, lines: Lines) -> None:
    """Say that they are this server's, until `end`."""
    _running[push] = lines


def end(push: Push) -> None:
    """Say that the server ends."""
    del _running[push]


def lines_of(push: Push) -> Lines:
    """Those of a server. Raises LookupError where it has no line board, or has not begun."""
    try:
        return _running[push]
    except KeyError:
        raise LookupError(
            'this server has no line board: name the app in server.apps, as ["*", "lines"], and ask once it runs'
        ) from None
