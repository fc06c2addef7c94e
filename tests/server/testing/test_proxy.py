"""The proxy stands between any client and the server: invisible without faults, merciless with them."""

import socket
from collections.abc import AsyncIterator, Callable

import pytest
import trio
import websockets.sync.client
from trio.testing import wait_all_tasks_blocked

from tidings.server.testing import proxy as proxy_module
from tidings.server.testing.client import Closed, RawClient
from tidings.server.testing.faults import Faults
from tidings.server.testing.proxy import Proxy
from tidings.server.testing.site import TestServer, serving


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    """A server whose clients may be slow for little; a test that hangs fails after 30 s."""
    with trio.fail_after(30):
        async with serving({"limits.message_bytes": 20_000, "limits.outbox_bytes": 200_000}) as server:
            yield server


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the kernel and other tasks bring about; the fixture's deadline bounds it."""
    while not condition():  # noqa: ASYNC110  there is no event for it
        await trio.sleep(0.01)


async def test_a_foreign_client_gets_through(server: TestServer) -> None:
    """Somebody else's client in another thread cannot tell that the line is chopped into single bytes."""
    proxy = await server.proxy(to_server=Faults(chop=1), to_client=Faults(chop=(1, 5)))
    url = f"{proxy.url('ws')}/ws?token={server.token('alice')}"

    def converse() -> str:
        with websockets.sync.client.connect(url, proxy=None, open_timeout=10) as client:
            client.recv(timeout=10)
            client.send('{"type": "ping"}')
            return str(client.recv(timeout=10))

    assert '"pong"' in await trio.to_thread.run_sync(converse)
    await until(lambda: not proxy.links)


async def test_a_stalled_client_is_found_too_slow_by_the_server(server: TestServer) -> None:
    """The stall reaches the server's outbox: it closes 3008, and the others never notice."""
    proxy = await server.proxy()
    slow = await server.connect("slow", through=proxy, channels=["room:x"])
    quick = await server.connect("quick", channels=["room:x"])
    proxy.to_client.stall()
    sent = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(quick.closed)
        while server.push.is_online("slow"):
            await server.push.to_room("x", "news", {"text": "x" * 10_000})
            sent += 1
            assert sent < 1000, "10 MB have gone nowhere"
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert server.push.is_online("quick")
    proxy.release()
    assert (await slow.closed()).code in {3008, None}  # None: released only after the server's reset


async def test_a_stall_to_the_server_holds_what_the_client_says(server: TestServer) -> None:
    """Nothing arrives until the release; then everything does."""
    proxy = await server.proxy()
    alice = await server.connect("alice", through=proxy)
    watcher = await server.watch("room:x")
    await alice.subscribe("room:x")
    proxy.stall()
    await alice.send({"type": "room_message", "data": {"room": "x", "text": "late"}})
    assert await watcher.received() == []
    proxy.release()
    assert (await watcher.publication())["data"]["text"] == "late"


@pytest.mark.parametrize("how", ["reset", "drop"])
async def test_cutting_all_links_ends_both_sides(server: TestServer, how: str) -> None:
    """Client and server learn of it, whatever they were doing; newcomers are served."""
    proxy = await server.proxy()
    clients = [await server.connect(user, through=proxy) for user in ("alice", "bob")]
    proxy.to_client.stall()  # also where a link is stuck
    await server.push.broadcast("news", {})
    await wait_all_tasks_blocked()
    await (proxy.reset() if how == "reset" else proxy.drop())
    for client in clients:
        closed = await client.closed()
        assert (closed.code, closed.reason) == (
            None,
            "TCP was reset" if how == "reset" else "TCP has ended",
        )
    await until(lambda: not server.push.online_users())
    await until(lambda: proxy.links == 0)
    proxy.release()
    await server.connect("alice", through=proxy)


async def pings(client: RawClient) -> None:
    """Make the server say a few thousand bytes."""
    for _ in range(100):
        await client.command("ping")


async def test_it_drops_a_link_after_so_many_bytes_each(server: TestServer) -> None:
    """The count is each link's own."""
    proxy = await server.proxy(to_client=Faults(drop_after=1000, drop="reset"))
    for _ in range(2):
        alice = await server.connect("alice", through=proxy)
        with pytest.raises(Closed, match="reset"):
            await pings(alice)


async def test_a_corrupted_frame_is_the_servers_to_refuse(server: TestServer) -> None:
    """A garbled first byte of a frame has a reserved bit: 1002, and nothing worse."""
    proxy = await server.proxy()
    alice = await server.connect("alice", through=proxy)
    proxy.to_server.corrupt = range(10_000)
    await alice.send({"type": "ping"})
    assert (await alice.closed()).code == 1002


async def test_refusing_resets_newcomers_and_leaves_the_others(server: TestServer) -> None:
    """As a server that cannot be reached, for a while."""
    proxy = await server.proxy()
    alice = await server.connect("alice", through=proxy)
    proxy.refuses = True
    with pytest.raises((Closed, OSError)):
        await server.connect("bob", through=proxy)
    assert (await alice.command("ping"))["type"] == "pong"
    proxy.refuses = False
    await server.connect("bob", through=proxy)


async def test_a_server_that_is_away_is_a_reset(server: TestServer) -> None:
    """The proxy outlives the server's restart, and its clients reconnect at the same port."""
    proxy = await server.proxy()
    await server.stop(graceful=False)
    with pytest.raises((Closed, OSError)):
        await server.connect("alice", through=proxy, token="any")
    await server.start()
    await server.connect("alice", through=proxy)


async def test_ends_pass_through_as_they_are() -> None:
    """FIN as FIN, half of a connection as half, RST as RST, in either direction."""
    with trio.fail_after(30):
        await _ends_pass_through()


async def _ends_pass_through() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with listener, trio.open_nursery() as nursery:
        proxy = Proxy("127.0.0.1", port)
        await nursery.start(proxy.run)
        client = await trio.open_tcp_stream("127.0.0.1", proxy.port)
        peer = await listener.accept()
        await client.send_all(b"ask")
        await client.send_eof()
        assert await peer.receive_some() == b"ask"
        assert await peer.receive_some() == b""
        await peer.send_all(b"answer")
        await peer.aclose()
        assert await client.receive_some() == b"answer"
        assert await client.receive_some() == b""
        await client.aclose()
        for begin in ("client", "peer"):
            client = await trio.open_tcp_stream("127.0.0.1", proxy.port)
            peer = await listener.accept()
            one, other = (client, peer) if begin == "client" else (peer, client)
            one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await one.aclose()
            with pytest.raises(trio.BrokenResourceError):
                await other.receive_some()
            await other.aclose()
        async with await trio.open_tcp_stream("127.0.0.1", proxy.port), await listener.accept() as peer:
            await until(lambda: proxy.links == 1)
            await proxy.drop()
            assert await peer.receive_some() == b""
            # The link is over although the peer has not ended its half.
            await until(lambda: not proxy.links)
        await proxy.aclose()
        await proxy.aclose()
        with pytest.raises(OSError, match="attempts to connect"):
            await trio.open_tcp_stream("127.0.0.1", proxy.port)


async def test_links_are_bounded(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is reset, the others stay."""
    monkeypatch.setattr(proxy_module, "LINKS", 1)
    proxy = await server.proxy()
    alice = await server.connect("alice", through=proxy)
    with pytest.raises((Closed, OSError)):
        await server.connect("bob", through=proxy)
    await alice.command("ping")
