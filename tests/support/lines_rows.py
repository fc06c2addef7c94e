"""The tables of the line board without a server: a connection on either database, of which nothing stays."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from support.records import _migrated
from tidings.server.apps import lines
from tidings.server.apps.lines.accounts import Account, Entry, sync_accounts
from tidings.server.apps.lines.groups import Group, create_group
from tidings.server.apps.lines.incoming import NewLine
from tidings.server.store.records.databases import database_of
from tidings.server.store.records.files import NAME
from tidings.server.store.records.migrating import migrate
from tidings.server.store.records.records import Migrations

MIGRATIONS: Final = Migrations(lines.NAME, Path(lines.__file__).parent / "migrations")


@contextmanager
def lines_connection(url: str, folder: Path) -> Iterator[Connection]:
    """The connection that writes; what a test does not commit is undone."""
    if url:
        migrate(url, folder, [MIGRATIONS])
    else:
        (folder / NAME).write_bytes(_migrated((MIGRATIONS,)))
    engine = database_of(url, folder).writer()
    try:
        with engine.connect() as connection:
            yield connection
            connection.rollback()
    finally:
        engine.dispose()


def group_of(connection: Connection, name: str = "east", time_zone: str = "UTC") -> Group:
    """A new group."""
    return create_group(connection, name=name, time_zone=time_zone, code=f"code of {name}", now_ms=1)


def accounts_of(connection: Connection, group: Group, *names: str) -> list[Account]:
    """Its accounts of these names, new ones."""
    entries = [Entry(name) for name in names]
    return sync_accounts(connection, group.id, entries, most=10_000, now_ms=1).created


def day_of(now_ms: int, time_zone: str) -> tuple[int, int, int]:
    """Which day it is there, and when it begins and ends, in Unix milliseconds."""
    zone = ZoneInfo(time_zone)
    today = datetime.fromtimestamp(now_ms / 1000, zone).date()
    begins, ends = (
        datetime.combine(day, time(), zone).timestamp() for day in (today, today + timedelta(days=1))
    )
    return today.toordinal(), round(begins * 1000), round(ends * 1000)


def line(
    account: Account,
    caller: str,
    *,
    message: str | None = None,
    at: int = 0,
    time_zone: str = "UTC",
    details: str | None = None,
) -> NewLine:
    """A line of a customer's, received at this time."""
    return NewLine(account.id, account.group_id, caller, message, at, None, details, *day_of(at, time_zone))
