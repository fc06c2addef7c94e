"""The rows of accounts, without their lines: functions of a connection, each an operation or a reading."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Text, Update, bindparam, func, insert, literal, select, update
from sqlalchemy.sql.dml import ReturningInsert

from tidings.protocol.messages.lines import OFFLINE
from tidings.server.apps.lines.chunks import chunks
from tidings.server.apps.lines.given import INTEGER, TEXT, given, packed
from tidings.server.apps.lines.tables import accounts


class Counts(Struct, frozen=True):
    """What an account has counted: incoming lines, duplicates among them."""

    total: int
    duplicate: int
    """How many of `total`."""
    day: int
    """Which day (`date.toordinal`) the two behind it are of; 0 before the first line."""
    today: int
    today_duplicate: int
    """How many of `today`."""


class Account(Struct, frozen=True):
    """A messaging account of a group."""

    id: int
    group_id: int
    line_account_id: str
    display_name: str
    platform: str
    online_status: str
    counts: Counts


class Entry(Struct, frozen=True):
    """An account, as a device reports it; an empty text says nothing."""

    line_account_id: str
    display_name: str = ""
    platform: str = ""


class Synced(Struct, frozen=True):
    """What became of the entries of a sync; each list in their order, and an account once in all of them."""

    created: list[Account]
    updated: list[Account]
    """Those that were known, changed or not."""
    foreign: list[str]
    """Ids that are another group's."""
    over: list[str]
    """Ids for which the group had no room."""


NO_COUNTS: Final = Counts(0, 0, 0, 0, 0)

# Built once: building one takes longer than carrying it out.
_accounts: Final = select(
    accounts.c.id,
    accounts.c.group_id,
    accounts.c.line_account_id,
    accounts.c.display_name,
    accounts.c.platform,
    accounts.c.online_status,
    accounts.c.total_incoming,
    accounts.c.duplicate_incoming,
    accounts.c.day,
    accounts.c.today_incoming,
    accounts.c.today_duplicate,
)
_named: Final = _accounts.where(accounts.c.line_account_id.in_(bindparam("names", expanding=True)))
_set_status: Final = (
    update(accounts)
    .where(accounts.c.id.in_(bindparam("ids", expanding=True)))
    .values(online_status=bindparam("status"), changed_ms=bindparam("now_ms"))
)


@cache
def _add(dialect: str) -> ReturningInsert[Any]:
    new = given(dialect, line_account_id=TEXT, display_name=TEXT, platform=TEXT)
    row = {
        "line_account_id": new.c.line_account_id,
        "display_name": new.c.display_name,
        "platform": new.c.platform,
        "group_id": bindparam("group_id", type_=INTEGER),
        "online_status": literal(OFFLINE, Text),
        "created_ms": bindparam("now_ms", type_=INTEGER),
        "changed_ms": bindparam("now_ms", type_=INTEGER),
    }
    adding = insert(accounts).from_select(list(row), select(*row.values()))
    return adding.returning(accounts.c.id, accounts.c.line_account_id)


@cache
def _change(dialect: str) -> Update:
    new = given(dialect, id=INTEGER, display_name=TEXT, platform=TEXT)
    values = {
        accounts.c.display_name: new.c.display_name,
        accounts.c.platform: new.c.platform,
        accounts.c.changed_ms: bindparam("now_ms"),
    }
    return update(accounts).where(accounts.c.id == new.c.id).values(values)


def load_accounts(connection: Connection) -> list[Account]:
    """All accounts of all groups, oldest first."""
    return [_account(row) for row in connection.execute(_accounts.order_by(accounts.c.id))]


def reset_statuses(connection: Connection, *, now_ms: int) -> int:
    """Note that nobody is there, as at the start; how many were."""
    change = update(accounts).where(accounts.c.online_status != OFFLINE)
    return connection.execute(change.values(online_status=OFFLINE, changed_ms=now_ms)).rowcount


def sync_accounts(
    connection: Connection, group_id: int, entries: Sequence[Entry], *, most: int, now_ms: int
) -> Synced:
    """Add the accounts that are new, and note what is said of those that are known.

    Of several entries of one account the last one's texts count. A new account is offline until `write_statuses`
    says otherwise. `most`: accounts that the group may have.
    """
    wanted = _merged(entries)
    known = {
        account.line_account_id: account
        for names in chunks(list(wanted))
        for account in map(_account, connection.execute(_named, {"names": names}))
    }
    own = {name: account for name, account in known.items() if account.group_id == group_id}
    fresh = [entry for name, entry in wanted.items() if name not in known]
    room = max(0, most - _size(connection, group_id)) if fresh else 0
    return Synced(
        created=_add_new(connection, group_id, fresh[:room], now_ms),
        updated=_update_known(
            connection, [(own[name], wanted[name]) for name in wanted if name in own], now_ms
        ),
        foreign=[name for name in wanted if name in known and name not in own],
        over=[entry.line_account_id for entry in fresh[room:]],
    )


def write_statuses(connection: Connection, statuses: Sequence[tuple[int, str]], *, now_ms: int) -> None:
    """Note the status of accounts, by id; of several for one the last counts. Unknown ids are passed over."""
    ids: dict[str, list[int]] = {}
    for account_id, status in dict(statuses).items():
        ids.setdefault(status, []).append(account_id)
    for status, those in ids.items():
        for some in chunks(those):
            connection.execute(_set_status, {"ids": some, "status": status, "now_ms": now_ms})


def page_accounts(connection: Connection, group_id: int, *, after: int | None, limit: int) -> list[Account]:
    """At most `limit` of a group's accounts, oldest first, behind the one with the id `after`."""
    query = _accounts.where(accounts.c.group_id == group_id)
    if after is not None:
        query = query.where(accounts.c.id > after)
    return [_account(row) for row in connection.execute(query.order_by(accounts.c.id).limit(limit))]


def _account(row: Any) -> Account:
    return Account(row[0], row[1], row[2], row[3], row[4], row[5], Counts(*row[6:]))


def _merged(entries: Iterable[Entry]) -> dict[str, Entry]:
    """The entries by account; what the last one leaves empty an earlier one may say."""
    merged: dict[str, Entry] = {}
    for entry in entries:
        said = merged.get(entry.line_account_id)
        merged[entry.line_account_id] = Entry(
            entry.line_account_id,
            _storable(entry.display_name) or (said.display_name if said else ""),
            _storable(entry.platform) or (said.platform if said else ""),
        )
    return merged


def _storable(text: str) -> str:
    # PostgreSQL keeps no NUL, and one account's name must not cost the sync of all.
    return text.replace("\0", "\ufffd")


def _size(connection: Connection, group_id: int) -> int:
    count = select(func.count()).select_from(accounts).where(accounts.c.group_id == group_id)
    return connection.execute(count).scalar_one()


def _add_new(connection: Connection, group_id: int, entries: Sequence[Entry], now_ms: int) -> list[Account]:
    if not entries:
        return []
    rows = packed((entry.line_account_id, entry.display_name, entry.platform) for entry in entries)
    more = {"group_id": group_id, "now_ms": now_ms}
    # In whatever order the database says them.
    ids = {name: id_ for id_, name in connection.execute(_add(connection.dialect.name), {**rows, **more})}
    return [
        Account(
            ids[entry.line_account_id],
            group_id,
            entry.line_account_id,
            entry.display_name,
            entry.platform,
            OFFLINE,
            NO_COUNTS,
        )
        for entry in entries
    ]


def _update_known(
    connection: Connection, pairs: Iterable[tuple[Account, Entry]], now_ms: int
) -> list[Account]:
    found: list[Account] = []
    changes: list[tuple[int, str, str]] = []
    for account, entry in pairs:
        name, platform = entry.display_name or account.display_name, entry.platform or account.platform
        if (name, platform) != (account.display_name, account.platform):
            changes.append((account.id, name, platform))
        found.append(msgspec.structs.replace(account, display_name=name, platform=platform))
    if changes:
        connection.execute(_change(connection.dialect.name), {**packed(changes), "now_ms": now_ms})
    return found
