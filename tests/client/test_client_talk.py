"""A client and a server in conversation: subscriptions, commands, answers, events."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest
import trio
from support.network import Network, patience
from trio.testing import wait_all_tasks_blocked

from tidings.client import (
    Client,
    CommandRefused,
    Connected,
    Disconnected,
    Notice,
    Overflow,
    Publication,
    Published,
    TokenExpiring,
)
from tidings.protocol.messages.events import Notification, RoomMessage


class Order(msgspec.Struct):
    """A payload of an application's own."""

    number: int


async def _next(feed: trio.abc.AsyncResource | object) -> Publication:
    item = await anext(feed)  # type: ignore[call-overload]  # any feed
    assert isinstance(item, Publication)
    return item


async def test_a_subscriber_hears_what_is_published(network: Network) -> None:
    """Channel, event, position, time and payload arrive; registered payloads as their Struct."""
    async with patience(), network.connect(types={"order": Order}) as client:  # noqa: SIM117  as an application does
        async with await client.subscribe("user:alice") as mine:
            broker = network.site.server.context.broker
            await broker.publish("user:alice", "order", b'{"number":7,"more":[1]}', user_id="alice")
            await broker.publish("user:alice", "order", b'{"number":"seven"}')
            await broker.publish("user:alice", "notification", b'{"title":"a","message":"b"}')
            await broker.publish("user:alice", "unheard", b'{"a":1}')
            order, misfit, notification, unheard = [await _next(mine) for _ in range(4)]
    assert (order.channel, order.event, order.payload, order.offset) == ("user:alice", "order", Order(7), 1)
    assert order.fields == {"number": 7, "more": [1]}
    assert order.user_id == "alice"
    assert order.epoch
    assert order.timestamp is not None
    assert order.misfit is None
    assert misfit.payload == {"number": "seven"}
    assert misfit.misfit is not None
    assert notification.payload == Notification("a", "b")
    assert (unheard.payload, unheard.misfit) == ({"a": 1}, None)


async def test_a_type_registered_later_counts_from_then_on(network: Network) -> None:
    """`register` changes how the next payload is decoded."""
    async with patience(), network.connect() as client, await client.subscribe("all") as feed:
        publish = network.site.server.context.broker.publish
        await publish("all", "order", b'{"number":1}')
        assert (await _next(feed)).payload == {"number": 1}
        client.register("order", Order)
        await publish("all", "order", b'{"number":2}')
        assert (await _next(feed)).payload == Order(2)


async def test_two_talk_in_a_room(network: Network) -> None:
    """Who joined hears what is said with all its fields; who left hears nothing more."""
    async with (
        patience(),
        network.connect() as alice,
        network.connect(token=network.site.token("bob")) as bob,
    ):
        heard, own = await alice.join("lobby"), await bob.join("lobby")
        said = await bob.say("lobby", "hello", mood="good")
        assert isinstance(said, Published)
        message = await _next(heard)
        assert isinstance(message.payload, RoomMessage)
        assert (message.payload.user_id, message.payload.text) == ("bob", "hello")
        assert message.fields["mood"] == "good"
        assert (await _next(own)).offset == said.offset == message.offset
        await alice.leave("lobby")
        await bob.say("lobby", "anybody?")
        assert [item async for item in heard] == []
        with pytest.raises(CommandRefused) as refused:
            await alice.say("lobby", "I am")
        assert refused.value.code == "forbidden"


async def test_everything_that_comes(network: Network) -> None:
    """`publications` has the channels too that nobody subscribed to; a feed let go of is forgotten."""
    async with patience(), network.connect() as client:
        feed = client.publications()
        publish = network.site.server.context.broker.publish
        await publish("user:alice", "a", b"{}")
        await publish("all", "b", b"{}")
        assert [(await _next(feed)).channel for _ in range(2)] == ["user:alice", "all"]


async def test_commands_are_answered(network: Network) -> None:
    """Each command has its typed answer, whichever order they are asked in."""
    token = network.site.token("root", roles=["admin"])
    async with patience(), network.connect(token=token) as client:
        results: dict[str, object] = {}
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "publish": lambda: client.publish("room:x", "news", {"a": 1}, idempotency_key="k"),
            "ping": client.ping,
            "stats": client.stats,
            "request": lambda: client.request("subscribe", {"channel": "room:y"}),
        }

        async def ask(name: str) -> None:
            results[name] = await calls[name]()

        async with trio.open_nursery() as nursery:
            for name in calls:
                nursery.start_soon(ask, name)
        assert isinstance(results["publish"], Published)
        assert results["publish"].offset == 1
        assert results["ping"] == pytest.approx(0)
        stats = await client.stats()
        assert stats.server is not None
        assert stats.connection.connection_id == network.of(Connected)[0].connection_id
        answer = results["request"]
        assert isinstance(answer, dict)
        assert answer["channel"] == "room:y"


async def test_a_refusal_is_raised_with_its_reason(network: Network) -> None:
    """Code and message reach the caller, and the connection goes on; what is not JSON's is the caller's fault."""
    async with patience(), network.connect() as client:
        with pytest.raises(CommandRefused) as refused:
            await client.publish("user:bob", "news", {})
        assert refused.value.code == "forbidden"
        assert "user:bob" in refused.value.message
        with pytest.raises(CommandRefused) as refused:
            await client.subscribe("nonsense")
        assert refused.value.code == "invalid_data"
        with pytest.raises(TypeError):
            await client.publish("all", "news", object())
        await client.ping()
        assert len(network.dialled) == 1


async def test_leaving_a_subscription_unsubscribes(network: Network) -> None:
    """The server stops sending when the last subscription of a channel is closed, not before; twice is no error."""
    hub = network.site.server.context.hub
    async with patience(), network.connect() as client:
        async with await client.subscribe("room:x") as first:
            second = await client.subscribe("room:x")
            await second.aclose()
            await second.aclose()
            assert len(hub.subscribers_of("room:x")) == 1
            await network.site.server.context.broker.publish("room:x", "news", b"{}")
            assert (await _next(first)).offset == 1
            assert second.waiting == 0
        await wait_all_tasks_blocked()
        assert hub.subscribers_of("room:x") == []
        # What the server sends unasked goes on, or everybody else in this client would lose it.
        everything = client.publications()
        async with await client.subscribe("user:alice"):
            pass
        await network.site.server.context.broker.publish("user:alice", "news", b"{}")
        assert (await _next(everything)).channel == "user:alice"


async def test_a_cancelled_subscription_leaves_nothing_behind(network: Network) -> None:
    """Cancelled while the answer is on its way, the server does not go on sending into nothing."""
    hub = network.site.server.context.hub
    async with patience(), network.connect() as client:
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.subscribe("room:x")
        await client.ping()
        assert scope.cancelled_caught
        assert hub.subscribers_of("room:x") == []


async def test_a_slow_subscriber_harms_nobody(network: Network) -> None:
    """Who does not consume gets Overflow with the number dropped; the others, and commands, go on."""
    async with patience(), network.connect(queue=10) as client:
        slow, quick = await client.subscribe("room:x"), await client.subscribe("room:x")
        for number in range(1, 26):
            await network.site.server.context.broker.publish("room:x", "news", b"{}")
            assert (await _next(quick)).offset == number
        await client.ping()
        assert [(await _next(slow)).offset for _ in range(10)] == list(range(1, 11))
        with pytest.raises(Overflow) as overflow:
            await anext(slow)
        assert overflow.value.dropped == 15
        await network.site.server.context.broker.publish("room:x", "news", b"{}")
        assert (await _next(slow)).offset == 26


async def test_the_server_may_end_a_subscription(network: Network) -> None:
    """Unsubscribed by an administrator: the iteration raises, the rest goes on, and it stays so."""
    site = network.site
    async with patience(), network.connect() as client:
        lobby, other = await client.join("lobby"), await client.join("other")
        (connection,) = site.server.context.hub.connections_of("alice")
        site.server.context.hub.unsubscribe(connection, "room:lobby")
        from tidings.protocol.messages.answers import Unsubscribed
        from tidings.server.edge.session import Answer

        connection.answer(Answer("unsubscribed", Unsubscribed("room:lobby")))  # type: ignore[attr-defined]
        with pytest.raises(CommandRefused):
            await anext(lobby)
        await network.cut()
        await client.ping()
        assert site.server.context.hub.subscribers_of("room:lobby") == []
        await client.say("other", "still here")
        assert (await _next(other)).channel == "room:other"


async def test_words_of_a_later_server_are_told(network: Network) -> None:
    """A message that this client does not know becomes a Notice, and nothing breaks."""
    from tidings.protocol.messages.answers import Pong
    from tidings.server.edge.session import Answer

    async with patience(), network.connect() as client:
        events = client.events()
        (connection,) = network.site.server.context.hub.connections_of("alice")
        connection.answer(Answer("weather", Pong()))  # type: ignore[attr-defined]
        assert await anext(events) == Notice("weather", None, {})
        await client.ping()


async def test_a_token_is_renewed_in_band(network: Network) -> None:
    """Told that its token ends, the client asks its provider and refreshes; the connection lives on."""
    from support.served import WallClock

    clock = WallClock(network.site)
    tokens = 0

    async def provider() -> str:
        nonlocal tokens
        tokens += 1
        if tokens == 2:
            raise OSError("the issuer is away")
        return network.site.token(ttl=100)

    async with patience(), network.connect(token=provider) as client:
        (told,) = [network.of(Connected)[0].expires_at]
        assert told == pytest.approx(clock() + 100, abs=1)
        await trio.sleep(1000)
        await client.ping()
    assert len(network.dialled) == 1
    assert tokens > 10
    assert len(network.of(TokenExpiring)) >= 10


async def test_a_fixed_token_that_ends_is_told(network: Network) -> None:
    """Without a provider the application is warned; at the end the server's 401 ends the client."""
    from support.served import WallClock

    WallClock(network.site)
    token = network.site.token(ttl=100)
    async with patience(), network.connect(token=token) as client:
        feed, events = client.publications(), client.events()
        with pytest.raises(Disconnected) as ended:
            await anext(feed)
        assert ended.value.code == 401
        assert isinstance(await anext(events), TokenExpiring)
        with pytest.raises(Disconnected):
            await client.ping()
        with pytest.raises(Disconnected):
            await anext(client.publications())
        with pytest.raises(Disconnected):
            await anext(client.events())


async def test_leaving_says_goodbye(network: Network) -> None:
    """Leaving the block closes with 1000, ends iterations and requests, and leaves no task and no socket."""
    kept: list[Client] = []
    ends: list[str] = []

    async def listen(client: Client) -> None:
        async for _ in await client.subscribe("room:x"):
            pass
        ends.append("iteration")

    async with patience(), trio.open_nursery() as nursery, network.connect() as client:
        kept.append(client)
        nursery.start_soon(listen, client)
        await wait_all_tasks_blocked()
    with pytest.raises(Disconnected):
        await kept[0].ping()
    assert ends == ["iteration"]
    assert trio.current_time() == pytest.approx(0), "nobody waited for the bound"
    await wait_all_tasks_blocked()
    hub = network.site.server.context.hub
    assert hub.statistics().closes == {1000: 1}
    assert hub.connections == 0
    with pytest.raises(trio.ClosedResourceError):
        await network.streams[0].send_all(b"x")


async def test_what_the_block_raises_is_raised_as_it_is(network: Network) -> None:
    """An error of the application's is not wrapped into a group, and the server still hears 1000."""
    async with patience():
        with pytest.raises(KeyError):
            async with network.connect() as client, await client.subscribe("room:x"):
                raise KeyError("mine")
    await wait_all_tasks_blocked()
    assert network.site.server.context.hub.statistics().closes == {1000: 1}


async def test_cancelling_is_leaving(network: Network) -> None:
    """A cancelled block says goodbye too, within its bound."""
    async with patience():
        with trio.move_on_after(5) as scope:
            async with network.connect() as client, await client.subscribe("room:x") as feed:
                await anext(feed)
        assert scope.cancelled_caught
        assert trio.current_time() <= 7 + 1e-6
    await wait_all_tasks_blocked()
    assert network.site.server.context.hub.statistics().closes == {1000: 1}


async def test_the_token_is_never_in_the_url(network: Network) -> None:
    """The token travels in a header; the device's name in the query."""
    async with patience(), network.connect(device="phone") as client:
        await client.ping()
    (address,) = network.addresses
    assert address.path == "/ws?device=phone"
