"""Stored first, pushed second, and counted in order, whatever the broker and the database do. On virtual time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog.testing
import trio
from sqlalchemy import Connection, text
from support.notifications import MIGRATIONS
from support.records import InlineRecords, open_inline_records
from trio.testing import wait_all_tasks_blocked

from tidings.protocol.errors import ErrorCode
from tidings.protocol.messages.builtin import core_registry
from tidings.protocol.publications import Publication
from tidings.server.apps.notifications import notes, service
from tidings.server.apps.notifications.bodies import NewNotification
from tidings.server.apps.notifications.service import (
    Notifications,
    begin,
    end,
    notifications_of,
)
from tidings.server.brokers.base import BrokerUnavailable, Receipt
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.config import Notifications as Settings
from tidings.server.delivery.hub import Hub
from tidings.server.extension import PublishRefused, Push
from tidings.server.relay import Relay
from tidings.server.store.errors import StoreUnavailable
from tidings.server.tables import Tables

pytestmark = pytest.mark.usefixtures("autojump_clock")

HELLO = NewNotification("hello", "text")
DAY = 86_400_000
SWEEP = 20.0


class Broker(MemoryBroker):
    """Announces as slowly as a test likes, and may be away."""

    def __init__(self) -> None:
        self.delivered: list[Publication] = []
        self.seconds = 0.0
        """How long an announcement takes."""
        self.away = False
        super().__init__(self.delivered.append, monotonic=trio.current_time)

    async def publish(self, *args: Any, **more: Any) -> Receipt:
        if self.away:
            raise BrokerUnavailable("away")
        return await super().publish(*args, **more)

    async def announce(self, *args: Any, **more: Any) -> None:
        await trio.sleep(self.seconds)
        if self.away:
            raise BrokerUnavailable("away")
        await super().announce(*args, **more)


class Tower:
    """Notifications with their tasks, on a database and a broker of the test's own."""

    def __init__(self, records: InlineRecords, settings: Settings) -> None:
        self.records, self.broker = records, Broker()
        self.push = Push(core_registry(), Hub(), self.broker, outbox_bytes=100_000)
        self.relay = Relay(records, self.push)
        self.push.tables = Tables(records, self.relay.wake)
        self.notifications = Notifications(
            settings, self.push, now_ms=lambda: round(trio.current_time() * 1000) + self.ahead
        )
        self.ahead = 0
        """Milliseconds that the wall clock shows beyond trio's."""

    async def carry_out(self, statement: str) -> None:
        """One of SQL's."""

        def write(connection: Connection) -> None:
            connection.execute(text(statement))

        await self.records.write(write)

    def told(self, event: str) -> list[tuple[str, Any]]:
        """What was sent of an event: to whom, and what it says."""
        return [
            (publication.channel.removeprefix("user:"), msgspec.json.decode(publication.payload))
            for publication in self.broker.delivered
            if publication.event == event
        ]

    @property
    def counts(self) -> list[tuple[str, int]]:
        return [(user, payload["unread"]) for user, payload in self.told("unread_count")]


@asynccontextmanager
async def tower_in(folder: Path, **settings: Any) -> AsyncIterator[Tower]:
    async with open_inline_records(folder, [MIGRATIONS]) as records, trio.open_nursery() as nursery:
        tower = Tower(records, Settings(**settings))
        nursery.start_soon(tower.relay.run)
        nursery.start_soon(tower.notifications.counts.run)
        nursery.start_soon(tower.notifications.sweep_often)
        await wait_all_tasks_blocked()
        yield tower
        nursery.cancel_scope.cancel()


async def test_it_is_pushed_and_counted(tmp_path: Path) -> None:
    """The event has the id of the list; each change of the count is told, and what changes none is not."""
    async with tower_in(tmp_path) as tower:
        keeping = tower.notifications
        first = await keeping.create("alice", HELLO)
        await wait_all_tasks_blocked()
        pushed = {"id": str(first.id), "title": "hello", "message": "text", "type": "info"}
        assert tower.told("notification") == [("alice", pushed)]
        second = await keeping.create("alice", HELLO)
        for change in (
            keeping.mark_read("alice", first.id),
            keeping.mark_read("alice", first.id),
            keeping.remove("alice", first.id),
            keeping.remove("alice", first.id),
            keeping.remove_all("alice", only_read=True),
            keeping.mark_all_read("alice", up_to=first.id),
            keeping.remove("alice", second.id),
            keeping.mark_all_read("alice"),
            keeping.remove_all("alice"),
        ):
            await change
            await wait_all_tasks_blocked()
        assert tower.counts == [("alice", 1), ("alice", 2), ("alice", 1), ("alice", 0)]


async def test_a_broker_that_is_away_loses_no_notification(tmp_path: Path) -> None:
    """The store says yes, the list has it, and it goes out once the broker is back; the count is dropped."""
    async with tower_in(tmp_path) as tower:
        tower.broker.away = True
        with structlog.testing.capture_logs() as logs:
            await tower.notifications.create("alice", HELLO)
            await wait_all_tasks_blocked()
        assert (await tower.notifications.unread("alice"), tower.broker.delivered) == (1, [])
        assert "an unread count was not told" in [line["event"] for line in logs]
        tower.broker.away = False
        await trio.sleep(10)
        assert [user for user, _ in tower.told("notification")] == ["alice"]
        assert tower.counts == []
        # The task has lived on.
        await tower.notifications.create("alice", HELLO)
        await wait_all_tasks_blocked()
        assert tower.counts == [("alice", 2)]


async def test_the_last_count_that_is_told_is_the_newest(tmp_path: Path) -> None:
    """However slow the telling is, and whoever commits meanwhile: in order, conflated, and nobody passed over."""
    async with tower_in(tmp_path) as tower:
        tower.broker.seconds = 1.0
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(tower.notifications.create, f"user{number % 4}", HELLO)
        began = trio.current_time()
        assert tower.counts == []
        # Of these one is being told at this moment: what it becomes meanwhile is told behind it.
        await trio.sleep(0.5)
        for number in range(4):
            await tower.notifications.create(f"user{number}", HELLO)
        # Somebody who changes all the time, while the others wait for their turn.
        for _ in range(3):
            await trio.sleep(0.9)
            await tower.notifications.create("busy", HELLO)
        await trio.sleep(100)
        newest = dict(tower.counts)
        assert newest == {"user0": 11, "user1": 11, "user2": 11, "user3": 11, "busy": 3}
        assert sorted(user for user, _ in tower.counts[:4]) == [f"user{number}" for number in range(4)]
        assert len(tower.counts) < 10, "steps in between are not told"
        for user in newest:
            of_user = [unread for name, unread in tower.counts if name == user]
            assert of_user == sorted(of_user)
        assert trio.current_time() - began > 100


async def test_what_is_dropped_changes_the_count(tmp_path: Path) -> None:
    """A new one beyond `keep` drops the oldest, and the count that is told is of those that stay."""
    async with tower_in(tmp_path, keep=2) as tower:
        for _ in range(3):
            await tower.notifications.create("alice", HELLO)
            await wait_all_tasks_blocked()
        assert tower.counts == [("alice", 1), ("alice", 2), ("alice", 2)]


async def test_what_is_too_old_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again and again, in as many pieces as it takes, and the user's devices hear how many are left."""
    monkeypatch.setattr(notes, "PIECE", 3)
    monkeypatch.setattr(service, "_SWEEP_SECONDS", SWEEP)
    async with tower_in(tmp_path, max_age=10 * DAY // 1000) as tower:
        for _ in range(7):
            await tower.notifications.create("alice", HELLO)
        tower.ahead = 9 * DAY
        await tower.notifications.create("alice", HELLO)
        await trio.sleep(SWEEP + 1)
        assert await tower.notifications.unread("alice") == 8
        tower.ahead = 11 * DAY
        await trio.sleep(SWEEP + 1)
        assert await tower.notifications.unread("alice") == 1
        assert tower.counts[-1] == ("alice", 1)


async def test_a_database_that_is_away_is_swept_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task says so in the log, and comes again."""
    monkeypatch.setattr(service, "_SWEEP_SECONDS", SWEEP)
    async with tower_in(tmp_path, max_age=1) as tower:
        await tower.notifications.create("alice", HELLO)

        def refuse(*_: object) -> None:
            raise StoreUnavailable("the disk is full")

        with monkeypatch.context() as away, structlog.testing.capture_logs() as logs:
            away.setattr(tower.records, "submit", refuse)
            await trio.sleep(SWEEP + 1)
            with pytest.raises(PublishRefused) as refused:
                await tower.notifications.create("alice", HELLO)
        assert refused.value.refusal.code is ErrorCode.UNAVAILABLE
        assert "disk" not in refused.value.refusal.message, "why is for the log"
        assert "old notifications are still to be deleted" in [line["event"] for line in logs]
        assert await tower.notifications.unread("alice") == 1
        await trio.sleep(SWEEP + 1)
        assert await tower.notifications.unread("alice") == 0


async def test_a_fault_of_the_database_ends_no_sweeping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a table that may not be touched: said in the log, and once it is mended the old ones go."""
    monkeypatch.setattr(service, "_SWEEP_SECONDS", SWEEP)
    async with tower_in(tmp_path, max_age=1) as tower:
        await tower.notifications.create("alice", HELLO)
        await tower.carry_out(
            "CREATE TRIGGER forbidden BEFORE DELETE ON notifications_notes"
            " BEGIN SELECT raise(ABORT, 'permission denied'); END"
        )
        with structlog.testing.capture_logs() as logs:
            await trio.sleep(SWEEP + 1)
        assert ("old notifications are still to be deleted", "error") in [
            (line["event"], line["log_level"]) for line in logs
        ]
        await tower.carry_out("DROP TRIGGER forbidden")
        await trio.sleep(SWEEP + 1)
        assert await tower.notifications.unread("alice") == 0


async def test_a_fault_in_telling_one_count_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised for one user is said in the log; the next one, and that user's next count, are told."""
    async with tower_in(tmp_path) as tower:
        with monkeypatch.context() as broken, structlog.testing.capture_logs() as logs:
            broken.setattr(tower.broker, "announce", None)
            await tower.notifications.create("alice", HELLO)
            await wait_all_tasks_blocked()
        assert "an unread count was not told" in [line["event"] for line in logs]
        for user in ("bob", "alice"):
            await tower.notifications.create(user, HELLO)
            await wait_all_tasks_blocked()
        assert tower.counts == [("bob", 1), ("alice", 2)]


async def test_what_the_outboxes_cannot_take_is_not_kept(tmp_path: Path) -> None:
    """Refused before it is stored: else it would be in the list, and nobody would ever have been told."""
    async with tower_in(tmp_path) as tower:
        tower.push = Push(core_registry(), Hub(), tower.broker, outbox_bytes=4_000)
        tower.push.tables = Tables(tower.records, tower.relay.wake)
        keeping = Notifications(Settings(), tower.push)
        with pytest.raises(PublishRefused, match="too_large"):
            await keeping.create("alice", NewNotification("hello", "x" * 1000))
        assert await keeping.unread("alice") == 0
        await keeping.create("alice", HELLO)


async def test_a_cancelled_request_keeps_what_it_has_begun(tmp_path: Path) -> None:
    """What was handed to the writer is carried out, pushed and counted, though nobody waits for it any more."""
    async with tower_in(tmp_path) as tower:
        with trio.CancelScope() as scope:
            scope.cancel()
            await tower.notifications.create("alice", HELLO, is_known=True)
        await wait_all_tasks_blocked()
        assert scope.cancelled_caught
        assert (len(tower.told("notification")), tower.counts) == (1, [("alice", 1)])


async def test_who_asks_a_server_without_notifications_is_told_what_to_do(tmp_path: Path) -> None:
    """Before it has begun, and after it has ended: the error names the setting."""
    async with tower_in(tmp_path) as tower:
        with pytest.raises(LookupError, match=r"server\.apps"):
            notifications_of(tower.push)
        begin(tower.push, tower.notifications)
        assert notifications_of(tower.push) is tower.notifications
        end(tower.push)
        with pytest.raises(LookupError, match="notifications"):
            notifications_of(tower.push)
