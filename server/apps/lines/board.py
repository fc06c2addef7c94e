"""The board: all groups and accounts in memory, with their figures, as the tables have them.

Changed on the event loop alone, in the order of the commits, so that whoever looks sees one moment. Nothing here
waits or writes. Figures of a group are sums that are kept as its accounts change, never counted anew.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final
from zoneinfo import ZoneInfo

from tidings.protocol.messages.lines import ONLINE, AccountStats, GroupStats, IncomingLine
from tidings.server.apps.lines.accounts import Account, Counts
from tidings.server.apps.lines.days import Day, day_of
from tidings.server.apps.lines.groups import Group

#: Of a group's incoming lines, for a dashboard that has caught up with the table.
MOST_RECENT: Final = 200


class AccountState:
    """An account of the board."""

    __slots__ = ("counts", "display_name", "group", "holders", "id", "name", "platform", "status")

    def __init__(self, account: Account, group: "GroupState") -> None:
        self.id = account.id
        self.name = account.line_account_id
        self.display_name = account.display_name
        self.platform = account.platform
        self.status = account.online_status
        self.counts = account.counts
        self.group = group
        self.holders: dict[object, str] = {}
        """The devices here now that have reported it, with what each has said; who has spoken last comes last."""

    @property
    def today(self) -> tuple[int, int]:
        """Today's lines, and duplicates among them."""
        counts = self.counts
        return (counts.today, counts.today_duplicate) if counts.day == self.group.day.number else (0, 0)

    def record(self) -> Account:
        """It as the tables have it."""
        return Account(
            self.id,
            self.group.id,
            self.name,
            self.display_name,
            self.platform,
            self.status,
            self.counts,
        )


class GroupState:
    """A group of the board."""

    __slots__ = (
        "accounts",
        "announcing",
        "day",
        "duplicate",
        "id",
        "latest",
        "online",
        "published",
        "recent",
        "record",
        "today",
        "today_duplicate",
        "total",
        "zone",
    )

    def __init__(self, record: Group, now_ms: int, published: int = 0) -> None:
        self.id = record.id
        self.record = record
        self.zone = ZoneInfo(record.time_zone)
        self.day: Day = day_of(now_ms, self.zone)
        self.accounts: dict[str, AccountState] = {}
        """By the id that its device gives it, oldest first."""
        self.total = self.duplicate = self.today = self.today_duplicate = self.online = 0
        self.latest = 0
        """The number of the latest day that any of its accounts has counted."""
        self.published = published
        """The last incoming line that dashboards have been sent."""
        self.recent: deque[IncomingLine] = deque(maxlen=MOST_RECENT)
        """The last ones that they have been sent."""
        self.announcing: IncomingLine | None = None
        """The one that is being sent now."""


class Board:
    """All groups of one server."""

    def __init__(self) -> None:
        self.groups: dict[int, GroupState] = {}
        self.accounts: dict[str, AccountState] = {}
        """Of all groups, by the id that devices give them: whose it is, is settled once and for all."""
        self._by_id: dict[int, AccountState] = {}

    # --- groups --------------------------------------------------------------------------------------

    def add_group(self, record: Group, now_ms: int, published: int = 0) -> GroupState:
        """Take a new group. `published`: the last incoming line that there is."""
        group = self.groups[record.id] = GroupState(record, now_ms, published)
        return group

    def change_group(self, record: Group, now_ms: int) -> GroupState:
        """Take a group's new name, code or time zone; with another zone its day may be another."""
        group = self.groups[record.id]
        moved = record.time_zone != group.record.time_zone
        group.record = record
        if moved:
            group.zone = ZoneInfo(record.time_zone)
            self._begin_day(group, day_of(now_ms, group.zone))
        return group

    def today(self, group: GroupState, now_ms: int) -> tuple[Day, list[AccountState]]:
        """The group's day now, turned where it has ended; and the accounts whose figures that has changed."""
        if group.day.holds(now_ms):
            return group.day, []
        had = [account for account in group.accounts.values() if account.today != (0, 0)]
        self._begin_day(group, day_of(now_ms, group.zone))
        return group.day, had

    def _begin_day(self, group: GroupState, day: Day) -> None:
        group.day = day
        # Mostly zeros; where a clock went back, what was counted on the day that it is again.
        todays = [account.today for account in group.accounts.values()]
        group.today = sum(today for today, _ in todays)
        group.today_duplicate = sum(duplicate for _, duplicate in todays)

    # --- accounts ------------------------------------------------------------------------------------

    def take(self, account: Account) -> AccountState:
        """Take an account, or what is said of one that is known: its texts. The rest has methods of its own."""
        state = self.accounts.get(account.line_account_id)
        if state is not None:
            state.display_name, state.platform = account.display_name, account.platform
            return state
        group = self.groups[account.group_id]
        state = AccountState(account, group)
        self.accounts[state.name] = group.accounts[state.name] = self._by_id[state.id] = state
        group.online += state.status == ONLINE
        self._add(group, state, 1)
        return state

    def by_id(self, account_id: int) -> AccountState:
        """The account of a row."""
        return self._by_id[account_id]

    def set_counts(self, account: AccountState, counts: Counts) -> None:
        """Take an account's new figures, and the group's with them."""
        self._add(account.group, account, -1)
        account.counts = counts
        self._add(account.group, account, 1)

    def set_status(self, account: AccountState, status: str) -> bool:
        """Take an account's status; whether it is another."""
        if account.status == status:
            return False
        account.group.online += (status == ONLINE) - (account.status == ONLINE)
        account.status = status
        return True

    @staticmethod
    def _add(group: GroupState, account: AccountState, sign: int) -> None:
        today, today_duplicate = account.today
        group.latest = max(group.latest, account.counts.day)
        group.total += sign * account.counts.total
        group.duplicate += sign * account.counts.duplicate
        group.today += sign * today
        group.today_duplicate += sign * today_duplicate

    # --- as it is shown ------------------------------------------------------------------------------

    @staticmethod
    def group_stats(group: GroupState, now_ms: int) -> GroupStats:
        """A group's figures."""
        return GroupStats(
            activation_code=group.record.code or "",
            total_accounts=len(group.accounts),
            online_accounts=group.online,
            total_incoming=group.total,
            today_incoming=group.today,
            duplicate_incoming=group.duplicate,
            today_duplicate=group.today_duplicate,
            timestamp=now_ms // 1000,
        )

    @staticmethod
    def account_stats(account: AccountState, now_ms: int) -> AccountStats:
        """An account's figures."""
        today, today_duplicate = account.today
        return AccountStats(
            line_id=account.name,
            total_incoming=account.counts.total,
            today_incoming=today,
            duplicate_incoming=account.counts.duplicate,
            today_duplicate=today_duplicate,
            timestamp=now_ms // 1000,
        )


def load(groups: Iterable[Group], accounts: Iterable[Account], now_ms: int, last_line: int) -> Board:
    """The board of what the tables hold."""
    board = Board()
    for group in groups:
        board.add_group(group, now_ms, last_line)
    for account in accounts:
        board.take(account)
    return board
