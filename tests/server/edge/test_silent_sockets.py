"""Sockets that never say anything: they lock nobody out, and nobody waits for them."""

import socket

import trio
from support.client import RawClient
from support.site import Site, configured, listening_site
from support.tasks import converse, peers_of
from trio.testing import MockClock

from tidings.server.config import Limits
from tidings.server.limits import REFUSAL_SOCKETS_PER_ADDRESS
from tidings.server.shutdown import drain


async def _from(site: Site, address: str) -> RawClient:
    sock = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    await sock.bind((address, 0))
    await sock.connect(("127.0.0.1", site.port))
    return RawClient(trio.SocketStream(sock))


async def test_silent_sockets_of_one_host_lock_nobody_out() -> None:
    """However many sockets one address opens and leaves silent, another address still gets in."""
    limits = Limits(connections_total=20, connections_per_address=5)
    with trio.fail_after(30):
        async with listening_site(configured(limits=limits)) as site, peers_of(site) as peers:
            hoard = [peers.adopt(await _from(site, "127.0.0.1")) for _ in range(90)]
            # Those beyond the cap and its few refusals are turned away at once: 429, or reset.
            for client in hoard[5 + REFUSAL_SOCKETS_PER_ADDRESS :]:
                assert b" 429 " in await _what_comes(client)
            assert site.server.context.admission.open == 5 + REFUSAL_SOCKETS_PER_ADDRESS
            neighbour = peers.adopt(await _from(site, "127.0.0.2"))
            assert (await neighbour.handshake(token=site.token("bob")))[0] == 101
            await neighbour.receive_json()
            await converse(neighbour)


async def _what_comes(client: RawClient) -> bytes:
    received = b""
    while data := await client.stream.receive_some():
        received += data
    return received


async def test_a_drain_does_not_wait_for_them(site: Site, autojump_clock: MockClock) -> None:
    """Sockets that have asked for nothing, newcomers included, cost a drain no time; a WebSocket is waited for."""
    async with peers_of(site) as peers:
        client = await peers.connect()
        for _ in range(3):
            await peers.open()

        async def keep_coming() -> None:
            while True:
                await trio.sleep(0.5)
                await peers.open()

        async with trio.open_nursery() as crowd:
            crowd.start_soon(keep_coming)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drain, site.server.context, site.server.front)
                assert (await client.closed()).code == 3001
                began = trio.current_time()
                await trio.sleep(1)
                await client.send_close(3001)
            # Beyond the second that the client took for its close, nothing was waited for.
            assert trio.current_time() - began == 1
            crowd.cancel_scope.cancel()
