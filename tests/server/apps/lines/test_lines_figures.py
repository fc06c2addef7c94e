"""Figures that dashboards are told as they change, on virtual time."""

from itertools import pairwise
from pathlib import Path

import trio
from support.line_board import Dashboard
from support.lines import board_in_memory, names
from trio.testing import MockClock

INTERVAL = 0.2


async def read_for(dashboard: Dashboard, seconds: float) -> None:
    """Read what comes."""
    with trio.move_on_after(seconds):
        while True:
            await dashboard.read()


def least_pause(dashboard: Dashboard, key: str) -> float:
    """The shortest time between two updates of the same figures."""
    told = [at for at, which in dashboard.updates if which == key]
    assert len(told) > 3
    return min(after - before for before, after in pairwise(told))


async def test_each_is_told_now_and_then_and_last_as_it_is(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """However often they change: a group's and an account's at most once an interval, the newest."""
    async with board_in_memory(tmp_path) as board:
        group = await board.made()
        device = await board.device(group, "", "a", "b")
        dashboard = await board.dashboard(group, ttl=10**6)
        await read_for(dashboard, 1)
        dashboard.updates.clear()

        async def say() -> None:
            for number in range(200):
                await device.incoming("ab"[number % 2], f"c{number}")
                await trio.sleep(0.013)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(say)
            await read_for(dashboard, 4)
        for key in ("group_stats_update", "a", "b"):
            assert least_pause(dashboard, key) >= INTERVAL * 0.999
        assert dashboard.stats[group.code]["total_incoming"] == 200
        assert [dashboard.accounts[each]["total_incoming"] for each in "ab"] == [100, 100]


async def test_a_large_group_delays_no_other(tmp_path: Path, autojump_clock: MockClock) -> None:
    """While thousands of accounts of one group are told piece by piece, another group's are told at once."""
    async with board_in_memory(tmp_path) as board:
        large, small = await board.made("large"), await board.made("small")
        many = await board.device(large)
        device = await board.device(small, "", "s")
        dashboard = await board.dashboard(small, ttl=10**6)
        await read_for(dashboard, 1)
        assert (await many.sync(*names(3_000)))["created_count"] == 3_000
        await trio.sleep(1)
        accounts = board.lines.board.groups[large.id].accounts.values()
        board.lines.figures.changed(board.lines.board.groups[large.id], *accounts)
        await trio.sleep(0.001)
        began = trio.current_time()
        await device.incoming("s", "c")
        while dashboard.accounts["s"]["total_incoming"] != 1:
            await dashboard.read()
        assert trio.current_time() - began < INTERVAL / 2
