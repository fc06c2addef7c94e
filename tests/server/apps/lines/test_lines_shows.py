"""What a dashboard is shown as it comes in, while everything goes on: each line once, and how it stands."""

from pathlib import Path
from typing import Any

import pytest
import trio
from support.lines import Board, board_in_memory, names, says_lines
from trio.testing import MockClock


async def lines_until(dashboard: Any, last: str) -> list[tuple[int, str]]:
    """The lines that it is told up to a customer's."""
    found: list[tuple[int, str]] = []
    while not found or found[-1][1] != last:
        event = await dashboard.event()
        if event["type"] == "incoming":
            found.append((event["data"]["id"], event["data"]["incoming_line_id"]))
    return found


async def stream(board: Board, group: Any, account: str, count: int) -> None:
    """A device that reports customers one after another."""
    device = await board.device(group, account, account)
    for number in range(count):
        await says_lines(device, account, f"{account}-{number}")
        await device.next()
        await trio.sleep(0.003)


async def test_what_was_missed_and_what_comes_now_are_one(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who comes back under a stream of lines is sent all behind the last acknowledged, each once."""
    async with board_in_memory(tmp_path) as board:
        mine, theirs = await board.made("mine"), await board.made("theirs")
        first = await board.dashboard(mine, "ann", ttl=10**6)
        device = await board.device(mine, "", "m")
        await device.incoming("m", "begin")
        ((number, _),) = await lines_until(first, "begin")
        await first.client.send_json({"type": "ack", "data": {"id": number}})
        await trio.sleep(0.1)
        await trio.aclose_forcefully(first.client.stream)
        broker = board.site.server.context.broker
        open_channel = broker.open

        async def slowly(channel: str) -> Any:
            # Lines are told while it is not yet heard.
            await trio.sleep(0.02)
            return await open_channel(channel)

        monkeypatch.setattr(broker, "open", slowly)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream, board, mine, "m", 150)
            nursery.start_soon(stream, board, theirs, "t", 150)
            for pause in (0.1, 0.153, 0.2071):
                await trio.sleep(pause)
                again = await board.dashboard(mine, "ann", ttl=10**6)
                nursery.start_soon(complete, again, number)


async def test_who_comes_back_to_a_busy_board_is_shown_it(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slowly what was missed is read, and whatever comes meanwhile: nobody runs after lines for ever."""
    async with board_in_memory(tmp_path) as board:
        group = await board.made()
        device = await board.device(group, "", "a")
        first = await board.dashboard(group, "ann", ttl=10**6)
        await device.incoming("a", "begin")
        ((number, _),) = await lines_until(first, "begin")
        await first.client.send_json({"type": "ack", "data": {"id": number}})
        await trio.sleep(0.1)
        tables = board.site.server.context.push.tables
        read = tables.read

        async def slowly(function: Any) -> Any:
            await trio.sleep(0.05)
            return await read(function)

        monkeypatch.setattr(tables, "read", slowly)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream, board, group, "m", 400)
            await trio.sleep(0.2)
            began = trio.current_time()
            again = await board.dashboard(group, "ann", ttl=10**6)
            while not again.stats:
                await again.read()
            assert trio.current_time() - began < 0.5
            lines = [event["data"]["id"] for event in again.events if event["type"] == "incoming"]
            assert lines == list(range(number + 1, number + 1 + len(lines)))
            nursery.cancel_scope.cancel()


async def complete(dashboard: Any, acked: int) -> None:
    """That it is told each line of its group once, in order."""
    told = await lines_until(dashboard, "m-149")
    assert [name for _, name in told] == [f"m-{number}" for number in range(150)]
    assert all(number > acked for number, _ in told)


async def test_an_administrator_who_comes_while_groups_are_made(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """All groups are shown, whenever they were made, and of each all that comes in from then on."""
    async with board_in_memory(tmp_path) as board:
        made: list[Any] = []

        async def make() -> None:
            for number in range(12):
                group = await board.made(f"g{number}")
                made.append(group)
                await stream(board, group, f"g{number}", 1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(make)
            while len(made) < 5:  # noqa: ASYNC110 - virtual time
                await trio.sleep(0.001)
            admin = await board.dashboard(None, "1", ttl=10**6)
            for number in range(12):
                await admin.shows_account(f"g{number}", _of_one)
        for group in made:
            await admin.shows(group, {"total_accounts": 1, "online_accounts": 1, **_of_one})


_of_one = {"total_incoming": 1, "today_incoming": 1, "duplicate_incoming": 0, "today_duplicate": 0}


async def test_one_that_does_not_read_delays_nobody(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Another one is shown everything all the same; and one may leave in the middle."""
    async with board_in_memory(tmp_path) as board:
        group = await board.made()
        device = await board.device(group)
        accounts = names(2_000)
        assert (await device.sync(*accounts))["created_count"] == 2_000
        await trio.sleep(1)
        slow = await board.dashboard(group, "slow", ttl=10**6)
        leaves = await board.dashboard(group, "leaves", ttl=10**6)
        for _ in range(50):
            await leaves.read()
        await trio.aclose_forcefully(leaves.client.stream)
        well = await board.dashboard(group, "well", ttl=10**6)
        shown: set[str] = set()
        while len(shown) < 2_000:
            event = await well.event()
            shown.add(event["data"]["line_account_id"])
        assert shown == {*accounts}
        await says_lines(device, "a0", "x")
        await device.next()
        assert [name for _, name in await lines_until(well, "x")] == ["x"]
        await trio.aclose_forcefully(slow.client.stream)
