"""Channels that come unasked (all, the groups, the roles): none of them is lost in silence. In virtual time."""

from typing import Any

import pytest
import trio
from support.network import Network, patience
from support.scripted_server import OWN, ScriptedServer, scripted
from trio.testing import wait_all_tasks_blocked

from tidings.client import CommandRefused, Gap, Position, Publication, Recovered, Resubscribed
from tidings.client.feed import Feed

GROUP, ROLE = "group:g", "role:editor"


def told(item: Publication | Gap) -> tuple[str, Any]:
    """An item, as its channel and its offset or its hole."""
    if isinstance(item, Gap):
        return item.channel, (item.from_offset, item.to_offset)
    return item.channel, item.offset


async def waiting(feed: Feed[Publication | Gap]) -> list[tuple[str, Any]]:
    """What waits in a feed."""
    await wait_all_tasks_blocked(0.001)
    return [told(await anext(feed)) for _ in range(feed.waiting)]


async def away(network: Network) -> None:
    """Cut the connection, and let both sides notice."""
    await network.cut()
    await wait_all_tasks_blocked(0.001)


def asked(server: ScriptedServer) -> list[str]:
    """What the server was asked for."""
    return [data["channel"] for data in server.given("subscribe")]


@pytest.mark.parametrize("heard", [False, True])
async def test_what_was_missed_is_recovered(network: Network, heard: bool) -> None:
    """Whether anything was heard of it before or not: after a cut everything follows, once, and is named."""
    server = scripted(network, GROUP, ROLE)
    server.channel(ROLE).publish()
    async with patience(), network.connect() as client:
        feed = client.publications()
        if heard:
            await server.publish(GROUP)
        assert asked(server) == []
        assert await waiting(feed) == [(GROUP, 1)] * heard
        first = 2 if heard else 1
        await away(network)
        for _ in range(3):
            server.channel(GROUP).publish()
        await client.ping()
        await server.publish(GROUP)
        await server.publish(ROLE)
        assert await waiting(feed) == [*((GROUP, first + number) for number in range(4)), (ROLE, 2)]
        assert asked(server) == [GROUP], "only where something was missed"
        assert network.of(Resubscribed) == [Resubscribed((), (), (Recovered(GROUP, first, first + 2),))]


@pytest.mark.parametrize("how", ["trimmed", "renewed", "refused"])
async def test_what_cannot_be_had_is_a_gap(network: Network, how: str) -> None:
    """No longer kept, begun anew, or not given for whatever reason: a gap at its place, and it is named."""
    server = scripted(network, GROUP)
    server.channel(GROUP).publish()
    async with patience(), network.connect() as client:
        feed = client.publications()
        await away(network)
        if how == "renewed":
            await server.renew(GROUP)
        for _ in range(3):
            server.channel(GROUP).publish()
        if how == "trimmed":
            server.channel(GROUP).kept.clear()
        elif how == "refused":
            server.refuse = lambda command: (
                {"code": "not_found", "message": "no"} if command["type"] == "subscribe" else None
            )
        await client.ping()
        await server.publish(GROUP)
        gap = Gap(GROUP, 2, None, "e1") if how == "renewed" else Gap(GROUP, 2, 4, "e0")
        assert await waiting(feed) == [told(gap), (GROUP, 4 if how == "renewed" else 5)]
        assert network.of(Resubscribed) == [Resubscribed((), (gap,), ())]


async def test_what_a_refresh_brings_is_come_back_to(network: Network) -> None:
    """From the position that was told with it, also where nothing of it was heard."""
    server = scripted(network)
    server.channel(ROLE).publish()
    async with patience(), network.connect() as client:
        feed = client.publications()
        await server.bring(ROLE)
        await wait_all_tasks_blocked()
        assert client.positions()[ROLE] == Position("e0", 1)
        # It is the user's own: whoever closes a subscription does not take it away from the others.
        await (await client.subscribe(ROLE)).aclose()
        await away(network)
        server.channel(ROLE).publish()
        await client.ping()
        assert await waiting(feed) == [(ROLE, 2)]
        assert asked(server) == [ROLE, ROLE]
        await (await client.subscribe(ROLE)).aclose()
        await wait_all_tasks_blocked()
        await server.publish(ROLE)
        assert await waiting(feed) == [(ROLE, 3)]
        assert server.given("unsubscribe") == []


async def test_what_a_refresh_takes_is_over(network: Network) -> None:
    """Nothing of it is missed or asked for again; brought back, it begins where it is then."""
    server = scripted(network, ROLE)
    async with patience(), network.connect() as client:
        feed, own = client.publications(), await client.subscribe(ROLE)
        await server.publish(ROLE)
        await server.take(ROLE)
        with pytest.raises(CommandRefused, match="ended"):
            [await anext(own) for _ in range(2)]
        before = len(asked(server))
        await away(network)
        server.channel(ROLE).publish()
        await client.ping()
        assert ROLE not in client.positions()
        await server.bring(ROLE)
        await server.publish(ROLE)
        assert await waiting(feed) == [(ROLE, 1), (ROLE, 3)]
        assert asked(server)[before:] == []
        await server.take(ROLE)
        await wait_all_tasks_blocked()
        # By a grant, say: then it is a subscription like any other, and the server is told of its end.
        await (await client.subscribe(ROLE)).aclose()
        await wait_all_tasks_blocked()
        assert server.given("unsubscribe") == [{"channel": ROLE}]


async def test_a_role_that_is_gone_after_a_reconnection(network: Network) -> None:
    """Taken away meanwhile: nobody asks for it any more; who had subscribed to it is told, once."""
    server = scripted(network, ROLE, GROUP)
    refused = {"code": "forbidden", "message": "not yours"}
    server.refuse = lambda command: (
        refused if command["data"].get("channel") in {ROLE, GROUP} - {*server.automatic} else None
    )
    async with patience(), network.connect() as client:
        feed, editors = client.publications(), await client.subscribe(ROLE)
        await server.publish(ROLE)
        await server.publish(GROUP)
        await wait_all_tasks_blocked()
        server.automatic.remove(ROLE)
        server.automatic.remove(GROUP)
        for _ in range(3):
            await away(network)
            server.channel(ROLE).publish()
            server.channel(GROUP).publish()
            await client.ping()
        assert asked(server) == [ROLE, ROLE], "the subscription's own, and the one that was refused"
        assert isinstance(await anext(editors), Publication)
        with pytest.raises(CommandRefused, match="not yours"):
            await anext(editors)
        assert await waiting(feed) == [(ROLE, 1), (GROUP, 1)]
        assert set(client.positions()) == {"all", OWN}
        assert len(network.dialled) == 4


async def test_closing_leaves_it_to_the_others(network: Network) -> None:
    """A subscription to a channel that comes anyway ends here, and not on the server."""
    server = scripted(network, GROUP)
    async with patience(), network.connect() as client:
        feed = client.publications()
        async with await client.subscribe(GROUP) as subscription:
            await server.publish(GROUP)
            assert await waiting(subscription) == [(GROUP, 1)]
        await away(network)
        server.channel(GROUP).publish()
        await client.ping()
        assert await waiting(feed) == [(GROUP, 1), (GROUP, 2)]
        assert server.given("unsubscribe") == []


@pytest.mark.parametrize(
    ("given", "hole"), [(Position("e0", 2), (3, 5)), (Position("old", 90), (91, None))]
)
@pytest.mark.parametrize("passed", [False, True])
async def test_a_position_of_an_earlier_run(
    network: Network, given: Position, hole: tuple[int, int | None], passed: bool
) -> None:
    """Whoever listens to everything is told what lies between, also where a position of none was passed over."""
    server = scripted(network, GROUP)
    for _ in range(5):
        server.channel(GROUP).publish()
    async with patience(), network.connect(positions={GROUP: given}) as client:
        feed = client.publications()
        await server.publish(GROUP, excluded=passed)
        await server.publish(GROUP)
        assert await waiting(feed) == [(GROUP, hole), *([] if passed else [(GROUP, 6)]), (GROUP, 7)]


async def test_a_given_position_survives_a_refresh(network: Network) -> None:
    """A newer token brings a channel of which the application knows where it stood: it gets all after that."""
    server = scripted(network)
    for _ in range(5):
        server.channel(ROLE).publish()
    async with patience(), network.connect(positions={ROLE: Position("e0", 3)}) as client:
        await server.bring(ROLE)
        await wait_all_tasks_blocked()
        async with await client.subscribe(ROLE) as editors:
            assert await waiting(editors) == [(ROLE, 4), (ROLE, 5)]
    server.automatic.remove(ROLE)
    async with patience(), network.connect(positions={ROLE: Position("e0", 3)}) as client:
        feed = client.publications()
        await server.bring(ROLE)
        await server.publish(ROLE)
        assert await waiting(feed) == [(ROLE, (4, 5)), (ROLE, 6)]


async def test_an_older_server_that_does_not_say_where_it_stands(network: Network) -> None:
    """`all` is asked for as ever; a group of which something was heard is gone on with where it was."""
    server = ScriptedServer(tells=False)
    server.automatic.append(GROUP)
    network.scripts = [server.serve] * 5
    async with patience(), network.connect() as client:
        feed = client.publications()
        assert asked(server) == ["all"]
        await server.publish(GROUP)
        await wait_all_tasks_blocked()
        await away(network)
        await client.ping()
        assert sorted(asked(server)[1:]) == ["all", GROUP]
        await away(network)
        server.channel(GROUP).publish()
        await client.ping()
        assert await waiting(feed) == [(GROUP, 1), (GROUP, 2)]


async def test_a_connection_at_rest_costs_no_command(network: Network) -> None:
    """Nothing was missed: coming back a hundred times asks the server for nothing."""
    server = scripted(network, GROUP, ROLE)
    async with patience(), network.connect() as client:
        for _ in range(20):
            await network.cut()
            await trio.sleep(40)
        assert server.commands == []
        await client.ping()
        assert network.of(Resubscribed) == [Resubscribed((), ())] * 20
