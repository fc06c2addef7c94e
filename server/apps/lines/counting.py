"""What accounts have counted: read, written, and counted anew from the lines that are kept."""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Update, and_, bindparam, case, func, select, update

from tidings.server.apps.lines.accounts import Counts
from tidings.server.apps.lines.chunks import chunks
from tidings.server.apps.lines.given import INTEGER, given, packed
from tidings.server.apps.lines.tables import accounts, incoming


def _how_many(condition: Any) -> Any:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


# Built once: building one takes longer than carrying it out.
_counts: Final = select(
    accounts.c.id,
    accounts.c.total_incoming,
    accounts.c.duplicate_incoming,
    accounts.c.day,
    accounts.c.today_incoming,
    accounts.c.today_duplicate,
).where(accounts.c.id.in_(bindparam("ids", expanding=True)))
_of_day: Final = (
    select(incoming.c.account_id, func.count(), _how_many(incoming.c.is_duplicate))
    .where(
        incoming.c.account_id.in_(bindparam("ids", expanding=True)),
        incoming.c.received_ms >= bindparam("begins_ms"),
        incoming.c.received_ms < bindparam("ends_ms"),
    )
    .group_by(incoming.c.account_id)
)


@cache
def _set_counts(dialect: str) -> Update:
    new = given(
        dialect,
        id=INTEGER,
        total=INTEGER,
        duplicate=INTEGER,
        day=INTEGER,
        today=INTEGER,
        today_duplicate=INTEGER,
    )
    values = {
        accounts.c.total_incoming: new.c.total,
        accounts.c.duplicate_incoming: new.c.duplicate,
        accounts.c.day: new.c.day,
        accounts.c.today_incoming: new.c.today,
        accounts.c.today_duplicate: new.c.today_duplicate,
    }
    return update(accounts).where(accounts.c.id == new.c.id).values(values)


def count_day(connection: Connection, accounts: Mapping[int, tuple[int, int, int]]) -> dict[int, Counts]:
    """Count accounts' lines of a day anew (id: day, begin, end), as where a zone has changed; what it says then.

    Unknown ids are passed over.
    """
    before = load_counts(connection, accounts)
    days = {account_id: accounts[account_id] for account_id in before}
    after = {
        account_id: Counts(before[account_id].total, before[account_id].duplicate, day, today, duplicate)
        for account_id, (day, today, duplicate) in count_days(connection, days).items()
    }
    write_counts(connection, after)
    return after


def recount(
    connection: Connection, day_bounds: Mapping[int, tuple[int, int]]
) -> dict[int, tuple[int, int, int, int]]:
    """Total, duplicates, the day's and the day's duplicates by account, from the lines' own rows alone.

    `day_bounds` by group. Totals are right only while retention has taken nothing. Not even what was noted as a
    duplicate is believed: it is one where a line with a smaller id is of the same customer and account.
    """
    nth = func.row_number().over(
        partition_by=(incoming.c.account_id, incoming.c.incoming_line_id), order_by=incoming.c.id
    )
    found: dict[int, tuple[int, int, int, int]] = {}
    for group_id, (begins_ms, ends_ms) in day_bounds.items():
        own = select(incoming.c.account_id, incoming.c.received_ms, nth.label("nth"))
        line = own.where(incoming.c.group_id == group_id).subquery()
        is_today = and_(line.c.received_ms >= begins_ms, line.c.received_ms < ends_ms)
        figures = select(
            accounts.c.id,
            func.count(line.c.nth),
            _how_many(line.c.nth > 1),
            _how_many(is_today),
            _how_many(and_(is_today, line.c.nth > 1)),
        ).select_from(accounts.outerjoin(line, line.c.account_id == accounts.c.id))
        for row in connection.execute(
            figures.where(accounts.c.group_id == group_id).group_by(accounts.c.id)
        ):
            found[row[0]] = (row[1], row[2], row[3], row[4])
    return found


def load_counts(connection: Connection, ids: Collection[int]) -> dict[int, Counts]:
    """The figures of accounts; unknown ids are passed over."""
    return {
        row[0]: Counts(*row[1:])
        for some in chunks(list(ids))
        for row in connection.execute(_counts, {"ids": some})
    }


def count_days(
    connection: Connection, wanted: Mapping[int, tuple[int, int, int]]
) -> dict[int, tuple[int, int, int]]:
    """Day, lines and duplicates of accounts on a day each, counted: a statement for each day that differs."""
    together: dict[tuple[int, int, int], list[int]] = {}
    for account_id, bounds in wanted.items():
        together.setdefault(bounds, []).append(account_id)
    found = {account_id: (day, 0, 0) for account_id, (day, _, _) in wanted.items()}
    for (day, begins_ms, ends_ms), ids in together.items():
        for some in chunks(ids):
            within = {"ids": some, "begins_ms": begins_ms, "ends_ms": ends_ms}
            for row in connection.execute(_of_day, within):
                found[row[0]] = (day, row[1], int(row[2]))
    return found


def write_counts(connection: Connection, counts: Mapping[int, Counts]) -> None:
    """Keep the figures of accounts."""
    if counts:
        rows = ((account_id, *msgspec.structs.astuple(each)) for account_id, each in counts.items())
        connection.execute(_set_counts(connection.dialect.name), packed(rows))
