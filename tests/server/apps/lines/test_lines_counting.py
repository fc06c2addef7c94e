"""Incoming lines are counted right: against a naive model, whatever comes in whatever order, and a recount."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event, func, select
from support.lines_rows import accounts_of, day_of, group_of, line, lines_connection

from tidings.server.apps.lines import tables
from tidings.server.apps.lines.accounts import Account, Counts, load_accounts
from tidings.server.apps.lines.incoming import (
    Added,
    AddedLine,
    NewLine,
    add_lines,
    count_day,
    recount,
    sweep,
)

# Where days begin at other hours, and with 23, 24 and 25 of them.
ZONES: Final = ("UTC", "Asia/Shanghai", "America/New_York", "Pacific/Kiritimati")
MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

# The night to 2026-03-08, in which New York loses an hour.
BEGIN: Final = 1_772_920_000_000


@pytest.fixture
def connection(tmp_path: Path, records_url: str) -> Iterator[Connection]:
    """Of a board without groups."""
    with lines_connection(records_url, tmp_path) as connection:
        yield connection


class Model:
    """What was received, in a list; every question goes through all of it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.now = BEGIN
        self.zones: dict[int, str] = {}
        self.accounts: list[Account] = []
        for name, zone in (("east", "Asia/Shanghai"), ("west", "UTC")):
            group = group_of(connection, name, zone)
            self.zones[group.id] = zone
            self.accounts += accounts_of(connection, group, f"{name} 1", f"{name} 2")
        self.received: list[tuple[NewLine, AddedLine]] = []
        self.days = {account.id: (0, 0, 0) for account in self.accounts}

    def figures(self, account_id: int) -> Counts:
        day, begins, ends = self.days[account_id]
        own = [(line, added) for line, added in self.received if line.account_id == account_id]
        today = [(line, added) for line, added in own if begins <= line.received_ms < ends]
        return Counts(
            len(own),
            sum(added.is_duplicate for _, added in own),
            day,
            len(today),
            sum(added.is_duplicate for _, added in today),
        )

    def receive(self, said: list[tuple[int, str, str | None]]) -> None:
        new = [
            line(account, caller, message=message, at=self.now, time_zone=self.zones[account.group_id])
            for index, caller, message in said
            for account in [self.accounts[index]]
        ]
        added = add_lines(self.connection, new)
        for each, told in zip(new, added.lines, strict=True):
            own = [pair for pair in self.received if pair[0].account_id == each.account_id]
            same = [pair for pair in own if each.message_id and pair[0].message_id == each.message_id]
            if same:
                (first, was), *_ = same
                is_other = first.incoming_line_id != each.incoming_line_id
                assert told == AddedLine(was.id, was.is_duplicate, is_repeat=True, is_other=is_other)
                continue
            is_duplicate = any(one.incoming_line_id == each.incoming_line_id for one, _ in own)
            assert (told.is_duplicate, told.is_repeat) == (is_duplicate, False)
            assert told.id > max((was.id for _, was in self.received), default=0)
            self.received.append((each, told))
            self.days[each.account_id] = (each.day, each.day_begins_ms, each.day_ends_ms)
        assert added.counts == {each.account_id: self.figures(each.account_id) for each in new}

    def move(self, group_index: int, zone: str) -> None:
        group_id = list(self.zones)[group_index]
        self.zones[group_id] = zone
        day = day_of(self.now, zone)
        wanted = {account.id: day for account in self.accounts if account.group_id == group_id}
        self.days.update(wanted)
        counted = count_day(self.connection, wanted)
        assert counted == {account_id: self.figures(account_id) for account_id in wanted}

    def check(self) -> None:
        kept = {account.id: account.counts for account in load_accounts(self.connection)}
        assert kept == {account.id: self.figures(account.id) for account in self.accounts}
        today = {group_id: day_of(self.now, zone) for group_id, zone in self.zones.items()}
        counted = recount(self.connection, {group_id: day[1:] for group_id, day in today.items()})
        for account in self.accounts:
            figures = kept[account.id]
            assert counted[account.id][:2] == (figures.total, figures.duplicate)
            # Of another day where nothing has come since.
            if figures.day == today[account.group_id][0]:
                assert counted[account.id][2:] == (figures.today, figures.today_duplicate)


_said: Final = st.tuples(
    st.integers(0, 3), st.sampled_from("abc"), st.sampled_from([None, None, "m1", "m2", "m3"])
)
_steps: Final = st.one_of(
    st.tuples(st.just("receive"), st.lists(_said, min_size=1, max_size=6)),
    st.tuples(
        st.just("wait"),
        st.sampled_from([MINUTE, HOUR, 5 * HOUR, DAY, 3 * DAY, -MINUTE, -3 * HOUR, -DAY]),
    ),
    st.tuples(st.just("move"), st.tuples(st.integers(0, 1), st.sampled_from(ZONES))),
)


@given(steps=st.lists(_steps, max_size=12))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_figures_are_what_a_naive_count_says(connection: Connection, steps: list[Any]) -> None:
    """Batches, repeats, duplicates, a clock that goes on and back over midnights, zones that change."""
    try:
        model = Model(connection)
        for verb, what in steps:
            if verb == "receive":
                model.receive(what)
            elif verb == "wait":
                model.now += what
            else:
                model.move(*what)
        model.check()
    finally:
        connection.rollback()


def test_of_two_in_one_batch_the_first_counts(connection: Connection) -> None:
    """The second of a customer is a duplicate, the second of a message a repeat of the first, answered as that."""
    (account,) = accounts_of(connection, group_of(connection), "a")
    said = [
        line(account, "x", message="1"),
        line(account, "x", message="2"),
        line(account, "y", message="1"),
    ]
    added = add_lines(connection, said)
    first, second, third = added.lines
    assert [each.is_duplicate for each in added.lines] == [False, True, False]
    repeat = AddedLine(first.id, is_duplicate=False, is_repeat=True, is_other=True)
    assert (second.id, third) == (first.id + 1, repeat)
    day = day_of(0, "UTC")[0]
    assert added.counts == {account.id: Counts(2, 1, day, 2, 1)}
    # Later the same; and "y" has never been there, since its message was another.
    again = add_lines(connection, [said[2], line(account, "y")])
    assert again.lines[0] == third
    assert (again.lines[1].is_duplicate, again.counts[account.id].total) == (False, 3)
    assert add_lines(connection, [said[1]]) == Added(
        [AddedLine(second.id, is_duplicate=True, is_repeat=True)], {account.id: again.counts[account.id]}
    )
    assert add_lines(connection, []) == Added([], {})


def test_a_batch_over_midnight_is_of_both_days(connection: Connection) -> None:
    """What came before midnight is of yesterday when the batch ends, and the clock may go back again."""
    (account,) = accounts_of(connection, group_of(connection), "a")
    night = [line(account, str(n), at=DAY + n) for n in (-2, -1, 0)]
    assert add_lines(connection, night).counts[account.id] == Counts(3, 0, night[2].day, 1, 0)
    back = [line(account, "1", at=DAY - 1)]
    assert add_lines(connection, back).counts[account.id] == Counts(4, 0, night[0].day, 3, 0)
    both = [line(account, "1", at=DAY + 1), line(account, "1", at=DAY - 1), line(account, "1", at=DAY + 2)]
    assert add_lines(connection, both).counts[account.id] == Counts(7, 3, night[2].day, 3, 2)


def test_five_hundred_lines_are_few_statements(connection: Connection) -> None:
    """However many lines and accounts come together, also over midnight: ids in order, ten statements at most."""
    accounts = accounts_of(connection, group_of(connection), *map(str, range(200)))
    statements: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(connection.engine, "before_cursor_execute", note)
    for day in (0, 1):
        said = [
            line(
                accounts[n % 200],
                str(n % 350),
                message=f"{day} {n}",
                at=day * DAY,
                details='{"a":"\\u0000"}',
            )
            for n in range(500)
        ]
        added = add_lines(connection, said)
        assert [each.id for each in added.lines] == [day * 500 + n + 1 for n in range(500)]
        assert sum(each.today for each in added.counts.values()) == 500
        assert len(statements) <= 10, statements
        statements.clear()
    event.remove(connection.engine, "before_cursor_execute", note)
    assert set(connection.scalars(select(tables.incoming.c.details))) == {'{"a":"\\u0000"}'}


@pytest.mark.parametrize("is_archived", [False, True])
def test_what_is_too_old_goes_and_counts_all_the_same(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, is_archived: bool
) -> None:
    """Piece by piece, the oldest first; figures stay, duplicates are known still; archived rows are whole."""
    monkeypatch.setattr("tidings.server.apps.lines.kept_lines.PIECE", 2)
    (account,) = accounts_of(connection, group_of(connection), "a")
    said = [
        line(account, str(n % 4), message=str(n), at=at, details="{}")
        for n, at in enumerate((50, 10, 30, 99, 100))
    ]
    counts = add_lines(connection, said).counts[account.id]
    rows = connection.execute(select(tables.incoming).order_by(tables.incoming.c.received_ms)).all()
    assert [sweep(connection, before_ms=100, archive=is_archived) for _ in range(3)] == [2, 2, 0]
    left = connection.execute(select(tables.incoming)).all()
    assert left == rows[4:]
    kept = connection.execute(select(tables.archive).order_by(tables.archive.c.received_ms)).all()
    assert kept == (rows[:4] if is_archived else [])
    assert load_accounts(connection)[0].counts == counts == Counts(5, 1, day_of(0, "UTC")[0], 5, 1)
    # Of a customer whose lines are all gone.
    assert add_lines(connection, [line(account, "2", at=101)]).lines[0].is_duplicate
    # Ids go on, also where none is left.
    while sweep(connection, before_ms=DAY, archive=False):
        pass
    assert add_lines(connection, [line(account, "2", at=102)]).lines[0].id == 7
    assert connection.scalar(select(func.count()).select_from(tables.incoming)) == 1
