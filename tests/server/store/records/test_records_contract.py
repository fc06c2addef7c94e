"""What records promise on both databases: each operation whole or not at all, whatever its neighbours do."""

import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from support.records import differences, open_records, running
from support.records_app import add, boxes, metadata, names, things_app

from tidings.server.store.errors import StoreUnavailable
from tidings.server.store.records.groups import Meddled
from tidings.server.store.records.records import Records


@pytest.fixture
async def records(records_url: str, tmp_path: Path) -> AsyncIterator[Records]:
    """Records with the tables of the things, on each database."""
    async with open_records(records_url, tmp_path, [things_app(tmp_path)]) as records:
        yield records


async def together(records: Records, *operations: Callable[[Connection], Any]) -> list[Any]:
    """What operations that are committed in one group come to: results and exceptions."""
    gate, begun = threading.Event(), threading.Event()

    def hold_up(_connection: Connection) -> None:
        begun.set()
        assert gate.wait(20)

    held = records.submit(hold_up)
    await trio.to_thread.run_sync(begun.wait)
    before = records.groups
    pending = [records.submit(operation) for operation in operations]
    gate.set()
    await held.wait()
    results = []
    for each in pending:
        try:
            results.append(await each.wait())
        except Exception as error:
            results.append(error)
    assert records.groups == before + 2, "they shared a group"
    return results


def adding(name: str, box: str | None = None) -> Callable[[Connection], Any]:
    """An operation that keeps a thing."""
    return lambda connection: add(connection, name, box)


async def test_what_was_written_is_there_for_who_reads_and_for_who_comes_after(
    records_url: str, tmp_path: Path
) -> None:
    """The result of an operation comes back, its rows are read by another connection, and found after a restart."""
    app = things_app(tmp_path)
    async with open_records(records_url, tmp_path, [app]) as records:
        assert await records.write(adding("lamp")) == 1
        assert await records.read(names) == ["lamp"]
    async with open_records(records_url, tmp_path, [app]) as records:
        assert await records.read(names) == ["lamp"]
        assert await records.read(lambda connection: differences(connection, metadata)) == []


async def test_what_an_operation_raises_undoes_it_alone(records: Records) -> None:
    """An app's exception, one of the database's, a wrong statement: who submitted it gets it, the rest is kept."""

    class NotToday(Exception):
        """Of an app's."""

    def regret(connection: Connection) -> None:
        add(connection, "regretted")
        raise NotToday

    def misspell(connection: Connection) -> None:
        add(connection, "misspelt")
        connection.execute(text("SELECT nothing FROM nowhere"))

    first, twice, regretted, misspelt, last = await together(
        records, adding("a"), adding("a"), regret, misspell, adding("z")
    )
    assert isinstance(twice, IntegrityError)
    assert "parameters hidden" in str(twice), "it may end up in a log, and they may be a password's hash"
    assert isinstance(regretted, NotToday)
    assert isinstance(misspelt, DBAPIError)
    assert (first, last > first) == (1, True)
    assert await records.read(names) == ["a", "z"]


async def test_an_operation_that_goes_on_after_an_error_has_done_all_of_the_rest_or_nothing(
    records: Records,
) -> None:
    """Behind a savepoint of its own it may; without one PostgreSQL lets nothing follow, and says so."""

    def careful(connection: Connection) -> None:
        with pytest.raises(IntegrityError), connection.begin_nested():
            add(connection, "a")
        add(connection, "careful")

    def careless(connection: Connection) -> str:
        add(connection, "careless")
        with pytest.raises(IntegrityError):
            add(connection, "a")
        return "done"

    results = await together(records, adding("a"), careful, careless, adding("z"))
    done = results[2] == "done"
    assert done or isinstance(results[2], DBAPIError)
    assert [isinstance(each, Exception) for each in results] == [False, False, not done, False]
    assert await records.read(names) == ["a", "careful", *(["careless"] if done else []), "z"]


def _commit(connection: Connection) -> None:
    add(connection, "committed")
    connection.commit()


def _roll_back(connection: Connection) -> None:
    add(connection, "rolled back")
    connection.rollback()


def _swallow(connection: Connection) -> str:
    add(connection, "swallowed")
    with pytest.raises(Meddled):
        connection.commit()
    return "nothing happened"


def _close_with(connection: Connection) -> None:
    with connection:
        add(connection, "closed")


def _leave_nested(connection: Connection) -> None:
    connection.begin_nested()
    add(connection, "nested")


MEDDLERS: dict[str, Callable[[Connection], Any]] = {
    "commit": _commit,
    "rollback": _roll_back,
    "COMMIT": lambda connection: (add(connection, "said"), connection.execute(text(" Commit"))),
    "ROLLBACK": lambda connection: (add(connection, "said"), connection.exec_driver_sql("ROLLBACK")),
    "swallowed": _swallow,
    "close": _close_with,
    "left open": _leave_nested,
}


async def test_an_operation_cannot_end_the_transaction_of_its_group(records: Records) -> None:
    """Who tries gets an error and has done nothing; the others of the group are committed, and those after it."""
    expected = []
    for how, meddle in MEDDLERS.items():
        before, meddled, after = await together(
            records, adding(f"before {how}"), meddle, adding(f"after {how}")
        )
        assert isinstance(meddled, RuntimeError), (how, meddled)
        assert not isinstance(before, Exception), (how, before)
        assert not isinstance(after, Exception), (how, after)
        expected += [f"before {how}", f"after {how}"]
        assert await records.read(names) == expected


async def test_a_savepoint_in_words_is_an_operations_own(records: Records) -> None:
    """ROLLBACK TO ends no transaction."""

    def change_of_mind(connection: Connection) -> None:
        connection.execute(text("SAVEPOINT mine"))
        add(connection, "no")
        connection.execute(text("rollback transaction to savepoint mine"))
        add(connection, "yes")

    await records.write(change_of_mind)
    assert await records.read(names) == ["yes"]


async def test_a_constraint_that_is_checked_at_the_end_fails_whom_it_concerns(records: Records) -> None:
    """The commit of the group is refused; each is done alone then, and one of them is refused."""

    def keep(connection: Connection) -> int:
        connection.execute(boxes.insert(), {"name": "drawer"})
        return int(add(connection, "spoon", "drawer"))

    kept, lost, last = await together(records, keep, adding("fork", "nowhere"), adding("knife"))
    assert isinstance(lost, IntegrityError)
    assert not any(isinstance(each, Exception) for each in (kept, last))
    assert await records.read(names) == ["spoon", "knife"]


async def test_results_are_told_in_the_order_of_commitment(records: Records) -> None:
    """To each `on_done`, before whoever waits is woken; one that failed is not told."""
    told: list[Any] = []
    pending = [records.submit(adding(name), told.append) for name in ("a", "b", "a", "c")]
    results = []
    for each in pending:
        try:
            results.append(await each.wait())
        except IntegrityError:
            results.append(None)
    assert [each for each in results if each is not None] == told == sorted(told)
    assert results[2] is None


async def test_a_reading_sees_one_moment(records: Records) -> None:
    """What is committed while it is under way is not in it, and is in the next."""

    def look_twice(connection: Connection) -> tuple[list[str], list[str]]:
        first = names(connection)
        trio.from_thread.run(records.write, adding("meanwhile"))
        return first, names(connection)

    await records.write(adding("before"))
    assert await records.read(look_twice) == (["before"], ["before"])
    assert await records.read(names) == ["before", "meanwhile"]


async def test_who_reads_cannot_write(records: Records) -> None:
    """It is refused, and others read on; what a reading raises reaches who asked."""
    with pytest.raises(StoreUnavailable, match=r"read-?only"):
        await records.read(adding("sneaked in"))
    assert await records.read(names) == []
    with pytest.raises(DBAPIError, match="nowhere"):
        await records.read(lambda connection: connection.execute(text("SELECT 1 FROM nowhere")))


async def test_two_servers_write_beside_each_other(records_url: str, tmp_path: Path) -> None:
    """Also a command that adds a user while the server runs: all of it is there."""
    app = things_app(tmp_path)
    async with (
        open_records(records_url, tmp_path, [app]) as one,
        open_records(records_url, tmp_path, [app]) as other,
        trio.open_nursery() as nursery,
    ):
        for number in range(20):
            nursery.start_soon(one.write, adding(f"one {number}"))
            nursery.start_soon(other.write, adding(f"other {number}"))
    async with open_records(records_url, tmp_path, [app]) as records:
        assert len(await records.read(names)) == 40


async def test_what_was_submitted_before_the_end_is_committed(records_url: str, tmp_path: Path) -> None:
    """Also where nobody waits for it any more; nothing is taken afterwards, nor before the beginning."""
    app = things_app(tmp_path)
    records = Records(records_url, tmp_path, [app])
    with pytest.raises(StoreUnavailable):
        records.submit(adding("early"))
    with pytest.raises(StoreUnavailable):
        await records.read(names)
    async with running(records):
        for number in range(100):
            records.submit(adding(f"{number}"))
    with pytest.raises(StoreUnavailable):
        records.submit(adding("late"))
    with pytest.raises(StoreUnavailable):
        await records.read(names)
    async with open_records(records_url, tmp_path, [app]) as again:
        assert await again.read(names) == [f"{number}" for number in range(100)]


async def test_a_reading_that_nobody_waits_for_holds_nobody_up(records: Records) -> None:
    """Cancelled, it ends at once; its thread goes on, and the end of the records waits for that."""
    gate, begun, ended = threading.Event(), trio.Event(), threading.Event()

    def dawdle(connection: Connection) -> None:
        connection.scalar(select(1))
        trio.from_thread.run_sync(begun.set)
        assert gate.wait(20)
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(records.read, dawdle)
        await begun.wait()
        nursery.cancel_scope.cancel()
    assert not ended.is_set()
    assert await records.read(names) == []
    gate.set()
    await trio.to_thread.run_sync(ended.wait)
