"""The hub's rules of order, each a test. The flusher runs; time is virtual."""

import trio
from support.fakes import JSON, MSGPACK, Listener, join, publish
from trio.testing import wait_all_tasks_blocked

from tidings.protocol.frames import Opcode, build_frame
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.delivery.fanout import FLUSH_BYTES, PENDING_PUBLICATIONS
from tidings.server.delivery.hub import OFFERS_PER_TURN, Hub

ROOM = "room:lobby"


def answer(number: int) -> bytes:
    return build_frame(Opcode.TEXT, b'{"type":"pong","data":{},"number":%d}' % number)


async def test_a_burst_of_one_tick_is_one_offer(hub: Hub, broker: MemoryBroker) -> None:
    """What one step publishes leaves at the end of the tick, joined into one offer for each subscriber."""
    alice, bob = Listener(JSON), Listener(MSGPACK)
    await join(hub, broker, ROOM, alice, bob)
    await publish(broker, ROOM, 20)
    assert (alice.offers, bob.offers) == ([], [])
    await wait_all_tasks_blocked()
    for listener in (alice, bob):
        assert len(listener.offers) == 1
        assert listener.offsets(ROOM) == list(range(1, 21))


async def test_what_everybody_publishes_who_is_runnable_now_is_one_offer(
    hub: Hub, broker: MemoryBroker
) -> None:
    """A flush waits one turn: tasks that run beside the woken flusher join it, whatever their order."""
    alice = Listener(JSON)
    await join(hub, broker, ROOM, alice)

    async def publish_in_the_next_turn() -> None:
        await trio.lowlevel.checkpoint()
        await publish(broker, ROOM)

    # The order of tasks within a turn is random: once would prove little.
    for round_number in range(1, 21):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish, broker, ROOM)
            for _ in range(4):
                nursery.start_soon(publish_in_the_next_turn)
        await wait_all_tasks_blocked()
        assert len(alice.offers) == round_number
    assert alice.offsets(ROOM) == list(range(1, 101))


async def test_a_long_burst_leaves_in_pieces(hub: Hub, broker: MemoryBroker) -> None:
    """Joined frames keep to FLUSH_BYTES, and the order holds across the pieces."""
    alice = Listener(JSON)
    await join(hub, broker, ROOM, alice)
    for _ in range(100):
        await broker.publish(ROOM, "news", b'{"text":"%s"}' % (b"x" * 2_000))
    await wait_all_tasks_blocked()
    assert [len(offer) <= FLUSH_BYTES for offer in alice.offers] == [True] * 4
    assert alice.offsets(ROOM) == list(range(1, 101))


async def test_a_publication_is_encoded_once_for_each_dialect(hub: Hub, broker: MemoryBroker) -> None:
    """However many listen, each dialect encodes once, and all its subscribers share one object."""
    listeners = [Listener(JSON) for _ in range(50)] + [Listener(MSGPACK) for _ in range(30)]
    await join(hub, broker, ROOM, *listeners)
    await publish(broker, ROOM)
    await wait_all_tasks_blocked()
    assert len({id(listener.offers[0]) for listener in listeners}) == 2
    assert hub.statistics().encodings == 2
    await publish(broker, ROOM, 3)
    await wait_all_tasks_blocked()
    assert len({id(listener.offers[1]) for listener in listeners}) == 2
    assert hub.statistics().encodings == 8


async def crowd_in_mid_flush(hub: Hub, broker: MemoryBroker, count: int = 1) -> list[Listener]:
    """A room so large that its flush, of publications 1 to `count`, has reached some and not all."""
    crowd = [Listener(JSON) for _ in range(2 * OFFERS_PER_TURN + 500)]
    await join(hub, broker, ROOM, *crowd)
    await publish(broker, ROOM, count)
    while not crowd[0].offers:
        await trio.lowlevel.checkpoint()
    assert not crowd[-1].offers, "the flush yields before it is through"
    return crowd


async def test_who_joins_in_the_middle_of_a_flush_gets_what_follows(hub: Hub, broker: MemoryBroker) -> None:
    """The flush under way is finished first: the others get it once, the newcomer only what comes later."""
    crowd = await crowd_in_mid_flush(hub, broker)
    newcomer = Listener(JSON)
    [position] = await join(hub, broker, ROOM, newcomer)
    assert position.offset == 1
    assert all(listener.offsets(ROOM) == [1] for listener in crowd)
    await publish(broker, ROOM)
    await wait_all_tasks_blocked()
    assert newcomer.offsets(ROOM) == [2]
    assert all(listener.offsets(ROOM) == [1, 2] for listener in crowd)


async def test_who_joins_behind_pending_publications_is_told_their_position(
    hub: Hub, broker: MemoryBroker
) -> None:
    """Pending publications, and those of a flush under way, all leave before the newcomer stands in the room."""
    crowd = await crowd_in_mid_flush(hub, broker)
    await publish(broker, ROOM, 2)
    newcomer = Listener(JSON)
    [position] = await join(hub, broker, ROOM, newcomer)
    assert position.offset == 3
    assert all(listener.offsets(ROOM) == [1, 2, 3] for listener in crowd)
    await wait_all_tasks_blocked()
    assert newcomer.offers == []
    assert all(listener.offsets(ROOM) == [1, 2, 3] for listener in crowd)


async def test_who_leaves_in_the_middle_of_a_flush_gets_the_rest_first(
    hub: Hub, broker: MemoryBroker
) -> None:
    """When `unsubscribe` returns, everything published before has been offered, and nothing comes after."""
    crowd = await crowd_in_mid_flush(hub, broker)
    await publish(broker, ROOM)
    leaver = crowd[-1]
    assert hub.unsubscribe(leaver, ROOM)
    assert leaver.offsets(ROOM) == [1, 2]
    await publish(broker, ROOM)
    await wait_all_tasks_blocked()
    assert leaver.offsets(ROOM) == [1, 2]
    assert all(listener.offsets(ROOM) == [1, 2, 3] for listener in crowd[:-1])


async def test_what_is_published_in_the_middle_of_a_flush_follows_it(
    hub: Hub, broker: MemoryBroker
) -> None:
    """One flush at a time: those already served wait for the others before the next publication."""
    crowd = await crowd_in_mid_flush(hub, broker)
    await publish(broker, ROOM)
    await trio.lowlevel.checkpoint()
    assert all(listener.offsets(ROOM) in ([], [1]) for listener in crowd)
    await wait_all_tasks_blocked()
    assert all(listener.offsets(ROOM) == [1, 2] for listener in crowd)


async def test_a_connection_that_dies_in_the_middle_of_a_flush_disturbs_nobody(
    hub: Hub, broker: MemoryBroker
) -> None:
    """Disconnecting, of one or of all, neither skips nor repeats anybody in the flush under way."""
    crowd = await crowd_in_mid_flush(hub, broker)
    for dead in (crowd[0], crowd[-1], *crowd[500:600]):
        hub.disconnect(dead)
    await wait_all_tasks_blocked()
    living = [listener for listener in crowd if hub.is_subscribed(listener, ROOM)]
    assert len(living) == len(crowd) - 102
    assert all(listener.offsets(ROOM) == [1] for listener in living)
    await publish(broker, ROOM)
    await trio.lowlevel.checkpoint()
    for listener in crowd:
        hub.disconnect(listener)
    await wait_all_tasks_blocked()
    assert hub.statistics().channels == 0


async def test_subscribe_publish_unsubscribe_in_one_tick(hub: Hub, broker: MemoryBroker) -> None:
    """Without a single turn for the flusher the subscriber gets exactly what was published in between."""
    witness, passer_by = Listener(JSON), Listener(JSON)
    await join(hub, broker, ROOM, witness)
    await publish(broker, ROOM)
    [position] = await join(hub, broker, ROOM, passer_by)
    await publish(broker, ROOM)
    assert hub.unsubscribe(passer_by, ROOM)
    await publish(broker, ROOM)
    assert position.offset == 1
    assert passer_by.offsets(ROOM) == [2]
    await wait_all_tasks_blocked()
    assert passer_by.offsets(ROOM) == [2]
    assert witness.offsets(ROOM) == [1, 2, 3]


async def test_subscribing_twice_is_subscribing_once(hub: Hub, broker: MemoryBroker) -> None:
    """A second subscribe tells the position reached meanwhile and doubles nothing."""
    alice = Listener(JSON)
    await join(hub, broker, ROOM, alice)
    await publish(broker, ROOM)
    [position] = await join(hub, broker, ROOM, alice)
    assert position.offset == 1
    await publish(broker, ROOM)
    await wait_all_tasks_blocked()
    assert alice.offsets(ROOM) == [1, 2]
    assert hub.statistics().subscriptions == 1
    assert hub.unsubscribe(alice, ROOM)
    assert not hub.unsubscribe(alice, ROOM)


async def test_a_new_room_begins_at_the_brokers_position(hub: Hub, broker: MemoryBroker) -> None:
    """The first subscriber of a channel that was published to before gets only what follows."""
    await publish(broker, ROOM, 3)
    alice = Listener(JSON)
    [position] = await join(hub, broker, ROOM, alice)
    assert position == await broker.open(ROOM)
    assert position.offset == 3
    await publish(broker, ROOM)
    await wait_all_tasks_blocked()
    assert alice.offsets(ROOM) == [4]


async def test_answers_follow_the_publications_of_their_tick(hub: Hub, broker: MemoryBroker) -> None:
    """An answer waits for the channels' flush and is joined with the other answers of the connection."""
    alice = Listener(JSON)
    await join(hub, broker, ROOM, alice)
    hub.reply(alice, answer(1))
    await publish(broker, ROOM)
    hub.reply(alice, answer(2))
    assert alice.offers == []
    await wait_all_tasks_blocked()
    assert [message.get("number", "news") for message in alice.messages] == ["news", 1, 2]
    assert len(alice.offers) == 2


async def test_an_answer_about_a_subscription_leaves_at_once_behind_earlier_answers(
    hub: Hub, broker: MemoryBroker
) -> None:
    """`reply_now` waits for nobody, overtakes no earlier answer, and no later publication overtakes it."""
    alice = Listener(JSON)
    await join(hub, broker, ROOM, alice)
    hub.reply(alice, answer(1))
    hub.reply_now(alice, answer(2))
    assert alice.frames == [answer(1), answer(2)]
    await publish(broker, ROOM)
    hub.reply(alice, answer(3))
    await wait_all_tasks_blocked()
    assert [message.get("number", "news") for message in alice.messages] == [1, 2, "news", 3]


async def test_answers_reach_who_is_not_registered_yet(hub: Hub) -> None:
    """A connection that has not said who it is gets its answers too."""
    stranger = Listener(JSON)
    hub.reply(stranger, answer(1))
    await wait_all_tasks_blocked()
    hub.reply_now(stranger, answer(2))
    assert stranger.frames == [answer(1), answer(2)]


async def test_settling_before_a_close_offers_all_that_was_published(
    hub: Hub, broker: MemoryBroker
) -> None:
    """When `settle` returns the connection has every publication of its channels, then its answers."""
    alice, bob = Listener(JSON), Listener(JSON)
    await join(hub, broker, ROOM, alice, bob)
    await join(hub, broker, "all", alice)
    await publish(broker, ROOM, 2)
    hub.reply(alice, answer(1))
    hub.reply(bob, answer(1))
    await publish(broker, "all")
    hub.settle(alice)
    assert (alice.offsets(ROOM), alice.offsets("all"), alice.frames[-1]) == ([1, 2], [1], answer(1))
    assert bob.offsets(ROOM) == [1, 2]
    settled = list(alice.offers)
    hub.settle(alice)
    await wait_all_tasks_blocked()
    assert alice.offers == settled
    assert bob.frames[-1] == answer(1)


async def test_a_producer_that_never_yields_is_flushed_in_its_own_step(
    hub: Hub, broker: MemoryBroker
) -> None:
    """At most PENDING_PUBLICATIONS of a channel pile up, whoever publishes them, and the order holds."""
    alice = Listener(JSON)
    await join(hub, broker, ROOM, alice)
    await publish(broker, ROOM, PENDING_PUBLICATIONS - 1)
    assert alice.offers == []
    await publish(broker, ROOM, PENDING_PUBLICATIONS + 500)
    assert alice.offsets(ROOM) == list(range(1, 2 * PENDING_PUBLICATIONS + 1))
    await wait_all_tasks_blocked()
    assert alice.offsets(ROOM) == list(range(1, 2 * PENDING_PUBLICATIONS + 500))


async def test_all_subscribers_see_one_order_and_the_same_bytes(hub: Hub, broker: MemoryBroker) -> None:
    """Publishers in several tasks and two channels: every subscriber of a dialect gets the same frames."""
    listeners = [Listener(JSON) for _ in range(5)] + [Listener(MSGPACK) for _ in range(5)]
    for channel in (ROOM, "all"):
        await join(hub, broker, channel, *listeners)

    async def publisher(channel: str) -> None:
        for _ in range(30):
            await publish(broker, channel)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for channel in (ROOM, "all", ROOM):
            nursery.start_soon(publisher, channel)
    await wait_all_tasks_blocked()
    for dialect in (JSON, MSGPACK):
        heard = [b"".join(listener.offers) for listener in listeners if listener.dialect is dialect]
        assert len(set(heard)) == 1
    assert listeners[0].offsets(ROOM) == list(range(1, 61))
    assert listeners[0].offsets("all") == list(range(1, 31))
