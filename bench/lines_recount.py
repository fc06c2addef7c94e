"""The figures of a line board, counted anew from the rows of its database, and those that the server keeps beside.

It asks plain SQL of the tables, and uses none of the app's own functions: those are what is judged.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import sqlalchemy

from tidings.server.store.records.files import NAME

_LINES: Final = """
    SELECT account.line_account_id, line.incoming_line_id, line.message_id, line.received_ms, zones.time_zone
    FROM lines_incoming line
    JOIN lines_accounts account ON account.id = line.account_id
    JOIN lines_groups zones ON zones.id = account.group_id
    ORDER BY line.id
"""
_KEPT: Final = """
    SELECT account.line_account_id, account.group_id, account.total_incoming, account.duplicate_incoming,
           account.day, account.today_incoming, account.today_duplicate, zones.time_zone
    FROM lines_accounts account JOIN lines_groups zones ON zones.id = account.group_id
"""


class Counted(NamedTuple):
    """The figures of an account."""

    total: int
    today: int
    duplicate: int
    today_duplicate: int


class Recount(NamedTuple):
    """What the rows say."""

    accounts: dict[str, Counted]
    """By counting rows, of accounts with lines."""
    kept: dict[str, Counted]
    """What the table of accounts has."""
    groups: dict[str, int]
    """Which group each account is of."""
    messages: dict[tuple[str, str], int]
    """How often each message stands there, by its account and the device's id of it."""
    lines: int

    @property
    def repeated(self) -> int:
        """How many messages stand there though they already did."""
        return sum(self.messages.values()) - len(self.messages)


def recount(url: str, data_dir: Path, now: datetime | None = None) -> Recount:
    """Count the rows of the records at `url`, as `store.url`; `now` decides which day is today."""
    now = now or datetime.now(UTC)
    days: dict[str, tuple[int, float, float]] = {}

    def day_of(zone: str) -> tuple[int, float, float]:
        if zone not in days:
            here = now.astimezone(ZoneInfo(zone))
            begins = here.replace(hour=0, minute=0, second=0, microsecond=0)
            ends = (begins.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=ZoneInfo(zone))
            days[zone] = (here.toordinal(), begins.timestamp() * 1000, ends.timestamp() * 1000)
        return days[zone]

    total: Counter[str] = Counter()
    today: Counter[str] = Counter()
    duplicate: Counter[str] = Counter()
    today_duplicate: Counter[str] = Counter()
    customers: set[tuple[str, str]] = set()
    messages: Counter[tuple[str, str]] = Counter()
    with _connected(url, data_dir) as connection:
        for account, customer, message, received_ms, zone in connection.execute(sqlalchemy.text(_LINES)):
            _, begins, ends = day_of(zone)
            is_today, is_duplicate = begins <= received_ms < ends, (account, customer) in customers
            customers.add((account, customer))
            if message is not None:
                messages[account, message] += 1
            total[account] += 1
            today[account] += is_today
            duplicate[account] += is_duplicate
            today_duplicate[account] += is_today and is_duplicate
        kept, groups = {}, {}
        for name, group, *figures, zone in connection.execute(sqlalchemy.text(_KEPT)):
            all_lines, duplicates, day, of_day, duplicates_of_day = figures
            is_now = day == day_of(zone)[0]
            kept[name] = Counted(
                all_lines, of_day if is_now else 0, duplicates, duplicates_of_day if is_now else 0
            )
            groups[name] = group
    counted = {
        account: Counted(total[account], today[account], duplicate[account], today_duplicate[account])
        for account in total
    }
    return Recount(counted, kept, groups, dict(messages), sum(total.values()))


@contextmanager
def _connected(url: str, data_dir: Path) -> Iterator[sqlalchemy.Connection]:
    place = sqlalchemy.make_url(url or f"sqlite:///{data_dir / NAME}")
    if url:
        place = place.set(drivername="postgresql+psycopg")
    engine = sqlalchemy.create_engine(place)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
