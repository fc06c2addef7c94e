"""The connection goes and comes back: when, how often, and what the application is told. In virtual time."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import chain, pairwise, repeat

import msgspec
import pytest
import trio
import trio.lowlevel
import trio_websocket
from support.network import Network, accept, patience
from support.site import memory_site
from trio.testing import MockClock, wait_all_tasks_blocked

from tidings.client import (
    Address,
    CommandRefused,
    Connected,
    ConnectionLost,
    Dial,
    Disconnected,
    Gap,
    Overflow,
    Publication,
    Published,
    Reconnect,
    Reconnecting,
    Resubscribed,
)
from tidings.client.link import ANSWER_SECONDS, CLOSE_SECONDS, OPEN_SECONDS, SEND_SECONDS
from tidings.client.upkeep import RESUBSCRIBE_SECONDS, RESUBSCRIBE_TRIES
from tidings.protocol.close_codes import CloseCode
from tidings.server.edge.connection import Connection

Request = trio_websocket.WebSocketRequest


async def test_it_comes_back_by_itself(network: Network) -> None:
    """After a cut everything is subscribed to again, and the application is told; nothing missed, no gap."""
    async with patience(), network.connect() as client:
        room, lobby = await client.subscribe("room:x"), await client.join("lobby")
        await network.cut()
        await wait_all_tasks_blocked()
        await client.say("lobby", "back")
        await network.site.server.context.broker.publish("room:x", "news", b"{}")
        for feed, offset in ((room, 1), (lobby, 1)):
            item = await anext(feed)
            assert isinstance(item, Publication)
            assert item.offset == offset
    connected, lost, again, resubscribed = network.events
    assert isinstance(connected, Connected)
    assert lost == Reconnecting(1, 0.5, 1006, "connection lost")
    assert isinstance(again, Connected)
    assert again.attempt == 2
    assert resubscribed == Resubscribed(("room:x", "room:lobby"), ())


async def test_what_was_missed_is_told(forgetful: Network) -> None:
    """Published while nobody was there: a gap at its place, for every feed, and in the event."""
    network = forgetful
    publish = network.site.server.context.broker.publish
    async with (
        patience(),
        network.connect() as client,
        network.connect(token=network.site.token("bob")) as other,
    ):
        # Somebody else keeps the channel alive.
        await other.subscribe("room:x")
        room, everything = await client.subscribe("room:x"), client.publications()
        await publish("room:x", "news", b"{}")
        await wait_all_tasks_blocked()
        await trio.aclose_forcefully(network.streams[0])
        for _ in range(3):
            await publish("room:x", "news", b"{}")
        await client.ping()
        await publish("room:x", "news", b"{}")
        for feed in (room, everything):
            items = [await anext(feed) for _ in range(3)]
            assert isinstance(items[0], Publication)
            assert items[1] == Gap("room:x", 2, 4, items[0].epoch)
            assert isinstance(items[2], Publication)
            assert items[2].offset == 5
        (resubscribed,) = network.of(Resubscribed)
        assert [(lost.from_offset, lost.to_offset) for lost in resubscribed.lost] == [(2, 4)]


async def test_the_own_channel_is_watched_unasked(forgetful: Network) -> None:
    """What was missed of the channels that the server sends unasked is told as well."""
    network = forgetful
    async with patience(), network.connect() as client, network.connect() as second:
        everything = client.publications()
        await trio.aclose_forcefully(network.streams[0])
        await network.site.server.context.broker.publish("user:alice", "news", b"{}")
        await client.ping()
        gap = await anext(everything)
        assert isinstance(gap, Gap)
        assert (gap.channel, gap.from_offset, gap.to_offset) == ("user:alice", 1, 1)
        await second.ping()


async def test_another_server_is_another_life(network: Network, autojump_clock: MockClock) -> None:
    """A server that was restarted has forgotten: the gap has no end, and the offsets begin anew."""
    async with patience(), network.connect() as client:
        room = await client.subscribe("room:x")
        publish = network.site.server.context.broker.publish
        for _ in range(2):
            await publish("room:x", "news", b"{}")
            await anext(room)
        async with memory_site() as restarted:
            network.site = restarted
            await network.cut()
            await client.ping()
            gap = await anext(room)
            assert isinstance(gap, Gap)
            assert (gap.from_offset, gap.to_offset) == (3, None)
            await restarted.server.context.broker.publish("room:x", "news", b"{}")
            item = await anext(room)
            assert isinstance(item, Publication)
            assert (item.offset, item.epoch) == (1, gap.epoch)


async def test_attempts_are_spread(network: Network) -> None:
    """The n-th attempt comes a random time after the last failed, below 0.5 s doubled n-1 times, at most 30 s."""
    shares: Iterator[float] = chain([1, 0, 0.5], repeat(1))
    policy = Reconnect(uniform=lambda low, high: low + (high - low) * next(shares))
    async with patience(), network.connect(reconnect=policy) as client:
        network.down = True
        await network.cut()
        begun = trio.current_time()
        await trio.sleep(150)
        network.down = False
        await client.ping()
        times = [time - begun for time in network.dialled[1:10]]
        waits = [after - before for before, after in pairwise([0.0, *times])]
        assert waits == pytest.approx([0.5, 0, 1, 4, 8, 16, 30, 30, 30])
        assert [event.delay for event in network.of(Reconnecting)][:9] == pytest.approx(waits)
        assert {event.why for event in network.of(Reconnecting)[1:]} == {"Connection refused"}


async def test_counting_begins_anew_after_a_while(network: Network) -> None:
    """A connection that lasted makes the next delay short; one that is closed at once does not."""
    async with patience(), network.connect() as client:
        for lasting in (1, 1, 11, 1):
            await client.ping()
            await trio.sleep(lasting)
            await network.cut()
        await client.ping()
    assert [event.delay for event in network.of(Reconnecting)] == [0.5, 1, 0.5, 1]


async def test_a_limit_of_attempts(network: Network) -> None:
    """After so many attempts the client ends, and says why to whoever waits on it."""
    async with patience(), network.connect(reconnect=Reconnect(attempts=3)) as client:
        feed = await client.subscribe("room:x")
        network.down = True
        await network.cut()
        with pytest.raises(Disconnected, match="Connection refused") as ended:
            await anext(feed)
        assert ended.value.code == 1006
    assert len(network.dialled) == 4


async def test_no_reconnection_when_none_is_wanted(network: Network) -> None:
    """With 0 attempts the first loss is the end, and a server that is not there is told at once."""
    network.down = True
    async with patience():
        with pytest.raises(Disconnected, match="Connection refused"):
            async with network.connect(reconnect=Reconnect(attempts=0)):
                raise AssertionError("it must not get in")
    assert len(network.dialled) == 1


async def test_entering_waits_for_a_server(network: Network) -> None:
    """Begun before the server, the client waits for it, as long as its caller does."""
    network.down = True
    async with patience():
        with trio.move_on_after(60) as scope:
            async with network.connect():
                raise AssertionError("it must not get in")
        assert scope.cancelled_caught
        assert len(network.dialled) > 3


async def test_a_request_waits_for_the_connection(network: Network) -> None:
    """While there is none, a request waits, up to its caller's deadline, and is then given once."""
    token = network.site.token("root", roles=["admin"])
    async with patience(), network.connect(token=token) as client:
        network.down = True
        await network.cut()
        await wait_all_tasks_blocked()
        with trio.move_on_after(5) as scope:
            await client.publish("all", "news", {})
        assert scope.cancelled_caught
        network.down = False
        assert (await client.publish("all", "news", {})).offset == 1


async def _swallow(request: Request) -> None:
    """Lets in, and answers to subscribe only."""
    await _answering(request, {"subscribe"})


async def _answering(request: Request, types: set[str], *, at: int = 10**9) -> None:
    """Lets in, answers these types of command, and ends at command number `at` of another type."""
    websocket = await accept(request)
    others = 0
    while True:
        command = msgspec.json.decode(await websocket.get_message())
        if command["type"] in types:
            data = {"channel": command["data"]["channel"], "epoch": "e", "offset": 0}
            answer = {"type": "subscribed", "data": data, "id": command["id"]}
            await websocket.send_message(msgspec.json.encode(answer).decode())
        else:
            others += 1
            if others == at:
                return


async def test_an_answer_lost_with_the_connection(network: Network) -> None:
    """Nobody knows whether it was done: ConnectionLost. What may be done twice is repeated instead."""

    async def once(request: Request) -> None:
        await _answering(request, {"subscribe"}, at=4)

    network.scripts = [once]
    token = network.site.token("root", roles=["admin"])
    outcomes: dict[str, object] = {}
    async with patience(), network.connect(token=token) as client:
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "publish": lambda: client.publish("room:x", "news", {}),
            "keyed": lambda: client.publish("room:x", "news", {}, idempotency_key="k"),
            "ping": client.ping,
            "request": lambda: client.request("ping"),
        }

        async def ask(name: str) -> None:
            try:
                outcomes[name] = await calls[name]()
            except ConnectionLost as error:
                outcomes[name] = error

        async with trio.open_nursery() as nursery:
            for name in calls:
                nursery.start_soon(ask, name)
    assert isinstance(outcomes["publish"], ConnectionLost)
    assert isinstance(outcomes["request"], ConnectionLost)
    assert not isinstance(outcomes["keyed"], Exception)
    assert not isinstance(outcomes["ping"], Exception)
    assert len(network.dialled) == 2


async def test_a_refused_token_without_a_provider(network: Network) -> None:
    """401 is the end, and the server's words are told; the token is not."""
    async with patience():
        with pytest.raises(Disconnected) as ended:
            async with network.connect(token="a.b.c"):
                raise AssertionError("it must not get in")
    assert ended.value.code == 401
    assert "token" in ended.value.reason
    assert "a.b.c" not in str(ended.value)


async def test_a_refused_token_gets_one_more_try(network: Network) -> None:
    """With a provider a 401 asks it once more; when that is refused too, it ends."""
    given = iter(["a.b.c", network.site.token()])
    async with patience(), network.connect(token=lambda: next(given)) as client:
        await client.ping()
    assert len(network.dialled) == 2
    asked = 0

    def wrong() -> str:
        nonlocal asked
        asked += 1
        return "a.b.c"

    async with patience():
        with pytest.raises(Disconnected):
            async with network.connect(token=wrong):
                raise AssertionError("it must not get in")
    assert asked == 2


async def test_an_expired_token_is_replaced(network: Network) -> None:
    """Closed with 3005, the client comes back with a new token from its provider."""
    async with patience(), network.connect() as client:
        (connection,) = network.site.server.context.hub.connections_of("alice")
        assert isinstance(connection, Connection)
        connection.close(CloseCode.TOKEN_EXPIRED)
        await wait_all_tasks_blocked()
        await client.ping()
    assert network.of(Reconnecting)[0].code == 3005


async def test_a_provider_that_fails(network: Network) -> None:
    """At the first connection it is the caller's mistake; later it is tried again, and its words are told."""
    calls = 0

    def provider() -> str:
        nonlocal calls
        calls += 1
        if calls in (2, 3):
            raise RuntimeError("issuer away")
        return network.site.token()

    async with patience(), network.connect(token=provider) as client:
        await network.cut()
        await wait_all_tasks_blocked()
        await client.ping()
    assert "RuntimeError: issuer away" in network.of(Reconnecting)[1].why
    calls = 1
    async with patience():
        with pytest.raises(Disconnected, match="issuer away"):
            async with network.connect(token=provider):
                raise AssertionError("it must not get in")


@pytest.mark.parametrize(("code", "returns"), [(3503, False), (3508, False), (3008, True), (3001, True)])
async def test_close_codes_are_honoured(network: Network, code: int, returns: bool) -> None:
    """3500-3999 end the client with the code and the reason; 3000-3499 bring it back."""
    async with patience(), network.connect() as client:
        feed = client.publications()
        (connection,) = network.site.server.context.hub.connections_of("alice")
        assert isinstance(connection, Connection)
        connection.close(CloseCode(code), "because")
        await wait_all_tasks_blocked()
        if returns:
            await client.ping()
            (lost,) = network.of(Reconnecting)
            assert (lost.code, lost.why) == (code, "because")
        else:
            with pytest.raises(Disconnected) as ended:
                await anext(feed)
            assert (ended.value.code, ended.value.reason) == (code, "because")
            assert len(network.dialled) == 1


async def test_the_servers_delay_is_kept(network: Network) -> None:
    """A server that shuts down gives each client its own time to return; nobody returns earlier."""
    async with patience(), network.connect() as client:
        (connection,) = network.site.server.context.hub.connections_of("alice")
        assert isinstance(connection, Connection)
        begun = trio.current_time()
        connection.close(CloseCode.SHUTDOWN, delay=17.5)
        await wait_all_tasks_blocked()
        await client.ping()
        # The jitter comes on top: here always all of the first half second.
        assert trio.current_time() == pytest.approx(begun + 17.5 + 0.5, abs=0.1)


async def test_retry_after_is_kept(network: Network) -> None:
    """A handshake that is refused for now (503) is tried again when the server said, not all at one moment."""
    network.site.server.context.draining = True
    async with patience(), trio.open_nursery() as nursery:

        async def recover() -> None:
            await trio.sleep(1)
            network.site.server.context.draining = False

        nursery.start_soon(recover)
        async with network.connect() as client:
            await client.ping()
    assert network.dialled == pytest.approx([0, 5 + 0.5])
    (lost,) = network.of(Reconnecting)
    assert lost.code == 503


@pytest.mark.parametrize("status", [403, 404, 400])
async def test_a_refusal_for_good(network: Network, status: int) -> None:
    """A handshake that will never be accepted is not tried again."""

    async def refuse(request: Request) -> None:
        await request.reject(status, body=b"go away")

    network.scripts = [refuse]
    async with patience():
        with pytest.raises(Disconnected) as ended:
            async with network.connect():
                raise AssertionError("it must not get in")
    assert ended.value.code == status
    assert len(network.dialled) == 1


async def test_a_subscription_refused_on_return(network: Network) -> None:
    """What is no longer allowed ends with the refusal, the rest comes back."""
    tokens = iter([network.site.token(roles=["admin"]), network.site.token(), network.site.token()])
    async with patience(), network.connect(token=lambda: next(tokens)) as client:
        foreign, lobby = await client.subscribe("user:bob"), await client.join("lobby")
        await network.cut()
        with pytest.raises(CommandRefused) as refused:
            await anext(foreign)
        assert refused.value.code == "forbidden"
        await client.say("lobby", "here")
        assert isinstance(await anext(lobby), Publication)


async def test_a_subscription_refused_for_now(network: Network) -> None:
    """Rate limited or unavailable, it is asked for again, and nothing is let through before."""

    async def busy(request: Request) -> None:
        websocket = await accept(request)
        asked = 0
        while True:
            command = msgspec.json.decode(await websocket.get_message())
            asked += 1
            if asked <= 2:
                data: dict[str, object] = {"code": "rate_limited", "message": "slow", "retry_after": 3}
                answer = {"type": "error", "data": data, "id": command["id"]}
            else:
                data = {"channel": command["data"].get("channel", ""), "epoch": "e", "offset": 0}
                answer = {"type": "subscribed", "data": data, "id": command["id"]}
            await websocket.send_message(msgspec.json.encode(answer).decode())

    network.scripts = [busy]
    async with patience(), network.connect():
        assert trio.current_time() == pytest.approx(3)
    assert len(network.dialled) == 1


async def test_a_handshake_that_is_never_answered(network: Network) -> None:
    """Opening has a deadline; then it is tried again."""

    async def mute(request: Request) -> None:
        await trio.sleep_forever()

    async def half(request: Request) -> None:
        await request.accept(subprotocol="tidings.v1.json")
        await trio.sleep_forever()

    network.scripts = [mute, half]
    async with patience(), network.connect() as client:
        await client.ping()
    assert [event.why for event in network.of(Reconnecting)] == [f"no answer in {OPEN_SECONDS:g} s"] * 2
    assert network.dialled == pytest.approx([0, 20.5, 41.5])


async def test_a_subscription_that_is_never_answered(network: Network) -> None:
    """A server that lets in and then answers nothing is not waited for without end."""

    async def mute(request: Request) -> None:
        websocket = await accept(request)
        while True:
            await websocket.get_message()

    network.scripts = [mute]
    async with patience(), network.connect() as client:
        await client.ping()
        assert trio.current_time() < RESUBSCRIBE_TRIES * (ANSWER_SECONDS + RESUBSCRIBE_SECONDS) + 1
    (lost,) = network.of(Reconnecting)
    assert "could not subscribe" in lost.why


async def test_what_is_no_websocket_server(network: Network) -> None:
    """Another protocol, an end before the answer, another subprotocol: told, and never a hang or a crash."""

    async def end(request: Request) -> None:
        return

    async def other(request: Request) -> None:
        websocket = await request.accept()
        await websocket.get_message()

    network.scripts = [end, other]
    async with patience():
        with pytest.raises(Disconnected, match=r"tidings\.v1\.json"):
            async with network.connect():
                raise AssertionError("it must not get in")
    assert "handshake" in network.of(Reconnecting)[0].why


@pytest.mark.parametrize(
    "word",
    [
        "no json",
        '{"type":1}',
        '{"type":"connected","data":{}}',
        "[" * 10_000,
        b"\x81",
        '{"type":"x","data":tru}',
    ],
)
async def test_unreadable_words_end_the_connection_only(network: Network, word: str | bytes) -> None:
    """A message that is none costs the connection, which is made again; the client lives."""

    async def babble(request: Request) -> None:
        websocket = await accept(request)
        await websocket.send_message(word)
        while True:
            await websocket.get_message()

    network.scripts = [babble]
    async with patience(), network.connect() as client:
        await client.ping()
    (lost,) = network.of(Reconnecting)
    assert "unreadable" in lost.why


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"\x16\x03\x01", b"SSH-2.0-x\r\n", b""]
)
async def test_any_bytes_for_a_handshake(network: Network, data: bytes) -> None:
    """Whatever answers in place of a WebSocket server: the attempt ends, with words."""
    server: list[trio.abc.Stream] = []

    async def dial(_address: object) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        server.append(theirs)
        await theirs.send_all(data)
        await theirs.send_eof()
        return ours

    async with patience():
        with pytest.raises(Disconnected) as ended:
            async with network.connect(dial=dial, reconnect=Reconnect(attempts=0)):
                raise AssertionError("it must not get in")
    assert ended.value.reason


@pytest.mark.parametrize(
    "frame", [b"\xff\xff\xff", b"\x81\x01\xff", b"\x83\x00", b"\x88\x01\x00", b"\x81\x85abcd12345"]
)
async def test_broken_frames_cost_the_connection_only(network: Network, frame: bytes) -> None:
    """Reserved bits, bad UTF-8, unknown opcodes, a close of one byte, masked frames: reconnect."""
    async with (
        patience(),
        network.connect(reconnect=Reconnect(attempts=1, uniform=lambda _l, h: h)) as client,
    ):
        (connection,) = network.site.server.context.hub.connections_of("alice")
        assert isinstance(connection, Connection)
        connection.offer(frame)
        await wait_all_tasks_blocked()
        # Which of the two depends on the code that the broken frame is answered with.
        with suppress(Disconnected):
            await client.ping()
        assert len(network.dialled) == 1 + len(network.of(Reconnecting))


async def test_a_server_that_does_not_say_goodbye(network: Network) -> None:
    """Leaving is over within its bound, whatever the server does."""

    async def stubborn(request: Request) -> None:
        await _swallow(request)

    async def dial(address: object) -> trio.abc.Stream:
        stream = await network.dial(address)  # type: ignore[arg-type]  # an Address
        return _Deaf(stream)

    network.scripts = [stubborn]
    async with patience():
        async with network.connect(dial=dial):
            _Deaf.deaf = True
            begun = trio.current_time()
        assert trio.current_time() - begun == pytest.approx(CLOSE_SECONDS)
    _Deaf.deaf = False


class _Deaf(trio.abc.Stream):
    """A stream on which nothing goes out any more, and nothing comes in."""

    deaf = False

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = bytes(await self._stream.receive_some(max_bytes))
        if self.deaf:
            await trio.sleep_forever()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.deaf:
            await trio.sleep_forever()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def test_a_machine_that_is_gone(network: Network) -> None:
    """Nothing comes and nothing goes: noticed within ping_interval + pong_timeout, or a send's own bound."""

    async def dial(address: object) -> trio.abc.Stream:
        return _Deaf(await network.dial(address))  # type: ignore[arg-type]  # an Address

    async with patience(), network.connect(dial=dial) as client:
        await trio.sleep(100)
        assert len(network.dialled) == 1
        begun = trio.current_time()
        _Deaf.deaf = True

        events = client.events()
        assert isinstance(await anext(events), Reconnecting)
        _Deaf.deaf = False
        assert trio.current_time() - begun <= 30 + 0.5
        assert SEND_SECONDS <= 30
        await client.ping()
    assert "nothing from the server" in network.of(Reconnecting)[0].why


async def test_a_flood_between_connections_is_no_fault(forgetful: Network) -> None:
    """A slow subscriber over a reconnection gets its overflow and then the gap, in this order."""
    network, site = forgetful, forgetful.site
    async with (
        patience(),
        network.connect(queue=2) as client,
        network.connect(token=site.token("bob")) as other,
    ):
        await other.subscribe("room:x")
        room = await client.subscribe("room:x")
        for _ in range(4):
            await site.server.context.broker.publish("room:x", "news", b"{}")
        await client.ping()
        await trio.aclose_forcefully(network.streams[0])
        await site.server.context.broker.publish("room:x", "news", b"{}")
        assert [isinstance(await anext(room), Publication) for _ in range(2)] == [True, True]
        with pytest.raises(Overflow):
            await anext(room)
        gap = await anext(room)
        assert isinstance(gap, Gap)
        assert (gap.from_offset, gap.to_offset) == (5, 5)


class _Plugged(trio.abc.SendStream):
    """A way out that can be stopped up for a while."""

    def __init__(self, stream: trio.abc.SendStream) -> None:
        self._stream = stream
        self.open = trio.Event()
        self.open.set()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.open.wait()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.open.wait()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _plugged(network: Network) -> tuple[Dial, list[_Plugged]]:
    """Dials so that the ways out can be stopped up, and those ways out."""
    plugs: list[_Plugged] = []

    async def dial(address: Address) -> trio.abc.Stream:
        stream = await network.dial(address)
        assert isinstance(stream, trio.StapledStream)
        plugs.append(_Plugged(stream.send_stream))
        return trio.StapledStream(plugs[-1], stream.receive_stream)

    return dial, plugs


async def test_what_was_not_sent_is_not_lost(network: Network) -> None:
    """Of two commands behind a full socket the first may have arrived; the second surely not: it is given again."""
    dial, plugs = _plugged(network)
    outcomes: list[object] = []
    token = network.site.token("root", roles=["admin"])
    async with patience(), network.connect(token=token, dial=dial) as client:

        async def publish() -> None:
            try:
                outcomes.append(await client.publish("room:x", "news", {}))
            except ConnectionLost as error:
                outcomes.append(error)

        plugs[0].open = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            await wait_all_tasks_blocked()
            nursery.start_soon(publish)
            await wait_all_tasks_blocked()
            await network.cut()
        assert isinstance(outcomes[0], ConnectionLost)
        assert isinstance(outcomes[1], Published)
        assert outcomes[1].offset == 1


async def test_what_is_cancelled_in_time_is_not_sent(network: Network) -> None:
    """A command that is cancelled while it waits behind another never goes out."""
    dial, plugs = _plugged(network)
    token = network.site.token("root", roles=["admin"])
    async with patience(), network.connect(token=token, dial=dial) as client:
        plugs[0].open = trio.Event()
        stopped = plugs[0].open
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.ping)
            await wait_all_tasks_blocked()
            with trio.move_on_after(1) as scope:
                await client.publish("room:x", "news", {})
            assert scope.cancelled_caught
            stopped.set()
        assert (await client.publish("room:x", "news", {})).offset == 1
