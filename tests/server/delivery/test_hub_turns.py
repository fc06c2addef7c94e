"""What nobody may cost the others: turns of the scheduler, and the place of an answer."""

from collections.abc import Callable

import trio
from support.fakes import JSON, Listener, join, publish
from trio.testing import wait_all_tasks_blocked

from tidings.protocol.frames import Opcode, build_frame
from tidings.server.brokers.memory import MemoryBroker
from tidings.server.delivery.hub import OFFERS_PER_TURN, Hub

ROOM = "room:lobby"
ANSWER = build_frame(Opcode.TEXT, b'{"type":"pong"}')
LATER = build_frame(Opcode.TEXT, b'{"type":"pong","later":true}')


class Stopwatch:
    """The most offers made between two turns of another task."""

    def __init__(self) -> None:
        self.offers = 0
        self.longest = 0

    def timed(self, offer: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """An offer that counts."""

        def counted(data: bytes) -> None:
            self.offers += 1
            offer(data)

        return counted

    async def watch(self) -> None:
        """Take every turn there is."""
        while True:
            await trio.lowlevel.checkpoint()
            self.longest = max(self.longest, self.offers)
            self.offers = 0


async def crowd_with(watch: Stopwatch, count: int) -> list[Listener]:
    """Listeners whose offers are counted."""
    crowd = [Listener(JSON, f"u{at}") for at in range(count)]
    for listener in crowd:
        listener.offer = watch.timed(listener.offer)  # type: ignore[assignment,method-assign]
    return crowd


async def test_a_large_room_leaves_turns_to_others(
    hub: Hub, broker: MemoryBroker, nursery: trio.Nursery
) -> None:
    """Between two turns of any other task the flusher makes at most OFFERS_PER_TURN offers."""
    watch = Stopwatch()
    crowd = await crowd_with(watch, 3 * OFFERS_PER_TURN + 1)
    await join(hub, broker, ROOM, *crowd)
    nursery.start_soon(watch.watch)
    await publish(broker, ROOM)
    while not crowd[-1].offers:
        await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    # The order of two tasks within a turn is free, so two turns may stand side by side.
    assert 0 < watch.longest <= 2 * OFFERS_PER_TURN


async def test_many_small_channels_leave_turns_to_others(
    hub: Hub, broker: MemoryBroker, nursery: trio.Nursery
) -> None:
    """A notification to each of many users is as much work as one to a large room, and yields as often."""
    watch = Stopwatch()
    crowd = await crowd_with(watch, 5 * OFFERS_PER_TURN)
    for listener in crowd:
        await join(hub, broker, f"user:{listener.identity.user_id}", listener)
    nursery.start_soon(watch.watch)
    for listener in crowd:
        await publish(broker, f"user:{listener.identity.user_id}")
    while not crowd[-1].offers:
        await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    assert 0 < watch.longest <= 2 * OFFERS_PER_TURN


async def test_many_answers_leave_turns_to_others(hub: Hub, nursery: trio.Nursery) -> None:
    """Answers to thousands of connections in one tick yield as a fan-out does."""
    watch = Stopwatch()
    crowd = await crowd_with(watch, 5 * OFFERS_PER_TURN)
    nursery.start_soon(watch.watch)
    for listener in crowd:
        hub.reply(listener, ANSWER)
    # Served in any order: all of them, and two turns more, so that the watch has had its own.
    while not all(listener.offers for listener in crowd):
        await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    assert 0 < watch.longest <= 2 * OFFERS_PER_TURN


async def test_answers_leave_though_a_large_room_is_never_quiet(
    hub: Hub, broker: MemoryBroker, nursery: trio.Nursery
) -> None:
    """A room whose every flush meets the next publication does not hold back other people's answers."""
    await join(hub, broker, ROOM, *[Listener(JSON) for _ in range(2 * OFFERS_PER_TURN)])

    async def publish_for_ever() -> None:
        while True:
            await publish(broker, ROOM)
            await trio.lowlevel.checkpoint()

    nursery.start_soon(publish_for_ever)
    alice = Listener(JSON)
    hub.reply(alice, ANSWER)
    for _ in range(50):
        await trio.lowlevel.checkpoint()
    assert alice.offers == [ANSWER]


async def test_publications_leave_though_answers_never_cease(
    hub: Hub, broker: MemoryBroker, nursery: trio.Nursery
) -> None:
    """Answers to a crowd that asks without a pause do not hold back what is published."""
    alice = Listener(JSON)
    await join(hub, broker, ROOM, alice)
    crowd = [Listener(JSON) for _ in range(2 * OFFERS_PER_TURN)]

    async def answer_for_ever() -> None:
        while True:
            for listener in crowd:
                hub.reply(listener, ANSWER)
            await trio.lowlevel.checkpoint()

    nursery.start_soon(answer_for_ever)
    while not any(listener.offers for listener in crowd):
        await trio.lowlevel.checkpoint()
    await publish(broker, ROOM)
    for _ in range(20):
        await trio.lowlevel.checkpoint()
    assert alice.offsets(ROOM) == [1]
    assert all(listener.offers for listener in crowd), "nor the newest answers the oldest"


async def test_answers_that_wait_for_a_large_flush_keep_their_place(hub: Hub, broker: MemoryBroker) -> None:
    """An answer given in the middle of a flush comes behind all that was published before it."""
    crowd = [Listener(JSON) for _ in range(3 * OFFERS_PER_TURN)]
    await join(hub, broker, ROOM, *crowd)
    await publish(broker, ROOM)
    while not crowd[0].offers:
        await trio.lowlevel.checkpoint()
    last = crowd[-1]
    hub.reply(last, ANSWER)
    await publish(broker, ROOM)
    hub.reply(last, ANSWER)
    await wait_all_tasks_blocked()
    assert last.offsets(ROOM) == [1, 2]
    assert last.frames[2:] == [ANSWER, ANSWER]


async def test_answers_given_while_answers_leave_keep_their_place(hub: Hub, broker: MemoryBroker) -> None:
    """An answer given while thousands of others leave still comes behind what was published before it."""
    alice = Listener(JSON)
    await join(hub, broker, ROOM, alice)
    crowd = [Listener(JSON) for _ in range(3 * OFFERS_PER_TURN)]
    for listener in crowd:
        hub.reply(listener, ANSWER)
    while not any(listener.offers for listener in crowd):
        await trio.lowlevel.checkpoint()
    await publish(broker, ROOM)
    hub.reply(alice, ANSWER)
    await wait_all_tasks_blocked()
    assert alice.offsets(ROOM) == [1]
    assert alice.frames[1:] == [ANSWER]


async def test_answers_of_one_connection_never_overtake_each_other(hub: Hub) -> None:
    """Whether an answer waits, leaves in turn, or is sent at once: they arrive as they were given."""
    crowd = [Listener(JSON) for _ in range(3 * OFFERS_PER_TURN)]
    first, second = ANSWER, LATER
    for listener in crowd:
        hub.reply(listener, first)
    while not any(listener.offers for listener in crowd):
        await trio.lowlevel.checkpoint()
    for listener in crowd[::2]:
        hub.reply(listener, second)
    for listener in crowd[1::2]:
        hub.reply_now(listener, second)
    await wait_all_tasks_blocked()
    assert all(listener.frames == [first, second] for listener in crowd)
