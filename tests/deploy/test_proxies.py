"""Through nginx and HAProxy as deploy/ configures them everything is as without: clients, closes, addresses."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
import trio
import websockets.sync.client
from support.client import RawClient, masked
from support.process import PATIENCE
from support.proxies import ELSEWHERE, Proxy, site_behind, until
from support.site import SECRET, Site, configured
from support.tasks import peers_of
from websockets.extensions.permessage_deflate import PerMessageDeflate

from tidings.client import AsyncPublisher
from tidings.protocol.close_codes import REASONS, CloseCode
from tidings.protocol.frames import Opcode
from tidings.server.config import Auth, Compression, Heartbeat, Limits

pytestmark = pytest.mark.slow

KEY = "the-key-of-a-back-end-long-enough-to-be-one"
MESSAGE_BYTES = Limits().message_bytes
BODY_BYTES = 1_048_576
CROWD = 60
PAYLOAD = "x" * 12_000

NEVER_SENT = {CloseCode.NO_STATUS, CloseCode.ABNORMAL}


def _publisher(proxy: Proxy) -> AsyncPublisher:
    return AsyncPublisher(f"https://{proxy.authority}", api_key=KEY, ssl_context=proxy.trusting())


async def _peers_seen(site: Site, user: str) -> list[str]:
    """Where the user's connections come from, as the server's HTTP API tells an operator."""
    base = f"http://127.0.0.1:{site.port}"
    key = {"X-API-Key": KEY}
    async with httpx.AsyncClient(base_url=base, headers=key, verify=False, timeout=PATIENCE) as api:
        answer = (await api.get(f"/api/v1/users/{user}/connections")).json()
    return [connection["peer"] for connection in answer["connections"]]


async def test_each_way_in(proxy: Proxy) -> None:
    """A token in the header, the query or the first message; a subprotocol; pages of its own origin alone."""
    async with site_behind(proxy, configured()) as site, peers_of(site) as peers:
        token = site.token("alice")
        header, query, first, packed = [await peers.open() for _ in range(4)]
        assert (await header.handshake(headers={"Authorization": f"Bearer {token}"}))[0] == 101
        assert (await query.handshake(token=token))[0] == 101
        assert (await first.handshake())[0] == 101
        await first.send_json({"type": "authenticate", "data": {"token": token}})
        for client in (header, query, first):
            connected = await client.receive_json()
            assert (connected["type"], connected["data"]["user_id"]) == ("connected", "alice")
        offers = {"Sec-WebSocket-Protocol": "graphql-ws, tidings.v1.msgpack, tidings.v1.json"}
        status, fields, _ = await packed.handshake(token=token, headers=offers)
        assert (status, fields["sec-websocket-protocol"]) == (101, "tidings.v1.msgpack")
        assert (await packed.receive_packed())["type"] == "connected"
        verdicts = []
        for origin in (f"https://{proxy.authority}", f"https://{proxy.authority}0", "https://evil.example"):
            page = await peers.open()
            as_browsers: dict[str, str | None] = {"Host": proxy.authority, "Origin": origin}
            verdicts.append((await page.handshake(token=token, replace=as_browsers))[0])
        assert verdicts == [101, 403, 403]


async def test_compression_is_negotiated(proxy: Proxy) -> None:
    """A client of another maker, with permessage-deflate: a long text comes back whole, in a tenth of its bytes."""
    text = "twelve words of which each and every one comes again and again " * 240

    def talk(token: str) -> tuple[Any, str, int]:
        with websockets.sync.client.connect(
            f"wss://{proxy.authority}/ws",
            ssl=proxy.trusting(),
            additional_headers={"Authorization": f"Bearer {token}"},
        ) as client:

            def say(kind: str, until: str, **data: str) -> dict[str, Any]:
                client.send(msgspec.json.encode({"type": kind, "data": data, "id": kind}), text=True)
                while (message := msgspec.json.decode(client.recv(20)))["type"] != until:
                    pass
                return dict(message["data"])

            say("join_room", "subscribed", room="r")
            heard = say("room_message", "room_message", room="r", text=text)
            return (
                client.protocol.extensions,
                heard["text"],
                say("stats", "stats")["connection"]["bytes_sent"],
            )

    async with site_behind(proxy, configured(compression=Compression(enabled=True))) as site:
        extensions, said, sent = await trio.to_thread.run_sync(talk, site.token("alice"))
        assert [type(extension) for extension in extensions] == [PerMessageDeflate]
        assert said == text
        assert sent < len(text) / 10


async def test_what_is_refused_never_has_an_open_socket(proxy: Proxy) -> None:
    """Refusals before the upgrade arrive as the server gave them: status, body, and what to do next."""
    config = configured(limits=Limits(connections_per_user=1, connections_per_address=2))
    async with site_behind(proxy, config) as site, peers_of(site) as peers:
        wrong, second, third = [await peers.open() for _ in range(3)]
        # As long as a head may be, nearly: the proxy has no word in it.
        status, fields, body = await wrong.handshake(token="x" * 15_000)
        assert (status, body["error"]["code"], fields["www-authenticate"]) == (
            401,
            "unauthorized",
            "Bearer",
        )
        await peers.connect("alice")
        status, fields, body = await second.handshake(token=site.token("alice"))
        assert (status, body["error"]["message"]) == (429, "a user may have 1 connections")
        assert int(fields["retry-after"]) > 0
        # As many as an address may have are counted for the client's address, not for the proxy's.
        await peers.connect("bob")
        status, _, body = await third.handshake(token=site.token("carol"))
        assert (status, body["error"]["message"]) == (429, "too many connections of this address")
        neighbour = peers.adopt(await proxy.open("127.0.0.3"))
        assert (await neighbour.handshake(token=site.token("carol")))[0] == 101


async def test_the_http_api(proxy: Proxy) -> None:
    """Publishing, errors in the server's words, bodies up to the limit and beyond; the metrics are not public."""
    auth = Auth(secret=SECRET, api_keys=(KEY,))
    async with site_behind(proxy, configured(auth=auth)) as site:
        alice = await site.connect("alice")
        async with _publisher(proxy) as publisher:
            published = await publisher.to_user("alice", "news", {"n": 1})
        message = await alice.receive_json()
        assert (message["data"], message["offset"]) == ({"n": 1}, published.offset)
        await trio.aclose_forcefully(alice.stream)

        async def chunks(size: int) -> AsyncIterator[bytes]:
            for at in range(0, size, 65_536):
                yield b" " * min(65_536, size - at)

        good = b'{"channel": "user:alice", "event": "e", "payload": {}}'
        base, key = f"https://{proxy.authority}", {"X-API-Key": KEY, "Content-Type": "application/json"}
        trusting = httpx.AsyncClient(base_url=base, verify=proxy.trusting(), headers=key, timeout=PATIENCE)
        async with trusting as api:
            told = []
            bodies: list[bytes | AsyncIterator[bytes]] = [
                good.ljust(BODY_BYTES),
                good.ljust(BODY_BYTES + 1),
                good.ljust(3 * BODY_BYTES),
                chunks(BODY_BYTES + 1),
            ]
            for body in bodies:
                answer = await api.post("/api/v1/publish", content=body)
                told.append((answer.status_code, answer.headers["content-type"].split(";")[0]))
            json = "application/json"
            # What is absurd nginx, which gathers bodies, refuses itself.
            absurd = "text/html" if proxy.program.name == "nginx" else json
            assert told == [(200, json), (413, json), (413, absurd), (413, json)]
            assert (await api.get("/healthz")).json() == {"status": "ok"}
            assert (await api.get("/api/v1/channels", params={"prefix": "room:a b"})).status_code == 200
        for path in ("/metrics", "/metrics?a", "/metrics/", "//metrics", "/%6detrics", "/metrics%2f"):
            client = await site.open()
            await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n\r\n".encode())
            assert (await client.response())[0] == 403, path
            await trio.aclose_forcefully(client.stream)
        async with httpx.AsyncClient(headers=key, verify=False, timeout=PATIENCE) as api:
            assert (await api.get(f"http://127.0.0.1:{site.port}/metrics")).status_code == 200
            moved = await api.get(f"http://127.0.0.1:{proxy.plain_port}/console/?a=b")
        assert moved.status_code == 301
        # The ports are the test's: as shipped they are the schemes' own.
        location = moved.headers["location"].replace(f":{proxy.plain_port}", "")
        assert location == "https://127.0.0.1/console/?a=b"


async def test_a_room_hears_everything_in_order(proxy: Proxy) -> None:
    """Sixty clients: each message, among them one as long as a message may be, once and in order."""
    async with site_behind(proxy, configured()) as site, peers_of(site) as peers:
        speaker = await peers.connect("root", roles=["admin"])
        members = [speaker, *[await peers.connect(f"user-{number}") for number in range(CROWD)]]
        for member in members:
            await member.command("join_room", {"room": "r"})

        def saying(text: str) -> dict[str, object]:
            data = {"channel": "room:r", "event": "said", "payload": {"text": text}}
            return {"type": "publish", "data": data}

        longest = "e" * (MESSAGE_BYTES - len(msgspec.json.encode(saying(""))))
        for text in ("first", *map(str, range(20)), longest, "last"):
            await speaker.send_json(saying(text))
        for member in members:
            heard = [await member.receive_json() for _ in range(23)]
            assert [message["offset"] for message in heard] == list(range(1, 24))
            assert [message["data"]["text"] for message in heard[-2:]] == [longest, "last"]
        await speaker.send_json(saying(longest + "e"))
        assert (await speaker.closed()).code == 1009


async def test_closes_arrive_unchanged_both_ways(proxy: Proxy) -> None:
    """Whoever closes, the other side reads the same code and reason: all the server's, and an app's own."""
    async with site_behind(proxy, configured()) as site, peers_of(site) as peers:
        for code in set(CloseCode) - NEVER_SENT:
            client = await peers.connect("alice")
            [connection] = site.server.front.connections
            connection.close(code)
            told, closed = await client.until_closed()
            assert (closed.code, closed.reason) == (code, REASONS[code])
            assert code < 3000 or told[-1]["data"]["code"] == code
            await client.send_close(code)
            assert await client.at_end()
            await until(lambda: not site.server.front.connections)
        hub = site.server.context.hub
        for number in (1000, 1001, 3000, 3999, 4000, 4999):
            client = await peers.connect("bob")
            await client.send_close(number, "é" * 60)
            answered = await client.closed()
            assert (answered.code, answered.reason) in ((number, "é" * 60), (number, ""))
            assert await client.at_end()
        await until(lambda: not site.server.front.connections)
        counted = hub.statistics().closes
        assert {number: counted.get(number) for number in (3000, 3999, 4000, 4999)} == dict.fromkeys(
            (3000, 3999, 4000, 4999), 1
        )


async def test_the_client_is_who_it_is(proxy: Proxy) -> None:
    """The server sees the address that the proxy saw, over WebSocket and HTTP; a forged header changes nothing."""
    auth = Auth(secret=SECRET, api_keys=(KEY,))
    forged = {
        "X-Forwarded-For": "203.0.113.9, 127.0.0.1",
        "x-forwarded-for": "203.0.113.10",
        "Forwarded": "for=203.0.113.11",
        "X-Real-IP": "203.0.113.12",
    }
    async with site_behind(proxy, configured(auth=auth)) as site, peers_of(site) as peers:
        honest, liar, direct = (
            await peers.open(),
            await peers.open(),
            RawClient(await _from_elsewhere(site)),
        )
        peers.adopt(direct)
        for user, client in (("honest", honest), ("liar", liar), ("direct", direct)):
            headers = {} if user == "honest" else forged
            assert (await client.handshake(token=site.token(user), headers=headers))[0] == 101
            assert await _peers_seen(site, user) == [ELSEWHERE]


async def _from_elsewhere(site: Site) -> trio.SocketStream:
    sock = trio.socket.socket()
    await sock.bind((ELSEWHERE, 0))
    await sock.connect(("127.0.0.1", site.port))
    return trio.SocketStream(sock)


async def test_a_slow_consumer_is_alone_with_it(proxy: Proxy) -> None:
    """Who reads nothing is closed with 3008 once the proxy's buffers are full; the others get every offset."""
    limits = Limits(message_bytes=16_384, outbox_bytes=131_072)
    config = configured(limits=limits, heartbeat=Heartbeat(close_timeout=0.3))
    async with site_behind(proxy, config) as site, peers_of(site) as peers:
        members = [await peers.connect(f"member-{number}") for number in range(3)]
        stuck = peers.adopt(await proxy.open(receive_buffer=4096))
        assert (await stuck.handshake(token=site.token("stuck")))[0] == 101
        for member in (*members, stuck):
            await member.command("join_room", {"room": "r"})
        hub, total = site.server.context.hub, 0
        while hub.connections_of("stuck"):
            for number in range(total + 1, total + 9):
                payload = msgspec.json.encode({"n": number, "x": PAYLOAD})
                await site.server.context.broker.publish("room:r", "e", payload)
            for member in members:
                for number in range(total + 1, total + 9):
                    message = await member.receive_json()
                    assert (message["offset"], message["data"]["n"]) == (number, number)
            total += 8
        await until(lambda: 3008 in hub.statistics().closes)
        # What was under way arrives, and then the end: never half a frame that looks like a whole one.
        _, closed = await stuck.until_closed()
        assert closed.code in (None, 3008)
        assert total < 20_000_000 / len(PAYLOAD), "as much as the kernel keeps for three sockets"


async def test_a_reload_cuts_nobody_off(proxy: Proxy) -> None:
    """Connections go on in the old workers, which end with their last client; newcomers meet the new ones."""
    async with site_behind(proxy, configured()) as site, peers_of(site) as peers:
        before = [await peers.connect(f"before-{number}") for number in range(4)]
        old = await proxy.reload()
        after = await peers.connect("after")
        for client in (*before, after):
            await client.command("join_room", {"room": "r"})
        await after.send_json({"type": "room_message", "data": {"room": "r", "text": "still here?"}})
        for client in (*before, after):
            assert (await client.receive_json())["data"]["text"] == "still here?"
        assert proxy.workers() & old
        for client in before:
            await client.send_close(1000)
            await client.closed()
            await client.aclose()
        await until(lambda: not proxy.workers() & old)
        assert (await after.command("ping"))["type"] == "pong"


async def test_no_log_has_a_token(proxy: Proxy) -> None:
    """What a client has in its URL the proxy's logs leave out, also where there is no server to pass it on to."""
    # What came before is another address's: HAProxy writes a line when the connection has ended, or later.
    own = "127.0.0.5"

    def logged() -> int:
        lines = proxy.log.splitlines()
        return sum(line.startswith(f"{own} ") and '"GET /ws"' in line for line in lines)

    async with site_behind(proxy, configured()) as site, peers_of(site) as peers:
        client = peers.adopt(await proxy.open(own))
        token = site.token("alice")
        assert (await client.handshake(token=token))[0] == 101
        await client.aclose()
    expected = 1
    # HAProxy has one format for all lines, and would try for five seconds.
    if proxy.program.name == "nginx":
        unlucky = await proxy.open(own)
        assert (await unlucky.handshake(token=token))[0] == 502
        await unlucky.aclose()
        expected += 1
    await until(lambda: logged() == expected)
    assert token not in proxy.log
    assert "token" not in proxy.log


async def test_a_message_in_pieces(proxy: Proxy) -> None:
    """Fragments with a ping between them, a byte at a time at first: the proxy passes on what comes as it comes."""
    async with site_behind(proxy, configured()) as site, peers_of(site) as peers:
        client = await peers.connect("alice")
        text = msgspec.json.encode({"type": "ping", "id": "p"})
        frames = masked(Opcode.TEXT, text[:9], fin=False) + masked(Opcode.PING, b"between")
        for octet in frames:
            await client.send(bytes([octet]))
        assert await client.receive_frame() == (Opcode.PONG, b"between")
        await client.send(masked(Opcode.CONTINUATION, text[9:]))
        assert (await client.receive_json())["id"] == "p"
