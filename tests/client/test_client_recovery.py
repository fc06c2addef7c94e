"""What is missed while the connection is away: resumed where it is kept, a gap where not. In virtual time."""

from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from support.network import Network, patience
from support.scripted_server import OWN, ScriptedServer, scripted
from trio.testing import wait_all_tasks_blocked

from tidings.client import Gap, NotAcknowledged, Position, Publication, Recovered, Resubscribed
from tidings.client.feed import Feed


def since(server: ScriptedServer, channel: str) -> Any:
    """The position that the channel was last asked for from."""
    return [data.get("since") for data in server.given("subscribe") if data["channel"] == channel][-1]


async def taken(feed: Feed[Any], count: int) -> list[Any]:
    """So many items: offsets, and (first, last) of gaps."""
    items = [await anext(feed) for _ in range(count)]
    return [(item.from_offset, item.to_offset) if isinstance(item, Gap) else item.offset for item in items]


async def away(network: Network) -> None:
    """Cut the connection, and let both sides notice."""
    await network.cut()
    await wait_all_tasks_blocked(0.001)


async def test_what_was_missed_follows(network: Network) -> None:
    """A kept channel goes on where it was left: no gap, in order, once, and the application is told how much."""
    server = scripted(network)
    async with patience(), network.connect() as client:
        room, lobby = await client.subscribe("room:x"), await client.join("lobby")
        assert since(server, "room:x") is None
        await server.publish("room:x")
        assert await taken(room, 1) == [1]
        await away(network)
        for _ in range(3):
            server.channel("room:x").publish()
        await client.ping()
        await server.publish("room:x")
        assert await taken(room, 4) == [2, 3, 4, 5]
        assert since(server, "room:x") == {"epoch": "e0", "offset": 1}
        assert server.given("join_room")[-1]["since"] == {"epoch": "e0", "offset": 0}
        (told,) = network.of(Resubscribed)
        assert told == Resubscribed(("room:x", "room:lobby"), (), (Recovered("room:x", 2, 4),))
        assert lobby.waiting == 0


async def test_what_is_not_kept_is_a_gap(network: Network) -> None:
    """Trimmed meanwhile: the gap stands exactly where it is, and the application is told."""
    server = scripted(network)
    async with patience(), network.connect() as client:
        room = await client.subscribe("room:x")
        await server.publish("room:x")
        assert await taken(room, 1) == [1]
        await away(network)
        channel = server.channel("room:x")
        for _ in range(3):
            channel.publish()
        channel.kept = channel.kept[-1:]
        await client.ping()
        await server.publish("room:x")
        assert await taken(room, 2) == [(2, 4), 5]
        (told,) = network.of(Resubscribed)
        assert told == Resubscribed(("room:x",), (Gap("room:x", 2, 4, "e0"),), ())


async def test_more_than_waits_between_connections_is_recovered(network: Network) -> None:
    """A long replay, and what comes live before it, are neither held back nor handed over twice."""
    server = scripted(network)
    async with patience(), network.connect(queue=5000) as client:
        everything = await client.subscribe("all")
        await server.publish("all")
        await away(network)
        for _ in range(2500):
            server.channel("all").publish()
        await client.ping()
        await server.publish("all")
        assert await taken(everything, 2502) == list(range(1, 2503))
        assert everything.waiting == 0


async def test_what_is_not_for_us_is_no_gap(network: Network) -> None:
    """A position passed over live, and on replay, is not missed; the numbers go on behind it."""
    server = scripted(network)
    async with patience(), network.connect() as client:
        room = await client.subscribe("room:x")
        await server.publish("room:x")
        await server.publish("room:x", excluded=True)
        await server.publish("room:x")
        assert await taken(room, 2) == [1, 3]
        await away(network)
        server.channel("room:x").publish(excluded=True)
        server.channel("room:x").publish()
        server.channel("room:x").publish(excluded=True)
        await client.ping()
        await server.publish("room:x")
        assert await taken(room, 2) == [5, 7]
        await away(network)
        await client.ping()
        assert since(server, "room:x") == {"epoch": "e0", "offset": 7}


async def test_a_new_epoch_under_way_is_told(network: Network) -> None:
    """The channel begins anew while we listen: a gap without an end at once, then the new numbers."""
    server = scripted(network)
    async with patience(), network.connect() as client:
        room = await client.subscribe("room:x")
        await server.publish("room:x")
        assert await taken(room, 1) == [1]
        await server.renew("room:x")
        gap = await anext(room)
        assert gap == Gap("room:x", 2, None, "e1")
        await server.publish("room:x")
        assert await taken(room, 1) == [1]
        assert client.positions()["room:x"].epoch == "e1"


async def test_an_announcement_has_no_place(network: Network) -> None:
    """It is handed over, and neither missed nor the reason for a gap."""
    server = scripted(network)
    async with patience(), network.connect() as client:
        room = await client.subscribe("room:x")
        await server.publish("room:x")
        await server.announce("room:x", "joined")
        await server.publish("room:x")
        items = [await anext(room) for _ in range(3)]
        assert [(item.event, item.offset) for item in items if isinstance(item, Publication)] == [
            ("news", 1), ("joined", 0), ("news", 2),
        ]  # fmt: skip
        assert isinstance(items[1], Publication)
        assert items[1].position is None


async def test_a_program_that_is_started_again_goes_on(network: Network) -> None:
    """With the positions of the last run: what came meanwhile is handed over, or a gap stands for it."""
    server = scripted(network)
    async with patience():
        async with network.connect() as client, await client.subscribe("room:x") as room:
            for _ in range(3):
                await server.publish("room:x")
            assert await taken(room, 2) == [1, 2]
            # The second is still being handled, as far as anybody knows; the third waits.
            positions = client.positions()
            assert positions["room:x"] == Position("e0", 1)
        server.channel("room:x").publish()
        async with network.connect(positions=positions) as client, await client.subscribe("room:x") as room:
            assert await taken(room, 3) == [2, 3, 4]
            assert room.waiting == 0
        for wrong in (Position("e0", 9), Position("old", 2)):
            async with (
                network.connect(positions={"room:x": wrong}) as client,
                await client.subscribe("room:x") as room,
            ):
                await server.publish("room:x")
                assert (await taken(room, 2))[0] == (wrong.offset + 1, None)


async def test_given_positions_wait_for_whoever_listens(network: Network) -> None:
    """What comes of such a channel before it is subscribed to is not swallowed, and the position not lost."""
    server = scripted(network)
    server.channel("all").publish()
    given = {"all": Position("e0", 1), "room:never": Position("e0", 7)}
    async with patience(), network.connect(positions=given) as client:
        await server.publish("all")
        await away(network)
        await client.ping()
        await server.publish("all")
        assert client.positions() == {**given, OWN: Position("e0", 0)}
        async with await client.subscribe("all") as feed:
            assert await taken(feed, 2) == [2, 3]
        assert "room:never" not in [data["channel"] for data in server.given("subscribe")]


@pytest.mark.parametrize(
    "position", [Position("e", -1), Position("", 1), {"epoch": "e", "offset": 1}, None]
)
async def test_positions_that_are_none_are_refused(network: Network, position: Any) -> None:
    """At once, with the channel's name."""
    with pytest.raises(ValueError, match="positions: room:x"):
        async with network.connect(positions={"room:x": position}):
            pass
    assert network.dialled == []


@pytest.mark.parametrize("tells", [False, True])
async def test_without_an_inbox(network: Network, tells: bool) -> None:
    """The own channel is resumed as any other; an older server, which does not say where it is, is asked."""
    server = scripted(network, inbox=False, tells=tells)
    async with patience(), network.connect() as client:
        feed = client.publications()
        asked = {data["channel"] for data in server.given("subscribe")}
        assert asked == (set() if tells else {"all", OWN})
        await server.publish(OWN)
        await away(network)
        server.channel(OWN).publish()
        await client.ping()
        assert await taken(feed, 2) == [1, 2]
        assert server.given("ack") == []


# --- a server and a line that do anything --------------------------------------------------------------------

_UNASKED = "group:g"
_ROOMS = ["room:x", "all", OWN, _UNASKED]
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from(_ROOMS)),
        st.tuples(st.just("publish"), st.sampled_from(_ROOMS)),
        st.tuples(st.just("exclude"), st.sampled_from(_ROOMS)),
        st.tuples(st.just("trim"), st.sampled_from(_ROOMS)),
        st.tuples(st.just("renew"), st.sampled_from(_ROOMS)),
        st.tuples(st.sampled_from(["cut", "back", "settle"]), st.just("")),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(steps=_STEPS)
async def test_each_once_in_order_and_every_hole_told(steps: list[tuple[str, str]]) -> None:
    """Cuts, recoveries, trimmed histories, new epochs, exclusions: publications and gaps are everything, once."""
    from support.site import memory_site

    with trio.fail_after(60):
        async with memory_site() as site:
            network = Network(site)
            server = scripted(network)
            server.automatic.append(_UNASKED)
            everything: dict[str, list[tuple[str, int]]] = {room: [] for room in _ROOMS}
            excluded: dict[str, set[tuple[str, int]]] = {room: set() for room in _ROOMS}
            heard: dict[str, list[Any]] = {room: [] for room in _ROOMS}
            async with network.connect(reconnect=_at_once(), queue=1000) as client:
                feeds: dict[str, Feed[Any]] = {
                    room: await client.subscribe(room) for room in _ROOMS if room != _UNASKED
                }
                feeds[_UNASKED] = client.publications()
                ends = [("settle", ""), *(("publish", room) for room in _ROOMS), ("settle", "")]
                for step, room in [*steps, *ends]:
                    channel = server.channel(room) if room else None
                    if step in ("publish", "exclude"):
                        assert channel is not None
                        offset = await server.publish(room, excluded=step == "exclude")
                        everything[room].append((channel.epoch, offset))
                        if step == "exclude":
                            excluded[room].add((channel.epoch, offset))
                    elif step == "trim":
                        assert channel is not None
                        channel.kept = channel.kept[len(channel.kept) // 2 + 1 :]
                    elif step == "renew":
                        await server.renew(room)
                    elif step == "cut":
                        network.down = True
                        await network.cut()
                    elif step == "back":
                        network.down = False
                    else:
                        network.down = False
                        await client.ping()
                        await wait_all_tasks_blocked(0.0005)
                for name, feed in feeds.items():
                    while feed.waiting:
                        item = await anext(feed)
                        if item.channel == name:
                            heard[name].append(item)
                    feed.finish()
                stands = client.positions()
            for name in _ROOMS:
                _judge(everything[name], excluded[name], heard[name])
                assert stands[name] == Position(server.channel(name).epoch, server.channel(name).offset)
            assert network.of(NotAcknowledged) == []


def _at_once() -> Any:
    from tidings.client import Reconnect

    return Reconnect(base=0.0, cap=0.0)


def _judge(everything: list[tuple[str, int]], excluded: set[tuple[str, int]], heard: list[Any]) -> None:
    """What was heard is what was published, in order, once; a gap stands wherever something is missing."""
    place, may_miss = 0, False
    for item in heard:
        if isinstance(item, Gap) and item.to_offset is None:
            assert item.epoch != item.last_epoch, item
            may_miss = True
            continue
        if isinstance(item, Publication):
            run = [(item.payload["epoch"], item.payload["offset"])]
            assert run == [(item.epoch, item.offset)], "told with the epoch that it has"
        else:
            run = [(item.epoch, number) for number in range(item.from_offset, item.to_offset + 1)]
        begin = everything.index(run[0])
        assert begin >= place, ("twice, or out of order", item, heard)
        assert may_miss or excluded.issuperset(everything[place:begin]), ("a silent hole", item, heard)
        assert everything[begin : begin + len(run)] == run, ("a gap that is none", item, heard)
        place, may_miss = begin + len(run), False
    assert excluded.issuperset(everything[place:]), ("a silent hole at the end", heard)
    assert not may_miss, "what was published last is heard"
