"""The rows of the line board, on both databases: groups, codes, accounts, customers, lines and pages of them."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, event
from support.lines_rows import accounts_of, group_of, line, lines_connection
from support.records import differences

from tidings.server.apps.lines import accounts, customers, groups, incoming
from tidings.server.apps.lines.accounts import Account, Entry
from tidings.server.apps.lines.acks import acked, note_ack
from tidings.server.apps.lines.groups import Code, CodeTaken, Group
from tidings.server.apps.lines.tables import metadata


@pytest.fixture
def connection(tmp_path: Path, records_url: str) -> Iterator[Connection]:
    """Of a board without groups."""
    with lines_connection(records_url, tmp_path) as connection:
        yield connection


def test_the_migrations_make_the_tables_of_lines(connection: Connection) -> None:
    """What the revisions make is what the program declares, to the index."""
    assert differences(connection, metadata) == []


# --- groups and codes ----------------------------------------------------------------------------


def test_a_group_has_one_code_that_is_active(connection: Connection) -> None:
    """A new one disables it; a code is never given again, and what was disabled stays so since then."""
    first = groups.create_group(connection, name="东", time_zone="Asia/Shanghai", code="A", now_ms=1)
    assert first == Group(first.id, "东", "Asia/Shanghai", "A", first.code_id, 1)
    other = groups.create_group(connection, name="west", time_zone="UTC", code="B", now_ms=2)
    assert groups.load_groups(connection) == [first, other]
    for code in ("A", "B"):
        with pytest.raises(CodeTaken):
            groups.renew_code(connection, first.id, code=code, now_ms=3)
        with pytest.raises(CodeTaken):
            groups.create_group(connection, name="", time_zone="UTC", code=code, now_ms=3)
    renewed = groups.renew_code(connection, first.id, code="C", now_ms=4)
    assert renewed is not None
    assert (renewed.code, renewed.name) == ("C", "东")
    assert renewed.code_id is not None
    assert groups.load_groups(connection) == [renewed, other]
    # Of another group, and unknown.
    for group_id, code_id in ((other.id, renewed.code_id), (first.id, 99), (99, renewed.code_id)):
        assert groups.disable_code(connection, group_id, code_id, now_ms=5) is None
    for now_ms in (6, 7):
        disabled = groups.disable_code(connection, first.id, renewed.code_id, now_ms=now_ms)
        assert disabled == msgspec.structs.replace(renewed, code=None, code_id=None)
    assert first.code_id is not None
    assert groups.codes_of(connection, first.id) == [
        Code(renewed.code_id, first.id, "C", 4, 6),
        Code(first.code_id, first.id, "A", 1, 4),
    ]
    with pytest.raises(CodeTaken):
        groups.renew_code(connection, other.id, code="C", now_ms=8)
    assert groups.codes_of(connection, 99) is None
    assert groups.renew_code(connection, 99, code="D", now_ms=9) is None


def test_a_group_is_changed_in_what_is_said(connection: Connection) -> None:
    """What is not said stays, and nothing of another group's changes."""
    first, other = group_of(connection), group_of(connection, "west")
    changed = groups.change_group(connection, first.id, time_zone="Asia/Tokyo", now_ms=5)
    assert changed == msgspec.structs.replace(first, time_zone="Asia/Tokyo")
    renamed = groups.change_group(connection, first.id, name="new", now_ms=5)
    assert renamed == msgspec.structs.replace(changed, name="new")
    assert groups.change_group(connection, first.id, now_ms=5) == renamed
    assert groups.change_group(connection, 99, name="x", now_ms=5) is None
    assert groups.load_groups(connection) == [renamed, other]


# --- accounts ------------------------------------------------------------------------------------


def _sync(connection: Connection, group: Group, *entries: Entry, most: int = 100) -> accounts.Synced:
    return accounts.sync_accounts(connection, group.id, entries, most=most, now_ms=5)


def test_accounts_are_taken_in_or_brought_up_to_date(connection: Connection) -> None:
    """The last entry of one account counts, empty texts say nothing, and no account changes its group."""
    east, west = group_of(connection), group_of(connection, "west")
    made = _sync(
        connection, east, Entry("a", "old", "line"), Entry("b"), Entry("a", "new"), Entry("c", "\0", "x")
    )
    assert [(a.line_account_id, a.display_name, a.platform) for a in made.created] == [
        ("a", "new", "line"),
        ("b", "", ""),
        ("c", "\ufffd", "x"),
    ]
    assert {account.online_status for account in made.created} == {"offline"}
    assert (made.updated, made.foreign, made.over) == ([], [], [])
    again = _sync(connection, east, Entry("b", "B"), Entry("d"), Entry("a"), Entry("A"))
    assert [account.line_account_id for account in again.created] == ["d", "A"]
    assert again.updated == [
        msgspec.structs.replace(made.created[1], display_name="B"),
        made.created[0],
    ]
    foreign = _sync(connection, west, Entry("a", "mine"), Entry("e"), Entry("d"))
    assert (foreign.foreign, foreign.updated) == (["a", "d"], [])
    found = accounts.load_accounts(connection)
    assert [(a.line_account_id, a.display_name) for a in found] == [
        *(("a", "new"), ("b", "B"), ("c", "\ufffd"), ("d", ""), ("A", ""), ("e", "")),
    ]
    assert [account for account in found if account.group_id == west.id] == foreign.created
    assert accounts.page_accounts(connection, east.id, after=None, limit=2) == found[:2]
    assert accounts.page_accounts(connection, east.id, after=found[1].id, limit=9) == found[2:5]


def test_a_group_has_room_for_so_many_accounts(connection: Connection) -> None:
    """The first new ones are taken, known ones always are, and another group's do not count."""
    accounts_of(connection, group_of(connection, "west"), "x", "y", "z")
    east = group_of(connection)
    first = _sync(connection, east, *map(Entry, "abc"), most=2)
    assert ([a.line_account_id for a in first.created], first.over) == (["a", "b"], ["c"])
    second = _sync(connection, east, *map(Entry, "cbd"), most=3)
    assert ([a.line_account_id for a in second.created], second.over) == (["c"], ["d"])
    third = _sync(connection, east, *map(Entry, "abcd"), most=1)
    assert (len(third.updated), third.created, third.over) == (3, [], ["d"])


def test_statuses_are_noted_and_forgotten_at_the_start(connection: Connection) -> None:
    """The last of several for one account counts; after a restart nobody is there."""
    made = accounts_of(connection, group_of(connection), "a", "b", "c")
    a, b, c = (account.id for account in made)
    said = [(a, "online"), (b, "online"), (c, "busy"), (b, "away"), (b, "online"), (99, "online")]
    accounts.write_statuses(connection, said, now_ms=7)
    accounts.write_statuses(connection, [], now_ms=7)

    def statuses() -> list[str]:
        return [account.online_status for account in accounts.load_accounts(connection)]

    assert statuses() == ["online", "online", "busy"]
    assert [accounts.reset_statuses(connection, now_ms=8) for _ in range(2)] == [3, 0]
    assert statuses() == ["offline", "offline", "offline"]


def test_ten_thousand_accounts_are_few_statements(connection: Connection) -> None:
    """A sync of the largest kind, new or known, is no statement for each, and far from a second."""
    group = group_of(connection)
    entries = [Entry(f"account {number}", f"name {number}") for number in range(10_000)]
    statements: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(connection.engine, "before_cursor_execute", note)
    begun = time.perf_counter()
    made = accounts.sync_accounts(connection, group.id, entries, most=10_000, now_ms=1)
    accounts.write_statuses(connection, [(a.id, "online") for a in made.created], now_ms=1)
    changed = [Entry(entry.line_account_id, "other") for entry in entries]
    known = accounts.sync_accounts(connection, group.id, changed, most=10_000, now_ms=2)
    event.remove(connection.engine, "before_cursor_execute", note)
    assert [a.line_account_id for a in made.created] == [e.line_account_id for e in entries]
    assert [a.id for a in known.updated] == [a.id for a in made.created]
    assert {(a.display_name, a.online_status) for a in accounts.load_accounts(connection)} == {
        ("other", "online")
    }
    assert len(statements) <= 40
    # A few tenths of a second; a busy machine is slower.
    assert time.perf_counter() - begun < 15


# --- customers -----------------------------------------------------------------------------------


def test_a_customer_is_one_row_that_changes(connection: Connection) -> None:
    """New fields go over old ones, an account stays until another is named, groups have customers of their own."""
    east, west = group_of(connection), group_of(connection, "west")
    (account,) = accounts_of(connection, east, "a")

    def sync(group: Group, details: str, account_id: int | None = None, at: int = 1) -> int:
        more: dict[str, Any] = {
            "customer_id": "c1",
            "account_id": account_id,
            "details": details,
            "now_ms": at,
        }
        return customers.sync_customer(connection, group.id, **more)

    row = sync(east, '{"name":"王","age":4}', account.id)
    assert sync(east, '{"age":5,"tags":["x"]}', at=9) == row
    assert sync(west, "{}") != row
    (kept,) = customers.page_customers(connection, east.id, before=None, limit=9)
    assert (kept.id, kept.customer_id, kept.line_account_id, kept.created_ms, kept.changed_ms) == (
        row,
        "c1",
        "a",
        1,
        9,
    )
    assert msgspec.json.decode(kept.details) == {"name": "王", "age": 5, "tags": ["x"]}
    (other,) = customers.page_customers(connection, west.id, before=None, limit=9)
    assert (other.line_account_id, other.details) == (None, "{}")


def test_a_follow_up_is_known_by_its_clients_id(connection: Connection) -> None:
    """The same again changes it; of another customer, or without an id, it is another; nobody's is none."""
    east, west = group_of(connection), group_of(connection, "west")
    for name in ("c1", "c2"):
        customers.sync_customer(
            connection, east.id, customer_id=name, account_id=None, details="{}", now_ms=1
        )

    def sync(
        customer: str, client: str | None, content: str = "", group: Group = east, details: str = "{}"
    ) -> int | None:
        more: dict[str, Any] = {
            "customer_id": customer,
            "client_id": client,
            "content": content,
            "details": details,
        }
        return customers.sync_follow_up(connection, group.id, **more, now_ms=2)

    first = sync("c1", "1", "called\0", details='{"by":"x"}')
    assert sync("c1", "1", "called twice", details='{"on":1}') == first
    assert sync("c1", "1") == first
    made = [first, sync("c2", "1"), sync("c1", None), sync("c1", None)]
    assert len(set(made)) == 4
    assert (sync("c3", "1"), sync("c1", "1", group=west)) == (None, None)
    found = customers.page_follow_ups(connection, east.id, customer_id=None, before=None, limit=9)
    assert [each.id for each in reversed(found)] == made
    assert (found[-1].customer_id, found[-1].content) == ("c1", "called twice")
    assert msgspec.json.decode(found[-1].details) == {"by": "x", "on": 1}
    page = customers.page_follow_ups(connection, east.id, customer_id="c1", before=made[3], limit=9)
    assert [each.id for each in page] == [made[2], first]
    assert customers.page_follow_ups(connection, west.id, customer_id="c1", before=None, limit=9) == []


def test_details_do_not_grow_without_end(connection: Connection) -> None:
    """New fields are merged into those that are kept as long as there is room; what is kept stays as it was."""
    east = group_of(connection)

    def sync(field: str, chars: int = 20_000) -> int:
        details = msgspec.json.encode({field: "x" * chars}).decode()
        more: dict[str, Any] = {"customer_id": "c", "account_id": None, "details": details, "now_ms": 1}
        return customers.sync_customer(connection, east.id, **more)

    row = sync("a")
    assert sync("a") == row
    with pytest.raises(customers.DetailsTooLong):
        sync("b")
    (kept,) = customers.page_customers(connection, east.id, before=None, limit=9)
    assert list(msgspec.json.decode(kept.details)) == ["a"]


# --- lines ---------------------------------------------------------------------------------------


def test_lines_are_read_by_pages_and_from_where_somebody_was(connection: Connection) -> None:
    """Of some groups, of all, or of one account; newest first, or from behind an id, oldest first."""
    east, west = group_of(connection), group_of(connection, "west")
    made = [*accounts_of(connection, east, "a", "b"), *accounts_of(connection, west, "w")]
    assert incoming.last_line(connection) == 0
    said = [line(made[n % 3], str(n), at=n, details='{"n":1}') for n in range(9)]
    ids = [each.id for each in incoming.add_lines(connection, said).lines]
    assert incoming.last_line(connection) == ids[-1]

    def page(**more: Any) -> list[int]:
        asked = {"group_ids": None, "account_id": None, "before": None, "limit": 99} | more
        return [ids.index(each.id) for each in incoming.page_lines(connection, **asked)]

    assert page() == list(range(8, -1, -1))
    assert page(group_ids=[east.id], limit=2, before=ids[7]) == [6, 4]
    assert page(group_ids=[west.id, east.id], limit=1) == [8]
    assert page(group_ids=[]) == page(group_ids=[west.id], account_id=made[0].id) == []
    assert page(group_ids=[east.id], account_id=made[0].id) == [6, 3, 0]

    def after(**more: Any) -> list[int]:
        asked = {"group_ids": None, "after": 0, "up_to": ids[-1], "limit": 99} | more
        return [ids.index(each.id) for each in incoming.lines_between(connection, **asked)]

    assert after(limit=3) == [0, 1, 2]
    assert after(group_ids=[west.id], after=ids[2], up_to=ids[7]) == [5]
    assert incoming.page_lines(
        connection, group_ids=[west.id], account_id=None, before=ids[3], limit=1
    ) == [
        incoming.Line(
            ids[2], west.id, made[2].id, "w", "2", duplicate=False, received_ms=2, details='{"n":1}'
        )
    ]


def test_what_was_received_never_goes_back(connection: Connection) -> None:
    """Nor beyond what there is: of lines to come nobody has received any."""
    (account,) = accounts_of(connection, group_of(connection), "a")
    ids = [each.id for each in incoming.add_lines(connection, [line(account, "x")] * 3).lines]
    assert acked(connection, "alice") is None
    told = [note_ack(connection, "alice", line_id) for line_id in (ids[1], ids[0], 2**63 - 1, 0)]
    assert told == [ids[1], ids[1], ids[2], ids[2]]
    assert note_ack(connection, "bob", 0) == 0
    incoming.sweep(connection, before_ms=10, archive=False)
    assert note_ack(connection, "alice", ids[0]) == ids[2]
    assert (acked(connection, "alice"), acked(connection, "bob"), acked(connection, "eve")) == (
        ids[2],
        0,
        None,
    )


# --- plans ---------------------------------------------------------------------------------------

_CALLS: list[Callable[[Connection, Account], object]] = [
    lambda c, a: incoming.add_lines(c, [line(a, "x", message="1"), line(a, "y", message="2", at=10**11)]),
    lambda c, a: incoming.page_lines(c, group_ids=[a.group_id], account_id=None, before=9, limit=5),
    lambda c, a: incoming.page_lines(c, group_ids=[a.group_id], account_id=a.id, before=9, limit=5),
    lambda c, a: incoming.lines_between(c, group_ids=[a.group_id], after=1, up_to=9, limit=5),
    lambda c, _: incoming.lines_between(c, group_ids=None, after=1, up_to=9, limit=5),
    lambda c, _: incoming.sweep(c, before_ms=-1, archive=True),
    lambda c, a: accounts.page_accounts(c, a.group_id, after=1, limit=5),
    lambda c, a: accounts.sync_accounts(c, a.group_id, [Entry("a", "new")], most=1, now_ms=1),
    lambda c, a: customers.page_customers(c, a.group_id, before=9, limit=5),
    lambda c, a: customers.page_follow_ups(c, a.group_id, customer_id=None, before=9, limit=5),
    lambda c, a: customers.page_follow_ups(c, a.group_id, customer_id="c", before=9, limit=5),
    lambda c, a: customers.sync_follow_up(
        c, a.group_id, customer_id="c", client_id="1", content="", details="{}", now_ms=1
    ),
    lambda c, _: groups.load_groups(c),
]


def test_no_statement_goes_through_a_large_table(tmp_path: Path) -> None:
    """SQLite finds all that is asked often by an index: a table is scanned, or sorted, by none of them."""
    with lines_connection("", tmp_path) as connection:
        (account,) = accounts_of(connection, group_of(connection), "a")
        asked: list[tuple[str, Any]] = []

        def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            asked.append((statement, parameters))

        event.listen(connection.engine, "before_cursor_execute", note)
        customers.sync_customer(
            connection, account.group_id, customer_id="c", account_id=1, details="{}", now_ms=1
        )
        for call in _CALLS:
            call(connection, account)
        event.remove(connection.engine, "before_cursor_execute", note)
        assert len(asked) > len(_CALLS)
        for statement, parameters in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            for step in (row[3] for row in plan):
                # Groups are few, and what was given is no table.
                is_fine = (
                    "VIRTUAL TABLE" in step or "lines_groups" in step or "ix_lines_codes_active" in step
                )
                assert is_fine or not step.startswith(("SCAN lines_", "USE TEMP B-TREE")), (statement, plan)
