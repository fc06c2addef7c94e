"""How long connections live behind a proxy: as long as the server's pings, and over a restart of the server."""

import signal
from pathlib import Path

import pytest
import trio
from support.client import RawClient, masked
from support.process import running
from support.proxies import DEPLOY, ELSEWHERE, IDLE, PROGRAMS, Proxy, running_proxy, site_behind
from support.site import SECRET, configured
from support.tasks import peers_of
from support.tokens import forged

from tidings.client import (
    AsyncPublisher,
    Connected,
    Event,
    Gap,
    Publication,
    Reconnect,
    Reconnecting,
    connect,
)
from tidings.protocol.frames import Opcode
from tidings.server.auth import Authenticator
from tidings.server.config import Auth, Heartbeat, Limits

pytestmark = pytest.mark.slow

# All that is about silence, twenty times faster than shipped: 120 s are 6, a ping after 20 s is one after a second.
# Faster, and a machine that is busy would be as silent as what is to be cut off.
FASTER = 20
PING = 20 / FASTER

# The earliest that a ping may come is four fifths of the interval: so many take longer than the proxy would wait.
PINGS = 8


@pytest.mark.parametrize("name", sorted(PROGRAMS))
async def test_pings_keep_an_idle_connection(name: str) -> None:
    """Who only answers pings outlives the proxy's patience with silence; without pings it is cut off."""
    shipped = IDLE[name]
    changes = {shipped: shipped.replace("120s", f"{120_000 // FASTER}ms")}
    assert PINGS * 0.8 * PING > 120 / FASTER

    async def pinged(proxy: Proxy) -> None:
        # The verdict on who does not answer keeps its 10 s: a busy machine must not be taken for a dead one.
        pinging = configured(heartbeat=Heartbeat(ping_interval=PING))
        async with site_behind(proxy, pinging) as site, peers_of(site) as peers:
            client = await peers.connect("idle")
            for _ in range(PINGS):
                opcode, payload = await client.receive_frame()
                assert opcode == Opcode.PING
                await client.send(masked(Opcode.PONG, payload))
            assert (await client.command("ping"))["type"] == "pong"

    async def not_pinged(proxy: Proxy) -> None:
        async with site_behind(proxy, configured()) as site, peers_of(site) as peers:
            silent = await peers.connect("silent")
            closed = await silent.closed()
            assert (closed.code, closed.reason) == (None, "end of TCP")

    # At the same time, each before a server of its own.
    with running_proxy(name, changes=changes) as one, running_proxy(name, changes=changes) as other:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pinged, one)
            nursery.start_soon(not_pinged, other)


async def test_clients_come_back_through_the_proxy(proxy: Proxy, tmp_path: Path) -> None:
    """A restart of the server: told 3001, back through the same proxy, and what was published meanwhile comes."""
    token = Authenticator(Auth(secret=SECRET)).issue("alice", ttl=600)
    admin = Authenticator(Auth(secret=SECRET)).issue("root", roles=["admin"], ttl=600)
    url = f"https://{proxy.authority}"
    arguments = ["serve", "--port", str(proxy.server_port)]
    for setting in ("server.drain_seconds=0.5", 'server.trusted_proxies=["127.0.0.1"]'):
        arguments += ["--set", setting]
    told: list[Event] = []
    publisher = AsyncPublisher(url, token=admin, ssl_context=proxy.trusting())
    client = connect(
        url,
        token=token,
        device="desk",
        ssl_context=proxy.trusting(),
        reconnect=Reconnect(base=0.05, cap=0.2),
        on_event=told.append,
    )
    with trio.fail_after(60):
        async with publisher, running(*arguments, folder=tmp_path) as server:
            # A client beside ours that reads the words and the code themselves.
            raw = await proxy.open()
            assert (await raw.handshake(token=token))[0] == 101
            async with client as alice, await alice.subscribe("user:alice") as heard:
                await publisher.to_user("alice", "news", {"n": 1})
                assert _payload(await anext(heard)) == {"n": 1}
                server.signal(signal.SIGTERM)
                messages, closed = await raw.until_closed()
                assert (closed.code, messages[-1]["data"]["reconnect"]) == (3001, True)
                await raw.aclose()
                assert await server.ended() == 0
                async with running(*arguments, folder=tmp_path):
                    await publisher.to_user("alice", "news", {"n": 2})
                    assert _payload(await anext(heard)) == {"n": 2}
    first = next(event for event in told if isinstance(event, Reconnecting))
    assert first.code == 3001
    assert sum(isinstance(event, Connected) for event in told) == 2


async def test_who_comes_while_there_is_no_server(proxy: Proxy) -> None:
    """nginx says so at once (502), and clients come again; HAProxy tries for them until the server is there."""
    newcomer = await proxy.open()
    if proxy.program.name == "nginx":
        assert (await newcomer.handshake(token=forged()))[0] == 502
    else:
        request = b"GET /api/v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n"
        await newcomer.send(request)
        async with site_behind(proxy, configured()):
            assert (await newcomer.response())[0] == 404
    await trio.aclose_forcefully(newcomer.stream)


async def test_one_address_cannot_take_haproxy_with_silent_sockets() -> None:
    """Sockets that never say anything are counted by address; the one too many is closed, others come in."""
    changes = {
        "sc0_conn_cur gt 1024": "sc0_conn_cur gt 3",
        # On a busy machine it would end the first one before the last one comes.
        "timeout http-request 5s": "timeout http-request 60s",
    }
    with running_proxy("haproxy", changes=changes) as proxy:
        silent = [await proxy.open() for _ in range(3)]
        # In the step in which TCP is there, or in the next.
        with pytest.raises((ConnectionResetError, trio.BrokenResourceError)):
            await proxy.open()
        neighbour = await proxy.open("127.0.0.3")
        for client in (*silent, neighbour):
            await trio.aclose_forcefully(client.stream)


async def test_one_address_cannot_take_nginx_with_slow_bodies() -> None:
    """What the server does not see counts by address, of IPv6 by /64; one too many reads 429, others come in."""
    # Above the server's own limit, which refuses in its own words; the kernel's is the same.
    shipped = Limits().connections_per_address * 5 // 4
    assert (DEPLOY / "newcomers.nft").read_text().count(f" ct count over {shipped} ") == 2
    changes = {
        f"limit_conn tidings_address {shipped};": "limit_conn tidings_address 3;",
        # Addresses that this machine does not have.
        "server_tokens off;": "set_real_ip_from 127.0.0.4; real_ip_header X-Test;",
    }
    opened: list[RawClient] = []

    async def ask(head: str, source: str, claimed: str) -> RawClient:
        client = await proxy.open(source)
        opened.append(client)
        await client.send(f"{head}\r\nHost: x\r\nX-Test: {claimed}\r\n\r\n".encode())
        return client

    async def status(source: str, claimed: str = "") -> int:
        return (await (await ask("GET /healthz HTTP/1.1", source, claimed)).response())[0]

    body = "POST /api/v1/publish HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue"
    with running_proxy("nginx", changes=changes) as proxy:
        async with site_behind(proxy, configured()) as site:
            # A WebSocket and two bodies of which nothing comes; three such of as many addresses of one network.
            opened.append(await site.connect("alice"))
            slow = [(ELSEWHERE, "")] * 2 + [
                ("127.0.0.4", f"2001:db8::{number:x}:1") for number in (0, 5, 10)
            ]
            for source, claimed in slow:
                client = await ask(body, source, claimed)
                # It is counted before this is said.
                assert b" 100 " in await client.stream.receive_some()
            assert await status(ELSEWHERE) == 429
            assert await status("127.0.0.3") == 200
            assert await status("127.0.0.4", "2001:db8::ffff:2") == 429, "of the same /64"
            assert await status("127.0.0.4", "2001:db8:0:1::1") == 200, "of the next"
            for client in opened:
                await trio.aclose_forcefully(client.stream)


def _payload(item: Publication | Gap) -> object:
    return item.payload if isinstance(item, Publication) else item
