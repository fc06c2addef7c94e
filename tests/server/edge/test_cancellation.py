"""Cancelled at any point, a connection leaves nothing: no subscription, no task, no socket."""

import pytest
import structlog.testing
import trio
import trio.testing
from support.client import Closed, RawClient, masked
from support.site import Site, memory_site
from support.tasks import converse, living_tasks, peers_of, quiet
from trio.testing import MockClock

from tidings.protocol.frames import Opcode
from tidings.server.edge.transport import StreamTransport


async def _live(client: RawClient, token: str) -> None:
    """All that a client may do in a short life, one step after another."""
    try:
        await client.handshake()
        await client.send(masked(Opcode.TEXT, b'{"type":"pi', fin=False))
        await client.send(masked(Opcode.CONTINUATION, b'ng"}'))
        await client.send_json({"type": "authenticate", "data": {"token": token}})
        for kind, data in (
            ("join_room", {"room": "r"}),
            ("room_message", {"room": "r", "text": "hi"}),
            ("leave_room", {"room": "r"}),
            ("subscribe", {"channel": "room:s"}),
            ("nonsense", {}),
        ):
            await client.send_json({"type": kind, "data": data})
        await client.send(masked(Opcode.PING, b"x"))
        for _ in range(6):
            await client.receive_json()
        await client.send_close(1000)
        await client.closed()
    except (Closed, trio.BrokenResourceError, trio.ClosedResourceError):
        return


@pytest.mark.parametrize("steps", range(0, 120, 3))
async def test_cancelled_at_any_step_nothing_is_left(autojump_clock: MockClock, steps: int) -> None:
    """Whatever a connection is at when it is cancelled: maps, figures and tasks return to what they were."""
    with structlog.testing.capture_logs() as logs:
        async with memory_site() as site:
            with living_tasks() as tasks:
                async with peers_of(site) as peers:
                    neighbour = await peers.connect("neighbour")
                    ours, theirs = trio.testing.memory_stream_pair()
                    client = peers.adopt(RawClient(ours))
                    async with trio.open_nursery() as nursery:
                        scope = trio.CancelScope()

                        async def serve() -> None:
                            with scope:
                                await site.server.front.serve(StreamTransport(theirs), "192.0.2.1")

                        nursery.start_soon(serve)
                        nursery.start_soon(_live, client, site.token("alice"))
                        for _ in range(steps):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()
                    assert not site.server.context.hub.connections_of("alice")
                    assert site.server.context.admission.open == 1
                    await converse(neighbour)
                assert tasks.living == 0
            closes = site.server.context.hub.statistics().closes
            assert sum(closes.values()) <= 2
    assert not [line for line in logs if line["log_level"] == "error"]


async def test_the_steps_cover_a_whole_life(site: Site, autojump_clock: MockClock) -> None:
    """The last of the steps above lies behind the end of the conversation, or they would prove too little."""
    client = await site.open()
    done = trio.Event()

    async def live() -> None:
        await _live(client, site.token("alice"))
        done.set()

    steps = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live)
        while not done.is_set():
            await trio.lowlevel.checkpoint()
            steps += 1
    assert 20 < steps < 117
    await client.aclose()
    await quiet(site)


async def test_a_cancelled_server_ends_at_once(autojump_clock: MockClock) -> None:
    """Cancelling everything with a hundred connections in all states takes no time and leaves no task."""
    async with memory_site() as site:
        with living_tasks() as tasks:
            clients = [await site.connect(f"user-{number}") for number in range(50)]
            clients += [await site.open() for _ in range(50)]
            for client in clients[::3]:
                await client.send(b"\x81\xfe")
            site.nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await site.server.context.admission.wait_empty()
                await trio.testing.wait_all_tasks_blocked()
            assert trio.current_time() == 0
            hub = site.server.context.hub
            assert (hub.connections, hub.statistics().channels) == (0, 0)
            assert tasks.living <= 0
