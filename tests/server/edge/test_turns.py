"""A few at a time, in order, and nobody for ever."""

from functools import partial

import trio
from trio.testing import wait_all_tasks_blocked

from tidings.server.edge.turns import Turns

EACH = 3


class TurnCount(trio.abc.Instrument):
    """Numbers the turns of the event loop."""

    def __init__(self) -> None:
        self.number = 0

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002
        self.number += 1


async def passing(count: int, turns: Turns, nursery: trio.Nursery, passed: list[tuple[int, int]]) -> None:
    """Let so many come at once; who passed in which turn of the loop."""
    loop = TurnCount()
    trio.lowlevel.add_instrument(loop)

    async def come(number: int) -> None:
        await turns.take()
        passed.append((loop.number, number))

    try:
        async with trio.open_nursery() as comers:
            for number in range(count):
                comers.start_soon(come, number)
    finally:
        trio.lowlevel.remove_instrument(loop)


async def test_no_turn_has_more_than_its_share() -> None:
    """A crowd passes within as many turns as it needs; so does the next one."""
    turns = Turns(EACH)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.run)
        for _ in range(2):
            passed: list[tuple[int, int]] = []
            await passing(20, turns, nursery, passed)
            in_turn = [turn for turn, _ in passed]
            assert sorted(number for _, number in passed) == list(range(20))
            assert max(in_turn.count(turn) for turn in in_turn) <= EACH
            assert in_turn[-1] - in_turn[0] <= 20 // EACH + 2
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_callbacks_are_among_those_who_pass() -> None:
    """What cannot wait itself is called in its turn, before those who wait, and leaves them their places."""
    turns = Turns(EACH)
    loop = TurnCount()
    called: list[tuple[int, int]] = []
    passed: list[tuple[int, int]] = []

    def call(number: int) -> None:
        called.append((loop.number, number))

    async def come(number: int) -> None:
        await turns.take()
        passed.append((loop.number, number))

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(come, number)
        await wait_all_tasks_blocked()
        assert len(passed) == EACH
        for number in range(10):
            turns.soon(partial(call, number))
        assert called == []
        trio.lowlevel.add_instrument(loop)
        nursery.start_soon(turns.run)
        await wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(loop)
        nursery.cancel_scope.cancel()
    assert [number for _, number in called] == list(range(10))
    assert len(passed) == 10
    moments = [turn for turn, _ in called]
    assert max(moments.count(turn) for turn in moments) <= EACH


async def test_who_waits_passes_in_order() -> None:
    """First come, first served."""
    turns = Turns(1)
    passed: list[int] = []

    async def come(number: int) -> None:
        await turns.take()
        passed.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(come, number)
            await wait_all_tasks_blocked()
        assert passed == [0]
        nursery.start_soon(turns.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert passed == list(range(10))


async def test_who_gives_up_keeps_nobody_waiting() -> None:
    """A cancelled one leaves its place to the next."""
    turns = Turns(1)
    passed: list[str] = []

    async def come(name: str) -> None:
        await turns.take()
        passed.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(come, "first")
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as giving_up:
            giving_up.start_soon(come, "never")
            await wait_all_tasks_blocked()
            nursery.start_soon(come, "last")
            await wait_all_tasks_blocked()
            giving_up.cancel_scope.cancel()
        nursery.start_soon(turns.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert passed == ["first", "last"]
