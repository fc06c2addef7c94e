"""The line board as a whole: memory, tables and what is told stay one, whatever fails or comes at the same time."""

from pathlib import Path
from typing import Any

import pytest
import trio
from support.lines import NOON, Clock, board_in_memory, names, says_lines
from trio.testing import MockClock, wait_all_tasks_blocked

HOUR = 3_600_000


async def answers(device: Any, count: int) -> list[Any]:
    """The next messages."""
    return [await device.next() for _ in range(count)]


async def test_a_zone_changes_while_lines_come_in(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Figures of today are those of the new zone's day, of lines before, during and after the change."""
    # In UTC the day is 30 minutes old; in Shanghai it is half past eight.
    async with board_in_memory(tmp_path, clock=Clock(NOON - 13 * HOUR)) as board:
        group = await board.made()
        device = await board.device(group, "", "a", "b")
        for customer in ("x", "y", "x"):
            await device.incoming("a", customer)
        board.clock.set(NOON - 12 * HOUR + HOUR // 2)
        await device.incoming("a", "z")
        assert board.figures(group) == (4, 1, 1, 0)
        async with trio.open_nursery() as nursery:
            for zone in ("Asia/Shanghai", "America/Sao_Paulo", "Pacific/Kiritimati", "Asia/Shanghai"):
                nursery.start_soon(board.lines.change_group, group.id, None, zone)
                nursery.start_soon(board.lines.change_group, group.id, f"name {zone}", None)
                await says_lines(device, "b", "p", "q")
                await answers(device, 2)
        await board.check()
        assert board.figures(group) == (12, 7, 12, 7)


async def test_a_name_that_waits_for_a_zone_does_not_undo_it(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Two changes of a group at the same time: the second one's figures are of the zone that it finds."""
    async with board_in_memory(tmp_path, clock=Clock(NOON - 13 * HOUR)) as board:
        group = await board.made()
        device = await board.device(group, "", "a")
        await device.incoming("a", "x")
        board.clock.set(NOON - 12 * HOUR + HOUR // 2)
        await board.lines.change_group(group.id, None, "Asia/Shanghai")
        assert board.figures(group) == (1, 0, 1, 0)
        board.records.is_held = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(board.lines.change_group, group.id, None, "UTC")
            while not board.lines.ingest.quiet.locked():
                await trio.lowlevel.checkpoint()
            nursery.start_soon(board.lines.change_group, group.id, "another name", None)
            await wait_all_tasks_blocked()
            board.records.go_on()
        await board.check()
        assert board.figures(group) == (1, 0, 0, 0)


async def test_a_code_is_renewed_while_a_line_is_written(tmp_path: Path, autojump_clock: MockClock) -> None:
    """The line counts, once, though its device is gone by then; what it holds is offline."""
    async with board_in_memory(tmp_path) as board:
        group = await board.made()
        device = await board.device(group, "", "a")
        board.records.is_held = True
        await says_lines(device, "a", "x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(board.lines.new_code, group.id)
            await wait_all_tasks_blocked()
            board.records.go_on()
        await trio.sleep(1)
        record = board.lines.group(group.id)
        assert record is not None
        assert record.code != group.code
        assert not board.lines.holdings.devices
        assert board.figures(group) == (1, 0, 1, 0)
        assert board.lines.board.accounts["a"].status == "offline"
        await board.check()


async def test_a_status_that_is_committed_after_its_device_has_gone(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """The account is offline in memory, in the table, and for dashboards."""
    async with board_in_memory(tmp_path) as board:
        group = await board.made()
        device = await board.device(group, "pc", "a", "b")
        await device.ask("account_status_change", {"line_account_id": "a", "online_status": "offline"})
        board.records.is_held = True
        (here,) = board.lines.holdings.devices.values()
        account = board.lines.board.accounts["a"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(board.lines.set_status, here, account, "online")
            await wait_all_tasks_blocked()
            await trio.aclose_forcefully(device.client.stream)
            await wait_all_tasks_blocked()
            assert here.is_gone
            board.records.go_on()
        await trio.sleep(5)
        assert {each.status for each in board.lines.board.accounts.values()} == {"offline"}
        await board.check()


async def test_without_a_database_nothing_happens(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Devices are told `unavailable`; nothing is changed, told or counted, and afterwards all goes on."""
    async with board_in_memory(tmp_path) as board:
        group = await board.made()
        device = await board.device(group, "", "a")
        dashboard = await board.dashboard(group, ttl=10**6)
        await dashboard.shows_account("a", dict.fromkeys(_COUNTS, 0))
        dashboard.events.clear()
        board.records.is_down = True
        for kind, data in (
            ("incoming", {"line_account_id": "a", "incoming_line_id": "x"}),
            ("sync_line_accounts", [{"line_account_id": "new"}]),
            ("account_status_change", {"line_account_id": "a", "online_status": "offline"}),
            ("customer_sync", {"customer_id": "c"}),
        ):
            await device.refused(kind, data)
        assert board.lines.board.accounts.keys() == {"a"}
        assert board.lines.board.accounts["a"].status == "online"
        assert board.figures(group) == (0, 0, 0, 0)
        await trio.sleep(5)
        await dashboard.quiet()
        board.records.is_down = False
        await device.incoming("a", "x")
        await dashboard.line(group, "a", "x")
        await board.check()


_COUNTS = ("total_incoming", "today_incoming", "duplicate_incoming", "today_duplicate")


async def test_old_lines_go_by_themselves(tmp_path: Path, autojump_clock: MockClock) -> None:
    """After their age, within an hour more; the figures of all time stay, and a customer stays known."""
    an_hour_before_midnight = Clock(NOON + 11 * HOUR)
    async with board_in_memory(
        tmp_path, clock=an_hour_before_midnight, incoming_age=7_200.0, patience=20_000
    ) as board:
        group = await board.made()
        device = await board.device(group, "", "a")
        await says_lines(device, "a", *names(30, "c"), "c0")
        await answers(device, 31)

        def lines_left(connection: Any) -> int:
            return int(connection.exec_driver_sql("SELECT count(*) FROM lines_incoming").scalar())

        await trio.sleep(7_200 - 60)
        assert await board.records.read(lines_left) == 31
        await trio.sleep(3_700)
        assert await board.records.read(lines_left) == 0
        assert board.figures(group) == (31, 1, 0, 0)
        assert (await device.incoming("a", "c5"))["duplicate"]
        assert board.figures(group) == (32, 2, 1, 1)


async def test_after_a_restart_nobody_is_online_and_all_figures_are_as_before(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Another server on the same tables begins where the one before was killed."""
    clock = Clock()
    async with board_in_memory(tmp_path, clock=clock, apart=True) as board:
        groups = [await board.made(f"g{number}") for number in range(2)]
        for group in groups:
            device = await board.device(group, "", *(f"{group.id}{name}" for name in "ab"))
            await says_lines(device, f"{group.id}a", "x", "y", "x")
            await answers(device, 3)
        figures = [board.figures(group) for group in groups]
        assert figures == [(3, 1, 3, 1)] * 2
    async with board_in_memory(tmp_path, clock=clock) as board:
        assert [board.figures(group) for group in groups] == figures
        assert {each.status for each in board.lines.board.accounts.values()} == {"offline"}
        await board.check()
        device = await board.device(groups[0])
        assert (await device.incoming(f"{groups[0].id}a", "y"))["duplicate"]


@pytest.mark.parametrize("devices", ["many", "single"])
async def test_many_things_at_once(tmp_path: Path, autojump_clock: MockClock, devices: str) -> None:
    """Devices of two groups sync, report, say statuses and go in the middle: at rest, memory is what tables say."""
    async with board_in_memory(tmp_path, devices=devices) as board:
        groups = [
            await board.made(f"g{number}", zone) for number, zone in enumerate(("UTC", "Asia/Shanghai"))
        ]

        async def device(group: Any, number: int) -> None:
            own = [f"{group.id}-{(number + each) % 5}" for each in range(3)]
            here = await board.device(group, f"pc{number % 2}")
            with trio.move_on_after(0.5 * number):
                while True:
                    try:
                        data = [{"line_account_id": name} for name in own]
                        await here.send("sync_line_accounts", data)
                        await says_lines(here, own[0], *names(5, "c"))
                        said = {"line_account_id": own[1], "online_status": "busy"}
                        await here.send("account_status_change", said)
                        await answers(here, 3)
                    except Exception:
                        return
                    await trio.sleep(0.1)
            await here.client.stream.aclose()

        async with trio.open_nursery() as nursery:
            for number in range(5):
                for group in groups:
                    nursery.start_soon(device, group, number)
            for _ in range(5):
                await trio.sleep(0.3)
                board.clock.set(board.clock() + 6 * HOUR)
        await trio.sleep(5)
        await board.check()
