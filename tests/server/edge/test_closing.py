"""How connections end: one reason each, told to the peer, and bounded in time."""

from itertools import product

import pytest
import trio
import trio.testing
from support.client import Closed, RawClient, masked
from support.hostile import BAD_FRAMES
from support.site import Site, configured, memory_site
from support.tasks import Peers, unharmed
from trio.testing import MockClock

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.frames import Opcode
from tidings.server.config import Heartbeat
from tidings.server.edge.connection import Connection


def _connection(site: Site, user: str = "alice") -> Connection:
    (connection,) = site.server.context.hub.connections_of(user)
    assert isinstance(connection, Connection)
    return connection


def _closes(site: Site) -> dict[int, int]:
    """Why connections have ended, without the ends of `unharmed`'s own clients, which just go."""
    return {
        code: count for code, count in site.server.context.hub.statistics().closes.items() if code != 1006
    }


async def test_a_close_is_told_and_then_done(site: Site, autojump_clock: MockClock) -> None:
    """`disconnect` says why and whether to come back, the close frame repeats the code, nothing follows."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        _connection(site).close(CloseCode.DISCONNECTED, "enough", delay=1.5)
        said = await client.receive_json()
        assert (said["type"], "id" in said) == ("disconnect", False)
        assert said["data"] == {"code": 3503, "reason": "enough", "reconnect": False, "delay": 1.5}
        closed = await client.closed()
        assert (closed.code, closed.reason) == (3503, "enough")
        began = trio.current_time()
        await client.send_close(3503)
        assert await client.at_end()
        assert trio.current_time() == began  # whoever answers is not kept waiting
    assert _closes(site) == {3503: 1}


async def test_a_peer_that_ignores_its_close_is_reset(autojump_clock: MockClock) -> None:
    """After `close_timeout` it is gone, whatever its peer goes on to say; until then it is out of the hub."""
    async with memory_site(configured(heartbeat=Heartbeat(close_timeout=3))) as site:
        async with unharmed(site) as peers:
            client = await peers.connect(roles=["admin"])  # who may do anything, but not now
            connection = _connection(site)
            connection.close(CloseCode.DISCONNECTED)
            await trio.testing.wait_all_tasks_blocked()
            assert site.server.context.hub.statistics().connections == 0
            say = {"type": "publish", "data": {"channel": "all", "event": "late", "payload": {}}}

            async def go_on() -> None:
                while True:
                    await client.send_json(say)
                    await trio.sleep(0.25)

            with trio.fail_after(60), pytest.raises(trio.BrokenResourceError):
                await go_on()
            assert trio.current_time() == pytest.approx(3, abs=0.26)
            assert site.server.context.hub.statistics().publications == 0
        assert _closes(site) == {3503: 1}


async def test_a_violation_is_closed_without_disconnect(site: Site, autojump_clock: MockClock) -> None:
    """Codes of RFC 6455 come as a close frame alone: a peer that breaks the protocol is told in the protocol."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        await client.send(masked(3))
        assert (await client.receive_frame())[0] == Opcode.CLOSE


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 3999, 4000, 4999])
async def test_a_peers_close_is_echoed(site: Site, autojump_clock: MockClock, code: int) -> None:
    """The peer's close comes back with its code, is recorded as that, and TCP ends at once."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        await client.send_close(code, "bye")
        assert (await client.closed()).code == code
        assert await client.at_end()
        assert trio.current_time() == 0
    assert _closes(site) == {code: 1}


async def test_a_close_without_a_code_is_echoed_without_one(site: Site, autojump_clock: MockClock) -> None:
    """An empty close is answered by an empty close and recorded as 1005 (RFC 6455 section 7.1.5)."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        await client.send_close(None)
        assert await client.receive_frame() == (Opcode.CLOSE, b"")
    assert _closes(site) == {1005: 1}


async def test_what_follows_a_peers_close_is_not_looked_at(site: Site, autojump_clock: MockClock) -> None:
    """Commands and garbage behind the peer's close frame do nothing, and change no code."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        await client.command("join_room", {"room": "r"})
        late = masked(Opcode.TEXT, b'{"type":"room_message","data":{"room":"r","text":"late"}}')
        await client.send(masked(Opcode.CLOSE, b"\x0f\xa0") + late + masked(3) + b"\xff" * 100)
        assert (await client.closed()).code == 4000
    assert _closes(site) == {4000: 1}
    assert site.server.context.hub.statistics().publications == 1  # the neighbour's


async def test_a_lost_connection_is_recorded_as_lost(site: Site, autojump_clock: MockClock) -> None:
    """The end of TCP without a close frame, also in the middle of one, is 1006."""
    async with unharmed(site) as peers:
        for sent in (b"", b"\x81", masked(Opcode.TEXT, b"{}")[:-1], masked(Opcode.CLOSE, b"\x03\xe8")[:-1]):
            client = await peers.connect()
            await client.send(sent)
            await client.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert site.server.context.hub.statistics().closes == {1006: 4}


async def test_what_was_published_before_comes_before_the_close(
    site: Site, autojump_clock: MockClock
) -> None:
    """Publications and answers of the same tick leave before the close frame; those after it do not."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        context = site.server.context
        await context.broker.publish("user:alice", "force_logout", b'{"reason":"moved"}')
        _connection(site).close(CloseCode.DISCONNECTED)
        await context.broker.publish("user:alice", "too_late", b"{}")
        kinds = [(await client.receive_json())["type"] for _ in range(2)]
        assert kinds == ["force_logout", "disconnect"]
        with pytest.raises(Closed):
            await client.receive_json()


async def test_the_first_close_stands(site: Site, autojump_clock: MockClock) -> None:
    """However often and with what a connection is closed, one `disconnect`, one code, one count: the first."""
    async with unharmed(site) as peers:
        for first, second in product((3503, 3001, 3508), repeat=2):
            client = await peers.connect()
            connection = _connection(site)
            connection.close(CloseCode(first))
            connection.close(CloseCode(second), "another")
            await client.send_close(4000)
            assert (await client.receive_json())["data"]["code"] == first
            assert (await client.closed()).code == first
            assert connection.closed is not None
            assert connection.closed.code == first
            await client.aclose()
    assert _closes(site) == {3503: 3, 3001: 3, 3508: 3}


@pytest.mark.parametrize("ticks", range(16))
async def test_two_closes_in_flight_give_one_reason(
    site: Site, autojump_clock: MockClock, ticks: int
) -> None:
    """Peer and server close within a few steps of each other: the code on the wire is the one recorded, once."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        connection = _connection(site)
        await client.send_close(4000)
        for _ in range(ticks):
            await trio.lowlevel.checkpoint()
        connection.close(CloseCode.DISCONNECTED)
        seen = (await client.closed()).code
        await site.server.context.admission.wait_empty()
        assert seen in (3503, 4000)
        assert connection.closed is not None
        assert connection.closed.code == seen
        assert site.server.context.hub.statistics().closes == {seen: 1}


@pytest.mark.parametrize("ticks", range(8))
@pytest.mark.parametrize("violation", [masked(3), masked(Opcode.TEXT, length=10**6), b""])
async def test_a_violation_and_a_close_give_one_reason(
    site: Site, autojump_clock: MockClock, ticks: int, violation: bytes
) -> None:
    """A protocol error, or the end of TCP, beside the server's own close: one reason is recorded."""
    async with unharmed(site) as peers:
        client = await peers.connect()
        connection = _connection(site)
        await (client.send(violation) if violation else client.stream.aclose())
        for _ in range(ticks):
            await trio.lowlevel.checkpoint()
        connection.close(CloseCode.DISCONNECTED)
        await site.server.context.admission.wait_empty()
        closes = site.server.context.hub.statistics().closes
        assert connection.closed is not None
        assert closes == {connection.closed.code: 1}


async def test_a_close_in_the_middle_of_a_handler_waits_for_nothing(
    site: Site, autojump_clock: MockClock
) -> None:
    """A connection closed from elsewhere while it subscribes leaves no subscription behind."""
    async with unharmed(site) as peers:
        for ticks in range(12):
            client = await peers.connect()
            connection = _connection(site)
            for room in "abc":
                await client.send_json({"type": "join_room", "data": {"room": room}})
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            connection.close(CloseCode.DISCONNECTED)
            assert (await client.closed()).code == 3503
            await trio.testing.wait_all_tasks_blocked()
            assert site.server.context.hub.statistics().channels == 0


async def _result(peers: Peers, sent: list[bytes]) -> tuple[int | None, list[str]]:
    client = await peers.connect()
    kinds = []
    try:
        for piece in sent:
            await client.send(piece)
        while True:
            kinds.append((await client.receive_json())["type"])
    except Closed as closed:
        return closed.code, kinds
    finally:
        await client.aclose()


@pytest.mark.parametrize("name", [name for name, (sent, _) in BAD_FRAMES.items() if len(sent) < 200])
async def test_chopping_changes_no_code(site: Site, autojump_clock: MockClock, name: str) -> None:
    """A violation gets the same code in one piece, byte by byte, and behind a good command in the same piece.

    What stands before it is answered all the same, whole messages of the row included.
    """
    sent, code = BAD_FRAMES[name]
    whole: tuple[int | None, list[str]] | None = None
    ping = masked(Opcode.TEXT, b'{"type":"ping"}')
    async with unharmed(site) as peers:
        for size in (1, 2, 3, 1000):
            pieces = [(ping + sent)[at : at + size] for at in range(0, len(ping + sent), size)]
            result = await _result(peers, pieces)
            whole = whole or result
            assert result == whole
            assert result[0] == code
            assert result[1][0] == "pong"


async def test_a_client_that_stops_sending_is_gone(live_site: Site) -> None:
    """FIN without a close frame ends the connection as lost: nobody is there who could ask for anything."""
    async with unharmed(live_site) as peers:
        client = await peers.connect()
        assert isinstance(client.stream, trio.SocketStream)
        await client.stream.send_eof()
        assert isinstance(await client.closed(), Closed)
        assert isinstance(client, RawClient)
