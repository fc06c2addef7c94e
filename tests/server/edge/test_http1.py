"""HTTP/1.1 on one connection: framing, order, limits and ends, on memory streams and virtual time."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import structlog.testing
import trio
import trio.testing
from support.client import KEY, RawClient, masked
from support.served import served, with_http
from support.site import Site, configured
from support.web import Truncated, WebClient, chunked, deaf, echo, request

from tidings.protocol.frames import Opcode
from tidings.server.config import Heartbeat, Http
from tidings.server.edge.body import CHUNKS_PER_TURN, DRAIN_BYTES
from tidings.server.edge.transport import SocketTransport, StreamTransport
from tidings.server.http import BodyRefused, Exchange, HttpHandler, Response, respond
from tidings.server.shutdown import drain

pytestmark = pytest.mark.usefixtures("autojump_clock")

_CHUNKED = "Transfer-Encoding: chunked"


class Wire:
    """One connection of a server, in memory, and the client at its other end."""

    def __init__(self, site: Site, client: WebClient, pump: Callable[[], Awaitable[object]]) -> None:
        self.site = site
        self._pump = pump
        self.client = client
        self.sends = 0
        """How often the server has sent."""
        self.is_shut = False
        """Whether the client's window is shut: what the server sends goes nowhere."""
        self.ended = trio.Event()
        """Set once the server has let go of the connection."""

    async def on_send(self) -> None:
        """Carries each send of the server's to the client."""
        self.sends += 1
        if self.is_shut:
            await trio.sleep_forever()
        await self._pump()


@asynccontextmanager
async def wired(
    handler: HttpHandler = echo, *, http: Http | None = None, heartbeat: Heartbeat | None = None
) -> AsyncIterator[Wire]:
    """A connection to `handler`; at the end, the server must have nothing left of it."""
    config = configured(http=http or Http(), heartbeat=heartbeat or Heartbeat())
    async with served(with_http(handler, config)) as site:
        ours, theirs = trio.testing.memory_stream_pair()
        pump = theirs.send_stream.send_all_hook
        assert pump is not None
        wire = Wire(site, WebClient(RawClient(ours)), pump)
        theirs.send_stream.send_all_hook = wire.on_send

        async def serve() -> None:
            await site.server.front.serve(StreamTransport(theirs), "192.0.2.1")
            wire.ended.set()

        site.nursery.start_soon(serve)
        yield wire
        await ours.aclose()
        await wire.ended.wait()
        assert site.server.front.busy.inside == 0
        await site.server.context.admission.wait_empty()


def _told(method: str, target: str, body: str = "") -> dict[str, str]:
    return {"method": method, "target": target, "body": body}


# --- one after another -------------------------------------------------------------------------------


async def test_a_connection_serves_one_request_after_another() -> None:
    """Requests with and without bodies are answered in turn on one connection, each in one send."""
    async with wired() as wire:
        client = wire.client
        assert (await client.get("/a")).json == _told("GET", "/a")
        assert (await client.post(b"12345", target="/b")).json == _told("POST", "/b", "12345")
        await client.send(request("/c", _CHUNKED, method="PUT") + chunked(b"12", b"345"))
        answer = await client.answer()
        assert answer.json == _told("PUT", "/c", "12345")
        assert "connection" not in answer.fields
        assert wire.sends == 3


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Requests that arrive in one piece get their answers in their order, bodies told from heads."""
    sent = b"".join(
        (
            request("/1"),
            request("/2", "Content-Length: 10", method="POST") + b"GET / HTTP",
            b"\r\n",  # RFC 9112 section 2.2
            request("/3", _CHUNKED, method="POST") + chunked(b"POST", b"\r\n\r\n"),
            request("/4", method="DELETE"),
        )
    )
    async with wired() as wire:
        await wire.client.send(sent)
        answers = [(await wire.client.answer()).json for _ in range(4)]
        assert answers == [
            _told("GET", "/1"),
            _told("POST", "/2", "GET / HTTP"),
            _told("POST", "/3", "POST\r\n\r\n"),
            _told("DELETE", "/4"),
        ]


@asynccontextmanager
async def _turns() -> AsyncIterator[Callable[[], int]]:
    """How often another task has had its turn."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        yield lambda: turns
        nursery.cancel_scope.cancel()


async def test_pipelined_requests_leave_others_their_turn() -> None:
    """A handler that never waits, and requests that are all there: between two of them others run."""
    seen = []

    async def instant(exchange: Exchange) -> None:
        seen.append(turns())
        await respond(exchange, Response(200, b""))

    # A socket, which takes answers without a wait.
    ours, theirs = socket.socketpair()
    ours.sendall(100 * request("/") + request("/", "Connection: close"))
    ours.shutdown(socket.SHUT_WR)
    theirs.setblocking(False)
    with ours:
        async with served(with_http(instant)) as site, _turns() as turns:
            await site.server.front.serve(SocketTransport(theirs), "192.0.2.1")
    # Each turn of the loop gives every task one: more or less by one, as their order is chance.
    assert len(seen) == 101
    assert seen[-1] - seen[0] >= 100 - 1


async def test_a_websocket_may_follow_on_the_same_connection() -> None:
    """After requests, an upgrade on the same connection opens a WebSocket; frames that came along are kept."""
    async with wired() as wire:
        raw = wire.client.raw
        upgrade = request(
            f"/ws?token={wire.site.token()}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {KEY}",
        )
        ping = masked(Opcode.TEXT, b'{"type":"ping","id":"p"}')
        await raw.send(
            request("/1") + request("/2", "Content-Length: 1", method="POST") + b"x" + upgrade + ping
        )
        assert [(await raw.response())[0] for _ in range(3)] == [200, 200, 101]
        assert (await raw.receive_json())["type"] == "connected"
        assert (await raw.receive_json())["id"] == "p"
        await raw.send_close()
        await raw.closed()


@pytest.mark.parametrize(
    ("version", "fields", "connection"),
    [
        ("1.1", [], None),
        ("1.1", ["Connection: close"], "close"),
        ("1.1", ["Connection: foo, CLOSE"], "close"),
        ("1.1", ["Connection: keep-alive"], None),
        ("1.0", [], "close"),
        ("1.0", ["Connection: Keep-Alive"], "keep-alive"),
        ("1.0", ["Connection: keep-alive, close"], "close"),
    ],
)
async def test_whether_the_connection_goes_on(
    version: str, fields: list[str], connection: str | None
) -> None:
    """1.1 goes on unless the client says close, 1.0 only if it asks; the answer says what will be, and it is."""
    async with wired() as wire:
        answer = await wire.client.get("/", *fields, version=version)
        assert answer.fields.get("connection") == connection
        if connection == "close":
            assert await wire.client.rest() == b""
        else:
            assert (await wire.client.get("/")).status == 200


async def test_a_connection_ends_after_its_requests() -> None:
    """The last of `requests_per_connection` says close, and what was pipelined behind it is not answered."""
    async with wired(http=Http(requests_per_connection=3)) as wire:
        await wire.client.send(5 * request("/"))
        closes = [(await wire.client.answer()).fields.get("connection") for _ in range(3)]
        assert closes == [None, None, "close"]
        assert await wire.client.rest() == b""


# --- the answer's framing ----------------------------------------------------------------------------


async def _whole(exchange: Exchange) -> None:
    await exchange.start(200, [(b"X-A", b"b")])
    await exchange.send(b"12345")


async def _in_pieces(exchange: Exchange) -> None:
    await exchange.start(200, [])
    for piece in (b"", b"12", b"", b"345"):
        await exchange.send(piece, more=True)
    await exchange.send(b"")


async def _with_length(exchange: Exchange) -> None:
    await exchange.start(200, [(b"content-length", b"5")])
    await exchange.send(b"12", more=True)
    await exchange.send(b"345")


@pytest.mark.parametrize(
    ("handler", "version", "framing"),
    [
        (_whole, "1.1", "content-length"),
        (_whole, "1.0", "content-length"),
        (_in_pieces, "1.1", "transfer-encoding"),
        (_in_pieces, "1.0", "connection"),
        (_with_length, "1.1", "content-length"),
        (_with_length, "1.0", "content-length"),
    ],
)
async def test_the_end_of_an_answer_can_be_told(handler: HttpHandler, version: str, framing: str) -> None:
    """Content-Length where it is known, else chunks for 1.1 and the connection's end for 1.0."""
    async with wired(handler) as wire:
        keep = ["Connection: keep-alive"] if version == "1.0" else []
        answer = await wire.client.get("/", *keep, version=version)
        assert answer.body == b"12345"
        ways = {name for name in ("content-length", "transfer-encoding") if name in answer.fields}
        if framing == "connection":
            assert not ways
            assert answer.fields["connection"] == "close"
        else:
            assert ways == {framing}
            assert (await wire.client.get("/")).status == 200


@pytest.mark.parametrize("handler", [_whole, _in_pieces, _with_length])
async def test_head_has_no_body(handler: HttpHandler) -> None:
    """HEAD gets what GET's head would tell, and no byte of the body; the connection goes on."""
    async with wired(handler) as wire:
        answer = await wire.client.get("/", method="HEAD")
        assert answer.body == b""
        assert answer.fields.get("content-length") in ((None,) if handler is _in_pieces else ("5",))
        await wire.client.send(request("/", "Connection: close", method="HEAD"))
        assert (await wire.client.rest()).endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
async def test_some_statuses_have_no_body(status: int) -> None:
    """204 and 304 have none, whatever the handler gave; 204 has no length either (RFC 9110 section 8.6)."""

    async def handler(exchange: Exchange) -> None:
        await exchange.start(status, [])
        await exchange.send(b"12345")

    async with wired(handler) as wire:
        await wire.client.send(request("/") + request("/", "Connection: close"))
        received = await wire.client.rest()
        assert received.count(b"HTTP/1.1 %d " % status) == 2
        assert b"12345" not in received
        assert status == 304 or b"content-length" not in received.lower()


@pytest.mark.parametrize(
    "header",
    [
        (b"x-a", b"b\r\nset-cookie: c"),
        (b"x-a", b"b\nset-cookie: c"),
        (b"x-a", b"b\rset-cookie: c"),
        (b"x-a", b"b\x00"),
        (b"x-a\r\nset-cookie", b"c"),
        (b"x a", b"c"),
        (b"", b"c"),
        (b"transfer-encoding", b"chunked"),
        (b"content-length", b"5, 5"),
        (b"content-length", b"-1"),
    ],
)
async def test_a_header_cannot_smuggle(header: tuple[bytes, bytes]) -> None:
    """A line break, NUL or a framing of the handler's own raises, and nothing of it reaches the client."""

    async def handler(exchange: Exchange) -> None:
        with pytest.raises(ValueError, match=r"header|Length|connection's"):
            await exchange.start(200, [header])
        await respond(exchange, Response(200, b"untouched"))

    async with wired(handler) as wire:
        answer = await wire.client.get("/")
        assert answer.body == b"untouched"
        assert "set-cookie" not in answer.fields


async def _never_starts(exchange: Exchange) -> None:
    pass


async def _starts_only(exchange: Exchange) -> None:
    await exchange.start(200, [])


async def _fails(exchange: Exchange) -> None:
    raise RuntimeError("secret detail")


async def _fails_prepared(exchange: Exchange) -> None:
    await exchange.start(200, [(b"x-secret", b"secret detail")])
    raise ExceptionGroup("several", [RuntimeError("secret detail")])


async def _hangs(exchange: Exchange) -> None:
    await trio.sleep_forever()


async def _too_long(exchange: Exchange) -> None:
    await exchange.start(200, [(b"content-length", b"3")])
    await exchange.send(b"12345")


async def _too_short(exchange: Exchange) -> None:
    await exchange.start(200, [(b"content-length", b"7")])
    await exchange.send(b"12345")


@pytest.mark.parametrize(
    ("handler", "status"),
    [
        (_too_short, 500),
        (_never_starts, 500),
        (_starts_only, 500),
        (_fails, 500),
        (_fails_prepared, 500),
        (_too_long, 500),
        (_hangs, 503),
    ],
)
async def test_a_handler_that_gives_no_answer(handler: HttpHandler, status: int) -> None:
    """Faults are 500 and slowness 503 with Retry-After, in JSON, told in the log; the connection goes on."""
    async with wired(handler) as wire:
        with structlog.testing.capture_logs() as logs:
            for _ in range(2):
                answer = await wire.client.get("/")
                assert answer.status == status
                assert answer.code == ("internal" if status == 500 else "unavailable")
                assert ("retry-after" in answer.fields) == (status == 503)
                assert "secret detail" not in str(answer)
        assert len([line for line in logs if line["log_level"] in ("error", "warning")]) == 2


@pytest.mark.parametrize("fault", [_never_starts, _fails, _hangs])
async def test_a_handler_that_fails_within_its_answer(fault: HttpHandler) -> None:
    """Once an answer has begun, a fault cuts it off: the client must not take it for a whole one."""

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, [])
        await exchange.send(b"12345", more=True)
        await fault(exchange)

    async with wired(handler) as wire:
        with pytest.raises(Truncated) as raised:
            await wire.client.get("/")
        assert raised.value.received.endswith(b"5\r\n12345\r\n")


async def test_a_fault_behind_the_answer_costs_nothing() -> None:
    """What a handler does wrong after its answer is logged; the client has what it asked for."""

    async def handler(exchange: Exchange) -> None:
        await respond(exchange, Response(200, b"done"))
        raise RuntimeError

    async with wired(handler) as wire:
        assert (await wire.client.get("/")).body == b"done"
        assert (await wire.client.get("/")).body == b"done"


async def test_an_answer_that_nobody_reads_is_cut_off() -> None:
    """A client that does not read is reset after `answer_timeout`, and the handler learns that it is gone."""
    raised = []

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, [])
        try:
            for _ in range(3):
                await exchange.send(b"x", more=True)
        except Exception as error:
            raised.append((type(error).__name__, trio.current_time()))
            raise

    async with wired(handler, http=Http(answer_timeout=40)) as wire:
        wire.is_shut = True
        began = trio.current_time()
        with structlog.testing.capture_logs() as logs:
            await wire.client.send(request("/"))
            await wire.ended.wait()
        # Beyond handler_timeout: its time stands still while it waits for the client.
        assert raised == [("PeerGone", began + 40)]
        assert not [line for line in logs if line["log_level"] == "error"]


# --- the request's body ------------------------------------------------------------------------------


async def test_a_slow_body_does_not_count_as_the_handlers_time() -> None:
    """The handler's time stands still while it waits for the client: 14 s of body and 9 s of work are fine."""

    async def handler(exchange: Exchange) -> None:
        await echo_after(exchange, 9)

    async def echo_after(exchange: Exchange, seconds: float) -> None:
        while await exchange.receive():
            pass
        await trio.sleep(seconds)
        await respond(exchange, Response(200, b"done"))

    async with wired(handler) as wire:
        await wire.client.send(request("/", "Content-Length: 14", method="POST"))
        for _ in range(14):
            await trio.sleep(1)
            await wire.client.send(b"x")
        assert (await wire.client.answer()).body == b"done"


async def _stubborn(exchange: Exchange) -> None:
    """Reads, and answers 200 whatever comes of it."""
    try:
        while await exchange.receive():
            pass
    except BodyRefused:
        with pytest.raises(BodyRefused):
            await exchange.receive()
    await respond(exchange, Response(200, b"fine"))


async def _wrapping(exchange: Exchange) -> None:
    """Reads, as applications do, in a task of its own."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo, exchange)


BAD_BODIES: dict[str, tuple[bytes, int]] = {
    "declared too large": (request("/", "Content-Length: 1001", method="POST"), 413),
    "declared huge": (request("/", "Content-Length: 99999999999999999999", method="POST"), 413),
    "chunks too large": (request("/", _CHUNKED, method="POST") + chunked(b"a" * 600, b"b" * 401), 413),
    "chunk too large": (request("/", _CHUNKED, method="POST") + b"ffffffffffffffff\r\n" + b"a" * 1001, 413),
    "slow": (request("/", "Content-Length: 1000", method="POST") + b"a", 408),
    "slow in chunks": (request("/", _CHUNKED, method="POST") + b"5\r\nab", 408),
}
BAD_BODIES |= {
    f"chunked: {bad[:24]!r}": (request("/", _CHUNKED, method="POST") + bad, 400)
    for bad in (
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\na\r\n",
        b"0x1\r\na\r\n",
        b"1 1\r\na\r\n",
        b"\r\n",
        b"1\r\nab\r\n0\r\n\r\n",
        b"1\r\na\n0\r\n\r\n",
        b"1\na\r\n0\r\n\r\n",
        b"1\r\na\r\n0\n\r\n",
        b"1\r\na\r\n0\r\n\n",
        b"1\r\na\r\n0\r\nX: a\n\r\n",
        b"1\r\na\r\n0\r\nX: a\nY: b\r\n\r\n",
        b"1\r\na\r\n0\r\nX: a\r\nY: b\n\n",
        b"1\r\na\r\n0\r\n: a\r\n\r\n",
        b"1\r\na\r\n0\r\nX : a\r\n\r\n",
        b"111111111111111111111\r\n",
        b"1;" + b"x" * 20_000,
        (b"1;" + b"x" * 300 + b"\r\na\r\n") * 100,
        b"1\r\na\r\n0\r\n" + b"X: a\r\n" * 4_000,
    )
}


@pytest.mark.parametrize("handler", [echo, _stubborn, _wrapping])
@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_bad_body_is_refused(name: str, handler: HttpHandler) -> None:
    """Too large, too slow or malformed: the refusal is what the client reads, whatever the handler answers."""
    sent, status = BAD_BODIES[name]
    async with wired(handler, http=Http(body_bytes=1000)) as wire:
        with structlog.testing.capture_logs() as logs:
            await wire.client.send(sent)
            answer = await wire.client.answer()
        assert answer.status == status
        assert answer.code == ("too_large" if status == 413 else "bad_request")
        assert answer.fields["connection"] == "close"
        assert not [line for line in logs if line["log_level"] == "error"]
        if status == 408:
            assert trio.current_time() % 15 == pytest.approx(
                wire.site.server.context.config.http.body_timeout % 15
            )
        assert await wire.client.rest() == b""


@pytest.mark.parametrize(
    "body",
    [
        chunked(),
        chunked(b"a" * 1000),
        b"1;a=b\r\na\r\n0;c\r\n\r\n",
        b"0001\r\na\r\n000\r\nX: a\r\nY: b\r\n\r\n",
        chunked(*1000 * [b"a"]),
    ],
)
async def test_good_chunks_are_accepted(body: bytes) -> None:
    """Extensions, trailers, leading zeros and the smallest chunks are fine, up to the last byte allowed."""
    async with wired(http=Http(body_bytes=1000)) as wire:
        await wire.client.send(request("/", _CHUNKED, method="POST") + body)
        answer = await wire.client.answer()
        assert (answer.status, set(answer.json["body"])) in ((200, {"a"}), (200, set()))
        assert (await wire.client.get("/")).status == 200


async def test_tiny_chunks_leave_others_their_turn() -> None:
    """A body of thousands of chunks is not parsed in one go: between two pieces others run."""
    seen = []
    size = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal size
        while piece := await exchange.receive():
            size += len(piece)
            seen.append(turns())
        await respond(exchange, Response(200, b""))

    async with wired(handler) as wire, _turns() as turns:
        await wire.client.send(request("/", _CHUNKED, method="POST") + chunked(*2000 * [b"a"]))
        await wire.client.answer()
    assert size == 2000
    assert len(seen) >= 2000 / CHUNKS_PER_TURN
    assert seen[-1] - seen[0] >= len(seen) - 2


async def test_the_end_of_a_body_stays_the_end() -> None:
    """b"" at the end and ever after, for a request without a body at once."""
    seen: list[list[bytes]] = []

    async def handler(exchange: Exchange) -> None:
        seen.append([await exchange.receive() for _ in range(4)])
        await respond(exchange, Response(200, b""))

    async with wired(handler) as wire:
        await wire.client.get("/")
        await wire.client.post(b"12345")
    assert seen == [[b"", b"", b"", b""], [b"12345", b"", b"", b""]]


async def test_a_body_refused_behind_the_answers_beginning() -> None:
    """When the answer has begun, a refused body cuts it off: there is no other way to tell."""

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, [])
        await exchange.send(b"12345", more=True)
        await _stubborn(exchange)

    async with wired(handler) as wire:
        await wire.client.send(request("/", _CHUNKED, method="POST") + b"x\r\n")
        with pytest.raises(Truncated):
            await wire.client.answer()


async def test_a_client_that_leaves_within_its_body_is_nobodys_fault() -> None:
    """The handler learns that the peer is gone; nothing is logged as an error and nothing is left."""
    raised = []

    async def handler(exchange: Exchange) -> None:
        try:
            await echo(exchange)
        except Exception as error:
            raised.append(type(error).__name__)
            raise

    async with wired(handler) as wire:
        with structlog.testing.capture_logs() as logs:
            await wire.client.send(request("/", "Content-Length: 5", method="POST") + b"12")
            await wire.client.raw.aclose()
            await wire.ended.wait()
        assert raised == ["PeerGone"]
        assert not [line for line in logs if line["log_level"] == "error"]


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_a_small_body_that_nobody_read_is_dropped(framing: str) -> None:
    """The rest of a small body is read and dropped, and the next request on the connection is answered."""
    body = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    async with wired(deaf) as wire:
        if framing == "length":
            await wire.client.send(request("/", f"Content-Length: {len(body)}", method="POST") + body)
        else:
            await wire.client.send(request("/", _CHUNKED, method="POST") + chunked(body))
        assert (await wire.client.answer()).status == 403
        assert (await wire.client.get("/", "Connection: close")).status == 403
        assert await wire.client.rest() == b""


async def test_a_large_body_that_nobody_read_ends_the_connection() -> None:
    """Beyond the bound the answer says close; a client that is still sending reads it all the same."""
    async with wired(deaf) as wire:
        size = DRAIN_BYTES + 1
        await wire.client.send(request("/", f"Content-Length: {size}", method="POST") + b"x" * 1000)
        answer = await wire.client.answer()
        assert (answer.status, answer.fields["connection"]) == (403, "close")
        await wire.client.send(b"x" * (size - 1000))
        assert await wire.client.rest() == b""


@pytest.mark.parametrize("stalls", [True, False])
async def test_unread_chunks_end_the_connection_when_they_do_not(stalls: bool) -> None:
    """Chunks have no length: beyond the bound, or `close_timeout`, what comes is not waited for."""
    async with wired(deaf) as wire:
        await wire.client.send(request("/", _CHUNKED, method="POST") + b"1\r\na\r\n")
        assert (await wire.client.answer()).status == 403
        if not stalls:
            await wire.client.send(chunked(b"x" * 2 * DRAIN_BYTES) + request("/unanswered"))
        began = trio.current_time()
        assert await wire.client.rest() == b""
        await wire.ended.wait()
        assert trio.current_time() - began <= 2 * wire.site.server.context.config.heartbeat.close_timeout


# --- Expect ------------------------------------------------------------------------------------------


async def test_100_is_sent_when_the_body_is_asked_for() -> None:
    """`Expect: 100-continue` is answered with 100 once the handler asks, then the body is read."""
    asked = trio.Event()

    async def handler(exchange: Exchange) -> None:
        await asked.wait()
        await echo(exchange)

    async with wired(handler) as wire:
        await wire.client.send(request("/", "Content-Length: 5", "Expect: 100-Continue", method="POST"))
        await trio.testing.wait_all_tasks_blocked()
        assert wire.sends == 0
        asked.set()
        await trio.testing.wait_all_tasks_blocked()
        assert wire.sends == 1
        await wire.client.send(b"12345")
        answer = await wire.client.answer()
        assert (answer.informed, answer.json["body"]) == ((100,), "12345")
        assert (await wire.client.get("/")).status == 200


async def test_100_is_not_sent_where_nobody_waits_for_it() -> None:
    """Not when some of the body has come already, nor to 1.0, nor when the handler does not ask for a body."""
    expect = "Expect: 100-continue"
    async with wired() as wire:
        answer = await wire.client.post(b"12345", expect)
        assert (answer.informed, answer.json["body"]) == ((), "12345")
        assert (await wire.client.get("/", expect)).informed == ()
        for version, first, second in (("1.1", b"12", b"345"), ("1.0", b"", b"12345")):
            head = request("/", "Content-Length: 5", expect, method="POST", version=version)
            await wire.client.send(head + first)
            await trio.testing.wait_all_tasks_blocked()
            await wire.client.send(second)
            answer = await wire.client.answer()
            assert (answer.informed, answer.json["body"]) == ((), "12345")


async def test_a_refused_expectation_ends_the_connection() -> None:
    """A final answer in place of 100: nobody can tell whether the body follows, so nothing else may."""
    async with wired(deaf) as wire:
        await wire.client.send(request("/", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        answer = await wire.client.answer()
        assert (answer.informed, answer.status, answer.fields["connection"]) == ((), 403, "close")
        assert await wire.client.rest() == b""


async def test_a_body_too_large_is_refused_before_100() -> None:
    """A client that asks first is told 413 without having sent anything."""
    async with wired(http=Http(body_bytes=4)) as wire:
        await wire.client.send(request("/", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        answer = await wire.client.answer()
        assert (answer.informed, answer.status) == ((), 413)


@pytest.mark.parametrize("value", ["200-ok", "100-continue, more", ""])
async def test_another_expectation_is_refused(value: str) -> None:
    """417 for any Expect but 100-continue, and the handler is not asked."""
    async with wired(_fails) as wire:
        answer = await wire.client.get("/", f"Expect: {value}")
        assert (answer.status, answer.fields["connection"]) == (417, "close")


# --- time --------------------------------------------------------------------------------------------


async def test_an_idle_connection_is_closed_silently() -> None:
    """A connection that asks for nothing more is closed after `idle_timeout`, without an answer to nothing."""
    async with wired() as wire:
        await wire.client.get("/")
        began = trio.current_time()
        assert await wire.client.rest() == b""
        assert trio.current_time() - began == wire.site.server.context.config.http.idle_timeout


async def test_a_later_head_has_its_time_from_its_first_byte() -> None:
    """A connection may be idle for long; a head that has begun must be complete in time, else 408."""
    async with wired() as wire:
        await wire.client.get("/")
        await trio.sleep(70)
        await wire.client.send(b"GET / HT")
        began = trio.current_time()
        assert (await wire.client.answer()).status == 408
        assert trio.current_time() - began == wire.site.server.context.config.heartbeat.handshake_timeout
        assert await wire.client.rest() == b""


async def test_an_empty_line_behind_a_body_is_not_the_next_request() -> None:
    """An old client's CR LF behind its body starts no head whose time runs: the connection is idle."""
    async with wired() as wire:
        await wire.client.send(request("/", "Content-Length: 1", method="POST") + b"x\r\n")
        assert (await wire.client.answer()).status == 200
        await trio.sleep(60)
        assert (await wire.client.get("/")).status == 200


# --- the drain ---------------------------------------------------------------------------------------


async def test_an_idle_connection_does_not_hold_the_drain() -> None:
    """A drain waits for requests under way, whose answers say close, and not for connections between two."""
    go_on = trio.Event()

    async def handler(exchange: Exchange) -> None:
        if exchange.request.path == "/slow":
            await go_on.wait()
        await echo(exchange)

    async with wired(handler) as wire:
        site = wire.site
        idle = WebClient(await site.open())
        assert (await idle.get("/")).fields.get("connection") is None
        await wire.client.send(request("/slow"))
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:

            async def draining() -> None:
                await drain(site.server.context, site.server.front)
                drained.set()

            drained = trio.Event()
            nursery.start_soon(draining)
            await trio.sleep(5)
            assert not drained.is_set()
            go_on.set()
            began = trio.current_time()
            assert (await wire.client.answer()).fields["connection"] == "close"
            await wire.client.raw.aclose()
            await drained.wait()
            assert trio.current_time() == began
        assert (await idle.get("/")).fields["connection"] == "close"
        await idle.raw.aclose()


async def test_a_drain_ends_with_a_client_that_never_reads() -> None:
    """A client that leaves its answer unread holds a drain no longer than `drain_seconds`."""
    async with wired(http=Http(answer_timeout=86400)) as wire:
        wire.is_shut = True
        await wire.client.send(request("/"))
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        await drain(wire.site.server.context, wire.site.server.front)
        assert trio.current_time() - began == wire.site.server.context.config.server.drain_seconds
        assert not wire.ended.is_set()
        wire.site.nursery.cancel_scope.cancel()
        await wire.client.raw.aclose()
        wire.ended.set()
