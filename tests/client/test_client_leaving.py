"""What was left stays left, and what is wanted stays: whatever the connection does meanwhile. In virtual time."""

from typing import Any

import pytest
import trio
from support.network import Network, patience
from support.served import WallClock
from support.site import configured, memory_site
from trio.testing import MockClock, wait_all_tasks_blocked

from tidings.client import CommandRefused, Connected, Disconnected, Reconnecting, Resubscribed, renewal
from tidings.server.config import Limits

LATE = 0.3


class LateStream(trio.abc.Stream):
    """What is sent on it arrives a little later, or never."""

    def __init__(self, inner: trio.abc.Stream, seconds: float) -> None:
        self._inner = inner
        self.seconds = seconds

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        data = bytes(data)
        await trio.sleep(self.seconds)
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._inner.aclose()


class LateLine:
    """A dialler whose streams are late."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.streams: list[LateStream] = []
        self.seconds = LATE

    async def __call__(self, address: Any) -> trio.abc.Stream:
        self.streams.append(LateStream(await self._network.dial(address), self.seconds))
        return self.streams[-1]


def channels(network: Network, user: str = "alice") -> set[str]:
    """What the server has, beyond what it sends unasked."""
    hub = network.site.server.context.hub
    return {
        channel for connection in hub.connections_of(user) for channel in hub.channels_of(connection)
    } - {"all", f"user:{user}"}


async def told(network: Network, kind: type[Any]) -> None:
    """Wait, in virtual time, until the application is told of something."""
    while not network.of(kind):  # noqa: ASYNC110  the list is the network's, and nobody tells of it
        await trio.sleep(0.01)


async def publish(network: Network, channel: str) -> None:
    await network.site.server.context.broker.publish(channel, "news", b"{}")


async def test_what_is_wanted_again_is_not_taken_away(network: Network) -> None:
    """Closed while they are being made again, and subscribed to once more: both are heard."""
    line = LateLine(network)
    async with patience(), network.connect(dial=line) as client:
        rooms = ("room:a", "room:b")
        first = [await client.subscribe(room) for room in rooms]
        await network.cut()
        await told(network, Reconnecting)
        await trio.sleep(0.5 + LATE * 1.5)
        for subscription in first:
            await subscription.aclose()
        await told(network, Resubscribed)
        again = [await client.subscribe(room) for room in rooms]
        await trio.sleep(20)
        assert channels(network) == set(rooms)
        for room, subscription in zip(rooms, again, strict=True):
            await publish(network, room)
            assert (await anext(subscription)).channel == room


async def test_a_cancelled_subscription_does_not_come_back(network: Network) -> None:
    """Cancelled on its way to the server: it is ended there, and not made again on the next connection."""
    line = LateLine(network)
    async with patience(), network.connect(dial=line) as client:
        with trio.move_on_after(LATE / 2):
            await client.subscribe("room:never")
        await trio.sleep(5)
        assert channels(network) == set()
        await network.cut()
        await client.ping()
        await trio.sleep(5)
        assert channels(network) == set()


async def test_what_was_under_way_does_not_bring_a_channel_back(network: Network) -> None:
    """A publication that arrives after its subscription was closed is nobody's: nothing is missed of it later."""
    async with patience(), network.connect() as client:
        subscription = await client.subscribe("room:busy")
        await publish(network, "room:busy")
        await subscription.aclose()
        await wait_all_tasks_blocked()
        assert channels(network) == set()
        await network.cut()
        for _ in range(3):
            await publish(network, "room:busy")
        await client.ping()
        assert channels(network) == set()
        (resubscribed,) = network.of(Resubscribed)
        assert resubscribed == Resubscribed((), ())


async def test_closed_between_two_connections(network: Network) -> None:
    """What is closed while there is no connection is not made again on the next."""
    async with patience(), network.connect() as client:
        subscription = await client.subscribe("room:x")
        await publish(network, "room:x")
        await anext(subscription)
        network.down = True
        await network.cut()
        await told(network, Reconnecting)
        await subscription.aclose()
        network.down = False
        await client.ping()
        await wait_all_tasks_blocked()
        assert channels(network) == set()


async def test_closed_while_it_waits_to_be_made_again(network: Network) -> None:
    """On a slow line, between the new connection and the command: it does not stay with the server for ever."""
    line = LateLine(network)
    async with patience(), network.connect(dial=line) as client:
        rooms = [await client.subscribe(f"room:{number}") for number in range(8)]
        await network.cut()
        await told(network, Reconnecting)
        await trio.sleep(0.5 + LATE * 4.5)
        for room in rooms[1:]:
            await room.aclose()
        await told(network, Resubscribed)
        await trio.sleep(20)
        assert channels(network) == {"room:0"}


async def test_wanted_again_before_the_server_was_told(autojump_clock: MockClock) -> None:
    """A channel that the server was too busy to end is subscribed to anew: it is not ended afterwards."""
    limits = Limits(command_rate=1, command_burst=12)
    async with memory_site(configured(limits=limits)) as site, patience():
        network = Network(site)
        async with network.connect() as client:
            rooms = [await client.subscribe(f"room:{number}") for number in range(8)]
            for room in rooms:
                await room.aclose()
            await wait_all_tasks_blocked()
            left = max(channels(network))
            await trio.sleep(3)
            again = None
            while again is None:
                try:
                    again = await client.subscribe(left)
                except CommandRefused as refusal:
                    await trio.sleep(2 * (refusal.retry_after or 1))
            await trio.sleep(120)
            assert channels(network) == {left}
            await publish(network, left)
            assert (await anext(again)).channel == left


async def test_a_server_too_busy_to_be_told_is_told_later(autojump_clock: MockClock) -> None:
    """Over the rate: every channel that was left is ended in the end, and the connection stays."""
    limits = Limits(command_rate=1, command_burst=12)
    async with memory_site(configured(limits=limits)) as site, patience():
        network = Network(site)
        async with network.connect() as client:
            rooms = [await client.subscribe(f"room:{number}") for number in range(8)]
            for room in rooms:
                await room.aclose()
            await wait_all_tasks_blocked()
            assert channels(network), "some are refused at first"
            await trio.sleep(120)
            assert channels(network) == set()
            assert len(network.dialled) == 1


async def test_leaving_waits_for_nobody(network: Network) -> None:
    """On a line that takes nothing any more, any number of subscriptions is closed at once."""
    line = LateLine(network)
    line.seconds = 0
    async with patience(), network.connect(dial=line) as client:
        rooms = [await client.subscribe(f"room:{number}") for number in range(5)]
        line.streams[-1].seconds = 3600
        begun = trio.current_time()
        for room in rooms:
            await room.aclose()
        assert trio.current_time() == begun
        assert [await _rest(room) for room in rooms] == [[]] * 5


async def _rest(subscription: Any) -> list[Any]:
    return [item async for item in subscription]


async def test_a_command_too_long_is_refused_and_costs_nothing_else(network: Network) -> None:
    """The server would close for good; here the one call gets `too_large`, and the connection lives."""
    async with patience(), network.connect() as client:
        room = await client.subscribe("room:x")
        with pytest.raises(CommandRefused) as refused:
            await client.publish("room:x", "news", {"text": "a" * 70_000})
        assert refused.value.code == "too_large"
        await publish(network, "room:x")
        assert (await anext(room)).channel == "room:x"
        assert len(network.dialled) == 1


async def test_tokens_of_less_than_a_minute(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are renewed in time by the client's own clock: one connection lives through many of them."""
    clock = WallClock(network.site)
    monkeypatch.setattr(renewal, "wall_clock", clock)
    given = 0

    def provider() -> str:
        nonlocal given
        given += 1
        return network.site.token(ttl=40)

    async with patience(), network.connect(token=provider) as client:
        await trio.sleep(600)
        await client.ping()
        assert len(network.dialled) == 1
        assert network.of(Reconnecting) == []
        assert 600 / 40 <= given <= 600 / 40 * 4


@pytest.mark.parametrize("token", ["", "abc\n", "a b", "\u00e9", "a\ud800"])
async def test_a_token_that_cannot_be_one_is_told_at_once(network: Network, token: str) -> None:
    """Given as it is: ValueError, and nothing is dialled; by a provider: the client ends. Neither tells it."""
    async with patience():
        with pytest.raises(ValueError, match="the token") as refused:
            async with network.connect(token=token):
                pass
        with pytest.raises(Disconnected) as ended:
            async with network.connect(token=lambda: token):
                pass
    assert network.dialled == []
    assert "the token" in str(ended.value)
    if token:
        assert token not in str(refused.value) + str(ended.value)
    assert network.of(Connected) == []


async def test_a_queue_of_nothing_is_refused(network: Network) -> None:
    """At once, and not at the first subscription."""
    with pytest.raises(ValueError, match="queue is 0"):
        async with network.connect(queue=0):
            pass
