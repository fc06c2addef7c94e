"""What the durable broker promises beyond the contract: order towards the hub, groups, virtual time, its store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from support.inline_store import InlineStore
from support.store import DURABLE, Open
from trio.testing import wait_all_tasks_blocked

from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import BrokerUnavailable, IdempotencyConflict, TooManyDevices
from tidings.server.brokers.durable import DurableBroker, open_durable
from tidings.server.store.database import NAME
from tidings.server.store.errors import StoreRefused
from tidings.server.store.store import Store

KEPT = DURABLE.of("room:a").history_size


class Hub:
    """Notes what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[Publication | tuple[str, Position]] = []

    def deliver(self, publication: Publication) -> None:
        self.told.append(publication)

    def moved(self, channel: str, position: Position) -> None:
        self.told.append((channel, position))

    @property
    def offsets(self) -> list[int]:
        return [each.offset for each in self.told if isinstance(each, Publication)]


@asynccontextmanager
async def durable(directory: Path, hub: Hub, devices: int = 3) -> AsyncIterator[DurableBroker]:
    """A broker on a real store, with its thread."""
    store = Store(directory, DURABLE, devices=devices)
    with trio.fail_after(30):
        async with open_durable(directory, DURABLE, hub.deliver, hub.moved, store=store) as broker:
            yield broker


async def test_the_hub_has_a_publication_when_publish_returns(tmp_path: Path) -> None:
    """And a receipt says that it is on the disk."""
    hub = Hub()
    async with durable(tmp_path, hub) as broker:
        receipt = await broker.publish("room:a", "news", b"{}", user_id="bob", excluded_session="s")
        [publication] = hub.told
        assert isinstance(publication, Publication)
        assert (publication.epoch, publication.offset) == (receipt.epoch, receipt.offset)
        assert (publication.user_id, publication.excluded_session) == ("bob", "s")
        assert receipt.durability == broker.durability("room:a") == "disk"


async def test_many_publishers_share_commits_and_one_order(tmp_path: Path) -> None:
    """64 at once need far fewer commits than publications, and the hub gets all offsets in order."""
    hub = Hub()
    store = Store(tmp_path, DURABLE)
    offsets: list[int] = []
    with trio.fail_after(30):
        async with open_durable(tmp_path, DURABLE, hub.deliver, store=store) as broker:

            async def publish() -> None:
                for _ in range(5):
                    receipt = await broker.publish("room:a", "news", b"{}")
                    offsets.append(receipt.offset)

            async with trio.open_nursery() as nursery:
                for _ in range(64):
                    nursery.start_soon(publish)
            groups = store.groups
    assert hub.offsets == list(range(1, 321))
    assert sorted(offsets) == hub.offsets
    assert groups <= 64, "5 rounds of 64, each in a few groups"


async def test_open_answers_with_what_was_delivered_last_whatever_is_under_way(tmp_path: Path) -> None:
    """While others publish, every answer of `open` is the offset that the hub has at that moment."""
    hub = Hub()
    async with durable(tmp_path, hub) as broker, trio.open_nursery() as nursery:

        async def publish() -> None:
            while True:
                await broker.publish("room:a", "news", b"{}")

        for _ in range(8):
            nursery.start_soon(publish)
        for _ in range(50):
            position = await broker.open("room:a")
            assert position.offset == max(hub.offsets, default=0)
            attachment = await broker.attach("room:a", "phone")
            assert attachment.position.offset == max(hub.offsets, default=0)
            assert attachment.first > attachment.position.offset - KEPT, "what came has pushed it out"
            broker.release("room:a")
        nursery.cancel_scope.cancel()


async def test_a_cancelled_open_leaves_nothing(tmp_path: Path) -> None:
    """Nobody listens after it; and one that goes on beside it is not disturbed."""
    hub = Hub()
    async with durable(tmp_path, hub) as broker:
        with trio.move_on_after(0):
            await broker.open("room:a")
        await broker.publish("room:b", "news", b"{}")
        assert not broker._listened
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.open, "room:a")
            with trio.move_on_after(0):
                await broker.open("room:a")
        assert set(broker._listened) == {"room:a"}
        assert not broker._opening


async def test_a_cancelled_publication_is_delivered_all_the_same(tmp_path: Path) -> None:
    """It was under way; who tries again with its key gets its position."""
    hub = Hub()
    async with durable(tmp_path, hub) as broker:
        with trio.move_on_after(0):
            await broker.publish("room:a", "news", b"{}", idempotency_key="k")
        receipt = await broker.publish("room:a", "news", b"{}", idempotency_key="k")
        assert receipt.offset == 1
        assert hub.offsets == [1]
        with pytest.raises(IdempotencyConflict, match="room:a"):
            await broker.publish("room:a", "news", b"[]", idempotency_key="k")


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    """Positions, publications, keys and devices; and the hub of the new process is given nothing of it."""
    async with durable(tmp_path, Hub()) as broker:
        receipt = await broker.publish("user:bob", "news", b'{"n":1}', idempotency_key="k")
        await broker.attach("user:bob", "phone")
        await broker.acknowledge("user:bob", "phone", 1)
        before = await broker.history("user:bob", 0, limit=10, most_bytes=1000)
        devices = await broker.devices("user:bob")
    hub = Hub()
    async with durable(tmp_path, hub) as broker:
        assert await broker.open("user:bob") == receipt.position
        assert await broker.history("user:bob", 0, limit=10, most_bytes=1000) == before
        assert await broker.publish("user:bob", "news", b'{"n":1}', idempotency_key="k") == receipt
        assert await broker.devices("user:bob") == devices
        assert hub.told == []


async def test_a_device_too_many_is_told_what_to_change(tmp_path: Path) -> None:
    """Whether it attaches or acknowledges; and nobody listens on its behalf."""
    async with durable(tmp_path, Hub(), devices=1) as broker:
        await broker.acknowledge("user:bob", "phone", 0)
        with pytest.raises(TooManyDevices, match=r"user:bob: 1 devices .* inbox\.devices"):
            await broker.attach("user:bob", "laptop")
        with pytest.raises(TooManyDevices):
            await broker.acknowledge("user:bob", "laptop", 0)
        assert not broker._listened


async def test_what_leaves_an_inbox_unread_is_counted(tmp_path: Path) -> None:
    """The publisher is told, and the figure rises: the inbox holds five."""
    async with durable(tmp_path, Hub()) as broker:
        receipts = [await broker.publish("user:bob", "news", b"{}") for _ in range(8)]
        assert [receipt.dropped for receipt in receipts] == [0, 0, 0, 0, 0, 1, 1, 1]
        assert (broker.dropped_unacknowledged, broker.forgotten_keys) == (3, 0)


async def test_a_channel_that_lost_its_state_moves_the_hub_first(tmp_path: Path) -> None:
    """Its row is gone from the file, so it begins anew: the hub is told before it gets anything of it."""
    hub = Hub()
    store = Store(tmp_path, DURABLE)
    with trio.fail_after(30):
        async with open_durable(tmp_path, DURABLE, hub.deliver, hub.moved, store=store) as broker:
            await broker.open("room:a")
            before = await broker.publish("room:a", "news", b"{}")
            assert store._connection is not None
            assert store._log is not None
            store._connection.execute("DELETE FROM channels")
            store._log._states.drop(["room:a"])
            # Of another number: nothing of the first is in its way.
            await broker.publish("room:b", "news", b"{}")
            after = await broker.publish("room:a", "news", b"{}")
            assert after.epoch != before.epoch
            assert hub.told[2] == ("room:a", Position(after.epoch, 0))
            assert hub.offsets == [1, 1, 1]


async def test_a_store_that_has_ended_is_unavailable(tmp_path: Path) -> None:
    """Whatever is asked of it, and detaching does not raise."""
    async with durable(tmp_path, Hub()) as broker:
        pass
    for call in (
        lambda: broker.publish("room:a", "news", b"{}"),
        lambda: broker.open("room:a"),
        lambda: broker.history("room:a", 0, limit=1, most_bytes=1),
        lambda: broker.clear("room:a"),
        lambda: broker.attach("user:bob", "phone"),
        lambda: broker.acknowledge("user:bob", "phone", 1),
        lambda: broker.devices("user:bob"),
    ):
        with pytest.raises(BrokerUnavailable, match="not open"):
            await call()
    broker.detach("user:bob", "phone")


async def test_a_refused_store_is_no_group_of_errors(tmp_path: Path) -> None:
    """Who opens a broker catches StoreRefused as it is."""
    (tmp_path / NAME).write_text("no")
    with pytest.raises(StoreRefused, match="damaged"):
        async with open_durable(tmp_path, DURABLE, lambda _: None):
            pass


async def test_the_end_waits_for_readers(tmp_path: Path) -> None:
    """A reading that is under way when the store ends has its answer; its connection is closed after it."""
    store = Store(tmp_path, DURABLE)
    results: list[int] = []
    with trio.fail_after(30):
        async with trio.open_nursery() as outer:

            async def read() -> None:
                with trio.CancelScope(shield=True):
                    results.append(
                        await store.read(
                            lambda reader: reader.execute(
                                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300000)"
                                " SELECT count(*) FROM n"
                            ).fetchone()[0]
                        )
                    )

            async with trio.open_nursery() as nursery:
                await nursery.start(store.run)
                outer.start_soon(read)
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
    assert results == [300_000]
    assert not store._readers


async def test_the_same_on_virtual_time(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Without threads: a day of sweeps passes in a moment, and what was published is delivered in groups."""
    hub = Hub()
    store = InlineStore(tmp_path, DURABLE)
    async with open_durable(tmp_path, DURABLE, hub.deliver, hub.moved, store=store) as broker:
        start = await broker.open("room:a")

        async def publish() -> None:
            await broker.publish("room:a", "news", b"{}")

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(publish)
        assert hub.offsets == list(range(1, 11))
        groups = store.groups
        await trio.sleep(3600)
        assert store.groups >= groups + 700, "it sweeps every five seconds"
        history = await broker.history("room:a", 8, limit=10, most_bytes=1000)
        assert [each.offset for each in history.publications] == [9, 10]
        assert await store.do(Open("room:a")) == Position(start.epoch, 10)
        broker.detach("user:bob", "phone")
    assert store.waiting == 0
