"""Events that commits have left: published after the commit, in order, each once, whatever fails in between."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
import trio
from sqlalchemy import Connection, text
from support.records import InlineRecords, open_inline_records
from trio.testing import wait_all_tasks_blocked

from tidings.protocol.messages.builtin import core_registry
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import IDEMPOTENCY_SECONDS, BrokerUnavailable, Receipt
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.config import Limits
from tidings.server.delivery.hub import Hub
from tidings.server.push import Push
from tidings.server.relay import _IN_TURN, _LOOK_SECONDS, _PAGE, Relay
from tidings.server.store.errors import StoreUnavailable
from tidings.server.store.records.outbox import OutboxEvent, first_events, put_event

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Broker(MemoryBroker):
    """Takes a turn of the loop for each publication, as a disk does; may be away for some channels."""

    def __init__(self) -> None:
        self.delivered: list[Publication] = []
        self.away: set[str] = set()
        """Kinds of channels that nothing can be published to for now."""
        self.tried: list[float] = []
        """When something was asked of it that it could not do."""
        super().__init__(self.delivered.append, monotonic=trio.current_time)

    async def publish(self, channel: str, event: str, payload: bytes, **more: Any) -> Receipt:
        await trio.lowlevel.checkpoint()
        if channel.partition(":")[0] in self.away:
            self.tried.append(trio.current_time())
            raise BrokerUnavailable("the disk is full")
        receipt = await super().publish(channel, event, payload, **more)
        await trio.lowlevel.checkpoint()
        return receipt

    @property
    def events(self) -> list[str]:
        return [publication.event for publication in self.delivered]

    def events_of(self, channel: str) -> list[str]:
        """What was delivered to one channel."""
        return [each.event for each in self.delivered if each.channel == channel]


class Place:
    """Records, a broker, and the relay between them."""

    def __init__(self, records: InlineRecords) -> None:
        self.records, self.broker = records, Broker()
        self.followed: list[tuple[float, str]] = []
        """When, and on what event's account, what has to follow did."""
        self.relay = self.new_relay()

    def new_relay(self) -> Relay:
        """As a server that is started again has."""
        limits = Limits()
        push = Push(core_registry(), Hub(), self.broker, outbox_bytes=limits.outbox_bytes)
        relay = Relay(self.records, push)
        relay.then = lambda event: self.followed.append((trio.current_time(), event.event))
        return relay

    async def leave(
        self, *events: str, channel: str = "user:alice", wakes: bool = True, **more: Any
    ) -> int:
        """Commit an operation that leaves some events; the id of the last."""

        def operation(connection: Connection) -> int:
            return [put_event(connection, channel, event, {"is": event}, **more) for event in events][-1]

        return await self.records.write(operation, lambda _: self.relay.wake() if wakes else None)

    async def waiting(self) -> list[str]:
        """The events that are still to be published, or to be deleted."""
        found = await self.records.read(lambda connection: first_events(connection, 0, 10_000))
        return [event.event for event in found]

    async def execute(self, statement: str, **values: Any) -> None:
        await self.records.write(lambda connection: connection.execute(text(statement), values).rowcount)


@asynccontextmanager
async def place_in(folder: Path, *, runs: bool = True) -> AsyncIterator[Place]:
    async with open_inline_records(folder) as records, trio.open_nursery() as nursery:
        place = Place(records)
        if runs:
            nursery.start_soon(place.relay.run)
            await wait_all_tasks_blocked()
        yield place
        nursery.cancel_scope.cancel()


def numbered(count: int) -> list[str]:
    return [f"e{number}" for number in range(count)]


# --- on the normal way -------------------------------------------------------------------------------


async def test_an_event_is_out_in_the_moment_of_its_commit(tmp_path: Path) -> None:
    """As it was put, and deleted behind it; nothing is waited for but the commit, as the clock shows."""
    async with place_in(tmp_path) as place:
        began = trio.current_time()
        event = await place.leave("first", excluded_session="mine", then="word")
        assert place.broker.delivered == [], "not before anybody knows of the commit"
        await place.relay.wait_passed(event)
        [told] = place.broker.delivered
        assert (told.channel, told.event, told.payload) == ("user:alice", "first", b'{"is":"first"}')
        assert (told.user_id, told.excluded_session) == ("alice", "mine")
        assert place.followed == [(began, "first")]
        await wait_all_tasks_blocked()
        assert await place.waiting() == []
        assert trio.current_time() == began


async def test_what_an_operation_that_is_undone_has_put_is_never_told(tmp_path: Path) -> None:
    """Its rows are not there, and nor is its event."""

    class NotToday(Exception):
        """An app's refusal."""

    def regret(connection: Connection) -> None:
        put_event(connection, "user:alice", "regretted", {})
        raise NotToday

    async with place_in(tmp_path) as place:
        with pytest.raises(NotToday):
            await place.records.write(regret)
        await place.relay.wait_passed(await place.leave("real"))
        assert place.broker.events == ["real"]


async def test_events_of_a_channel_come_in_the_order_of_their_commits(tmp_path: Path) -> None:
    """Of one operation and of several, also those that come while it publishes, whatever other channels do."""
    async with place_in(tmp_path) as place:
        await place.leave("a", "b")
        await place.leave("1", "2", channel="role:admin")
        await trio.lowlevel.checkpoint()
        await place.leave("3", channel="role:admin")
        last = await place.leave("c", "d")
        await place.relay.wait_passed(last)
        await wait_all_tasks_blocked()
        assert place.broker.events_of("user:alice") == list("abcd")
        assert place.broker.events_of("role:admin") == list("123")


async def test_channels_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Of a hundred channels all are with the broker at once: they share the disk's commits."""
    at_work: list[int] = []
    async with place_in(tmp_path, runs=False) as place:
        publish = place.broker.publish

        async def slow(channel: str, event: str, payload: bytes, **more: Any) -> Receipt:
            at_work[-1] += 1
            await trio.sleep(1)
            return await publish(channel, event, payload, **more)

        place.broker.publish = slow  # type: ignore[method-assign]
        for number in range(100):
            await place.leave("e", channel=f"user:{number}", wakes=False)
        at_work.append(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(place.relay.run)
            await trio.sleep(0.5)
            assert at_work == [100]
            await trio.sleep(1)
            assert len(place.broker.events) == 100
            nursery.cancel_scope.cancel()


async def test_a_channel_with_thousands_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Another's event goes out in the next turn, and has passed though lower ids have not; order is kept."""
    count = 4 * _PAGE
    async with place_in(tmp_path, runs=False) as place:
        last = await place.leave(*numbered(count), wakes=False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(place.relay.run)
            while not place.broker.events:
                await trio.lowlevel.checkpoint()
            await place.relay.wait_passed(await place.leave("word", channel="user:bob"))
            assert len(place.broker.events) <= 3 * _IN_TURN
            assert not place.relay.has_passed(last)
            await place.relay.wait_passed(last)
            assert place.broker.events_of("user:alice") == numbered(count)
            nursery.cancel_scope.cancel()


async def test_as_many_channels_as_one_likes_have_their_turns(tmp_path: Path) -> None:
    """More of them than are read at once: each event once, and nothing is left."""
    count = 2 * _PAGE + 7
    async with place_in(tmp_path) as place:

        def operation(connection: Connection) -> None:
            for number in range(2 * count):
                put_event(connection, f"user:{number % count}", f"e{number // count}", {})

        await place.records.write(operation)
        place.relay.wake()
        await wait_all_tasks_blocked()
        assert await place.waiting() == []
        for number in range(count):
            assert place.broker.events_of(f"user:{number}") == ["e0", "e1"]


async def test_a_great_many_are_read_page_by_page_without_a_pause(tmp_path: Path) -> None:
    """All of what a busy moment has left, or a server that was down: in order, each once, in no time."""
    count = 2 * _PAGE + 50
    async with place_in(tmp_path) as place:
        began = trio.current_time()
        await place.relay.wait_passed(await place.leave(*numbered(count)))
        await wait_all_tasks_blocked()
        assert place.broker.events == numbered(count)
        assert await place.waiting() == []
        assert trio.current_time() == began


async def test_what_is_found_at_the_start_goes_out_first(tmp_path: Path) -> None:
    """Nobody has to say that it is there."""
    async with place_in(tmp_path, runs=False) as place, trio.open_nursery() as nursery:
        await place.leave("a", "b", wakes=False)
        nursery.start_soon(place.relay.run)
        await place.relay.wait_passed(await place.leave("c"))
        assert place.broker.events == ["a", "b", "c"]
        nursery.cancel_scope.cancel()


async def test_a_word_that_comes_while_it_reads_is_not_lost(tmp_path: Path) -> None:
    """A commit in each of the moments between two looks: none waits for the next word."""
    async with place_in(tmp_path) as place:
        began = trio.current_time()
        events, last = numbered(12), 0
        for turns, event in enumerate(events):
            last = await place.leave(event)
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
        await place.relay.wait_passed(last)
        assert place.broker.events == events
        assert trio.current_time() == began


async def test_what_another_node_has_left_is_found_by_looking(tmp_path: Path) -> None:
    """One that died and said nothing: within half a minute, and without looking more often than that."""
    async with place_in(tmp_path) as place:
        reads, read = 0, place.records.read

        async def counted(function: Callable[[Connection], Any]) -> Any:
            nonlocal reads
            reads += 1
            return await read(function)

        place.records.read = counted  # type: ignore[method-assign]
        await place.leave("orphan", wakes=False)
        await trio.sleep(_LOOK_SECONDS + 1)
        assert place.broker.events == ["orphan"]
        await trio.sleep(10 * _LOOK_SECONDS)
        assert reads == 11


async def test_an_event_has_passed_once_it_is_out_and_all_before_it(tmp_path: Path) -> None:
    """Who asks later is not kept waiting; nor where another node's event, with a lower id, has come behind it."""
    async with place_in(tmp_path) as place:
        await place.execute(
            "INSERT INTO tidings_outbox (id, channel, event, payload, created_ms) "
            "VALUES (50, 'user:alice', 'high', '{}', 1)"
        )
        place.relay.wake()
        await place.relay.wait_passed(50)
        await place.execute(
            "INSERT INTO tidings_outbox (id, channel, event, payload, created_ms) "
            "VALUES (49, 'user:alice', 'low', '{}', 2)"
        )
        place.relay.wake()
        await wait_all_tasks_blocked()
        assert place.broker.events == ["high", "low"]
        with trio.fail_after(1):
            for event in (0, 49, 50):
                await place.relay.wait_passed(event)
        with trio.move_on_after(1000) as waited:
            await place.relay.wait_passed(51)
        assert waited.cancelled_caught


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "event", "payload", "excluded_session"),
    [
        ("nowhere", "e", "{}", None),
        ("user:alice", "", "{}", None),
        ("user:alice", "connected", "{}", None),
        ("user:alice", "force_logout", '{"reason":7}', None),
        ("user:alice", "e", "[]", None),
        ("user:alice", "e", '{"half":', None),
        ("user:alice", "e", "", None),
        ("user:alice", "e", '{"a":' + "[" * 5_000 + "]" * 5_000 + "}", None),
        ("user:alice", "e", '{"n":' + "9" * 5_000 + "}", None),
        ("user:alice", "e", '{"text":"' + "x" * 2_000_000 + '"}', None),
        ("room:lobby", "e", "{}", "mine"),
        ("user:alice", "e", "{}", "s" * 129),
    ],
    ids=range(12),
)
async def test_a_refused_event_does_not_stop_those_behind_it(
    tmp_path: Path, channel: str, event: str, payload: str, excluded_session: str | None
) -> None:
    """Whoever wrote it is wrong, and it is said so, once; what was to follow it follows; nobody waits for it."""
    with structlog.testing.capture_logs() as logs:
        async with place_in(tmp_path) as place:
            await place.leave("before")
            await place.execute(
                'INSERT INTO tidings_outbox (channel, event, payload, excluded_session, "then", created_ms)'
                " VALUES (:channel, :event, :payload, :session, 'word', 1)",
                channel=channel,
                event=event,
                payload=payload,
                session=excluded_session,
            )
            await place.relay.wait_passed(await place.leave("behind"))
            assert place.broker.events == ["before", "behind"]
            assert [followed for _, followed in place.followed] == [event]
            await wait_all_tasks_blocked()
            assert await place.waiting() == []
    said = [line for line in logs if line["log_level"] == "error"]
    assert [(line["event"], "error" in line) for line in said] == [("an event was refused", True)]


async def test_what_follows_may_fail_and_the_next_goes_out(tmp_path: Path) -> None:
    """A fault of whoever is told costs nobody else their event."""
    with structlog.testing.capture_logs() as logs:
        async with place_in(tmp_path) as place:

            def fail(event: OutboxEvent) -> None:
                raise RuntimeError(event.event)

            place.relay.then = fail
            await place.relay.wait_passed(await place.leave("a", "b", then="word"))
            assert place.broker.events == ["a", "b"]
    said = [line["event"] for line in logs if line["log_level"] == "error"]
    assert said == ["what an event leads to failed"] * 2


# --- what is not there for a while -------------------------------------------------------------------


async def test_a_broker_that_is_away_is_asked_again_ever_more_rarely(tmp_path: Path) -> None:
    """After a tenth of a second, then twice as long, at most five seconds; all of it comes, in order, once."""
    with structlog.testing.capture_logs() as logs:
        async with place_in(tmp_path) as place:
            began = trio.current_time()
            place.broker.away = {"user"}
            last = await place.leave("a", "b", "c")
            await trio.sleep(30)
            tried = [at - began for at in place.broker.tried]
            assert tried == pytest.approx([0, 0.1, 0.3, 0.7, 1.5, 3.1, 6.3, 11.3, 16.3, 21.3, 26.3])
            place.broker.away = set()
            await place.relay.wait_passed(last)
            assert trio.current_time() - began == pytest.approx(31.3)
            assert place.broker.events == ["a", "b", "c"]
            # And from the beginning, the next time.
            place.broker.away, place.broker.tried = {"user"}, []
            await wait_all_tasks_blocked()
            began = trio.current_time()
            await place.leave("d")
            await trio.sleep(0.2)
            assert [at - began for at in place.broker.tried] == pytest.approx([0, 0.1])
    warned = [line["event"] for line in logs if line["log_level"] == "warning"]
    assert warned == ["an event cannot be published; trying again"] * 2, (
        "once for each that stands in the way"
    )


async def test_what_cannot_go_out_holds_up_its_own_channel(tmp_path: Path) -> None:
    """What is behind it there must not overtake it; others have theirs, and are done with."""
    async with place_in(tmp_path) as place:
        place.broker.away = {"user"}
        before = await place.leave("a", channel="role:admin")
        await place.leave("b")
        last = await place.leave("c")
        behind = await place.leave("d", channel="role:admin")
        await trio.sleep(1)
        assert place.broker.events == ["a", "d"]
        assert await place.waiting() == ["b", "c"]
        assert [place.relay.has_passed(each) for each in (before, last, behind)] == [True, False, True]
        place.broker.away = set()
        await place.relay.wait_passed(last)
        assert place.broker.events == ["a", "d", "b", "c"]


async def test_what_must_follow_does_not_wait_for_the_broker(tmp_path: Path) -> None:
    """At once, of the event that cannot go out and of all behind it; and again when each is out."""
    async with place_in(tmp_path) as place:
        began = trio.current_time()
        place.broker.away = {"user", "role"}

        def delete_many(connection: Connection) -> None:
            # As where a user is deleted: administrators hear of it first, and nothing follows on that.
            put_event(connection, "role:admin", "told", {})
            for event in events:
                put_event(connection, "user:alice", event, {}, then="word")

        events = ["deleted", *numbered(2 * _PAGE)]
        await place.records.write(delete_many, lambda _: place.relay.wake())
        await wait_all_tasks_blocked()
        assert place.followed == [(began, event) for event in events]
        place.followed.clear()
        last = await place.leave("late", then="word")
        await trio.sleep(30)
        assert [event for _, event in place.followed] == ["late"], "once while it is away"
        place.broker.away = set()
        await place.relay.wait_passed(last)
        assert [event for _, event in place.followed[1:]] == [*events, "late"]


class Unsteady(InlineRecords):
    """Records that fail for a while."""

    reads_fail = False
    writes_fail = False
    hangs = False

    async def read(self, function: Callable[[Connection], Any]) -> Any:
        if self.reads_fail:
            raise StoreUnavailable("no database")
        return await super().read(function)

    async def write(self, operation: Callable[[Connection], Any], on_done: Any = None) -> Any:
        if self.hangs:
            await trio.sleep_forever()
        if self.writes_fail:
            raise StoreUnavailable("no room")
        return await super().write(operation, on_done)


@asynccontextmanager
async def unsteady(folder: Path) -> AsyncIterator[tuple[Place, Unsteady]]:
    records = Unsteady(folder)
    async with trio.open_nursery() as nursery:
        await nursery.start(records.run)
        place = Place(records)
        nursery.start_soon(place.relay.run)
        await wait_all_tasks_blocked()
        yield place, records
        nursery.cancel_scope.cancel()


async def test_a_database_that_is_away_is_asked_again(tmp_path: Path) -> None:
    """What was committed before comes out when it is back, within five seconds, in order."""
    async with unsteady(tmp_path) as (place, records):
        records.reads_fail = True
        last = await place.leave("a", "b")
        await trio.sleep(100)
        assert place.broker.events == []
        records.reads_fail = False
        with trio.fail_after(5.1):
            await place.relay.wait_passed(last)
        assert place.broker.events == ["a", "b"]
        began = trio.current_time()
        await place.relay.wait_passed(await place.leave("c"))
        assert trio.current_time() == began


async def test_what_cannot_be_deleted_is_not_told_again(tmp_path: Path) -> None:
    """The disk is full for longer than keys are remembered: it was told, and is told once."""
    async with unsteady(tmp_path) as (place, records):
        await place.leave("a", "b", then="word")
        records.writes_fail = True
        await trio.sleep(IDEMPOTENCY_SECONDS + 60)
        assert await place.waiting() == ["a", "b"]
        assert place.broker.events == ["a", "b"]
        assert [event for _, event in place.followed] == ["a", "b"]
        records.writes_fail = False
        await trio.sleep(5.1)
        assert await place.waiting() == []
        await place.relay.wait_passed(await place.leave("c"))
        assert place.broker.events == ["a", "b", "c"]


async def test_a_full_disk_keeps_nothing_from_following(tmp_path: Path) -> None:
    """Neither what is published nor what is deleted finds room: what must follow does all the same."""
    async with unsteady(tmp_path) as (place, records):
        place.broker.away = {"user"}
        await place.leave("a", channel="role:admin")
        await place.leave("b", then="word")
        records.writes_fail = True
        await trio.sleep(1)
        assert place.broker.events == ["a"]
        assert [event for _, event in place.followed] == ["b"]


# --- where the process ends --------------------------------------------------------------------------


async def test_who_dies_before_the_deletion_is_followed_by_one_who_publishes_nothing_twice(
    tmp_path: Path,
) -> None:
    """What is there still goes to the broker again, by the same key; what follows it does follow, perhaps again."""
    async with unsteady(tmp_path) as (place, records):
        await place.leave("a", "b", then="word")
        records.hangs = True
        await wait_all_tasks_blocked()
        assert place.broker.events == ["a", "b"]
    async with open_inline_records(tmp_path) as again, trio.open_nursery() as nursery:
        place.records = again
        assert await place.waiting() == ["a", "b"], "not deleted"
        place.relay = place.new_relay()
        nursery.start_soon(place.relay.run)
        await place.relay.wait_passed(await place.leave("c"))
        assert place.broker.events == ["a", "b", "c"]
        assert [event for _, event in place.followed] == ["a", "b", "a", "b"]
        await wait_all_tasks_blocked()
        assert await place.waiting() == []
        nursery.cancel_scope.cancel()


async def test_ids_that_begin_anew_are_not_taken_for_known_ones(tmp_path: Path) -> None:
    """A copy of the database was put in its place: an event with an id that was there before is another event."""
    async with place_in(tmp_path) as place:
        await place.relay.wait_passed(await place.leave("first"))
        await wait_all_tasks_blocked()
        await place.execute(
            "INSERT INTO tidings_outbox (id, channel, event, payload, created_ms) "
            "VALUES (1, 'user:alice', 'copy', '{}', 1)"
        )
        place.relay.wake()
        await wait_all_tasks_blocked()
        assert place.broker.events == ["first", "copy"]


@pytest.mark.parametrize("fails", [False, True])
async def test_cancelled_anywhere_nothing_is_lost_and_nothing_comes_twice(
    tmp_path: Path, fails: bool
) -> None:
    """At each turn of the loop that it takes: the next one goes on where this one was, in each channel's order."""
    expected: list[str] = []
    channels = ("user:alice", "role:admin", "user:alice")
    turns, is_done = 0, False

    def operation(connection: Connection) -> None:
        for number, channel in enumerate(channels):
            put_event(connection, channel, f"{turns}.{number}", {})

    async with place_in(tmp_path, runs=False) as place:
        while not is_done:
            place.broker.away = {"role"} if fails else set()
            await place.records.write(operation)
            expected += [f"{turns}.{number}" for number in range(len(channels))]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(place.relay.run)
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                is_done = await place.waiting() == (expected[-2:-1] if fails else [])
                nursery.cancel_scope.cancel()
            # Whoever comes next is another process.
            place.broker.away = set()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(place.new_relay().run)
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            place.relay = place.new_relay()
            for channel in channels:
                theirs = [event for event in expected if channels[int(event.rpartition(".")[2])] == channel]
                assert place.broker.events_of(channel) == theirs
            assert await place.waiting() == []
            turns += 1
    assert turns > 6, "it takes some"
