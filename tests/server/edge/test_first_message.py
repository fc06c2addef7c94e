"""A connection whose token comes with the first message: what it may do before, and how long that may take."""

import pytest
import trio
import trio.testing
from support.client import RawClient, masked
from support.served import EPOCH, WallClock
from support.site import Site, configured, memory_site
from support.tasks import unharmed
from trio.testing import MockClock

from tidings.protocol.frames import Opcode
from tidings.server.config import Heartbeat, Limits

COMMANDS: dict[str, dict[str, object]] = {
    "subscribe": {"channel": "all"},
    "unsubscribe": {"channel": "all"},
    "join_room": {"room": "r"},
    "leave_room": {"room": "r"},
    "room_subscribe": {"room": "r"},
    "room_unsubscribe": {"room": "r"},
    "room_message": {"room": "r", "text": "hi"},
    "user_message": {"to": "bob", "text": "hi"},
    "publish": {"channel": "all", "event": "e", "payload": {}},
    "ack": {"channel": "user:alice", "offset": 0},
    "history": {"channel": "all"},
    "presence": {"channel": "room:r"},
    "refresh": {"token": "t"},
    "stats": {},
}


async def _stranger(site: Site) -> RawClient:
    """A connection without a token."""
    client = await site.open()
    assert (await client.handshake())[0] == 101
    return client


async def test_the_first_message_may_bear_the_token(site: Site, autojump_clock: MockClock) -> None:
    """`authenticate` is answered by `connected` under its id, and from then on everything is as with a token."""
    async with unharmed(site) as peers:
        client = peers.adopt(await _stranger(site))
        connected = await client.command("authenticate", {"token": site.token("alice")}, id="a")
        assert (connected["type"], connected["id"]) == ("connected", "a")
        assert (connected["data"]["user_id"], connected["data"]["username"]) == ("alice", "alice")
        stats = await client.command("stats")
        assert stats["data"]["connection"]["channels"] == ["all", "user:alice"]
        assert stats["data"]["connection"]["connection_id"] == connected["data"]["connection_id"]
        assert len(site.server.context.hub.connections_of("alice")) == 1


async def test_nothing_comes_before_the_token(site: Site, autojump_clock: MockClock) -> None:
    """A stranger gets no greeting and no publication, is in no figure, and yet counts as a socket."""
    async with unharmed(site) as peers:
        client = peers.adopt(await _stranger(site))
        admin = await peers.connect("admin", roles=["admin"])
        await admin.command("publish", {"channel": "all", "event": "e", "payload": {}})
        assert site.server.context.hub.connections == 1
        assert site.server.context.admission.open == 2
        with trio.move_on_after(9) as scope:
            await client.receive_json()
        assert scope.cancelled_caught


@pytest.mark.parametrize("kind", COMMANDS)
async def test_commands_before_the_token_are_refused(
    site: Site, autojump_clock: MockClock, kind: str
) -> None:
    """Every command but `ping` and `authenticate` gets `unauthorized` under its id and does nothing."""
    async with unharmed(site) as peers:
        client = peers.adopt(await _stranger(site))
        error = await client.command(kind, COMMANDS[kind], id="x")
        assert (error["type"], error["data"]["code"], error["id"]) == ("error", "unauthorized", "x")
        assert site.server.context.hub.statistics().publications == 0
        assert (await client.command("ping"))["type"] == "pong"
        assert (await client.command("authenticate", {"token": site.token()}))["type"] == "connected"


async def test_every_command_is_in_the_list(site: Site) -> None:
    """A new command must be added to the list above."""
    assert set(site.server.context.registry.commands) == {*COMMANDS, "ping", "authenticate"}


async def test_who_does_not_say_in_time_is_closed(site: Site, autojump_clock: MockClock) -> None:
    """After `authenticate_timeout`, however lively: `disconnect` and 3502, and no second chance."""
    async with unharmed(site) as peers:
        client = peers.adopt(await _stranger(site))
        for _ in range(9):
            await trio.sleep(1)
            await client.send(masked(Opcode.TEXT, b'{"type":"ping"}'))
            assert (await client.receive_json())["type"] == "pong"
        said = await client.receive_json()
        assert (said["type"], said["data"]["code"], said["data"]["reconnect"]) == (
            "disconnect",
            3502,
            False,
        )
        assert trio.current_time() == pytest.approx(10)
        assert (await client.closed()).code == 3502
    assert site.server.context.hub.statistics().closes[3502] == 1


async def test_who_says_just_in_time_stays(site: Site, autojump_clock: MockClock) -> None:
    """A token in the last moment counts: the deadline is for saying it, and ends with it."""
    async with unharmed(site) as peers:
        client = peers.adopt(await _stranger(site))
        await trio.sleep(9.99)
        assert (await client.command("authenticate", {"token": site.token()}))["type"] == "connected"
        await trio.sleep(5)
        assert (await client.command("ping"))["type"] == "pong"


async def test_the_time_for_the_token_is_configured(autojump_clock: MockClock) -> None:
    """`authenticate_timeout` of the configuration holds, also where it is longer than the ping interval."""
    config = configured(heartbeat=Heartbeat(authenticate_timeout=60))
    async with memory_site(config) as site, unharmed(site) as peers:
        client = peers.adopt(await _stranger(site))
        client.answers_pings = True
        assert (await client.closed()).code == 3502
        assert trio.current_time() == pytest.approx(60)


async def test_a_stranger_that_is_silent_is_dead_all_the_same(autojump_clock: MockClock) -> None:
    """Where the token may take long, a dead stranger is found by its silence."""
    config = configured(heartbeat=Heartbeat(authenticate_timeout=600))
    async with memory_site(config) as site, unharmed(site) as peers:
        client = peers.adopt(await _stranger(site))
        assert (await client.closed()).code == 3012
        assert trio.current_time() <= 30


async def test_one_connection_too_many_is_told_in_band(autojump_clock: MockClock) -> None:
    """`authenticate` over `connections_per_user`: 3504, not to be tried again, and the others stay."""
    async with (
        memory_site(configured(limits=Limits(connections_per_user=2))) as site,
        unharmed(site) as peers,
    ):
        first, second = await peers.connect("alice"), await peers.connect("alice")
        late = peers.adopt(await _stranger(site))
        await late.send_json({"type": "authenticate", "data": {"token": site.token("alice")}})
        said = await late.receive_json()
        assert (said["type"], said["data"]["code"]) == ("disconnect", 3504)
        assert said["data"]["reconnect"] is False
        assert (await late.closed()).code == 3504
        for client in (first, second):
            assert (await client.command("ping"))["type"] == "pong"
        assert len(site.server.context.hub.connections_of("alice")) == 2


async def test_of_two_that_say_it_at_once_one_is_over_the_limit(autojump_clock: MockClock) -> None:
    """However many authenticate in one tick, exactly `connections_per_user` get in."""
    async with (
        memory_site(configured(limits=Limits(connections_per_user=3))) as site,
        unharmed(site) as peers,
    ):
        strangers = [peers.adopt(await _stranger(site)) for _ in range(9)]
        for client in strangers:
            await client.send_json({"type": "authenticate", "data": {"token": site.token("alice")}})
        kinds = [(await client.receive_json())["type"] for client in strangers]
        assert sorted(kinds) == 3 * ["connected"] + 6 * ["disconnect"]
        assert len(site.server.context.hub.connections_of("alice")) == 3


@pytest.mark.parametrize("ttl", [1, 5, 30])
async def test_a_token_in_band_ends_in_its_time(site: Site, autojump_clock: MockClock, ttl: int) -> None:
    """A short-lived token in the first message ends the connection at its `exp`, warned at once, and not later."""
    wall = WallClock(site)
    async with unharmed(site) as peers:
        client = peers.adopt(await _stranger(site))
        client.answers_pings = True
        await client.command("authenticate", {"token": site.token(ttl=ttl)})
        assert (await client.receive_json())["type"] == "token_expiring"
        assert wall() - EPOCH == pytest.approx(0)
        assert (await client.closed()).code == 3005
        assert wall() - EPOCH == pytest.approx(ttl)


async def test_a_second_authenticate_is_refused(site: Site, autojump_clock: MockClock) -> None:
    """Once known, a connection stays who it is; `refresh` is the way to a newer token."""
    async with unharmed(site) as peers:
        client = await peers.connect("alice")
        answer = await client.command("authenticate", {"token": site.token("alice")})
        assert answer["data"]["code"] == "forbidden"
        assert len(site.server.context.hub.connections_of("alice")) == 1
