"""Acknowledging over cuts: no more than came on the connection, and nothing is forgotten. In virtual time."""

from typing import Any

import trio
from support.network import Network, patience
from support.scripted_server import OWN, scripted, take
from trio.testing import wait_all_tasks_blocked

from tidings.client import Gap, NotAcknowledged, Position, Publication
from tidings.client.acknowledging import ACK_SECONDS


async def test_a_refusal_that_nobody_waits_for_is_told(network: Network) -> None:
    """Acknowledged by taking the next: refused for good it is told once a connection, and tried on the next."""
    server = scripted(network, waiting=3)
    server.refuse = lambda command: (
        {"code": "forbidden", "message": "not yours"} if command["type"] == "ack" else None
    )
    async with patience(), network.connect() as client:
        own = await client.subscribe(OWN)
        assert [await take(own) for _ in range(3)] == [1, 2, 3]
        await trio.sleep(100)
        (told,) = network.of(NotAcknowledged)
        assert (told.offset, told.error.code) == (2, "forbidden")
        server.refuse = lambda _: None
        await network.cut()
        await trio.sleep(100)
        assert server.acknowledged == 2
        assert len(network.of(NotAcknowledged)) == 1


async def test_what_has_not_come_again_is_not_acknowledged_yet(network: Network) -> None:
    """The server takes no more than it has sent on this connection: as that comes again, it is acknowledged."""
    server = scripted(network)
    async with patience(), network.connect() as client:
        own = await client.subscribe(OWN)
        for _ in range(90):
            await server.publish(OWN)
        assert [await take(own) for _ in range(90)] == list(range(1, 91))
        server.pages = [0]
        await network.cut()
        await client.ping()
        await trio.sleep(ACK_SECONDS * 3)
        assert server.given("ack") == []
        await server.go_on()
        await wait_all_tasks_blocked()
        assert server.acknowledged == 89, "at once, when all of it has come"
        await server.publish(OWN)
        assert await take(own) == 91
        await trio.sleep(ACK_SECONDS * 2)
        assert server.acknowledged == 90
        assert network.of(NotAcknowledged) == []


async def test_it_is_acknowledged_page_by_page(network: Network) -> None:
    """A replay that takes its time is acknowledged up to where it came, within a second."""
    server = scripted(network)
    async with patience(), network.connect(acknowledge="manual") as client:
        own = await client.subscribe(OWN)
        for _ in range(60):
            await server.publish(OWN)
        items = [await anext(own) for _ in range(60)]
        server.pages = [40]
        await network.cut()
        await wait_all_tasks_blocked()
        acked = trio.Event()

        async def ack() -> None:
            assert isinstance(items[-1], Publication)
            await client.ack(items[-1])
            acked.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ack)
            await trio.sleep(5)
            assert (server.acknowledged, acked.is_set()) == (40, False)
            await server.go_on()
            await acked.wait()
        assert server.acknowledged == 60


async def test_what_was_not_for_us_counts_as_come(network: Network) -> None:
    """Excluded ones at the end of what comes again: what lies before and behind them is acknowledged."""
    server = scripted(network)
    async with patience(), network.connect() as client:
        own = await client.subscribe(OWN)
        for excluded in (False, True, False, False):
            await server.publish(OWN, excluded=excluded)
        assert [await take(own) for _ in range(3)] == [1, 3, 4]
        await network.cut()
        await client.ping()
        await server.publish(OWN, excluded=True)
        await server.publish(OWN)
        assert await take(own) == 6
        await trio.sleep(ACK_SECONDS * 2)
        assert server.acknowledged == 5
        assert network.of(NotAcknowledged) == []


async def test_positions_that_are_ahead_do_not_end_acknowledging(network: Network) -> None:
    """A program that kept its position, and died before it was acknowledged: told as it comes again."""
    server = scripted(network, waiting=50)
    server.pages = [0]
    async with patience(), network.connect(positions={OWN: Position("e0", 40)}) as client:
        own = await client.subscribe(OWN)
        await trio.sleep(ACK_SECONDS * 2)
        assert server.given("ack") == []
        await server.go_on()
        assert await take(own) == 41
        await trio.sleep(ACK_SECONDS * 2)
        assert server.acknowledged == 40


async def test_a_new_epoch_before_the_answer(network: Network) -> None:
    """The inbox begins anew between an acknowledgement and its answer: which counts for nothing in it."""
    server = scripted(network, waiting=2)

    def renew(command: dict[str, Any]) -> bool:
        if command["type"] == "ack" and server.channel(OWN).epoch == "e0":
            server.channel(OWN).epoch = "e1"
            server.channel(OWN).offset = 0
            server._say_position(OWN, 0)
            server.acknowledged = 0
        return False

    server.end_before_answer = renew
    async with patience(), network.connect() as client:
        own = await client.subscribe(OWN)
        assert [await take(own) for _ in range(2)] == [1, 2]
        await trio.sleep(ACK_SECONDS * 2)
        assert await anext(own) == Gap(OWN, 3, None, "e1")
        await server.publish(OWN)
        assert await take(own) == 1
        own.finish()
        await trio.sleep(ACK_SECONDS * 2)
        assert server.acknowledged == 1


async def test_a_new_epoch_under_way_is_acknowledged_too(network: Network) -> None:
    """The inbox begins anew on a living connection: what comes then is acknowledged without a new connection."""
    server = scripted(network, waiting=3)
    async with patience(), network.connect() as client:
        own = await client.subscribe(OWN)
        old = [await anext(own) for _ in range(3)]
        await server.renew(OWN)
        assert await anext(own) == Gap(OWN, 4, None, "e1")
        assert isinstance(old[-1], Publication)
        await client.ack(old[-1])
        for _ in range(3):
            await server.publish(OWN)
        assert [await take(own) for _ in range(3)] == [1, 2, 3]
        await trio.sleep(ACK_SECONDS * 2)
        assert server.acknowledged == 2
