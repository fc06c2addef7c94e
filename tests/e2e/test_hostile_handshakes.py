"""Handshakes that a stock server dies of, over real sockets: each is refused and leaves nothing behind."""

import itertools

import msgspec
import trio
import trio.testing
from support.hostile import TOKEN, head
from support.hostile_rows import HEADS
from support.hostile_site import every_variant, hostile_site, try_rows
from support.site import Site, configured, listening_site
from support.tasks import quiet, unharmed

from tidings.server.config import Heartbeat
from tidings.server.config import Server as ServerSection


@every_variant
async def test_a_bad_head_is_refused_as_http(engine: str, compression: bool) -> None:
    """A wrong head gets its status and a JSON body before the upgrade, and the server goes on."""
    async with hostile_site(engine, compression=compression) as site:
        await try_rows(site, HEADS)


async def test_a_good_head_is_accepted(live_site: Site) -> None:
    """The head that the table's defects are put into is itself a good one."""
    async with unharmed(live_site) as peers:
        client = await peers.open()
        await client.send(head().replace(TOKEN, live_site.token().encode()))
        assert (await client.response())[0] == 101
        assert (await client.receive_json())["type"] == "connected"


async def test_the_servers_own_pages_may_connect(live_site: Site) -> None:
    """A page that came from the very host that it connects to is let in."""
    async with unharmed(live_site) as peers:
        client = await peers.open()
        own = f"127.0.0.1:{live_site.port}"
        status, _, _ = await client.handshake(
            token=live_site.token(), replace={"Host": own}, headers={"Origin": f"http://{own}"}
        )
        assert status == 101


async def test_a_refused_version_is_told_the_right_one(live_site: Site) -> None:
    """426 names version 13 and the protocol to upgrade to (RFC 6455 section 4.4, RFC 9110 section 15.5.22)."""
    async with unharmed(live_site) as peers:
        client = await peers.open()
        _, fields, _ = await client.handshake(
            token=live_site.token(), replace={"Sec-WebSocket-Version": "8"}
        )
        assert fields["sec-websocket-version"] == "13"
        assert fields["upgrade"] == "websocket"


async def test_a_refused_token_is_told_the_scheme(live_site: Site) -> None:
    """401 bears WWW-Authenticate (RFC 9110 section 15.5.2), and its body nothing of the token."""
    async with unharmed(live_site) as peers:
        client = await peers.open()
        status, fields, body = await client.handshake(token="canary-of-a-token")
        assert (status, fields["www-authenticate"]) == (401, "Bearer")
        assert "canary" not in msgspec.json.encode(body).decode()


async def test_a_refusal_repeats_nothing_of_a_malformed_request(live_site: Site) -> None:
    """What cannot be parsed is not echoed: its request line may hold a token, and its bytes are the peer's."""
    async with unharmed(live_site) as peers:
        client = await peers.open()
        await client.send(b"GET /ws?token=canary \xff HTTP/1.1\r\nHost: x\r\n\r\n")
        status, _, body = await client.response()
        assert status == 400
        message = body["error"]["message"]
        assert "canary" not in message
        assert "bytearray" not in message


async def test_the_answer_to_head_has_no_body(live_site: Site) -> None:
    """HEAD to the socket's path is answered without a body (RFC 9110 section 9.3.2)."""
    async with unharmed(live_site) as peers:
        client = await peers.open()
        await client.send(b"HEAD /ws HTTP/1.1\r\nHost: x\r\n\r\n")
        received = bytearray()
        while data := await client.stream.receive_some():
            received += data
        assert received.startswith(b"HTTP/1.1 426 ")
        assert received.endswith(b"\r\n\r\n")


async def test_a_slow_head_times_out(site: Site, autojump_clock: trio.testing.MockClock) -> None:
    """A head that comes byte by byte is cut off with 408 at `handshake_timeout`, however lively it is."""
    async with unharmed(site) as peers:
        began = trio.current_time()
        client = await peers.open()
        async with trio.open_nursery() as nursery:

            async def dribble() -> None:
                for byte in itertools.cycle(b"GET"):
                    await client.send(bytes((byte,)))
                    await trio.sleep(0.5)

            nursery.start_soon(dribble)
            status, _, body = await client.response()
            nursery.cancel_scope.cancel()
        assert (status, body["error"]["code"]) == (408, "bad_request")
        assert trio.current_time() - began == site.server.context.config.heartbeat.handshake_timeout


async def test_a_silent_peer_times_out() -> None:
    """A connection that says nothing at all is answered 408 and gone after `handshake_timeout`."""
    config = configured(heartbeat=Heartbeat(handshake_timeout=0.1))
    with trio.fail_after(30):
        async with listening_site(config) as site, unharmed(site) as peers:
            client = await peers.open()
            assert (await client.response())[0] == 408


async def test_a_head_may_come_byte_by_byte(live_site: Site) -> None:
    """Chopping a good handshake, and the first message behind it, changes nothing."""
    async with unharmed(live_site) as peers:
        client = await peers.open()
        for byte in head().replace(TOKEN, live_site.token().encode()):
            await client.send(bytes((byte,)))
        assert (await client.response())[0] == 101


async def test_a_peer_that_is_still_sending_can_read_its_refusal(live_site: Site) -> None:
    """What follows a refused head is drained, not answered by a reset that would overtake the answer."""
    async with unharmed(live_site) as peers:
        client = await peers.open()
        await client.send(head(key=None) + bytes(8_000_000))
        assert (await client.response())[0] == 400


async def test_a_peer_that_does_not_leave_after_its_refusal_is_gone() -> None:
    """A refused client that keeps its end open and never reads is dropped after `close_timeout`."""
    config = configured(heartbeat=Heartbeat(close_timeout=0.1))
    with trio.fail_after(30):
        async with listening_site(config) as site:
            client = await site.open()
            await client.send(head(key=None) + b"\xff" * 1000)
            await quiet(site)
            await client.aclose()


async def test_newcomers_are_refused_while_the_server_drains() -> None:
    """During a shutdown a handshake and /readyz get 503 with Retry-After, and /healthz still answers."""
    config = configured(
        server=ServerSection(port=0, drain_seconds=20), heartbeat=Heartbeat(close_timeout=20)
    )
    with trio.fail_after(30):
        async with listening_site(config) as site:
            stubborn = await site.connect("stubborn")
            site.stop.request("test")
            assert (await stubborn.receive_json())["type"] == "disconnect"
            newcomer, machine, doctor = [await site.open() for _ in range(3)]
            status, fields, body = await newcomer.handshake(token=site.token())
            assert (status, body["error"]["code"]) == (503, "unavailable")
            assert int(fields["retry-after"]) > 0
            await machine.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await machine.response())[0] == 503
            await doctor.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await doctor.response())[0] == 200
            await stubborn.send_close(3001)
            assert (await stubborn.closed()).code == 3001
            for client in (stubborn, newcomer, machine, doctor):
                await client.aclose()
            await quiet(site)
