"""The inbox: read from where the device stands, acknowledged when it is dealt with. In virtual time."""

from contextlib import suppress

import pytest
import trio
from support.network import Network, patience
from support.scripted_server import OWN, scripted, take
from trio.testing import wait_all_tasks_blocked

from tidings.client import (
    Client,
    CommandRefused,
    Disconnected,
    Gap,
    NotAcknowledged,
    Overflow,
    Position,
    Publication,
)
from tidings.client.acknowledging import ACK_EVERY, ACK_SECONDS
from tidings.client.link import CLOSE_SECONDS


async def test_what_waited_is_handed_to_whoever_listens_first(network: Network) -> None:
    """The inbox comes before anybody can listen: nothing of it is lost, and the own channel is not asked for."""
    server = scripted(network, waiting=3)
    server.acknowledged = 1
    async with patience(), network.connect(device="phone") as client:
        await wait_all_tasks_blocked()
        feed = client.publications()
        assert [await take(feed) for _ in range(2)] == [2, 3]
        async with await client.subscribe(OWN) as own:
            await server.publish(OWN)
            assert (await take(own), await take(feed)) == (4, 4)
        assert OWN not in [data["channel"] for data in server.given("subscribe")]
        assert network.addresses[0].path == "/ws?device=phone"


async def test_the_next_one_acknowledges_the_last(network: Network) -> None:
    """What is being handled is not acknowledged; what was handled is, within a second, in one command."""
    server = scripted(network, waiting=5)
    async with patience(), network.connect() as client:
        own = await client.subscribe(OWN)
        assert await take(own) == 1
        await trio.sleep(ACK_SECONDS * 5)
        assert server.given("ack") == []
        for _ in range(3):
            await take(own)
        await trio.sleep(ACK_SECONDS * 1.5)
        assert server.given("ack") == [{"channel": OWN, "offset": 3}]
        await trio.sleep(100)
        assert len(server.given("ack")) == 1


async def test_many_are_acknowledged_at_once(network: Network) -> None:
    """After so many there is no waiting for the second; one command at a time, and the newest wins."""
    server = scripted(network)
    async with patience(), network.connect() as client:
        own = await client.subscribe(OWN)
        begun = trio.current_time()
        for _ in range(ACK_EVERY * 3 + 10):
            await server.publish(OWN)
            await take(own)
        await wait_all_tasks_blocked()
        assert trio.current_time() == begun
        acks = [data["offset"] for data in server.given("ack")]
        assert len(acks) == 3
        assert acks[0] >= ACK_EVERY
        assert acks == sorted(acks)


async def test_a_failure_while_handling_loses_nothing(network: Network) -> None:
    """Left with an error, the publication in hand comes again; closed without one, it counts as handled."""
    server = scripted(network, waiting=3)
    async with patience():
        with suppress(KeyError):
            async with network.connect() as client, await client.subscribe(OWN) as own:
                await take(own)
                await take(own)
                raise KeyError("handling the second")
        assert server.acknowledged == 1, "flushed before the goodbye"
        async with network.connect() as client, await client.subscribe(OWN) as own:
            assert [await take(own), await take(own)] == [2, 3]
        assert server.acknowledged == 3
        async with network.connect() as client:
            await client.ping()
            assert client.publications().waiting == 0


@pytest.mark.parametrize("how", ["nobody", "rooms"])
async def test_where_nobody_listens_nothing_is_acknowledged(network: Network, how: str) -> None:
    """A client for rooms leaves the inbox alone, over reconnections too; whoever listens later gets it once."""
    server = scripted(network, waiting=2)
    async with patience(), network.connect() as client:
        if how == "rooms":
            await client.join("lobby")
        await network.cut()
        await trio.sleep(10)
        await client.ping()
        assert server.given("ack") == []
        with client.publications() as feed:
            assert [await take(feed), await take(feed)] == [1, 2]
            assert feed.waiting == 0


async def test_everybody_who_listens_must_be_done(network: Network) -> None:
    """Of two who listen the slower one decides; what one leaves unread waits only where no other has it."""
    server = scripted(network, waiting=1)
    async with patience(), network.connect() as client:
        await client.ping()
        quick, slow = client.publications(), await client.subscribe(OWN)
        for _ in range(4):
            await server.publish(OWN)
        assert [await take(quick) for _ in range(5)] == [1, 2, 3, 4, 5]
        assert [await take(slow) for _ in range(2)] == [2, 3]
        await trio.sleep(ACK_SECONDS * 2)
        assert server.acknowledged == 2
        await slow.aclose()
        await trio.sleep(ACK_SECONDS * 2)
        assert server.acknowledged == 4, "what `slow` has not taken `quick` has"
        quick.close()
        await trio.sleep(ACK_SECONDS * 2)
        assert server.acknowledged == 5


async def test_what_a_feed_leaves_goes_to_the_next(network: Network) -> None:
    """Closed, or just let go of, before the end: the rest waits for the next who listens, in order."""
    server = scripted(network, waiting=4)
    async with patience(), network.connect() as client:
        feed = client.publications()
        assert await take(feed) == 1
        del feed
        async with await client.subscribe(OWN) as own:
            assert [await take(own), await take(own)] == [1, 2]
        await server.publish(OWN)
        await trio.sleep(ACK_SECONDS * 2)
        assert server.acknowledged == 2
        with client.publications() as feed:
            assert [await take(feed) for _ in range(3)] == [3, 4, 5]
    assert server.acknowledged == 5


async def test_an_overflow_is_dealt_with_like_a_publication(network: Network) -> None:
    """Before whoever was told iterates on, nothing from the first dropped one on is acknowledged."""
    server = scripted(network)
    async with patience(), network.connect(queue=2) as client:
        own = await client.subscribe(OWN)
        for _ in range(5):
            await server.publish(OWN)
        await client.ping()
        assert [await take(own), await take(own)] == [1, 2]
        with pytest.raises(Overflow):
            await anext(own)
        await trio.sleep(ACK_SECONDS * 2)
        assert server.acknowledged == 2
        assert client.positions()[OWN] == Position("e0", 2)
        await server.publish(OWN)
        assert await take(own) == 6
        await trio.sleep(ACK_SECONDS * 2)
        assert server.acknowledged == 5


async def test_acknowledgements_survive_the_connection(network: Network) -> None:
    """One that was lost with the connection is told on the next; what comes again is handed over once."""
    server = scripted(network, waiting=3)
    lose = True
    server.refuse = lambda command: {} if lose and command["type"] == "ack" else None
    async with patience(), network.connect() as client:
        own = await client.subscribe(OWN)
        assert [await take(own) for _ in range(3)] == [1, 2, 3]
        await trio.sleep(ACK_SECONDS * 2)
        assert len(server.given("ack")) == 1
        lose = False
        await network.cut()
        await client.ping()
        await trio.sleep(ACK_SECONDS * 2)
        assert server.acknowledged == 2
        await server.publish(OWN)
        assert await take(own) == 4


async def test_a_refused_acknowledgement(network: Network) -> None:
    """For now: tried again when the server said. For good: told to who waits, and not asked for again and again."""
    server = scripted(network, waiting=2)
    refusals = [{"code": "rate_limited", "message": "slow", "retry_after": 7}]
    server.refuse = lambda command: refusals.pop() if command["type"] == "ack" and refusals else None
    async with patience(), network.connect(acknowledge="manual") as client:
        own = await client.subscribe(OWN)
        first, second = await anext(own), await anext(own)
        assert isinstance(first, Publication)
        assert isinstance(second, Publication)
        begun = trio.current_time()
        await client.ack(first)
        assert trio.current_time() - begun == pytest.approx(7, abs=ACK_SECONDS + 0.1)
        refusals.append({"code": "not_found", "message": "no inbox"})
        with pytest.raises(CommandRefused, match="no inbox"):
            await client.ack(second)
        await trio.sleep(100)
        assert len(server.given("ack")) == 3
        (told,) = network.of(NotAcknowledged)
        assert (told.offset, told.error.code) == (2, "not_found")


async def test_by_hand(network: Network) -> None:
    """Only what the application names is acknowledged, at once; it waits until the server knows."""
    server = scripted(network, waiting=5)
    async with patience(), network.connect(acknowledge="manual") as client:
        own = await client.subscribe(OWN)
        items = [await anext(own) for _ in range(5)]
        await trio.sleep(ACK_SECONDS * 5)
        assert server.given("ack") == []
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            for item in items[:4]:
                assert isinstance(item, Publication)
                nursery.start_soon(client.ack, item)
        assert trio.current_time() == begun
        assert server.acknowledged == 4
        assert len(server.given("ack")) <= 2, "several become one"
        await client.ack(items[0])  # type: ignore[arg-type]  # a Publication
        room = await client.subscribe("room:x")
        await server.publish("room:x")
        other = await anext(room)
        assert isinstance(other, Publication)
        with pytest.raises(ValueError, match="room:x"):
            await client.ack(other)
    assert server.acknowledged == 4


async def test_a_new_epoch_is_not_acknowledged_with_old_numbers(network: Network) -> None:
    """What was dealt with before the inbox began anew says nothing of what is in it now."""
    server = scripted(network, waiting=3)
    async with patience(), network.connect() as client:
        own = await client.subscribe(OWN)
        old = [await anext(own) for _ in range(3)]
        network.down = True
        await network.cut()
        await server.renew(OWN)
        for _ in range(5):
            server.channel(OWN).publish()
        network.down = False
        await client.ping()
        await trio.sleep(ACK_SECONDS * 3)
        assert server.acknowledged == 0
        assert isinstance(old[2], Publication)
        await client.ack(old[2])
        assert server.acknowledged == 0
        assert await anext(own) == Gap(OWN, 4, None, "e1")
        assert await take(own) == 1
        await trio.sleep(ACK_SECONDS * 3)
        assert server.acknowledged == 0
        assert await take(own) == 2
        await trio.sleep(ACK_SECONDS * 3)
        assert server.acknowledged == 1


async def test_acknowledged_by_another_in_its_name(network: Network) -> None:
    """What a second client of the same device took and we do not have is a gap."""
    server = scripted(network, waiting=2)
    async with patience(), network.connect() as client:
        own = await client.subscribe(OWN)
        assert [await take(own), await take(own)] == [1, 2]
        network.down = True
        await network.cut()
        for _ in range(4):
            server.channel(OWN).publish()
        server.acknowledged = 5
        network.down = False
        await client.ping()
        assert await anext(own) == Gap(OWN, 3, 5, "e0")
        assert await take(own) == 6


async def test_leaving_waits_for_the_last_acknowledgement_within_its_bound(network: Network) -> None:
    """A server that does not answer it does not hold up the goodbye; who waits for it is told."""
    server = scripted(network, waiting=2)
    server.refuse = lambda command: {} if command["type"] == "ack" else None
    kept: list[Client] = []
    async with patience():
        async with network.connect() as client, await client.subscribe(OWN) as own:
            kept.append(client)
            item = await anext(own)
            await anext(own)
            begun = trio.current_time()
        assert trio.current_time() - begun <= CLOSE_SECONDS
        assert len(server.given("ack")) == 1
        assert isinstance(item, Publication)
        with pytest.raises(Disconnected):
            await kept[0].ack(item)


async def test_a_way_to_acknowledge_that_is_none(network: Network) -> None:
    """At once, with the ways that there are."""
    with pytest.raises(ValueError, match='"manual"'):
        async with network.connect(acknowledge="never"):
            pass
