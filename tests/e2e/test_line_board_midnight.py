"""Midnight in two time zones on virtual time: a whole server whose today ends while devices and dashboards stay."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
import msgspec
import pytest
import trio
import trio.testing
from support.line_board import Group, LineBoard, counts, lines_config
from support.records import InlineRecords
from support.site import Site
from support.tasks import Peers, quiet

from tidings.bench.lines_recount import recount
from tidings.server.app import Server
from tidings.server.apps.lines.app import lines_app
from tidings.server.apps.lines.service import lines_of
from tidings.server.choosing import migrations_of
from tidings.server.config import Config, Heartbeat
from tidings.server.extension.running import RunningApps
from tidings.server.relay import Relay
from tidings.server.tables import Tables

#: Ten minutes before midnight in Shanghai; in UTC eight hours more.
BEGIN: Final = datetime(2026, 2, 28, 15, 50, tzinfo=UTC)
TEN_MINUTES: Final = 600
EIGHT_HOURS: Final = 8 * 3600

#: Nobody is found dead, and no token ends, in a day of which nobody lives a second.
DAY: Final = 86_400.0


@asynccontextmanager
async def inline_board(config: Config, now_ms: Callable[[], int]) -> AsyncIterator[LineBoard]:
    """A server in memory, with its tables in place and a clock of the test's."""
    config = msgspec.structs.replace(config, heartbeat=Heartbeat(ping_interval=DAY, pong_timeout=DAY))
    server = Server(config, apps=[lines_app(config.lines, now_ms=now_ms)])
    records = InlineRecords(Path(config.server.data_dir), migrations_of(config, server.apps))
    relay = Relay(records, server.context.push)
    server._records, server._relay = records, relay
    server.context.push.tables = Tables(records, relay.wake)
    async with trio.open_nursery() as nursery:
        await server.messaging.keep(nursery)
        server.start_parts(nursery)
        server._service.prepare()
        await nursery.start(records.run)
        nursery.start_soon(relay.run)
        running = RunningApps(server.apps, server.context.push)
        assert await nursery.start(running.run) is None
        site = Site(server, nursery)
        peers = Peers(site)
        try:
            async with httpx.AsyncClient(verify=False) as unused:
                yield LineBoard(unused, peers.open, site)
        finally:
            await peers.aclose()
            await quiet(site)
            running.end()
            with trio.CancelScope(shield=True):
                await running.wait_left()
            nursery.cancel_scope.cancel()


async def made(board: LineBoard, zone: str) -> Group:
    """A group, without HTTP, which looks zones up in a thread."""
    group = await lines_of(board.site.server.context.push).create_group(zone, zone)
    assert group.code is not None
    return Group(group.id, group.code)


async def test_today_ends_at_each_groups_own_midnight(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures of today are 0 in that moment, on dashboards too; totals stay, and known customers stay known."""
    started = autojump_clock.current_time()

    def now() -> float:
        return BEGIN.timestamp() + autojump_clock.current_time() - started

    monkeypatch.setattr("support.line_board.clock", now)
    config = lines_config(tmp_path, device_timeout=DAY)
    config = msgspec.structs.replace(config, history=msgspec.structs.replace(config.history, log="none"))
    async with inline_board(config, lambda: int(now() * 1000)) as board:
        east, west = await made(board, "Asia/Shanghai"), await made(board, "UTC")
        dashboards = {group: await board.dashboard(group, ttl=3 * int(DAY)) for group in (east, west)}
        devices = {group: await board.device(group, "", f"a{group.id}") for group in (east, west)}

        async def shows(group: Group, **figures: int) -> None:
            shown = {"total_accounts": 1, "online_accounts": 1} | figures
            await dashboards[group].shows(group, shown)
            await dashboards[group].shows_account(f"a{group.id}", figures)

        async def come(*customers: str) -> None:
            for group in (east, west):
                for customer in customers:
                    await devices[group].incoming(f"a{group.id}", customer)

        def of(total: int, today: int, duplicate: int, today_duplicate: int) -> dict[str, int]:
            return dict(zip(counts(), (total, today, duplicate, today_duplicate), strict=True))

        await come("c1", "c1", "c2")
        for group in (east, west):
            await shows(group, **of(3, 3, 1, 1))
        # Nothing happens until then, and then at once.
        await shows(east, **of(3, 0, 1, 0))
        assert 0 <= now() - BEGIN.timestamp() - TEN_MINUTES < 1
        await come("c2", "c3")
        await shows(east, **of(5, 2, 2, 1))
        await shows(west, **of(5, 5, 2, 2))
        await shows(west, **of(5, 0, 2, 0))
        assert 0 <= now() - BEGIN.timestamp() - TEN_MINUTES - EIGHT_HOURS < 1
        # In Shanghai it is eight in the morning.
        await come("c4")
        await shows(east, **of(6, 3, 2, 1))
        await shows(west, **of(6, 1, 2, 0))
        counted = recount("", tmp_path, datetime.fromtimestamp(now(), UTC))
        assert counted.kept == counted.accounts
        assert counted.accounts[f"a{east.id}"] == tuple(of(6, 3, 2, 1).values())
        assert counted.accounts[f"a{west.id}"] == tuple(of(6, 1, 2, 0).values())
