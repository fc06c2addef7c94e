"""Silence of programs: whose door asks for words is closed without them, though the machine answers pings."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from support.client import RawClient, masked
from support.doors import (
    Club,
    ClubSite,
    club_site,
    greeting,
    line,
    lives,
    received,
    refused,
    status,
    updated,
)
from support.served import beat_at_once
from support.site import configured
from trio.testing import MockClock

from tidings.protocol.frames import Opcode
from tidings.protocol.messages.lines import HeartbeatAck
from tidings.server.config import Heartbeat


@pytest.fixture
async def club(autojump_clock: MockClock) -> AsyncIterator[ClubSite]:
    """A server whose devices must say something every 90 s; its dashboards need not."""
    club = Club()
    club.devices.silence_seconds = 90
    async with club_site(club=club) as site:
        beat_at_once(site.site)
        yield site


async def _closed_at(client: RawClient) -> float:
    """When it is closed for its silence, having answered all pings."""
    client.answers_pings = True
    messages, closed = await client.until_closed()
    assert messages == []
    assert (closed.code, closed.reason) == (3012, "no message within 90 s")
    return trio.current_time()


async def test_answered_pings_do_not_count(club: ClubSite) -> None:
    """A device whose program hangs answers pings for ever: after its time it is closed, and its app told."""
    client = await club.device()
    door = club.club.devices
    guest = door.guest
    assert await _closed_at(client) == pytest.approx(90)
    await trio.testing.wait_all_tasks_blocked()
    assert door.gone == [guest]


async def test_neither_pings_nor_pongs_of_its_own_count(club: ClubSite) -> None:
    """Nor does half a message: only what its program has said whole."""
    client = await club.device()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            for _ in range(8):
                await client.send(masked(Opcode.PING) + masked(Opcode.PONG))
                await trio.sleep(10)
            await client.send(masked(Opcode.TEXT, b'{"type":', fin=False))

        assert await _closed_at(client) == pytest.approx(90)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "heartbeat"},
        line("1"),
        {"type": "nonsense"},
        [],
        [line("1"), status("a")],
        line("1", activation_code="TWO"),
    ],
)
async def test_any_message_counts(club: ClubSite, message: Any) -> None:
    """Right or wrong, one or several: its program lives. The time begins anew with each."""
    client = await club.device()
    client.answers_pings = True
    for _ in range(3):
        with trio.move_on_after(89):
            await client.receive_json()
        await client.send_json(message)
        for _ in range(max(1, len(message)) if isinstance(message, list) else 1):
            await client.receive_json()
    assert trio.current_time() == pytest.approx(267)
    assert await _closed_at(client) == pytest.approx(267 + 90)


async def test_a_handler_that_runs_counts(autojump_clock: MockClock) -> None:
    """Nobody reads meanwhile: the silence is the server's, and the time begins when it has answered."""
    club = Club()
    club.devices.silence_seconds = 5
    async with club_site(configured(heartbeat=Heartbeat(handler_timeout=60)), club) as site:
        beat_at_once(site.site)
        client = await site.device()
        client.answers_pings = True
        await client.send_json(status("wait-17"))
        assert await client.receive_json() == updated("wait-17")
        assert trio.current_time() == pytest.approx(17)
        with trio.move_on_after(4.9):
            await client.receive_json()
        await client.send_json([status("wait-7"), status("wait-7")])
        for _ in range(2):
            assert await client.receive_json() == updated("wait-7")
        began = trio.current_time()
        messages, closed = await client.until_closed()
        assert (messages, closed.code, closed.reason) == ([], 3012, "no message within 5 s")
        assert trio.current_time() - began == pytest.approx(5)


async def test_the_time_begins_when_it_is_known_who_it_is(autojump_clock: MockClock) -> None:
    """Who has not been let in has the time for that, whatever the door asks for afterwards."""
    club = Club()
    club.devices.silence_seconds = 3
    async with club_site(club=club) as site:
        client = await site.stranger()
        await trio.sleep(9)
        await client.send_json(line("1", activation_code="ONE"))
        assert [await client.receive_json() for _ in range(2)] == [greeting(), received("1")]
        assert (await client.until_closed())[1].code == 3012
        assert trio.current_time() == pytest.approx(12)
        stranger = await site.stranger()
        assert (await stranger.closed()).code == 3502
        assert trio.current_time() == pytest.approx(22)


async def test_what_the_server_says_does_not_count(club: ClubSite) -> None:
    """A device that is told something every second says nothing itself."""
    client = await club.device()
    client.answers_pings = True
    guest = club.club.devices.guest
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            while not guest.is_closing:
                guest.tell(HeartbeatAck(""))
                await trio.sleep(1)

        assert (await client.closed()).code == 3012
        assert trio.current_time() == pytest.approx(90)


async def test_other_doors_ask_for_no_words(club: ClubSite) -> None:
    """A dashboard, and whoever came in without a door, may say nothing for ever while its pings are answered."""
    dashboard = await club.dashboard()
    await _silent(dashboard)
    await lives(dashboard)
    user = await club.peers.connect("alice")
    await _silent(user)
    assert (await user.command("ping"))["type"] == "pong"


async def _silent(client: RawClient) -> None:
    """Answer pings for 900 s, in which nothing else comes."""
    client.answers_pings = True
    with trio.move_on_after(900):
        pytest.fail(str(await client.receive_json()))


async def test_a_dead_peer_is_found_by_its_pings_all_the_same(club: ClubSite) -> None:
    """Who answers no ping is closed after the usual time, and not after the longer one."""
    client = await club.device()
    assert (await client.closed()).code == 3012
    assert trio.current_time() <= 30


async def test_refused_messages_are_told_as_ever(club: ClubSite) -> None:
    """What is said at the last moment is answered, and the connection stays."""
    client = await club.device()
    client.answers_pings = True
    with trio.move_on_after(89.999):
        await client.receive_json()
    await client.send_json(line("refuse-1"))
    assert await client.receive_json() == refused("incoming_line_id: refuse-1")
