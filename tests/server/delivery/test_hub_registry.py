"""Who is in the hub: connections, users, channels, what is released, and what the statistics say."""

import pytest
import trio
from support.fakes import JSON, MSGPACK, Listener, join, publish
from trio.testing import wait_all_tasks_blocked

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.delivery.figures import ChannelState, Statistics
from tidings.server.delivery.hub import OFFERS_PER_TURN, Hub

ROOM = "room:lobby"


@pytest.fixture
def released(hub: Hub, broker: MemoryBroker) -> list[str]:
    """The channels that the hub gives back, taken down in the broker's place."""
    names: list[str] = []
    hub.release = names.append
    return names


def assert_empty(hub: Hub) -> None:
    """Nothing is left in the hub, not even in its private maps."""
    sizes = {
        name: len(value)
        for name, value in vars(hub).items()
        if hasattr(value, "__len__")
        and name not in ("_closes", "_traffic")  # counts: by code, and until taken
    }
    assert {"_channels", "_subscribers", "_users", "_dirty", "_replies"} <= sizes.keys()
    assert set(sizes.values()) == {0}, sizes


async def test_the_users_of_connections(hub: Hub) -> None:
    """A user is known while one of its connections is, and its connections are listed oldest first."""
    first, second = Listener(JSON, "alice"), Listener(MSGPACK, "alice")
    other = Listener(JSON, "bob")
    for listener in (first, other, second):
        hub.connect(listener)
    assert hub.connections_of("alice") == (first, second)
    assert (hub.connections, hub.users) == (3, 2)
    hub.disconnect(first)
    assert hub.connections_of("alice") == (second,)
    hub.disconnect(second)
    assert hub.connections_of("alice") == ()
    assert (hub.connections, hub.users) == (1, 1)


async def test_a_disconnect_gives_back_all_channels_and_is_idempotent(
    hub: Hub, broker: MemoryBroker, released: list[str]
) -> None:
    """The last subscriber of a channel releases it, once, by leaving or by its end."""
    alice, bob = Listener(JSON, "alice"), Listener(MSGPACK, "bob")
    await join(hub, broker, ROOM, alice, bob)
    await join(hub, broker, "all", alice)
    assert hub.channels_of(alice) == {ROOM, "all"}
    hub.disconnect(alice)
    hub.disconnect(alice)
    assert released == ["all"]
    assert hub.channels_of(alice) == frozenset()
    assert not hub.is_subscribed(alice, ROOM)
    assert hub.unsubscribe(alice, ROOM) is False
    assert hub.unsubscribe(bob, ROOM) is True
    assert released == ["all", ROOM]
    hub.disconnect(bob)
    assert released == ["all", ROOM]
    assert_empty(hub)


async def test_nothing_is_left_when_all_have_gone(hub: Hub, broker: MemoryBroker) -> None:
    """After publications, answers and a flush cut short, every map is empty again."""
    crowd = [Listener(dialect, f"u{at}") for at in range(OFFERS_PER_TURN) for dialect in (JSON, MSGPACK)]
    await join(hub, broker, ROOM, *crowd)
    await join(hub, broker, "all", *crowd[:10])
    await publish(broker, ROOM, 3)
    for listener in crowd[:10]:
        hub.reply(listener, b"\x8a\x00")
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    await publish(broker, "all", 3)
    for listener in crowd:
        hub.disconnect(listener)
    await wait_all_tasks_blocked()
    assert_empty(hub)
    figures = hub.statistics()
    assert (figures.connections, figures.users, figures.channels, figures.subscriptions) == (0, 0, 0, 0)


async def test_answers_of_the_dead_are_dropped(hub: Hub) -> None:
    """A disconnect forgets the answers that still waited for the end of the tick."""
    alice = Listener(JSON)
    hub.connect(alice)
    hub.reply(alice, b"\x8a\x00")
    hub.disconnect(alice)
    await wait_all_tasks_blocked()
    assert alice.offers == []
    assert_empty(hub)


async def test_what_nobody_listens_to_is_counted_and_dropped(hub: Hub, broker: MemoryBroker) -> None:
    """Publishing to a channel without subscribers keeps nothing, and a later subscriber gets none of it."""
    await publish(broker, ROOM, 3)
    await wait_all_tasks_blocked()
    assert_empty(hub)
    figures = hub.statistics()
    assert (figures.publications, figures.deliveries, figures.encodings) == (3, 0, 0)
    alice = Listener(JSON)
    await join(hub, broker, ROOM, alice)
    await wait_all_tasks_blocked()
    assert alice.offers == []


async def test_who_disconnected_meanwhile_is_not_subscribed(
    hub: Hub, broker: MemoryBroker, released: list[str]
) -> None:
    """A connection that ended while its channel was opened is not added, and gives the channel back."""
    alice, bob = Listener(JSON), Listener(JSON)
    hub.connect(alice)
    with hub.holding([ROOM]):
        position = await broker.open(ROOM)
        hub.disconnect(alice)
        assert hub.subscribe(alice, ROOM, position) == position
    assert released == [ROOM]
    assert_empty(hub)
    await join(hub, broker, ROOM, bob)
    with hub.holding([ROOM]):
        hub.subscribe(alice, ROOM, position)
    assert released == [ROOM], "others listen to it"
    await publish(broker, ROOM)
    await wait_all_tasks_blocked()
    assert (alice.offers, bob.offsets(ROOM)) == ([], [1])


async def test_a_room_that_emptied_begins_anew(hub: Hub, broker: MemoryBroker) -> None:
    """Publications pending when the last subscriber dies are not kept for the next one."""
    alice, bob = Listener(JSON), Listener(JSON)
    await join(hub, broker, ROOM, alice)
    await publish(broker, ROOM, 2)
    hub.disconnect(alice)
    [position] = await join(hub, broker, ROOM, bob)
    assert position.offset == 2
    await publish(broker, ROOM)
    await wait_all_tasks_blocked()
    assert (alice.offers, bob.offsets(ROOM)) == ([], [3])


async def test_a_new_epoch_is_told_to_the_next_subscriber(hub: Hub) -> None:
    """The position told is that of the last publication given to the hub, epoch and offset."""
    alice, bob = Listener(JSON), Listener(JSON)
    for listener in (alice, bob):
        hub.connect(listener)
    assert hub.subscribe(alice, ROOM, Position("first", 7)) == Position("first", 7)
    hub.deliver(Publication(ROOM, "news", b"{}", 1, "second", 0))
    assert hub.subscribe(bob, ROOM, Position("first", 7)) == Position("second", 1)


async def test_the_statistics(hub: Hub, broker: MemoryBroker) -> None:
    """Gauges say what is there now, counters what was done, closes are counted by code."""
    alice, second, bob = Listener(JSON, "alice"), Listener(MSGPACK, "alice"), Listener(JSON, "bob")
    await join(hub, broker, ROOM, alice, second, bob)
    await join(hub, broker, "all", bob)
    await publish(broker, ROOM, 5)
    await publish(broker, "all", 2)
    await publish(broker, "room:empty")
    alice.pending_bytes, bob.pending_bytes = 100, 23
    hub.count_close(CloseCode.SLOW_CONSUMER)
    hub.count_close(1001)
    hub.count_close(3008)
    await wait_all_tasks_blocked()
    assert hub.statistics() == Statistics(
        connections=3,
        users=2,
        channels=2,
        subscriptions=4,
        publications=8,
        deliveries=3 * 5 + 2,
        encodings=2 * 5 + 2,
        outbox_bytes=123,
        bytes_sent=0,
        closes={3008: 2, 1001: 1},
    )


async def test_bytes_of_those_who_left_still_count(hub: Hub, broker: MemoryBroker) -> None:
    """A counter never falls: what a connection has sent stays in it when the connection goes."""
    alice, bob = Listener(JSON, "alice"), Listener(JSON, "bob")
    for listener in (alice, bob):
        hub.connect(listener)
    alice.bytes_sent, bob.bytes_sent = 100, 23
    assert hub.statistics().bytes_sent == 123
    hub.disconnect(alice)
    hub.disconnect(alice)
    assert hub.statistics().bytes_sent == 123


async def test_the_channels_page_by_page(hub: Hub, broker: MemoryBroker) -> None:
    """By name, after the last of the page before, each with its subscribers and its position."""
    alice, bob = Listener(JSON, "alice"), Listener(MSGPACK, "bob")
    names = [f"room:{number}" for number in range(10)]
    for name in reversed(names):
        await join(hub, broker, name, alice)
    await join(hub, broker, "room:3", bob)
    await join(hub, broker, "all", bob)
    position = await broker.publish("room:3", "news", b"{}")
    seen: list[str] = []
    while page := hub.channel_states(prefix="room:", after=seen[-1] if seen else "", most=4):
        assert len(page) <= 4
        seen += [state.channel for state in page]
    assert seen == names
    assert hub.channel_states(most=1)[0].channel == "all"
    [state] = hub.channel_states(prefix="room:3", most=10)
    assert state == ChannelState("room:3", 2, position.epoch, position.offset)
    assert hub.channel_states(prefix="user:", most=10) == []


async def test_who_is_online_and_in_a_channel(hub: Hub, broker: MemoryBroker) -> None:
    """Users once each, subscribers of all dialects."""
    alice, again, bob = Listener(JSON, "alice"), Listener(MSGPACK, "alice"), Listener(JSON, "bob")
    await join(hub, broker, ROOM, alice, again)
    await join(hub, broker, "all", bob)
    assert sorted(hub.online_users()) == ["alice", "bob"]
    assert set(hub.subscribers_of(ROOM)) == {alice, again}
    assert hub.subscribers_of("room:empty") == []


async def test_every_round_of_fan_out_is_timed(hub: Hub, broker: MemoryBroker) -> None:
    """One observation for each round that had publications; answers alone are none."""
    seconds: list[float] = []
    hub.observe_fanout = seconds.append
    alice = Listener(JSON, "alice")
    await join(hub, broker, ROOM, alice)
    await publish(broker, ROOM, 3)
    await wait_all_tasks_blocked()
    assert len(seconds) == 1
    hub.reply(alice, b"\x81\x02{}")
    await wait_all_tasks_blocked()
    assert len(seconds) == 1
    await publish(broker, ROOM)
    await wait_all_tasks_blocked()
    assert len(seconds) == 2
    assert all(0 <= each < 60 for each in seconds)
