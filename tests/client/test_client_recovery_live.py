"""The client and a whole server: nothing is lost between them, over cuts, restarts of either, and absence."""

import trio
from support.network import Network, patience
from support.site import Site, configured
from trio.testing import MockClock, wait_all_tasks_blocked

from tidings.client import Client, Gap, Publication, Reconnect, Recovered, Resubscribed, connect
from tidings.client.acknowledging import ACK_SECONDS
from tidings.client.feed import Feed
from tidings.server.config import ChannelRule


async def offsets(feed: Feed[Publication | Gap], count: int) -> list[int | Gap]:
    """So many items: publications by their offset."""
    items = [await anext(feed) for _ in range(count)]
    return [item.offset if isinstance(item, Publication) else item for item in items]


async def publish(network: Network, channel: str, **more: str) -> None:
    await network.site.server.context.broker.publish(channel, "news", b"{}", **more)


async def test_a_cut_costs_nothing(network: Network) -> None:
    """What was published to a room, to all and to the user while the line was cut is handed over, in order."""
    async with patience(), network.connect() as client:
        feeds = [
            await client.join("x"),
            await client.subscribe("all"),
            await client.subscribe("user:alice"),
        ]
        channels = ("room:x", "all", "user:alice")
        for channel in channels:
            await publish(network, channel)
        for feed in feeds:
            assert await offsets(feed, 1) == [1]
        await network.cut()
        for _ in range(3):
            for channel in channels:
                await publish(network, channel)
        await client.ping()
        for channel in channels:
            await publish(network, channel)
        for feed in feeds:
            assert await offsets(feed, 4) == [2, 3, 4, 5]
        (told,) = network.of(Resubscribed)
        assert told.lost == ()
        assert {item.channel for item in told.recovered} == {"room:x", "all"}
        assert told.recovered[0] in (Recovered("room:x", 2, 4), Recovered("all", 2, 4))


async def test_what_is_no_longer_kept_is_a_gap(network: Network) -> None:
    """More was published than the room keeps: a gap for all of it, and the new ones."""
    async with patience(), network.connect() as client:
        room = await client.join("x")
        await publish(network, "room:x")
        assert await offsets(room, 1) == [1]
        await network.cut()
        for _ in range(200):
            await publish(network, "room:x")
        await client.ping()
        await publish(network, "room:x")
        gap, last = await offsets(room, 2)
        assert isinstance(gap, Gap)
        assert (gap.from_offset, gap.to_offset, last) == (2, 201, 202)


async def test_absence_is_safe(network: Network) -> None:
    """Published while the device was off: it is there when the device comes, once it was acknowledged no longer."""
    async with patience():
        async with network.connect(device="phone") as client:
            with client.publications() as feed:
                await publish(network, "user:alice")
                assert await offsets(feed, 1) == [1]
        for _ in range(3):
            await publish(network, "user:alice")
        async with network.connect(device="phone") as client, await client.subscribe("user:alice") as own:
            assert await offsets(own, 3) == [2, 3, 4]
            await trio.sleep(ACK_SECONDS * 2)
            await network.cut()
            await client.ping()
            await publish(network, "user:alice")
            assert await offsets(own, 1) == [5]
        async with network.connect(device="phone") as client:
            await client.ping()
            assert client.publications().waiting == 0


async def test_acknowledged_by_hand(network: Network) -> None:
    """Only what the application named is gone for the device; another device has its own position."""
    async with patience():
        for _ in range(3):
            await publish(network, "user:alice")
        for device in ("phone", "tablet"):
            # A first device begins with the oldest kept, a later one where any device stands.
            async with network.connect(device=device, acknowledge="manual") as client:
                feed = client.publications()
                first = await anext(feed)
                assert isinstance(first, Publication)
                assert first.offset == (1 if device == "phone" else 2)
                await client.ack(first)
        async with network.connect(device="phone", acknowledge="manual") as client:
            assert await offsets(client.publications(), 2) == [2, 3]


async def test_what_is_for_another_login_is_no_gap(network: Network) -> None:
    """A publication that excludes this login passes without a trace, live and after a cut."""
    token = network.site.token("alice", session_id="mine")
    async with patience(), network.connect(token=token) as client:
        own = await client.subscribe("user:alice")
        await publish(network, "user:alice")
        await publish(network, "user:alice", excluded_session="mine")
        await publish(network, "user:alice")
        assert await offsets(own, 2) == [1, 3]
        await network.cut()
        await publish(network, "user:alice", excluded_session="mine")
        await publish(network, "user:alice")
        await client.ping()
        assert await offsets(own, 1) == [5]
        assert own.waiting == 0


async def test_a_program_that_is_started_again(network: Network) -> None:
    """It goes on in its rooms from the positions that it kept."""
    async with patience():
        async with network.connect() as client, await client.join("x") as room:
            for _ in range(3):
                await publish(network, "room:x")
            assert await offsets(room, 3) == [1, 2, 3]
            room.finish()
            positions = client.positions()
        await publish(network, "room:x")
        async with network.connect(positions=positions) as client, await client.join("x") as room:
            await publish(network, "room:x")
            assert await offsets(room, 2) == [4, 5]


async def test_what_waited_to_be_sent_arrives_once(network: Network) -> None:
    """Said and published without a connection, to a room that hears it in order."""
    token = network.site.token("bob", roles=["admin"])
    async with (
        patience(),
        network.connect() as listener,
        network.connect(token=token) as client,
    ):
        heard = await listener.join("x")
        await client.join("x")
        network.down = True
        await trio.aclose_forcefully(network.streams[-1])
        await wait_all_tasks_blocked(0.001)
        for number in range(10):
            if number % 2:
                client.say_soon("x", str(number))
            else:
                client.publish_soon("room:x", "news", {"text": str(number)})
        network.down = False
        await client.flush()
        items = [await anext(heard) for _ in range(10)]
        assert [item.fields["text"] for item in items if isinstance(item, Publication)] == [
            str(number) for number in range(10)
        ]
        assert heard.waiting == 0


async def test_more_than_a_burst_is_sent_at_the_servers_rate(network: Network) -> None:
    """A queue longer than the server takes at once is sent without one refusal that is final."""
    async with patience(), network.connect(token=network.site.token("bob", roles=["admin"])) as client:
        for number in range(900):
            client.publish_soon("room:x", "news", {"n": number})
        await client.flush()
        history = await client.request("history", {"channel": "room:x", "limit": 100})
        assert history["offset"] == 900
        assert [one["data"]["n"] for one in history["publications"]][-1] == 899


async def test_a_room_that_everybody_returns_to(autojump_clock: MockClock) -> None:
    """Many clients, cut at different places again and again: each hears everything once, in order."""
    from support.site import memory_site

    rules = {"room:*": ChannelRule(history_size=1000)}
    async with memory_site(configured(channels=rules)) as site, patience():
        networks = [Network(site) for _ in range(8)]
        heard: list[list[int | Gap]] = [[] for _ in networks]
        done = 0

        async def listen(number: int) -> None:
            nonlocal done
            async with (
                networks[number].connect(
                    token=site.token(f"user{number}"), reconnect=Reconnect(base=0.2)
                ) as client,
                await client.join("x") as room,
            ):
                while len(heard[number]) < 200:
                    heard[number] += await offsets(room, 1)
                done += 1

        async with trio.open_nursery() as nursery:
            for number in range(len(networks)):
                nursery.start_soon(listen, number)
            await wait_all_tasks_blocked()
            for number in range(200):
                await publish(networks[0], "room:x")
                if number % 5 == 0:
                    await networks[number // 5 % len(networks)].cut()
                await trio.sleep(0.05)
        assert done == len(networks)
    assert heard == [list(range(1, 201))] * len(networks)


async def test_over_real_sockets(live_site: Site) -> None:
    """The same on TCP: cut in the middle of a stream of publications, everything arrives once, in order."""
    streams: list[trio.SocketStream] = []

    async def dial(address: object) -> trio.SocketStream:
        streams.append(await trio.open_tcp_stream("127.0.0.1", live_site.port))
        return streams[-1]

    heard: list[int] = []
    publisher = live_site.server.context.broker.publish

    async def send(client: Client) -> None:
        for number in range(300):
            await publisher("user:alice", "news", b"{}")
            if number % 60 == 30:
                await streams[-1].aclose()
                await client.ping()

    with trio.fail_after(60):
        async with (
            connect(
                f"ws://127.0.0.1:{live_site.port}",
                token=live_site.token(),
                device="phone",
                dial=dial,
                reconnect=Reconnect(base=0.01, cap=0.05),
            ) as client,
            await client.subscribe("user:alice") as own,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(send, client)
            async for item in own:
                assert isinstance(item, Publication), item
                heard.append(item.offset)
                if len(heard) == 300:
                    break
        devices = await live_site.server.context.broker.devices("user:alice")
    assert heard == list(range(1, 301))
    assert len(streams) == 6
    assert [(device.name, device.acknowledged) for device in devices] == [("phone", 300)]
