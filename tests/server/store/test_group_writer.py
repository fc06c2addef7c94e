"""The writer's thread: groups, order, failures and its end."""

import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tidings.server.store.errors import StoreUnavailable
from tidings.server.store.writer import GroupWriter, Pending


class Disk:
    """Takes groups while it is open; keeps what it was given."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.fails: Callable[[list[int]], Exception | None] = lambda _group: None

    def commit(self, group: list[int]) -> Sequence[object]:
        self.begun.set()
        assert self.gate.wait(20)
        error = self.fails(group)
        if error is not None:
            raise error
        self.groups.append(group)
        return [number * 10 for number in group]


@asynccontextmanager
async def writing(disk: Disk, **limits: int) -> AsyncIterator[GroupWriter[int]]:
    """A writer under way, with its thread held up if the disk's gate is closed."""
    writer = GroupWriter[int](disk.commit, **limits)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(writer.run)
            try:
                yield writer
            finally:
                disk.gate.set()
                nursery.cancel_scope.cancel()


async def hold_up(disk: Disk, writer: GroupWriter[int]) -> Pending[int]:
    """Have the thread wait within a commit, so that what follows gathers."""
    disk.gate.clear()
    first = writer.submit(0)
    await trio.to_thread.run_sync(disk.begun.wait)
    return first


async def test_what_waits_is_committed_together_in_order() -> None:
    """While one commit is under way the next group gathers; it holds everything, up to its bound, in order."""
    disk = Disk()
    async with writing(disk, most_in_group=4) as writer:
        await hold_up(disk, writer)
        waiting = [writer.submit(number) for number in range(1, 7)]
        disk.gate.set()
        assert [await pending.wait() for pending in waiting] == [10, 20, 30, 40, 50, 60]
    assert disk.groups == [[0], [1, 2, 3, 4], [5, 6]]
    assert (writer.groups, writer.waiting) == (3, 0)


async def test_results_are_told_in_the_order_of_commits_before_anybody_is_woken() -> None:
    """All of a group are told, in order, in one step; then those who wait go on."""
    disk = Disk()
    told: list[str] = []

    async def ask(number: int) -> None:
        await writer.do(number, lambda result: told.append(f"told {result}"))
        told.append(f"woken {number}")

    async with writing(disk) as writer:
        await hold_up(disk, writer)
        async with trio.open_nursery() as nursery:
            for number in (1, 2, 3):
                nursery.start_soon(ask, number)
                await wait_all_tasks_blocked()
            disk.gate.set()
    assert told[:3] == ["told 10", "told 20", "told 30"]
    assert sorted(told[3:]) == ["woken 1", "woken 2", "woken 3"]


async def test_a_waiter_that_is_cancelled_does_not_undo_its_operation() -> None:
    """It ends at once, while the disk is still busy; the operation is carried out, and told."""
    disk = Disk()
    told: list[int] = []
    async with writing(disk) as writer:
        first = await hold_up(disk, writer)
        with trio.move_on_after(0) as scope:
            await writer.do(1, told.append)
        assert scope.cancelled_caught
        assert not disk.groups
        disk.gate.set()
        assert await first.wait() == 0
        assert await writer.do(2) == 20
    assert [number for group in disk.groups for number in group] == [0, 1, 2]
    assert told == [10]


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("database or disk is full"), OSError(5, "I/O error")]
)
async def test_a_group_that_fails_fails_for_all_and_the_next_succeeds(error: Exception) -> None:
    """Each gets an error of its own, nobody is told, and the thread goes on."""
    disk = Disk()
    disk.fails = lambda group: error if 1 in group else None
    told: list[int] = []
    async with writing(disk) as writer:
        await hold_up(disk, writer)
        waiting = [writer.submit(number, told.append) for number in (1, 2)]
        disk.gate.set()
        errors = []
        for pending in waiting:
            with pytest.raises(StoreUnavailable, match="cannot store") as caught:
                await pending.wait()
            errors.append(caught.value)
        assert errors[0] is not errors[1]
        assert await writer.do(3, told.append) == 30
    assert told == [30]


async def test_an_operation_that_cannot_be_stored_fails_alone() -> None:
    """What is wrong with one of a group does not concern its neighbours."""
    disk = Disk()
    disk.fails = lambda group: TypeError("no such thing") if 2 in group else None
    async with writing(disk) as writer:
        await hold_up(disk, writer)
        first, second, third = (writer.submit(number) for number in (1, 2, 3))
        disk.gate.set()
        assert await first.wait() == 10
        with pytest.raises(StoreUnavailable, match="no such thing"):
            await second.wait()
        assert await third.wait() == 30


async def test_what_a_result_leads_to_may_fail_without_harm_to_others() -> None:
    """The error reaches who waits for that operation, and the rest of the group is told."""
    disk = Disk()
    told: list[int] = []

    def fail(_result: int) -> None:
        raise ZeroDivisionError

    async with writing(disk) as writer:
        await hold_up(disk, writer)
        first, second = writer.submit(1, fail), writer.submit(2, told.append)
        disk.gate.set()
        with pytest.raises(ZeroDivisionError):
            await first.wait()
        assert await second.wait() == 20
    assert told == [20]


async def test_a_result_that_is_an_error_is_raised_for_its_operation_alone() -> None:
    """Whoever commits may refuse one operation of a group."""
    writer = GroupWriter[int](lambda group: [KeyError(n) if n == 1 else n for n in group])
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(writer.run)
            refused, done = writer.submit(1), writer.submit(2)
            with pytest.raises(KeyError):
                await refused.wait()
            assert await done.wait() == 2
            writer.close()


async def test_the_queue_is_bounded_in_number_and_in_bytes() -> None:
    """What finds it full is refused at once; when it has emptied there is room again."""
    disk = Disk()
    async with writing(disk, most_waiting=3, most_waiting_bytes=100) as writer:
        await hold_up(disk, writer)
        last = writer.submit(1, size=100)
        with pytest.raises(StoreUnavailable, match="100 bytes wait for the disk"):
            writer.submit(2, size=1)
        last = writer.submit(2)
        with pytest.raises(StoreUnavailable, match="3 operations"):
            writer.submit(3)
        disk.gate.set()
        await last.wait()
        assert await writer.do(4, size=100) == 40
        assert (writer.waiting, writer.waiting_bytes) == (0, 0)


@pytest.mark.parametrize("end", ["close", "cancel"])
async def test_what_was_submitted_is_committed_before_the_end(end: str) -> None:
    """Closed or cancelled, the writer takes nothing more, and finishes what it has taken."""
    disk = Disk()
    told: list[int] = []
    writer = GroupWriter[int](disk.commit, most_in_group=2)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(writer.run)
            await hold_up(disk, writer)
            for number in range(1, 6):
                writer.submit(number, told.append)
            if end == "close":
                writer.close()
            else:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await wait_all_tasks_blocked()
            with pytest.raises(StoreUnavailable, match="closed"):
                writer.submit(9)
            disk.gate.set()
    assert told == [10, 20, 30, 40, 50]


async def test_only_one_task_may_wait_for_an_operation() -> None:
    """A second one is a mistake, and is told so; a result that is there already can be had at any time."""
    disk = Disk()
    async with writing(disk) as writer:
        first = await hold_up(disk, writer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.wait)
            await wait_all_tasks_blocked()
            with pytest.raises(RuntimeError, match="another task"):
                await first.wait()
            disk.gate.set()
        assert await first.wait() == 0
