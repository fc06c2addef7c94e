"""Frames that have broken servers, over real sockets and on each engine: the right close code, and nothing left."""

from collections import Counter

import pytest
import trio
import trio.testing
from support.client import masked
from support.hostile import BAD_FRAMES, BAD_UTF8, fragmented
from support.hostile_deflate import DEFLATE, bomb_in_little_memory
from support.hostile_rows import FATAL, FRAMES
from support.hostile_site import (
    Verdicts,
    every_engine,
    every_variant,
    hostile_config,
    hostile_site,
    try_rows,
    undisturbed,
)
from support.site import Site, memory_site
from support.tasks import Peers, quiet, unharmed

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.frames import Opcode, build_frame
from tidings.server.app import ENGINES, Server, echo_server
from tidings.server.edge.engines.seam import MESSAGE_SECONDS

CODES = {name: code for name, (_, code) in (BAD_FRAMES | BAD_UTF8).items()}


@every_variant
async def test_bad_frames_close_with_their_code(engine: str, compression: bool) -> None:
    """A broken frame, or too much, closes with the one code that says what was wrong, and TCP ends."""
    verdicts = Verdicts()
    async with hostile_site(engine, compression=compression) as site:
        closes = site.server.context.hub.statistics
        for name, row in FRAMES.items():
            with verdicts.row(name):
                before = closes().closes
                async with undisturbed(site) as peers:
                    await row(peers)
                # One code each, the first; beside it nobody but the neighbour, who left without a farewell.
                new = Counter(closes().closes)
                new.subtract(before)
                assert +new == {CODES[name]: 1, 1006: 1}
    verdicts.check()


@every_variant
async def test_what_kills_a_stock_server(engine: str, compression: bool) -> None:
    """Resets at every moment of a handshake, a close against a ping, 200 plain GETs: no task is left."""
    async with hostile_site(engine, compression=compression) as site:
        await try_rows(site, FATAL)
        # Those that were accepted and then reset are known to be lost.
        assert site.server.context.hub.statistics().closes[1006] >= 20


@every_engine
async def test_chopping_changes_nothing(engine: str) -> None:
    """What comes byte by byte, each in a segment of its own, is judged as what comes at once."""
    verdicts = Verdicts()
    async with hostile_site(engine) as site:
        for name, (sent, code) in BAD_FRAMES.items():
            if len(sent) > 200:
                continue
            with verdicts.row(name):
                async with undisturbed(site) as peers:
                    client = await peers.connect()
                    for byte in sent:
                        await client.send(bytes((byte,)))
                        await trio.testing.wait_all_tasks_blocked()
                    assert (await client.closed()).code == code
        with verdicts.row("good messages"):
            async with undisturbed(site) as peers:
                client = await peers.connect()
                ping = b'{"type":"ping","id":"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"}'
                burst = fragmented(ping, 3, 22) + masked(Opcode.PING, b"x") + masked(Opcode.TEXT, ping)
                for byte in burst:
                    await client.send(bytes((byte,)))
                    await trio.testing.wait_all_tasks_blocked()
                for _ in range(2):
                    assert (await client.receive_json())["id"] == "é€😀"
    verdicts.check()


@every_engine
async def test_good_text_may_be_split_anywhere(engine: str) -> None:
    """Characters of two, three and four bytes arrive whole, wherever fragments cut them."""
    ping = '{"type":"ping","id":"é€😀"}'.encode()
    async with hostile_site(engine) as site, unharmed(site) as peers:
        client = await peers.connect()
        splits = [(at,) for at in range(len(ping) + 1)] + [tuple(range(1, len(ping)))]
        for cuts in splits:
            await client.send(fragmented(ping, *cuts))
            assert (await client.receive_json())["id"] == "é€😀", cuts


@every_engine
async def test_messages_before_the_violation_are_answered(engine: str) -> None:
    """What was right stands: commands in the same burst as an oversized message get their answers first."""
    async with hostile_site(engine) as site, unharmed(site) as peers:
        client = await peers.connect()
        ping = masked(Opcode.TEXT, b'{"type":"ping","id":"p"}')
        await client.send(5 * ping + BAD_FRAMES["over the limit, and a ping"][0])
        assert [(await client.receive_json())["type"] for _ in range(5)] == ["pong"] * 5
        assert (await client.closed()).code == 1009


@every_engine
async def test_commands_before_a_close_are_done(engine: str) -> None:
    """Whoever publishes and closes at once has published: every command before the close frame is carried out."""
    async with hostile_site(engine) as site, unharmed(site) as peers:
        listener, speaker = await peers.connect("listener"), await peers.connect("speaker")
        await listener.command("join_room", {"room": "r"})
        say = b'{"type":"room_message","data":{"room":"r","text":"%d"}}'
        join = masked(Opcode.TEXT, b'{"type":"join_room","data":{"room":"r"}}')
        said = b"".join(masked(Opcode.TEXT, say % number) for number in range(20))
        await speaker.send(join + said + masked(Opcode.CLOSE, b"\x03\xe8"))
        assert [(await listener.receive_json())["data"]["text"] for _ in range(20)] == [
            str(n) for n in range(20)
        ]
        assert (await speaker.closed()).code == 1000


@every_engine
async def test_the_server_closes_while_a_ping_is_under_way(engine: str) -> None:
    """A client's ping and the server's close cross each other: the chosen code arrives, and nothing else breaks."""
    async with hostile_site(engine) as site, unharmed(site) as peers:
        for _ in range(20):
            await _cross(site, peers)


async def _cross(site: Site, peers: Peers) -> None:
    client = await peers.connect("alice")
    await client.send(masked(Opcode.PING, b"under way"))
    (connection,) = site.server.context.hub.connections_of("alice")
    connection.close(CloseCode.DISCONNECTED)
    await client.send(masked(Opcode.PING, b"after it"))
    assert (await client.closed()).code == 3503
    await client.send_close(3503)
    assert await client.at_end()
    await trio.testing.wait_all_tasks_blocked()


@every_engine
async def test_a_peer_that_never_reads_is_gone_within_the_close_timeout(engine: str) -> None:
    """Closing a peer whose window is shut takes `close_timeout`, not TCP's patience."""
    heartbeat = {"close_timeout": 0.2}
    with trio.fail_after(30):  # a stock server takes 60 s
        async with hostile_site(engine, heartbeat=heartbeat) as site:
            client = await site.connect("alice")
            (connection,) = site.server.context.hub.connections_of("alice")
            while not connection.pending_bytes:  # until the kernel takes no more
                connection.offer(build_frame(Opcode.BINARY, bytes(65_536)))
            connection.close(CloseCode.DISCONNECTED)
            await quiet(site)
            assert site.server.context.hub.statistics().closes == {3503: 1}
            await client.aclose()


@every_engine
async def test_a_message_that_does_not_get_on_is_given_up(
    engine: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Empty fragments now and then look alive and never end: 1008 by a deadline, below the cap on their number."""
    async with memory_site(hostile_config(engine)) as site, unharmed(site) as peers:
        client = await peers.connect()
        began = trio.current_time()
        await client.send(masked(Opcode.TEXT, fin=False))
        async with trio.open_nursery() as nursery:

            async def dribble() -> None:
                while True:
                    await trio.sleep(7)
                    await client.send(masked(Opcode.CONTINUATION, fin=False))

            nursery.start_soon(dribble)
            assert (await client.closed()).code == 1008
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began == pytest.approx(MESSAGE_SECONDS)


@every_engine
async def test_an_echo_server_takes_more_fragments(engine: str) -> None:
    """`tidings echo` is there for suites that send thousands of them: the cap is not what they find."""
    server: Server = echo_server("127.0.0.1", 0, engine)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            site = Site(server, nursery)
            site.listening = await nursery.start(_serving, site)
            client = await site.open()
            assert (await client.handshake("/"))[0] == 101
            await client.send(fragmented(b"a" * 5_000, *range(1, 5_000)))
            assert await client.receive_frame() == (Opcode.TEXT, b"a" * 5_000)
            await client.aclose()
            await quiet(site)
            site.stop.abort.cancel()


async def _serving(site: Site, *, task_status: trio.TaskStatus[object]) -> None:
    await site.server.run(site.stop, task_status=task_status)


# Collected only where there is an engine that deflates: a test that skips itself counts as failed.
if "native" in ENGINES:

    @pytest.mark.parametrize("engine", ["native"])
    async def test_bad_deflate_closes_with_its_code(engine: str) -> None:
        """A bomb is closed with 1009, what cannot be inflated with 1002 or 1007, and good data is answered."""
        async with hostile_site(engine, compression=True) as site:
            await try_rows(site, DEFLATE)

    @pytest.mark.parametrize("engine", ["native"])
    async def test_a_bomb_takes_little_memory(engine: str) -> None:
        """100 MB in 100 KB are refused while they are inflated, not afterwards."""
        async with hostile_site(engine, compression=True) as site, unharmed(site) as peers:
            await bomb_in_little_memory(peers)
