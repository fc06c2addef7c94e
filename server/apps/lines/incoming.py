"""Incoming lines that come, and what they count to. Of one operation and many lines: few statements."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from msgspec import Struct
from sqlalchemy import Connection, Executable, Insert, Select, and_, insert, select, text, true
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from tidings.server.apps.lines.accounts import Counts
from tidings.server.apps.lines.counting import count_day, count_days, load_counts, recount, write_counts
from tidings.server.apps.lines.given import BOOLEAN, INTEGER, TEXT, given, packed
from tidings.server.apps.lines.kept_lines import PIECE, Line, last_line, lines_between, page_lines, sweep
from tidings.server.apps.lines.tables import callers, incoming


class NewLine(Struct, frozen=True):
    """An incoming line, as it came."""

    account_id: int
    group_id: int
    incoming_line_id: str
    message_id: str | None
    received_ms: int
    client_time: str | None
    details: str | None
    """A JSON object."""
    day: int
    """`date.toordinal` of `received_ms` in the group's zone."""
    day_begins_ms: int
    day_ends_ms: int
    """Exclusive."""


class AddedLine(Struct, frozen=True):
    """What became of a line."""

    id: int
    is_duplicate: bool
    is_repeat: bool
    """The message was here before: the other two are as they were then, and nothing was counted."""
    is_other: bool = False
    """What was here before was of another customer: nothing was kept."""


class Added(Struct, frozen=True):
    """What became of several."""

    lines: list[AddedLine]
    """As they were given."""
    counts: dict[int, Counts]
    """By account, of all that were named."""


class _Statements(NamedTuple):
    """Built once for a database: building one takes longer than carrying it out."""

    repeated: Select[Any]
    meet: ReturningInsert[Any]
    ids: Executable
    add: Insert


@cache
def _statements(dialect: str) -> _Statements:
    messages = given(dialect, account_id=INTEGER, message_id=TEXT)
    is_repeat = and_(
        incoming.c.account_id == messages.c.account_id, incoming.c.message_id == messages.c.message_id
    )
    columns = (
        incoming.c.account_id,
        incoming.c.message_id,
        incoming.c.id,
        incoming.c.is_duplicate,
        incoming.c.incoming_line_id,
    )
    pairs = given(dialect, account_id=INTEGER, incoming_line_id=TEXT)
    to_meet = select(*pairs.c).where(true())
    lines = given(
        dialect,
        id=INTEGER,
        group_id=INTEGER,
        account_id=INTEGER,
        incoming_line_id=TEXT,
        message_id=TEXT,
        is_duplicate=BOOLEAN,
        received_ms=INTEGER,
        client_time=TEXT,
        details=TEXT,
    )
    is_sqlite = dialect == "sqlite"
    new = sqlite.insert(callers) if is_sqlite else postgresql.insert(callers)
    return _Statements(
        repeated=select(*columns).select_from(messages.join(incoming, is_repeat)),
        meet=new.from_select(pairs.c.keys(), to_meet).on_conflict_do_nothing().returning(*callers.c),
        ids=text(_NEXT_IN_SQLITE if is_sqlite else _NEXT_IN_POSTGRESQL),
        add=insert(incoming).from_select(lines.c.keys(), select(*lines.c)),
    )


# Taken before the rows are there, since no database says which row of many got which. SQLite's counter follows what
# is given, and nobody else writes here meanwhile; PostgreSQL's is asked for them.
_NEXT_IN_SQLITE: Final = """
WITH RECURSIVE taken(place, id) AS (
    SELECT 1, 1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'lines_incoming'), 0)
    UNION ALL SELECT place + 1, id + 1 FROM taken WHERE place < :count
)
SELECT id FROM taken
"""
_NEXT_IN_POSTGRESQL: Final = """
SELECT nextval(pg_get_serial_sequence('lines_incoming', 'id')) FROM generate_series(1, :count)
"""


def add_lines(connection: Connection, lines: Sequence[NewLine]) -> Added:
    """Keep and count lines, in their order: the first of a customer's on an account is no duplicate.

    One with a message id that its account has already, also from a line before it, is a repeat: it is answered as
    that one, as long as retention has left it, and nothing more. The day's figures of an account are of the day of
    its last line; where that is another than before, the lines of that day are counted.
    """
    repeated = _repeats(connection, lines)
    # Which of the lines are kept, by their place; a repeat within these lines is known by the first one's place.
    kept: dict[int, NewLine] = {}
    first_place: dict[tuple[int, str], int] = {}
    for place, line in enumerate(lines):
        if line.message_id is not None:
            message = (line.account_id, line.message_id)
            if message in repeated or message in first_place:
                continue
            first_place[message] = place
        kept[place] = line
    duplicates = _which_are_duplicates(connection, kept)
    added = _insert(connection, kept, duplicates)
    found = []
    for place, line in enumerate(lines):
        if place in added:
            found.append(added[place])
        else:
            assert line.message_id is not None
            message = (line.account_id, line.message_id)
            if message in repeated:
                first, customer = repeated[message]
            else:
                its_place = first_place[message]
                first, customer = added[its_place], kept[its_place].incoming_line_id
            is_other = customer != line.incoming_line_id
            found.append(AddedLine(first.id, first.is_duplicate, is_repeat=True, is_other=is_other))
    counts = _count(connection, lines, kept, duplicates)
    return Added(found, counts)


def _repeats(
    connection: Connection, lines: Sequence[NewLine]
) -> dict[tuple[int, str], tuple[AddedLine, str]]:
    """The lines that are kept already, and whose they are, by account and message."""
    messages = {(line.account_id, line.message_id) for line in lines if line.message_id is not None}
    if not messages:
        return {}
    rows = connection.execute(_statements(connection.dialect.name).repeated, packed(messages))
    return {
        (row.account_id, row.message_id): (
            AddedLine(row.id, row.is_duplicate, is_repeat=True),
            row.incoming_line_id,
        )
        for row in rows
    }


def _which_are_duplicates(connection: Connection, kept: Mapping[int, NewLine]) -> dict[int, bool]:
    """Whether each line's customer has been on its account before; notes those who have not."""
    if not kept:
        return {}
    pairs = dict.fromkeys((line.account_id, line.incoming_line_id) for line in kept.values())
    rows = connection.execute(_statements(connection.dialect.name).meet, packed(pairs))
    new = {(row.account_id, row.incoming_line_id) for row in rows}
    duplicates = {}
    for place, line in kept.items():
        pair = (line.account_id, line.incoming_line_id)
        duplicates[place] = pair not in new
        # The next one of the same is a duplicate of this.
        new.discard(pair)
    return duplicates


def _insert(
    connection: Connection, kept: Mapping[int, NewLine], duplicates: Mapping[int, bool]
) -> dict[int, AddedLine]:
    if not kept:
        return {}
    statements = _statements(connection.dialect.name)
    ids = sorted(connection.execute(statements.ids, {"count": len(kept)}).scalars())
    rows = [
        (
            id_,
            line.group_id,
            line.account_id,
            line.incoming_line_id,
            line.message_id,
            duplicates[place],
            line.received_ms,
            line.client_time,
            line.details,
        )
        for id_, (place, line) in zip(ids, kept.items(), strict=True)
    ]
    connection.execute(statements.add, packed(rows))
    return {
        place: AddedLine(id_, duplicates[place], is_repeat=False)
        for place, id_ in zip(kept, ids, strict=True)
    }


def _count(
    connection: Connection,
    lines: Sequence[NewLine],
    kept: Mapping[int, NewLine],
    duplicates: Mapping[int, bool],
) -> dict[int, Counts]:
    """Add the lines that are kept to the figures of their accounts; the figures of all that were named."""
    counts = load_counts(connection, {line.account_id for line in lines})
    changed: dict[int, Counts] = {}
    # Accounts of which not all lines are of the day that the figures are of, with the day of the last one.
    turned: dict[int, tuple[int, int, int]] = {}
    for place, line in kept.items():
        before = changed.get(line.account_id) or counts[line.account_id]
        if line.day != before.day:
            turned[line.account_id] = (line.day, line.day_begins_ms, line.day_ends_ms)
        one = int(duplicates[place])
        changed[line.account_id] = Counts(
            before.total + 1,
            before.duplicate + one,
            line.day,
            before.today + 1,
            before.today_duplicate + one,
        )
    for account_id, (day, today, duplicate) in count_days(connection, turned).items():
        so_far = changed[account_id]
        changed[account_id] = Counts(so_far.total, so_far.duplicate, day, today, duplicate)
    write_counts(connection, changed)
    return {**counts, **changed}


__all__ = [
    "PIECE",
    "Added",
    "AddedLine",
    "Line",
    "NewLine",
    "add_lines",
    "count_day",
    "last_line",
    "lines_between",
    "page_lines",
    "recount",
    "sweep",
]
