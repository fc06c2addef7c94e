"""What HTTP servers are attacked with, on a real port: each is refused, and a neighbour is served on."""

import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest
import trio
from support.hostile_http import CHUNKED
from support.hostile_rights import HTTP, SLOWLY
from support.hostile_site import hostile_site, try_rows
from support.site import SECRET, Site, configured, listening_site
from support.tasks import Peers, converse, peers_of, quiet, unharmed
from support.web import WebClient, echo, request

from tidings.server.config import Auth, Http, Server
from tidings.server.http import Exchange, HttpHandler, Response, respond
from tidings.server.logs import logging_to

# Seconds that a slow peer is given; its neighbour, on a busy machine, must be quicker.
_PATIENCE = 1.0


@asynccontextmanager
async def _attacked(handler: HttpHandler = echo) -> AsyncIterator[tuple[Site, Peers]]:
    """A server on a real port; within the block and after it, a neighbour's requests work."""
    config = configured(http=Http(body_bytes=1000))

    async def handle(exchange: Exchange) -> None:
        await (echo if exchange.request.target == "/alive" else handler)(exchange)

    with trio.fail_after(30):
        async with listening_site(config) as site, unharmed(site) as peers:
            site.server.front._http = handle
            neighbour = WebClient(await peers.open())
            assert (await neighbour.post(b"before", target="/alive")).json["body"] == "before"
            yield site, peers
            assert (await neighbour.post(b"after", target="/alive")).json["body"] == "after"


async def test_an_attack_is_refused() -> None:
    """Each gets its status and a JSON body, as first request or behind a good one, and the connection ends."""
    async with hostile_site() as site:
        await try_rows(site, HTTP)


async def test_slowness_is_refused() -> None:
    """Silence, a head and a body that do not come to an end, all at the same time: each gets 408 in its time."""
    head, body = {"handshake_timeout": _PATIENCE}, {"body_timeout": _PATIENCE}
    async with (
        hostile_site(heartbeat=head, http=body) as site,
        unharmed(site) as peers,
        trio.open_nursery() as nursery,
    ):
        for row in SLOWLY.values():
            nursery.start_soon(row, peers)


@pytest.mark.parametrize("framing", ["Content-Length: 20000000", CHUNKED])
async def test_a_refusal_reaches_a_client_that_is_still_sending(framing: str) -> None:
    """A client that sends on and on reads its 413 all the same: no reset overtakes it."""
    async with _attacked() as (_, peers):
        client = WebClient(await peers.open())
        await client.send(request("/", framing, method="POST"))
        piece = b"a" * 10_000 if framing != CHUNKED else b"2710\r\n" + b"a" * 10_000 + b"\r\n"
        for _ in range(200):
            await client.send(piece)
        assert (await client.answer()).status == 413


async def test_nothing_that_is_echoed_breaks_the_head() -> None:
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
        for target in ("/%0d%0aSet-Cookie:%20a=b", "/%0aSet-Cookie:%20a=b", "/%00", "/%0d"):
            answer = await client.get(target)
            assert (answer.status, answer.body) == (400, b"refused"), target
            assert "set-cookie" not in answer.fields
        assert (await client.get("/good")).body == b"echoed"


LISTED = "https://app.example.com"
ORIGINS = (
    LISTED, "HTTPS://App.Example.Com", "null", "https://evil.example", f"{LISTED}.evil.example",
    "https://\u0430pp.example.com", "*", "", f"{LISTED}, {LISTED}",
)  # fmt: skip


@pytest.mark.parametrize("listed", [("*",), ("*", LISTED), (LISTED,)], ids=" ".join)
async def test_a_star_never_comes_with_credentials(listed: tuple[str, ...]) -> None:
    """Whoever asks for whatever: credentials are allowed to the listed origin by its name, and to no other."""
    config = configured(auth=Auth(secret=SECRET, origins=listed))
    asked = "Access-Control-Request-Method: POST"
    with trio.fail_after(30):
        async with listening_site(config) as site, unharmed(site) as peers:
            client = WebClient(await peers.open())
            for origin in ORIGINS:
                field = f"Origin: {origin}".encode().decode("latin-1")
                for method, path, more in (
                    ("GET", "/healthz", ()),
                    ("GET", "/api/v1/stats", ()),
                    ("GET", "/nothing", ()),
                    ("OPTIONS", "/api/v1/publish", (asked,)),
                ):
                    answer = await client.get(path, field, *more, method=method)
                    allowed = answer.fields.get("access-control-allow-origin")
                    credentials = answer.fields.get("access-control-allow-credentials")
                    if LISTED in listed and origin.lower() == LISTED:
                        assert (allowed, credentials) == (origin, "true"), path
                    else:
                        assert allowed in {"*" if "*" in listed else None, None}, (origin, path)
                        assert credentials is None, (origin, path)


@pytest.mark.parametrize("log_format", ["human", "json"])
async def test_a_path_cannot_write_into_the_log(log_format: Literal["human", "json"]) -> None:
    """Control characters of a path whose handler fails are escaped: no line is forged, no terminal steered."""

    async def failing(exchange: Exchange) -> None:
        raise RuntimeError

    stream = io.StringIO()
    with trio.fail_after(30), logging_to(stream, log_format):
        async with listening_site() as site, peers_of(site) as peers:
            neighbour = await peers.connect("neighbour")
            site.server.front._http = failing
            client = WebClient(await peers.open())
            assert (await client.get("/%1b[31m%0aERROR%20forged%0d%7f%c2%85%00")).status == 500
            assert (await client.get("/\x1b[31m")).status == 400
            await converse(neighbour)
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
