"""A line board in memory, on virtual time: its tables are written in place, and may be held up or fail."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import trio
from sqlalchemy import Connection

from support import line_board
from support.inline_store import InlineWriter
from support.line_board import Device, Group, LineBoard, lines_config
from support.records import InlineRecords
from support.site import Site
from support.tasks import Peers, quiet
from tidings.server.app import Server
from tidings.server.apps.lines.app import lines_app
from tidings.server.apps.lines.incoming import recount
from tidings.server.apps.lines.service import Lines, lines_of
from tidings.server.apps.lines.tables import accounts
from tidings.server.brokers.base import Broker, BrokerUnavailable, Receipt
from tidings.server.choosing import migrations_of
from tidings.server.config import Heartbeat
from tidings.server.extension.running import RunningApps
from tidings.server.relay import Relay
from tidings.server.store.records.groups import GroupCommit, Operation
from tidings.server.store.records.records import MOST_WAITING, Migrations
from tidings.server.store.writer import GroupWriter
from tidings.server.tables import Tables

#: No connection is found dead meanwhile: on virtual time nobody says a word for hours.
NEVER = 100 * 86_400.0

#: 2026-03-01 12:00 UTC.
NOON = 1_772_366_400_000


class Clock:
    """A wall clock that goes with trio's, and may be set."""

    def __init__(self, now_ms: int = NOON) -> None:
        self._ahead_ms = now_ms - trio.current_time() * 1000

    def __call__(self) -> int:
        return round(self._ahead_ms + trio.current_time() * 1000)

    def set(self, now_ms: int) -> None:
        """Put it right, or wrong."""
        self._ahead_ms += now_ms - self()


class SteeredRecords(InlineRecords):
    """Records whose commits wait while `is_held`, and fail while `is_down`."""

    def __init__(self, data_dir: Path, migrations: list[Migrations]) -> None:
        super().__init__(data_dir, migrations)
        self.is_held = False
        self.is_down = False
        self.commits: list[int] = []
        """How many operations each had."""

    def _make_writer(self, groups: GroupCommit, most_in_group: int) -> GroupWriter[Operation]:
        def commit(operations: Any) -> Any:
            if self.is_down:
                raise OSError("the disk is gone")
            self.commits.append(len(operations))
            return groups.commit(operations)

        records = self

        class Writer(InlineWriter[Operation]):
            def flush(self) -> None:
                if not records.is_held:
                    super().flush()

        return Writer(commit, most_in_group=most_in_group, most_waiting=MOST_WAITING)

    def go_on(self) -> None:
        """Let go of what was held, now."""
        self.is_held = False
        assert isinstance(self._writer, InlineWriter)
        self._writer.flush()


class FailingPublisher:
    """Stands in front of a server's broker: publishing to some channels fails until it is told otherwise."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.failing: Callable[[str], bool] = lambda _: False
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def publish(self, channel: str, *given: Any, **more: Any) -> Receipt:
        """Fail, or publish."""
        await trio.lowlevel.checkpoint()
        if self.failing(channel):
            self.refused += 1
            raise BrokerUnavailable("not now")
        return await self._broker.publish(channel, *given, **more)


@dataclass
class Board(LineBoard):
    """A running server with a line board, and what a test needs to steer it."""

    lines: Lines
    clock: Clock
    records: SteeredRecords
    broker: FailingPublisher

    async def made(self, name: str = "group", zone: str = "UTC") -> Group:
        """A group, without HTTP."""
        group = await self.lines.create_group(name, zone)
        assert group.code is not None
        return Group(group.id, group.code)

    def figures(self, group: Group) -> tuple[int, int, int, int]:
        """Total, duplicates, today's and today's duplicates, as the board shows them."""
        stats = self.lines.stats(group.id)
        assert stats is not None
        return (
            stats.total_incoming,
            stats.duplicate_incoming,
            stats.today_incoming,
            stats.today_duplicate,
        )

    async def check(self) -> None:
        """Whatever has happened: memory is what the tables say, counted anew, and groups are sums of accounts."""
        board = self.lines.board
        for group in board.groups.values():
            self.lines.stats(group.id)
        days = {group.id: (group.day.begins_ms, group.day.ends_ms) for group in board.groups.values()}

        def read(connection: Connection) -> tuple[Any, Any]:
            statuses = {row.id: row.online_status for row in connection.execute(accounts.select())}
            return recount(connection, days), statuses

        counted, statuses = await self.records.read(read)
        for account in board.accounts.values():
            counts = account.counts
            assert (counts.total, counts.duplicate, *account.today) == counted[account.id], account.name
            assert account.status == statuses[account.id], account.name
            assert account.holders or account.status == "offline", account.name
        assert counted.keys() == {account.id for account in board.accounts.values()}
        for group in board.groups.values():
            own = [(*counted[account.id],) for account in group.accounts.values()]
            sums = tuple(map(sum, zip(*own, strict=True))) if own else (0, 0, 0, 0)
            assert self.figures(Group(group.id, "")) == sums, group.id
            assert group.online == sum(each.status == "online" for each in group.accounts.values())


@asynccontextmanager
async def board_in_memory(
    folder: Path,
    *,
    clock: Clock | None = None,
    apart: bool = False,
    patience: float = 600.0,
    **settings: Any,
) -> AsyncIterator[Board]:
    """A server without a socket. Fails after `patience` seconds, virtual ones.

    `apart`: it is left as a killed one is, its clients still there.
    """
    clock = its_clock = clock or Clock()
    machines = line_board.clock
    line_board.clock = lambda: its_clock() / 1000
    config = lines_config(folder, **{"device_timeout": NEVER, **settings})
    config = msgspec.structs.replace(
        config,
        heartbeat=Heartbeat(ping_interval=NEVER, pong_timeout=NEVER),
        history=msgspec.structs.replace(config.history, log="none"),
    )
    server = Server(config, apps=[lines_app(config.lines, now_ms=clock)])
    push = server.context.push
    records = SteeredRecords(folder, migrations_of(config, server.apps))
    relay = Relay(records, push)
    server._records, server._relay = records, relay
    push.tables = Tables(records, relay.wake)
    broker = FailingPublisher(push._broker)
    push._broker = broker
    async with trio.open_nursery() as nursery:
        server.start_parts(nursery)
        server._service.prepare()
        await nursery.start(records.run)
        nursery.start_soon(relay.run)
        running = RunningApps(server.apps, push)
        assert await nursery.start(running.run) is None
        site = Site(server, nursery)
        peers = Peers(site)
        try:
            async with httpx.AsyncClient(verify=False) as unused:
                with trio.fail_after(patience):
                    yield Board(unused, peers.open, site, lines_of(push), clock, records, broker)
        finally:
            if records.is_held:
                records.go_on()
            if not apart:
                await peers.aclose()
                await quiet(site)
            running.end()
            with trio.CancelScope(shield=True):
                await running.wait_left()
                await peers.aclose()
            line_board.clock = machines
            # Nothing that waits may follow: Cancelled would take the place of what a test has raised.
            nursery.cancel_scope.cancel()


def names(count: int, prefix: str = "a") -> list[str]:
    """Ids of accounts or customers."""
    return [f"{prefix}{number}" for number in range(count)]


async def says_lines(device: Device, account: str, *customers: str) -> None:
    """Send lines without waiting for answers."""
    for customer in customers:
        await device.send("incoming", {"line_account_id": account, "incoming_line_id": customer})
