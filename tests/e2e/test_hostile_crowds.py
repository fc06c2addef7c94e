"""More peers than there is room for: refused as HTTP, with a word on when to come back, and never a dead loop."""

import trio
import trio.testing
from support.client import RawClient
from support.site import Site, configured, listening_site
from support.tasks import Peers, converse, peers_of, unharmed

from tidings.server.config import Limits
from tidings.server.config import Server as ServerSection
from tidings.server.limits import REFUSAL_SOCKETS

_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def _refused(client: RawClient, site: Site, user: str = "late", **more: str) -> tuple[int, str]:
    status, fields, body = await client.handshake(token=site.token(user), headers=more)
    assert int(fields["retry-after"]) > 0
    return status, body["error"]["code"]


async def test_a_user_may_have_so_many_connections() -> None:
    """One connection over `connections_per_user` gets 429 with Retry-After; another user's does not."""
    config = configured(limits=Limits(connections_per_user=2))
    with trio.fail_after(30):
        async with listening_site(config) as site, unharmed(site) as peers:
            first, _second = await peers.connect("alice"), await peers.connect("alice")
            assert await _refused(await peers.open(), site, "alice") == (429, "limit_reached")
            await peers.connect("bob")
            await first.send_close(1000)
            assert (await first.closed()).code == 1000
            assert await first.at_end()
            await peers.connect("alice")  # in the place that is free again


async def test_an_address_may_have_so_many_connections() -> None:
    """One connection over `connections_per_address` gets 429 with Retry-After, and plain HTTP still an answer."""
    with trio.fail_after(30):
        async with listening_site(configured(limits=Limits(connections_per_address=3))) as site:
            async with unharmed(site) as peers:  # whose neighbour is the first of the three
                for user in ("alice", "bob"):
                    await peers.connect(user)
                assert await _refused(await peers.open(), site) == (429, "limit_reached")
                machine = await peers.open()
                await machine.send(_HEALTH)
                assert (await machine.response())[0] == 200
            async with peers_of(site) as peers:
                await peers.connect("alice")


async def test_a_forwarded_address_counts_only_from_a_trusted_proxy() -> None:
    """Without `trusted_proxies` nobody slips past the limit per address by naming another one."""
    with trio.fail_after(30):
        async with (
            listening_site(configured(limits=Limits(connections_per_address=1))) as site,
            peers_of(site) as peers,
        ):
            assert (await _forwarded(peers, "203.0.113.1"))[0] == 101
            assert (await _forwarded(peers, "203.0.113.2"))[0] == 429


async def test_a_trusted_proxys_clients_are_counted_apart() -> None:
    """Behind a trusted proxy each client counts as itself, and what it says of itself is not believed."""
    config = configured(
        limits=Limits(connections_per_address=1), server=ServerSection(trusted_proxies=("127.0.0.0/8",))
    )
    with trio.fail_after(30):
        async with listening_site(config) as site, peers_of(site) as peers:
            assert (await _forwarded(peers, "203.0.113.1"))[0] == 101
            assert (await _forwarded(peers, "203.0.113.2"))[0] == 101
            assert (await _forwarded(peers, "203.0.113.2"))[0] == 429
            # The proxy appends what it saw; the client's own claim stands before it.
            assert (await _forwarded(peers, "198.51.100.7, 203.0.113.2"))[0] == 429
            assert (await _forwarded(peers, "\xff, 203.0.113.3"))[0] == 101
            assert (await _forwarded(peers, "not an address"))[0] == 101  # counts as the proxy's own
            assert (await _forwarded(peers, ""))[0] == 429


async def test_a_full_server_refuses_and_stays_healthy() -> None:
    """Beyond `connections_total` a handshake gets 503 with Retry-After; /healthz and the living go on."""
    with trio.fail_after(30):
        async with listening_site(configured(limits=Limits(connections_total=2))) as site:
            async with unharmed(site) as peers:
                alice = await peers.connect("alice")
                assert await _refused(await peers.open(), site) == (503, "unavailable")
                machine = await peers.open()
                await machine.send(_HEALTH)
                assert (await machine.response())[0] == 200
                await converse(alice)
            async with peers_of(site) as peers:  # a place that is free again is given again
                await peers.connect("alice")


async def test_an_overrun_server_refuses_without_reading() -> None:
    """Past the reserve for refusals a socket is told 503 and closed at once, and the listener lives on."""
    with trio.fail_after(30):
        async with listening_site(configured(limits=Limits(connections_total=1))) as site:
            async with unharmed(site) as peers:
                for _ in range(REFUSAL_SOCKETS):
                    await peers.open()
                await trio.testing.wait_all_tasks_blocked()
                assert site.server.context.admission.is_overflowing
                for _ in range(3):
                    late = await peers.open()
                    status, fields, body = await late.response()
                    assert (status, body["error"]["code"]) == (503, "unavailable")
                    assert int(fields["retry-after"]) > 0
                    assert await late.at_end()
            async with peers_of(site) as peers:
                await converse(await peers.connect("alice"))


async def test_two_handshakes_do_not_both_take_the_last_place(live_site: Site) -> None:
    """Of 64 simultaneous handshakes of one user exactly `connections_per_user` stay; the rest are told why."""
    limit = live_site.server.context.config.limits.connections_per_user
    outcomes: list[str] = []
    async with unharmed(live_site) as peers:

        async def arrive() -> None:
            client = await peers.open()
            status, _, _ = await client.handshake(token=live_site.token("alice"))
            if status != 101:
                outcomes.append(str(status))
            else:
                message = await client.receive_json()
                outcomes.append(message["type"])
                if message["type"] == "disconnect":
                    outcomes[-1] = str((await client.closed()).code)

        async with trio.open_nursery() as nursery:
            for _ in range(2 * limit):
                nursery.start_soon(arrive)
        assert outcomes.count("connected") == limit
        assert set(outcomes) <= {"connected", "429", "3504"}
        assert len(live_site.server.context.hub.connections_of("alice")) == limit


async def _forwarded(peers: Peers, value: str) -> tuple[int, str]:
    client = await peers.open()
    status, _, body = await client.handshake(
        token=peers.site.token(), headers={"X-Forwarded-For": value} if value else {}
    )
    return status, body
