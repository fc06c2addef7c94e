"""Who is silent, who is dead, and what proves life: in virtual time, to the second."""

import pytest
import trio
from support.client import RawClient, masked
from support.served import beat_at_once, served, with_handler
from support.site import Site, configured, memory_site
from trio.testing import MockClock

from tidings.protocol.dialects.base import Command
from tidings.protocol.errors import ErrorCode
from tidings.protocol.frames import Opcode
from tidings.protocol.messages.answers import Pong
from tidings.server.config import Heartbeat
from tidings.server.edge.session import Answer, Outcome, Session


async def _next_ping(client: RawClient) -> float:
    """When the next ping comes, if that is the next thing to come."""
    assert (await client.receive_frame())[0] == Opcode.PING
    return trio.current_time()


async def test_silence_is_pinged(site: Site, autojump_clock: MockClock) -> None:
    """A ping goes out `ping_interval` after the last byte from the peer, and no earlier."""
    client = await beat_at_once(site).connect()
    assert await _next_ping(client) == pytest.approx(20)


async def test_a_pong_proves_life(site: Site, autojump_clock: MockClock) -> None:
    """A peer that answers is pinged `ping_interval` after its answer, and lives for ever."""
    client = await beat_at_once(site).connect()
    due = 20.0
    for _ in range(20):
        assert await _next_ping(client) == pytest.approx(due)
        await trio.sleep(9.5)
        await client.send(masked(Opcode.PONG))
        due += 29.5
    assert site.server.context.hub.connections == 1


@pytest.mark.parametrize(
    "sent",
    [
        masked(Opcode.PONG, b"unasked"),
        masked(Opcode.PING),
        masked(Opcode.TEXT, b'{"type":"ping"}'),
        b"\x81",
    ],
    ids=["pong", "ping", "command", "one byte"],
)
async def test_any_byte_proves_life(site: Site, autojump_clock: MockClock, sent: bytes) -> None:
    """Whatever the peer sends, be it one byte of a frame, puts the ping off: a ping is sent only into silence."""
    client = await beat_at_once(site).connect()
    await trio.sleep(15)
    await client.send(sent)
    while (await client.receive_frame())[0] != Opcode.PING:
        pass
    assert trio.current_time() == pytest.approx(35)


async def test_a_peer_that_always_says_something_is_never_pinged(
    site: Site, autojump_clock: MockClock
) -> None:
    """Half a frame every 19 seconds costs no ping in ten minutes: any byte proves life."""
    client = await beat_at_once(site).connect()
    frame = masked(Opcode.PONG, b"1234")
    for _ in range(16):
        for half in (frame[:5], frame[5:]):
            await client.send(half)
            await trio.sleep(19)
    with trio.move_on_after(0.5) as scope:
        await client.receive_frame()
    assert scope.cancelled_caught


async def test_what_the_server_sends_proves_nothing(site: Site, autojump_clock: MockClock) -> None:
    """A busy channel does not keep a dead member alive: publications to it are no sign of life."""
    beat_at_once(site)
    dead = await site.connect("dead")
    await dead.command("join_room", {"room": "r"})
    speaker = await site.connect("speaker")
    await speaker.command("join_room", {"room": "r"})
    for _ in range(29):
        await speaker.command("room_message", {"room": "r", "text": "still there?"})
        await trio.sleep(1)
    hub = site.server.context.hub
    assert hub.connections_of("dead")
    await trio.sleep(2)
    assert not hub.connections_of("dead")
    assert hub.connections_of("speaker")


@pytest.mark.parametrize(("jitter", "pinged"), [(0.0, 20.0), (0.5, 18.0), (1.0, 16.0)])
async def test_the_dead_are_out_in_bound(
    site: Site, autojump_clock: MockClock, jitter: float, pinged: float
) -> None:
    """Silence until `pong_timeout` after the ping: 3012, told to the peer, out of the figures in that step."""
    beat_at_once(site, lambda: jitter)
    client = await site.connect()
    hub = site.server.context.hub
    assert await _next_ping(client) == pytest.approx(pinged)
    await trio.sleep(9.99)
    assert hub.statistics().connections == 1
    await trio.sleep(0.02)
    assert (hub.statistics().connections, hub.statistics().channels) == (0, 0)
    said = await client.receive_json()
    assert (said["type"], said["data"]["code"], said["data"]["reconnect"]) == ("disconnect", 3012, True)
    assert (await client.closed()).code == 3012
    assert await client.at_end()
    assert trio.current_time() == pytest.approx(pinged + 10 + 2)
    await site.server.context.admission.wait_empty()
    assert hub.statistics().closes == {3012: 1}


async def test_many_heartbeats_do_not_beat_at_once(site: Site, autojump_clock: MockClock) -> None:
    """Connections made in one moment are pinged over the last fifth of the interval."""
    clients = [await site.connect(f"user-{number}") for number in range(50)]
    pings = []

    async def wait(client: RawClient) -> None:
        pings.append(await _next_ping(client))

    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(wait, client)
    assert 16 <= min(pings) <= max(pings) <= 20
    assert len(set(pings)) > 40
    assert max(pings) - min(pings) > 2


async def test_a_slow_handler_is_no_dead_peer(autojump_clock: MockClock) -> None:
    """While a handler runs the pong clock stands still; afterwards the peer has its whole interval again."""

    async def slow(session: Session, command: Command) -> Outcome:
        await trio.sleep(300)
        return Answer("pong", Pong())

    config = configured(heartbeat=Heartbeat(handler_timeout=1000))
    async with served(with_handler("stats", slow, config)) as site:
        client = await beat_at_once(site).connect()
        await trio.sleep(19)
        assert (await client.command("stats"))["type"] == "pong"
        assert trio.current_time() == pytest.approx(319)
        assert await _next_ping(client) == pytest.approx(339)


async def test_a_handler_that_begins_after_the_ping_stops_the_clock(autojump_clock: MockClock) -> None:
    """A command in answer to the ping proves life, however long the server takes over it."""

    async def slow(session: Session, command: Command) -> Outcome:
        await trio.sleep(60)
        return Answer("pong", Pong())

    config = configured(heartbeat=Heartbeat(handler_timeout=1000))
    async with served(with_handler("stats", slow, config)) as site:
        client = await beat_at_once(site).connect()
        assert await _next_ping(client) == pytest.approx(20)
        await trio.sleep(9)
        assert (await client.command("stats"))["type"] == "pong"
        assert await _next_ping(client) == pytest.approx(109)


async def test_a_handler_out_of_its_time_is_cut_off(autojump_clock: MockClock) -> None:
    """After `handler_timeout` the client is told `unavailable` under its id, and the next command is served."""

    async def never(session: Session, command: Command) -> Outcome:
        await trio.sleep(3600)
        return None

    async with served(with_handler("stats", never)) as site:
        client = await site.connect()
        error = await client.command("stats", id="s1")
        assert (error["type"], error["data"]["code"]) == ("error", ErrorCode.UNAVAILABLE)
        assert trio.current_time() == pytest.approx(10)
        assert (await client.command("ping"))["type"] == "pong"


async def test_commands_wait_for_the_one_before_them(autojump_clock: MockClock) -> None:
    """Handlers of one connection run one after another; another connection's do not wait for them."""

    async def slow(session: Session, command: Command) -> Outcome:
        await trio.sleep(5)
        return Answer("pong", Pong())

    async with served(with_handler("stats", slow)) as site:
        client, neighbour = await site.connect("alice"), await site.connect("bob")
        for kind, name in (("stats", "1"), ("ping", "2"), ("stats", "3"), ("ping", "4")):
            await client.send_json({"type": kind, "id": name})
        assert (await neighbour.command("ping"))["type"] == "pong"
        assert trio.current_time() == 0
        assert [(await client.receive_json())["id"] for _ in range(4)] == ["1", "2", "3", "4"]
        assert trio.current_time() == pytest.approx(10)


async def test_the_bounds_are_the_configured_ones(autojump_clock: MockClock) -> None:
    """`ping_interval` and `pong_timeout` of the configuration hold, and are told in `connected`."""
    config = configured(heartbeat=Heartbeat(ping_interval=3, pong_timeout=1))
    async with memory_site(config) as site:
        beat_at_once(site)
        client = await site.open()
        await client.handshake(token=site.token())
        connected = (await client.receive_json())["data"]
        assert (connected["ping_interval"], connected["pong_timeout"]) == (3, 1)
        assert await _next_ping(client) == pytest.approx(3)
        assert (await client.closed()).code == 3012
        assert trio.current_time() == pytest.approx(4)


@pytest.mark.parametrize(("interval", "patience"), [(1.0, 10.0), (10.0, 1.0), (5.0, 5.0)])
async def test_a_dead_peer_is_found_in_time_whatever_the_two_times_are(
    autojump_clock: MockClock, interval: float, patience: float
) -> None:
    """Answered pings go on at the interval, and silence after one ends within interval and timeout together."""
    heartbeat = Heartbeat(ping_interval=interval, pong_timeout=patience)
    async with memory_site(configured(heartbeat=heartbeat)) as site:
        client = await beat_at_once(site).connect()
        began = trio.current_time()
        for beat in range(1, 6):
            assert (await client.receive_frame())[0] == Opcode.PING
            assert trio.current_time() == pytest.approx(began + beat * interval)
            await client.send(masked(Opcode.PONG))
        silent = trio.current_time()
        assert (await client.receive_frame())[0] == Opcode.PING
        assert (await client.closed()).code == 3012
        assert trio.current_time() - silent == pytest.approx(interval + patience)
