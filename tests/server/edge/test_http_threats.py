"""What HTTP servers are attacked with, on a real port: each is refused, and a neighbour is served on."""

import io
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest
import trio
from support.served import served, with_http
from support.site import Site, configured, listening_site
from support.tasks import Peers, quiet, unharmed
from support.web import WebClient, chunked, echo, request
from trio.testing import MockClock

from tidings.server.config import Heartbeat, Http, Server
from tidings.server.http import Exchange, HttpHandler, Response, respond
from tidings.server.logs import logging_to

_CHUNKED = "Transfer-Encoding: chunked"


# Seconds that a slow peer is given; its neighbour, on a busy machine, must be quicker.
_PATIENCE = 1.0


@asynccontextmanager
async def _attacked(
    handler: HttpHandler = echo, *, patience: float | None = None
) -> AsyncIterator[tuple[Site, Peers]]:
    """A server on a real port; within the block and after it, a neighbour's requests work."""
    http, heartbeat = Http(body_bytes=1000), Heartbeat()
    if patience is not None:
        http = Http(body_bytes=1000, body_timeout=patience)
        heartbeat = Heartbeat(handshake_timeout=patience)
    config = configured(http=http, heartbeat=heartbeat)

    async def handle(exchange: Exchange) -> None:
        await (echo if exchange.request.target == "/alive" else handler)(exchange)

    with trio.fail_after(30):
        async with listening_site(config) as site, unharmed(site) as peers:
            site.server.front._http = handle
            neighbour = WebClient(await peers.open())
            assert (await neighbour.post(b"before", target="/alive")).json["body"] == "before"
            yield site, peers
            assert (await neighbour.post(b"after", target="/alive")).json["body"] == "after"


ATTACKS: dict[str, tuple[bytes, int]] = {
    "4,000 headers": (request("/", *(f"X: {number}" for number in range(4000))), 431),
    "no end": (request()[:-2] + b"X: " + b"a" * 40_000, 431),
    "TLS to the plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), 400),
    "NUL in the target": (request("/\x00"), 400),
    "NUL in a value": (request("/", "X: a\x00b"), 400),
    "space before the colon": (request("/", "X : a"), 400),
    "two lengths": (request("/", "Content-Length: 1", "Content-Length: 2", method="POST") + b"ab", 400),
    "the same length twice": (
        request("/", "Content-Length: 1", "Content-Length: 1", method="POST") + b"a",
        400,
    ),
    "a list of lengths": (request("/", "Content-Length: 1, 1", method="POST") + b"a", 400),
    "a length of 21 digits": (request("/", "Content-Length: " + "9" * 21, method="POST"), 400),
    "a length with a sign": (request("/", "Content-Length: +1", method="POST") + b"a", 400),
    "length with chunked": (
        request("/", "Content-Length: 5", _CHUNKED, method="POST") + chunked(),
        400,
    ),
    "chunked twice": (request("/", "Transfer-Encoding: chunked, chunked", method="POST") + chunked(), 400),
    "chunked in 1.0": (request("/", _CHUNKED, method="POST", version="1.0") + chunked(), 400),
    "bad chunk size": (request("/", _CHUNKED, method="POST") + b"zz\r\n", 400),
    "bad chunk tail": (request("/", _CHUNKED, method="POST") + b"1\r\naXX0\r\n\r\n", 400),
    "LF in a chunk's tail": (request("/", _CHUNKED, method="POST") + b"1\r\na\n0\r\n\r\n", 400),
    "LF only": (request().replace(b"\r\n", b"\n"), 400),
    "obs-fold": (request("/", "X: a\r\n b"), 400),
    "absolute-form": (request("http://x/"), 400),
    "HTTP/2.0": (request(version="2.0"), 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "two Hosts": (request("/", "Host: x", "host: y"), 400),
    "body on an upgrade": (
        request("/ws", "Upgrade: websocket", "Connection: Upgrade", "Content-Length: 5") + b"hello",
        426,
    ),
    "oversized body, declared": (request("/", "Content-Length: 1001", method="POST"), 413),
    "oversized body, in chunks": (request("/", _CHUNKED, method="POST") + chunked(b"a" * 1001), 413),
    "slow head": (request()[:-2], 408),
    "slow body": (request("/", "Content-Length: 5", method="POST") + b"hell", 408),
    "slow body in chunks": (request("/", _CHUNKED, method="POST") + b"5\r\nhell", 408),
}


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_is_refused(name: str, later: bool) -> None:
    """Each gets its status and a JSON body, as first request or behind a good one, and the connection ends."""
    sent, status = ATTACKS[name]
    async with _attacked(patience=_PATIENCE if status == 408 else None) as (_, peers):
        client = WebClient(await peers.open())
        if later:
            await client.get("/first")
        await client.send(sent)
        answer = await client.answer()
        assert (answer.status, answer.fields["connection"]) == (status, "close")
        assert answer.json["error"]["message"]
        assert await client.rest() == b""


async def test_a_head_that_dribbles_is_refused() -> None:
    """One byte at a time keeps no connection beyond the time for a head."""
    async with _attacked(patience=_PATIENCE) as (_, peers):
        client = WebClient(await peers.open())
        async with trio.open_nursery() as nursery:

            async def dribble() -> None:
                for byte in itertools.chain(request()[:-2], itertools.repeat(ord("x"))):
                    try:
                        await client.send(bytes((byte,)))
                    except trio.BrokenResourceError:
                        return
                    await trio.sleep(0.005)

            nursery.start_soon(dribble)
            assert (await client.answer()).status == 408
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("framing", ["Content-Length: 20000000", _CHUNKED])
async def test_a_refusal_reaches_a_client_that_is_still_sending(framing: str) -> None:
    """A client that sends on and on reads its 413 all the same: no reset overtakes it."""
    async with _attacked() as (_, peers):
        client = WebClient(await peers.open())
        await client.send(request("/", framing, method="POST"))
        piece = b"a" * 10_000 if framing != _CHUNKED else b"2710\r\n" + b"a" * 10_000 + b"\r\n"
        for _ in range(200):
            await client.send(piece)
        assert (await client.answer()).status == 413


@pytest.mark.parametrize(
    "target",
    ["/../../../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/lab/../../../etc/passwd", "/%2e%2e/etc/passwd",
     "/docs/..%5c..%5cetc", "//etc/passwd", "/.", "/%00", "/healthz/..", "/healthz%00"],
)  # fmt: skip
async def test_dots_lead_nowhere(live_site: Site, target: str) -> None:
    """No spelling of `..` finds anything outside of what is published."""
    async with unharmed(live_site) as peers:
        client = WebClient(await peers.open())
        answer = await client.get(target)
        assert answer.status in (400, 404)
        assert b"root:" not in answer.body
        assert (await client.get("/healthz")).status == 200


@pytest.mark.parametrize("target", ["/%0d%0aSet-Cookie:%20a=b", "/%0aSet-Cookie:%20a=b", "/%00", "/%0d"])
async def test_nothing_that_is_echoed_breaks_the_head(target: str) -> None:
    """A handler that puts the path into a header cannot be made to send another header, or two answers."""

    async def echoing(exchange: Exchange) -> None:
        try:
            await exchange.start(200, [(b"X-Path", exchange.request.path.encode())])
        except ValueError:
            await respond(exchange, Response(400, b"refused"))
        else:
            await exchange.send(b"echoed")

    async with _attacked(echoing) as (_, peers):
        client = WebClient(await peers.open())
        assert (await client.get("/good")).body == b"echoed"
        answer = await client.get(target)
        assert (answer.status, answer.body) == (400, b"refused")
        assert "set-cookie" not in answer.fields
        assert (await client.get("/good")).body == b"echoed"


@pytest.mark.parametrize("log_format", ["human", "json"])
async def test_a_path_cannot_write_into_the_log(
    autojump_clock: MockClock, log_format: Literal["human", "json"]
) -> None:
    """Control characters of a path whose handler fails are escaped: no line is forged, no terminal steered."""

    async def failing(exchange: Exchange) -> None:
        raise RuntimeError

    stream = io.StringIO()
    with logging_to(stream, log_format):
        async with served(with_http(failing)) as site:
            client = WebClient(await site.open())
            assert (await client.get("/%1b[31m%0aERROR%20forged%0d%7f%c2%85%00")).status == 500
            assert (await client.get("/\x1b[31m")).status == 400
            await client.raw.aclose()
    log = stream.getvalue()
    assert "request failed" in log
    assert "forged" in log
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", log)
    assert not re.search(r"^ERROR", log, re.MULTILINE)


async def test_a_drain_ends_with_a_large_answer_that_nobody_reads() -> None:
    """A client that asks for much and reads nothing is cut off when the drain ends, and nothing is left of it."""

    async def large(exchange: Exchange) -> None:
        await respond(exchange, Response(200, bytes(50_000_000), "application/octet-stream"))

    config = configured(server=Server(drain_seconds=0.2))
    with trio.fail_after(30):
        async with listening_site(config) as site:
            site.server.front._http = large
            client = await site.open()
            await client.send(request())
            while not site.server.front.busy.inside:
                await trio.lowlevel.checkpoint()
            site.stop.request("test")
            await quiet(site)
            await client.aclose()
