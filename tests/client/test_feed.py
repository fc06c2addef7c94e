"""The queue between the reader and a slow subscriber."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tidings.client import Disconnected, Overflow
from tidings.client.feed import Feed


async def _take(feed: Feed[int], count: int) -> list[int | str]:
    """So many items; an overflow is told as text."""
    taken: list[int | str] = []
    for _ in range(count):
        try:
            taken.append(await anext(feed))
        except Overflow as overflow:
            taken.append(f"-{overflow.dropped}")
    return taken


async def test_what_is_dropped_is_counted_where_it_is_missing() -> None:
    """Over the limit the newest are dropped; the count comes at their place, and the iteration goes on."""
    feed: Feed[int] = Feed(3)
    for number in range(5):
        feed.put(number)
    assert await _take(feed, 2) == [0, 1]
    for number in range(5, 8):
        feed.put(number)
    assert await _take(feed, 4) == [2, "-2", 5, "-2"]
    feed.put(8)
    assert await _take(feed, 1) == [8]


async def test_memory_stays_bounded() -> None:
    """However much is put in, no more than the limit and one count wait."""
    feed: Feed[int] = Feed(10)
    for number in range(10_000):
        feed.put(number)
        if number % 100 == 0:
            await _take(feed, 1)
    assert feed.waiting <= 11


async def test_an_end_comes_after_what_waits() -> None:
    """What was put in before the end is handed over, then the iteration ends; nothing follows."""
    feed: Feed[int] = Feed(10)
    feed.put(1)
    feed.end()
    feed.put(2)
    assert [item async for item in feed] == [1]
    assert [item async for item in feed] == []


async def test_an_end_with_an_error_is_told_to_each_iteration(autojump_clock: MockClock) -> None:
    """Every waiter is woken, and each gets an exception of its own."""
    feed: Feed[int] = Feed(10)
    raised: list[Disconnected] = []

    async def wait() -> None:
        try:
            await anext(feed)
        except Disconnected as error:
            raised.append(error)

    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            feed.end(lambda: Disconnected(3503, "out"))
            feed.end(lambda: Disconnected(1000, "too late"))
    assert [error.code for error in raised] == [3503] * 3
    assert len({id(error) for error in raised}) == 3


async def test_several_iterations_share_what_comes(autojump_clock: MockClock) -> None:
    """Each item goes to one of them, and a cancelled wait takes none with it."""
    feed: Feed[int] = Feed(10)
    taken: list[int] = []

    async def take() -> None:
        taken.append(await anext(feed))

    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(0.1):
                await anext(feed)
            for _ in range(3):
                nursery.start_soon(take)
            await wait_all_tasks_blocked()
            for number in range(3):
                feed.put(number)
    assert sorted(taken) == [0, 1, 2]


def test_a_queue_without_room_is_refused() -> None:
    """A limit below 1 is a mistake."""
    with pytest.raises(ValueError, match="at least 1"):
        Feed(0)
