"""The client and a whole server: groups, roles, refreshes, acknowledgements and who comes and goes, over cuts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from support.network import Network, patience
from support.site import ENGINE, Site, configured, listening_site, memory_site
from trio.testing import MockClock, wait_all_tasks_blocked

from tidings.client import (
    Client,
    CommandRefused,
    Gap,
    NotAcknowledged,
    Publication,
    Reconnect,
    Recovered,
    Resubscribed,
    connect,
)
from tidings.protocol.messages.answers import Joined, Left
from tidings.server.config import ChannelRule, History, Presence, Server

OWN, GROUP, ROLE = "user:alice", "group:g", "role:editor"


async def publish(site: Site, channel: str, count: int = 1, *, size: int = 2, **more: str) -> None:
    """Publish so many, each of `size` bytes."""
    payload = b'{"text":"' + b"x" * size + b'"}'
    for _ in range(count):
        await site.server.context.broker.publish(channel, "news", payload, **more)


def told(item: Publication | Gap) -> tuple[str, Any]:
    """An item, as its channel and its offset or its hole."""
    if isinstance(item, Gap):
        return item.channel, (item.from_offset, item.to_offset)
    return item.channel, item.offset


@pytest.mark.parametrize("heard", [False, True])
async def test_groups_and_roles_over_a_cut(network: Network, heard: bool) -> None:
    """Heard of before or not: what was published to them meanwhile follows, in order, and is named."""
    token = network.site.token("alice", group_id="g", roles=["editor"])
    async with patience(), network.connect(token=token) as client:
        feed = client.publications()
        for channel in (GROUP, ROLE) if heard else ():
            await publish(network.site, channel)
            assert told(await anext(feed)) == (channel, 1)
        first = 2 if heard else 1
        network.down = True
        await network.cut()
        await publish(network.site, GROUP, 3)
        await publish(network.site, ROLE, 3)
        network.down = False
        await client.ping()
        await publish(network.site, GROUP)
        items = [told(await anext(feed)) for _ in range(7)]
        for channel, count in ((GROUP, 4), (ROLE, 3)):
            assert [at for name, at in items if name == channel] == list(range(first, first + count))
        (back,) = network.of(Resubscribed)
        assert back.lost == ()
        assert {*back.recovered} == {
            Recovered(GROUP, first, first + 2),
            Recovered(ROLE, first, first + 2),
        }


async def test_groups_of_a_server_that_keeps_nothing(forgetful: Network) -> None:
    """What was published while the line was cut is a gap, although nothing was heard of the group before."""
    token = forgetful.site.token("alice", group_id="g")
    async with patience(), forgetful.connect(token=token) as client:
        feed = client.publications()
        await forgetful.cut()
        await publish(forgetful.site, GROUP, 3)
        await client.ping()
        await publish(forgetful.site, GROUP)
        assert [told(await anext(feed)) for _ in range(2)] == [(GROUP, (1, 3)), (GROUP, 4)]
        (back,) = forgetful.of(Resubscribed)
        assert [(gap.channel, gap.from_offset, gap.to_offset) for gap in back.lost] == [(GROUP, 1, 3)]


async def test_roles_come_and_go_with_the_token(network: Network) -> None:
    """A refresh brings a role, which is gone on with; the next token is without it, and nobody insists."""
    roles = ["editor"]

    def token() -> str:
        return network.site.token("alice", roles=roles)

    async with patience(), network.connect(token=network.site.token("alice")) as client:
        await publish(network.site, ROLE, 2)
        feed = client.publications()
        await client.request("refresh", {"token": token()})
        assert client.positions()[ROLE].offset == 2
    async with patience(), network.connect(token=token) as client:
        feed = client.publications()
        editors = await client.subscribe(ROLE)
        await network.cut()
        await publish(network.site, ROLE)
        await client.ping()
        assert told(await anext(feed)) == told(await anext(editors)) == (ROLE, 3)
        roles.clear()
        await network.cut()
        await publish(network.site, ROLE)
        await client.ping()
        with pytest.raises(CommandRefused, match="may not subscribe"):
            await anext(editors)
        for _ in range(3):
            await network.cut()
            await client.ping()
        assert feed.waiting == 0
        assert ROLE not in client.positions()
        roles.append("editor")
        await client.request("refresh", {"token": token()})
        await network.cut()
        await publish(network.site, ROLE)
        await client.ping()
        assert told(await anext(feed)) == (ROLE, 5)
        await client.request("refresh", {"token": network.site.token("alice")})
        await publish(network.site, ROLE)
        await client.ping()
        assert feed.waiting == 0
        assert ROLE not in client.positions()


@pytest.mark.parametrize("size", [20, 20_000])
@pytest.mark.parametrize("acknowledge", ["auto", "manual"])
async def test_what_was_handled_before_a_cut_is_acknowledged_after_it(
    network: Network, acknowledge: str, size: int
) -> None:
    """Before the second in which it would have been told is over, also where it comes again in many pages."""
    async with (
        patience(),
        network.connect(device="phone", acknowledge=acknowledge) as client,
        await client.subscribe(OWN) as own,
    ):
        await publish(network.site, OWN, 70, size=size)
        await publish(network.site, OWN, 10, size=size, excluded_session="login-of-alice")
        await publish(network.site, OWN, 10, size=size)
        items = [await anext(own) for _ in range(80)]
        await network.cut()
        if acknowledge == "manual":
            last = items[-1]
            assert isinstance(last, Publication)
            await client.ack(last)
        await trio.sleep(5)
        (device,) = await network.site.server.context.broker.devices(OWN)
        assert (device.name, device.acknowledged) == ("phone", 90 if acknowledge == "manual" else 89)
        await publish(network.site, OWN)
        item = await anext(own)
        assert told(item) == (OWN, 91)
        assert own.waiting == 0
        assert network.of(NotAcknowledged) == []


async def test_who_comes_and_goes(autojump_clock: MockClock) -> None:
    """`joined` and `left` come on the subscription: announcements with a Struct, and no place in the channel."""
    rules = {"room:*": ChannelRule(presence=True, join_leave=True)}
    async with memory_site(configured(channels=rules, presence=Presence(grace=1.0))) as site, patience():
        network = Network(site)
        async with network.connect() as alice, await alice.join("ops") as room:
            await wait_all_tasks_blocked()
            own = await anext(room)
            async with network.connect(token=site.token("bob")) as bob:
                await bob.join("ops")
                await publish(site, "room:ops")
                items = [own, *[await anext(room) for _ in range(2)]]
            items.append(await anext(room))
            assert all(isinstance(item, Publication) for item in items)
            found = {item.event: item for item in items[1:] if isinstance(item, Publication)}
            assert set(found) == {"joined", "news", "left"}
            joined, left = found["joined"], found["left"]
            assert joined.payload == Joined("room:ops", "bob", "bob")
            assert left.payload == Left("room:ops", "bob", "bob")
            assert (joined.offset, joined.position, left.user_id) == (0, None, "bob")
            assert alice.positions()["room:ops"].offset == 1


@asynccontextmanager
async def line(site: Site, **options: Any) -> AsyncIterator[tuple[Client, list[trio.SocketStream]]]:
    """A client on TCP, whose streams can be cut."""
    streams: list[trio.SocketStream] = []

    async def dial(address: object) -> trio.SocketStream:
        streams.append(await trio.open_tcp_stream("127.0.0.1", site.port))
        return streams[-1]

    with trio.fail_after(30):
        async with connect(
            f"ws://127.0.0.1:{site.port}",
            dial=dial,
            reconnect=Reconnect(base=0.01, cap=0.05),
            **options,
        ) as client:
            yield client, streams


async def test_over_real_sockets(live_site: Site) -> None:
    """A group that nobody had spoken in, cut on TCP: everything once, in order."""
    token = live_site.token("alice", group_id="g")
    async with line(live_site, token=token) as (client, streams):
        feed = client.publications()
        for number in range(60):
            if number % 20 == 0:
                await trio.aclose_forcefully(streams[-1])
            await publish(live_site, GROUP)
        await client.ping()
        assert [told(await anext(feed)) for _ in range(60)] == [(GROUP, at) for at in range(1, 61)]
        assert len(streams) >= 2


async def test_acknowledged_to_a_server_with_a_disk(tmp_path: Path) -> None:
    """A cut, and an acknowledgement while the disk is read for what comes again: the server takes it."""
    refused: list[Any] = []
    config = configured(server=Server(engine=ENGINE, data_dir=str(tmp_path)), history=History())
    async with listening_site(config) as site:
        options: dict[str, Any] = {
            "token": site.token("alice"), "device": "phone", "acknowledge": "manual",
            "on_event": lambda event: refused.append(event) if isinstance(event, NotAcknowledged) else None,
        }  # fmt: skip
        async with line(site, **options) as (client, streams), await client.subscribe(OWN) as own:
            for _ in range(5):
                items = []
                for _ in range(30):
                    await publish(site, OWN)
                    items.append(await anext(own))
                await trio.aclose_forcefully(streams[-1])
                last = items[-1]
                assert isinstance(last, Publication)
                await client.ack(last)
                (device,) = await site.server.context.broker.devices(OWN)
                assert (device.acknowledged, own.waiting, refused) == (last.offset, 0, [])
