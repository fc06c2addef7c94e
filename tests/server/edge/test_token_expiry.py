"""Tokens that end while their bearer is connected, by a wall clock that the test sets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from support.client import RawClient
from support.served import EPOCH, WallClock, beat_at_once
from support.site import Site
from support.tasks import Peers, unharmed
from trio.testing import MockClock

HOUR = 3600


@asynccontextmanager
async def _dated(site: Site) -> AsyncIterator[tuple[WallClock, Peers]]:
    wall = WallClock(beat_at_once(site))
    async with unharmed(site) as peers:
        yield wall, peers


async def _connect(peers: Peers, user: str = "alice", *, ttl: int) -> RawClient:
    client = await peers.connect(user, ttl=ttl)
    client.answers_pings = True
    return client


async def test_the_end_is_announced_and_kept(site: Site, autojump_clock: MockClock) -> None:
    """`token_expiring` a minute before the end, once, then `disconnect` and 3005 at the end."""
    async with _dated(site) as (_, peers):
        client = await _connect(peers, ttl=200)
        warning = await client.receive_json()
        assert (warning["type"], warning["data"]["expires_at"]) == ("token_expiring", EPOCH + 200)
        assert trio.current_time() == pytest.approx(140)
        said = await client.receive_json()
        assert (said["type"], said["data"]["code"], said["data"]["reconnect"]) == ("disconnect", 3005, True)
        assert trio.current_time() == pytest.approx(200)
        assert (await client.closed()).code == 3005
        assert site.server.context.hub.statistics().connections == 0


async def test_a_refresh_postpones_the_end(site: Site, autojump_clock: MockClock) -> None:
    """`refresh` with a newer token of the same user: told the new end, warned of it, closed at it."""
    async with _dated(site) as (_, peers):
        client = await _connect(peers, ttl=100)
        assert (await client.receive_json())["type"] == "token_expiring"
        answer = await client.command("refresh", {"token": site.token("alice", ttl=300)})
        expires_at = EPOCH + 40 + 300
        assert (answer["type"], answer["data"]["expires_at"]) == ("refreshed", expires_at)
        warning = await client.receive_json()
        assert (warning["type"], warning["data"]["expires_at"]) == ("token_expiring", expires_at)
        assert trio.current_time() == pytest.approx(280)
        assert (await client.closed()).code == 3005
        assert trio.current_time() == pytest.approx(340)


@pytest.mark.parametrize("ttl", [3, 30, 70])
async def test_a_refresh_may_bring_the_end_nearer(site: Site, autojump_clock: MockClock, ttl: int) -> None:
    """The newest token counts, also where it ends earlier: the connection ends with it, and not later."""
    async with _dated(site) as (_, peers):
        client = await _connect(peers, ttl=HOUR)
        answer = await client.command("refresh", {"token": site.token("alice", ttl=ttl)})
        assert answer["data"]["expires_at"] == EPOCH + ttl
        assert (await client.receive_json())["type"] == "token_expiring"
        assert trio.current_time() == pytest.approx(max(0, ttl - 60))
        assert (await client.closed()).code == 3005
        assert trio.current_time() == pytest.approx(ttl)


@pytest.mark.parametrize(
    ("user", "ttl", "code"),
    [("bob", 300, "forbidden"), ("Alice", 300, "forbidden"), ("alice", 0, "unauthorized")],
)
async def test_a_refresh_that_is_refused_changes_nothing(
    site: Site, autojump_clock: MockClock, user: str, ttl: int, code: str
) -> None:
    """Another user's token, or a bad one, is refused; the connection goes on, and ends when it would have."""
    async with _dated(site) as (_, peers):
        client = await _connect(peers, ttl=100)
        token = site.token(user, ttl=ttl) if ttl else "bad"
        answer = await client.command("refresh", {"token": token}, id="r")
        assert (answer["type"], answer["data"]["code"], answer["id"]) == ("error", code, "r")
        stats = await client.command("stats")
        assert stats["data"]["connection"]["channels"] == ["all", "user:alice"]
        assert (await client.closed()).code == 3005
        assert trio.current_time() == pytest.approx(100)


async def _ends(clients: dict[str, RawClient], within: float) -> dict[str, tuple[int | None, float]]:
    """Listen to all clients at once for so long: who was closed, with which code and when."""
    ends = {}

    async def listen(name: str, client: RawClient) -> None:
        code = (await client.closed()).code
        ends[name] = (code, round(trio.current_time(), 3))

    with trio.move_on_after(within):
        async with trio.open_nursery() as nursery:
            for name, client in clients.items():
                nursery.start_soon(listen, name, client)
    return ends


async def test_an_hour_forward_ends_tokens_and_nothing_else(site: Site, autojump_clock: MockClock) -> None:
    """When the wall clock jumps ahead, what has ended by it ends within a heartbeat; pings go on as before."""
    async with _dated(site) as (wall, peers):
        clients = {
            "short": await _connect(peers, "short", ttl=HOUR),
            "long": await _connect(peers, "long", ttl=3 * HOUR),
            "silent": await peers.connect("silent", ttl=3 * HOUR),
        }
        await trio.sleep(5)
        wall.set_forward(HOUR)
        assert await _ends(clients, HOUR) == {"short": (3005, 20), "silent": (3012, 30)}
        assert site.server.context.hub.connections_of("long")


async def test_an_hour_back_lets_tokens_live_by_the_wall_clock(
    site: Site, autojump_clock: MockClock
) -> None:
    """When the wall clock jumps back, pings go on as before, and a token ends when the wall clock says so."""
    async with _dated(site) as (wall, peers):
        clients = {
            "alice": await _connect(peers, ttl=100),
            "silent": await peers.connect("silent", ttl=HOUR),
        }
        await trio.sleep(5)
        wall.set_forward(-HOUR)
        assert await _ends(clients, 2 * HOUR) == {"silent": (3012, 30), "alice": (3005, HOUR + 100)}


async def test_an_end_years_away_is_waited_for(site: Site, autojump_clock: MockClock) -> None:
    """A token as long-lived as `max_ttl` allows disturbs no timer."""
    async with _dated(site) as (_, peers):
        client = await _connect(peers, ttl=site.server.context.config.auth.max_ttl)
        with trio.move_on_after(HOUR) as scope:
            await client.receive_json()
        assert scope.cancelled_caught
        assert (await client.command("ping"))["type"] == "pong"
