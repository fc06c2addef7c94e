"""The deadline of handlers: it bounds those that wait, one after another, and touches no others."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tidings.server.edge.patience import Patience

SECONDS = 10.0


async def one_by_one(patience: Patience, works: list[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """What each of them came to, as a connection runs its handlers: in a new scope after each expiry."""
    results: list[Any] = []
    while len(results) < len(works):
        with patience.scope() as scope:
            while len(results) < len(works):
                results.append(await patience.run(works[len(results)](), SECONDS))
        if scope.cancelled_caught:
            results.append("too late")
    return results


async def test_what_does_not_wait_has_no_deadline(autojump_clock: trio.testing.MockClock) -> None:
    """Its value comes back, and the scope is as it was."""
    patience = Patience()

    async def quick() -> int:
        return 7

    with patience.scope() as scope:
        assert await patience.run(quick(), SECONDS) == 7
        assert scope.deadline == float("inf")
        await trio.sleep(2 * SECONDS)
    assert not scope.cancelled_caught


async def test_each_that_waits_has_the_whole_time(autojump_clock: trio.testing.MockClock) -> None:
    """The next one's deadline counts from its own first wait; waiting twice does not prolong it."""

    async def waits(*parts: float) -> float:
        for seconds in parts:
            await trio.sleep(seconds)
        return sum(parts)

    begun = trio.current_time()
    results = await one_by_one(
        Patience(),
        [
            lambda: waits(9),
            lambda: waits(6, 6),
            lambda: waits(4, 5),
            lambda: waits(11),
            lambda: waits(9.5),
        ],
    )
    assert results == [9, "too late", 9, "too late", 9.5]
    assert trio.current_time() - begun == pytest.approx(9 + 10 + 9 + 10 + 9.5)


async def test_scopes_and_nurseries_of_the_work_nest_inside(autojump_clock: trio.testing.MockClock) -> None:
    """It may have entered its own before it waits for the first time, with either deadline the earlier one."""

    async def impatient() -> str:
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
        return "its own deadline"

    async def patient() -> None:
        with trio.move_on_after(99):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)

    assert await one_by_one(Patience(), [impatient, patient, impatient]) == [
        "its own deadline",
        "too late",
        "its own deadline",
    ]


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_it_raises_comes_through(at_once: bool, autojump_clock: trio.testing.MockClock) -> None:
    """Before and after it has waited; and the deadline is off again."""
    patience = Patience()

    async def fails() -> None:
        if not at_once:
            await trio.sleep(1)
        raise LookupError("mine")

    with patience.scope() as scope:
        with pytest.raises(LookupError, match="mine"):
            await patience.run(fails(), SECONDS)
        assert scope.deadline == float("inf")


async def test_it_may_catch_what_is_thrown_into_it(autojump_clock: trio.testing.MockClock) -> None:
    """A wait that raises is the work's to handle, as anywhere."""
    patience = Patience()
    closed, other = trio.open_memory_channel[int](0)

    async def recovers() -> str:
        try:
            await other.receive()
        except trio.EndOfChannel:
            await trio.sleep(1)
            return "recovered"
        return "received"

    async with trio.open_nursery() as nursery:
        results: list[str] = []

        async def run() -> None:
            with patience.scope():
                results.append(await patience.run(recovers(), SECONDS))

        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        await closed.aclose()
    assert results == ["recovered"]


async def test_a_cancellation_from_outside_is_not_its_own(autojump_clock: trio.testing.MockClock) -> None:
    """The work is cancelled with its task, and nobody takes that for its deadline."""
    patience = Patience()
    ended: list[str] = []

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("work")

    with trio.move_on_after(1) as outer, patience.scope() as scope:
        await patience.run(work(), SECONDS)
    assert ended == ["work"]
    assert outer.cancelled_caught
    assert not scope.cancelled_caught
    assert not patience.is_over


async def test_work_that_swallows_its_cancellation_ends_with_its_value(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Bad manners of the work: the scope ends at the next wait instead, and the one after it is new."""

    async def stubborn() -> str:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return "would not go"

    async def quick() -> str:
        await trio.lowlevel.checkpoint()
        return "next"

    assert await one_by_one(Patience(), [stubborn, quick, quick]) == ["would not go", "too late", "next"]
