"""The adapter between the front door's exchange and ASGI, on an exchange of memory."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import trio
from litestar.types import ASGIApp
from support.exchanges import MemoryExchange, request
from trio.testing import MockClock, wait_all_tasks_blocked

from tidings.server.api.asgi import BadPath, Call, ProtocolBreach, http_scope
from tidings.server.http import BodyRefused, PeerGone, refusal

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}
BODY: dict[str, Any] = {"type": "http.response.body", "body": b"done"}


async def run(app: App, exchange: MemoryExchange) -> Call:
    """Let an application answer."""
    call = Call(exchange)
    await call.run(cast(ASGIApp, app), http_scope(exchange.request))
    return call


def test_the_scope_is_the_requests_head() -> None:
    """Path decoded, raw path and query as they came, names in lower case, the client's address."""
    scope = http_scope(request("/a%20b/%C3%A9?x=%20&y", "POST", secure=True))
    assert (scope["method"], scope["scheme"], scope["http_version"]) == ("POST", "https", "1.1")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (
        "/a b/é",
        b"/a%20b/%C3%A9",
        b"x=%20&y",
    )
    assert scope["headers"] == [(b"host", b"x")]
    assert scope["client"] == ("192.0.2.1", 0)


@pytest.mark.parametrize("target", ["/%ff", "/a%C3", "/\xff", "/%ed%a0%80"])
def test_a_path_that_is_not_utf_8_is_no_path(target: str) -> None:
    """No replacement character, which would make one path of many."""
    with pytest.raises(BadPath):
        http_scope(request(target))


async def test_body_and_answer_pass_through() -> None:
    """The pieces of both, in order, and the application's headers."""
    seen = b""

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        nonlocal seen
        while (message := await receive())["more_body"]:
            seen += message["body"]
        await send(START)
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    exchange = MemoryExchange(request(method="POST"), b"ab", b"cd")
    call = await run(app, exchange)
    assert seen == b"abcd"
    assert exchange.told == [(200, [(b"a", b"b")]), (b"one", True), (b"two", False)]
    assert call.status == 200


async def test_head_is_get_without_the_body() -> None:
    """The application answers a GET; nothing of the body reaches the front door."""
    methods = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        methods.append(scope["method"])
        await send(START)
        await send({"type": "http.response.body", "body": b"some", "more_body": True})
        await send(BODY)

    exchange = MemoryExchange(request(method="HEAD"))
    await run(app, exchange)
    assert (methods, exchange.told) == (["GET"], [(200, [(b"a", b"b")]), (b"", False)])


async def test_a_disconnect_comes_behind_the_answer(autojump_clock: MockClock) -> None:
    """Who waits for the client to leave waits until the answer is complete, and is woken then."""
    order: list[str] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        assert (await receive())["more_body"] is False

        async def watch() -> None:
            order.append((await receive())["type"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await wait_all_tasks_blocked()
            order.append("answering")
            await send(START)
            await send(BODY)
        order.append((await receive())["type"])

    await run(app, MemoryExchange(request()))
    assert order == ["answering", "http.disconnect", "http.disconnect"]


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [START],
        [BODY],
        [START, START, BODY],
        [START, BODY, BODY],
        [START, BODY, START],
        [START, {"type": "http.response.body", "body": b"", "more_body": True}],
        [{"type": "http.response.start", "status": 101, "headers": []}, BODY],
        [{"type": "http.response.start", "status": 99, "headers": []}, BODY],
        [{"type": "http.response.start", "status": 600, "headers": []}, BODY],
        [{"type": "websocket.accept"}],
        [{"type": "lifespan.startup.complete"}],
    ],
    ids=lambda messages: " ".join(message["type"].rpartition(".")[2] for message in messages),
)
async def test_a_breach_of_the_protocol_is_a_fault(messages: list[dict[str, Any]]) -> None:
    """An answer begun twice, a body without a beginning, or none at all is raised and not sent."""

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    with pytest.raises(ProtocolBreach):
        await run(app, MemoryExchange(request()))


async def test_a_refused_body_is_the_applications_to_see() -> None:
    """It is raised where the body is read, so that nobody takes half a body for a whole one."""
    refused = BodyRefused(refusal(413, "too_large", "no"))

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        assert (await receive())["body"] == b"half"
        await receive()

    with pytest.raises(BodyRefused):
        await run(app, MemoryExchange(request(method="POST"), b"half", fails=refused))


async def test_a_client_that_leaves_while_sending_is_no_fault() -> None:
    """Whatever the application makes of it, what is raised says that the client is gone."""

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        try:
            await receive()
        except PeerGone:
            await send(START)
            await send(BODY)
            raise RuntimeError("whatever") from None

    exchange = MemoryExchange(request(method="POST"), fails=PeerGone())
    with pytest.raises(PeerGone):
        await run(app, exchange)
    assert exchange.told == []


async def test_a_client_that_leaves_while_reading_stops_the_answer(autojump_clock: MockClock) -> None:
    """Further pieces go nowhere, and who waits for a disconnect learns of it."""
    seen: list[str] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send(START)
        exchange.gone = True
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"more", "more_body": True})
        seen.append((await receive())["type"])

    exchange = MemoryExchange(request())
    with pytest.raises(PeerGone):
        await run(app, exchange)
    assert seen == ["http.disconnect"]


async def test_what_the_application_raises_is_raised() -> None:
    """A fault is the front door's to log and to answer."""

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        raise LookupError("a fault")

    with pytest.raises(LookupError, match="a fault"):
        await run(app, MemoryExchange(request()))
