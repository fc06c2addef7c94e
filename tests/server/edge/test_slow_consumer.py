"""A member that does not read, over real sockets: it alone pays for it, and never with half a frame."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import trio
import trio.testing
from support.client import RawClient
from support.site import Site, configured, listening_site
from support.tasks import Peers, peers_of, quiet, unharmed

from tidings.server.config import Heartbeat, Limits

PAYLOAD = "x" * 12_000


@asynccontextmanager
async def _site(close_timeout: float = 0.3) -> AsyncIterator[Site]:
    limits = Limits(message_bytes=16_384, outbox_bytes=65_536, command_rate=1e6, command_burst=10**6)
    config = configured(limits=limits, heartbeat=Heartbeat(close_timeout=close_timeout))
    with trio.fail_after(30):
        async with listening_site(config) as site:
            yield site


async def _narrow(peers: Peers, user: str) -> RawClient:
    """A client of whose bytes the kernel keeps few, so that not reading is noticed soon."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client = peers.adopt(RawClient(trio.SocketStream(sock)))
    await sock.connect(("127.0.0.1", peers.site.port))
    status, _, _ = await client.handshake(token=peers.site.token(user))
    assert status == 101
    assert (await client.receive_json())["type"] == "connected"
    return client


async def _members(peers: Peers, count: int) -> list[RawClient]:
    members = [await peers.connect(f"member-{number}") for number in range(count)]
    for member in members:
        await member.command("join_room", {"room": "r"})
    return members


async def _publish(site: Site, numbers: range) -> None:
    for number in numbers:
        payload = msgspec.json.encode({"n": number, "x": PAYLOAD})
        await site.server.context.broker.publish("room:r", "e", payload)
        await trio.lowlevel.checkpoint()


async def _hear(member: RawClient, offsets: list[int], last: int) -> None:
    while not offsets or offsets[-1] < last:
        message = await member.receive_json()
        assert message["data"]["n"] == message["offset"]
        offsets.append(message["offset"])


def _is_in(site: Site, user: str) -> bool:
    return bool(site.server.context.hub.connections_of(user))


async def test_a_member_that_never_reads_is_closed_and_the_others_miss_nothing() -> None:
    """3008 for the one whose outbox overflows, then a reset; the others get every offset, in order."""
    async with _site() as site, peers_of(site) as peers:
        members = await _members(peers, 5)
        stuck = await _narrow(peers, "stuck")
        await stuck.command("join_room", {"room": "r"})
        heard: list[list[int]] = [[] for _ in members]
        total = 0
        async with trio.open_nursery() as nursery:
            while _is_in(site, "stuck"):
                await _publish(site, range(total + 1, total + 11))
                total += 10
                async with trio.open_nursery() as hearing:
                    for member, offsets in zip(members, heard, strict=True):
                        hearing.start_soon(_hear, member, offsets, total)
            # It goes on without the one that is on its way out.
            await _publish(site, range(total + 1, total + 11))
            for member, offsets in zip(members, heard, strict=True):
                nursery.start_soon(_hear, member, offsets, total + 10)
        assert heard == 5 * [list(range(1, total + 11))]
        for member in members:
            await member.aclose()
        await quiet(site)  # `stuck` still does not read: it is not waited for …
        assert site.server.context.hub.statistics().closes == {3008: 1, 1006: 5}
        _, closed = await stuck.until_closed()
        assert (closed.code, closed.reason) == (None, "reset")  # … but reset


async def test_a_member_that_resumes_in_time_reads_whole_frames_and_the_reason() -> None:
    """Within `close_timeout` it reads what was begun, whole and in order from the first, and then close 3008."""
    async with _site(close_timeout=20) as site, unharmed(site) as peers:
        stuck = await _narrow(peers, "stuck")
        await stuck.command("join_room", {"room": "r"})
        total = 0
        while _is_in(site, "stuck"):
            await _publish(site, range(total + 1, total + 11))
            total += 10
        messages, closed = await stuck.until_closed()
        assert closed.code == 3008
        expected = [(number, {"n": number, "x": PAYLOAD}) for number in range(1, len(messages) + 1)]
        assert [(message["offset"], message["data"]) for message in messages] == expected
        assert 0 < len(messages) < total
        await stuck.send_close(3008)
        assert await stuck.at_end()
    assert site.server.context.hub.statistics().closes[3008] == 1


async def test_a_slow_member_that_keeps_up_stays() -> None:
    """Reading late is no offence while the outbox has room: everything arrives, and nobody is closed."""
    async with _site() as site, unharmed(site) as peers:
        slow = await _narrow(peers, "slow")
        await slow.command("join_room", {"room": "r"})
        offsets: list[int] = []
        for first in range(1, 101, 4):
            await _publish(site, range(first, first + 4))  # 48 KB of the 64
            await _hear(slow, offsets, first + 3)
        assert offsets == list(range(1, 101))
        assert _is_in(site, "slow")


async def test_the_memory_of_many_that_do_not_read_is_bounded() -> None:
    """Each holds at most `outbox_bytes`, and the figures say so, while a room of them is being flooded."""
    async with _site(close_timeout=0.2) as site, peers_of(site) as peers:
        for number in range(10):
            stuck = await _narrow(peers, f"stuck-{number}")
            await stuck.command("join_room", {"room": "r"})
        hub = site.server.context.hub
        number = most = 0
        while hub.connections:
            most = max(most, *(subscriber.pending_bytes for subscriber in hub._subscribers))
            number += 1
            await _publish(site, range(number, number + 1))
            await trio.testing.wait_all_tasks_blocked()  # so that one at a time is added to the outboxes
        assert 32_768 < most <= 65_536
        await quiet(site)
        assert hub.statistics().closes == {3008: 10}
