"""The publishers, against a small HTTP server on a real socket that can lose, refuse and delay."""

import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import msgspec
import pytest
import trio

from tidings.client import (
    AsyncPublisher,
    Published,
    Publisher,
    PublishFailed,
    PublishRefused,
    ToPublish,
)
from tidings.client.publisher import on_this_machine
from tidings.client.publishing import PATIENCE_SECONDS, Exchange, Requests, Wait, to_publish

RESET: Any = None
"""In place of an answer: the request is received whole, and the connection reset."""

POSITION = {"channel": "room:x", "epoch": "e", "offset": 7}
STATS = {
    "connections": 1, "users": 1, "channels": 1, "subscriptions": 1, "publications": 1, "deliveries": 1,
    "encodings": 1, "outbox_bytes": 0, "bytes_sent": 9, "closes": {"1000": 2}, "uptime_seconds": 1.5,
    "version": "0.1.0", "something_new": [1],
}  # fmt: skip


def error(code: str, message: str = "why") -> dict[str, Any]:
    """A refusal's body."""
    return {"error": {"code": code, "message": message}}


@dataclass
class Api:
    """The server's side: scripted answers, the last of which is repeated; and what was asked."""

    url: str
    answers: list[Any]
    requests: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer the requests of one connection."""
        buffer = bytearray()
        try:
            while True:
                while b"\r\n\r\n" not in buffer:
                    data = await stream.receive_some()
                    if not data:
                        return
                    buffer += data
                head, _, rest = bytes(buffer).partition(b"\r\n\r\n")
                lines = head.decode().split("\r\n")
                headers = {
                    name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])
                }
                length = int(headers.get("content-length", 0))
                while len(rest) < length:
                    rest += await stream.receive_some()
                buffer = bytearray(rest[length:])
                method, path, _ = lines[0].split(" ")
                body = msgspec.json.decode(rest[:length]) if length else None
                self.requests.append((method, path, headers, body))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer is RESET:
                    linger = struct.pack("ii", 1, 0)
                    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    return
                status, more, content = answer
                encoded = content if isinstance(content, bytes) else msgspec.json.encode(content)
                fields = {"Content-Length": str(len(encoded))} | more
                text = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
                await stream.send_all(f"HTTP/1.1 {status} x\r\n{text}\r\n".encode() + encoded)
        except trio.BrokenResourceError:
            pass
        finally:
            await trio.aclose_forcefully(stream)


@asynccontextmanager
async def api(*answers: Any) -> AsyncIterator[Api]:
    """A server on a free port."""
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            served = Api(f"http://127.0.0.1:{listener.socket.getsockname()[1]}", list(answers))
            nursery.start_soon(trio.serve_listeners, served.serve, [listener])
            yield served
            nursery.cancel_scope.cancel()


async def called(url: str, call: Callable[[Publisher], Any], **options: Any) -> tuple[Any, list[float]]:
    """The result of a publisher's call in a thread, and the pauses that it would have made."""
    pauses: list[float] = []

    def run() -> Any:
        with Publisher(url, api_key="key", sleep=pauses.append, **options) as publisher:
            return call(publisher)

    return await trio.to_thread.run_sync(run), pauses


async def test_what_is_sent() -> None:
    """Channel, event, payload and a key; the credential in its header; the position comes back."""
    async with api((200, {}, POSITION)) as served:
        result, _ = await called(served.url, lambda p: p.publish("room:x", "news", {"a": 1}))
        ((method, path, headers, body),) = served.requests
    assert result == Published("room:x", 7, "e")
    assert (method, path, headers["x-api-key"]) == ("POST", "/api/v1/publish", "key")
    assert headers["content-type"] == "application/json"
    key = body.pop("idempotency_key")
    assert 16 <= len(key) <= 128
    assert body == {"channel": "room:x", "event": "news", "payload": {"a": 1}}


@pytest.mark.parametrize(
    ("call", "channel"),
    [
        (lambda p: p.to_user("alice", "e"), "user:alice"),
        (lambda p: p.to_room("lobby", "e"), "room:lobby"),
        (lambda p: p.to_group("red", "e"), "group:red"),
        (lambda p: p.to_role("admin", "e"), "role:admin"),
    ],
)
async def test_shorthands_name_the_channel(call: Callable[[Publisher], Any], channel: str) -> None:
    """A user, a room, a group, a role: each is a channel; without a payload it is an empty object."""
    async with api((200, {}, POSITION)) as served:
        await called(served.url, call)
        body = served.requests[0][3]
    assert (body["channel"], body["payload"]) == (channel, {})


async def test_many_at_once() -> None:
    """A batch and a broadcast have a result for each, refusals among them as values."""
    results = {"results": [POSITION, error("forbidden")]}
    async with api((200, {}, results)) as served:
        items = [
            ToPublish(channel="room:x", event="a"),
            ToPublish(channel="all", event="b", idempotency_key="k"),
        ]
        (first, second), _ = await called(served.url, lambda p: p.batch(items))
        await called(served.url, lambda p: p.broadcast("news", {"a": 1}, channels=["all", "room:x"]))
        await called(served.url, lambda p: p.broadcast("news"))
        (_, path, _, batch), (_, other, _, broadcast), (*_, everybody) = served.requests
    assert first == Published("room:x", 7, "e")
    assert isinstance(second, PublishRefused)
    assert (second.status, second.code, second.message) == (None, "forbidden", "why")
    assert (path, other) == ("/api/v1/publish/batch", "/api/v1/broadcast")
    assert [item["channel"] for item in batch["publications"]] == ["room:x", "all"]
    assert batch["publications"][0]["idempotency_key"]
    assert batch["publications"][1]["idempotency_key"] == "k"
    assert broadcast["channels"] == ["all", "room:x"]
    assert broadcast["idempotency_key"]
    assert everybody["channels"] == ["all"]


async def test_questions() -> None:
    """Figures and connections are typed, and a user's id is escaped; what a later server adds is no fault."""
    connections = {"user_id": "a/b", "online": False, "connections": []}
    async with api((200, {}, STATS), (200, {}, connections), (200, {}, {"disconnected": 2})) as served:
        with_url = partial(called, served.url)
        stats, _ = await with_url(lambda p: p.stats())
        found, _ = await with_url(lambda p: p.connections("a/b"))
        ended, _ = await with_url(lambda p: p.disconnect("a@b", reason="bye"))
        asked = [(method, path, body) for method, path, _, body in served.requests]
    assert (stats.uptime_seconds, stats.bytes_sent, stats.closes) == (1.5, 9, {"1000": 2})
    assert (found.user_id, found.online, ended) == ("a/b", False, 2)
    assert asked == [
        ("GET", "/api/v1/stats", None),
        ("GET", "/api/v1/users/a%2Fb/connections", None),
        ("POST", "/api/v1/users/a%40b/disconnect", {"reason": "bye"}),
    ]


async def test_an_answer_that_was_lost_is_asked_for_again() -> None:
    """Reset after the request was received: the very same request again, key and all."""
    async with api(RESET, RESET, (200, {}, POSITION)) as served:
        result, pauses = await called(served.url, lambda p: p.publish("room:x", "news", {"a": 1}))
        bodies = [body for *_, body in served.requests]
    assert result.offset == 7
    assert len(bodies) == 3
    assert bodies[0] == bodies[1] == bodies[2]
    assert len(pauses) == 2


async def test_each_call_has_a_key_of_its_own() -> None:
    """Two publications that say the same are two."""
    async with api((200, {}, POSITION)) as served:
        for _ in range(2):
            await called(served.url, lambda p: p.publish("room:x", "news"))
        keys = {body["idempotency_key"] for *_, body in served.requests}
    assert len(keys) == 2


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_what_passes_is_tried_again(status: int) -> None:
    """Overload and gateways in trouble: again, not before Retry-After."""
    refusal = (status, {"Retry-After": "7"}, error("unavailable"))
    async with api(refusal, refusal, (200, {}, POSITION)) as served:
        result, pauses = await called(served.url, lambda p: p.publish("room:x", "news"))
    assert result.offset == 7
    assert len(pauses) == 2
    assert all(7 <= pause <= 8 for pause in pauses)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 500, 302])
async def test_a_refusal_is_told_at_once(status: int) -> None:
    """What will not pass is asked once, and raised with status, code and message."""
    async with api((status, {}, error("conflict", "other body"))) as served:
        with pytest.raises(PublishRefused) as refused:
            await called(served.url, lambda p: p.publish("room:x", "news"))
        assert len(served.requests) == 1
    assert (refused.value.status, refused.value.code, refused.value.message) == (
        status,
        "conflict",
        "other body",
    )


async def test_patience_has_an_end() -> None:
    """After `retries` more attempts the last refusal is raised; a pause that is too long is not waited for."""
    async with api((503, {"Retry-After": "1"}, error("unavailable"))) as served:
        with pytest.raises(PublishRefused) as refused:
            await called(served.url, lambda p: p.publish("room:x", "news"), retries=2)
        assert (refused.value.retry_after, len(served.requests)) == (1, 3)
    async with api((503, {"Retry-After": "3600"}, b"<html>")) as served:
        with pytest.raises(PublishRefused) as refused:
            await called(served.url, lambda p: p.publish("room:x", "news"))
        assert (refused.value.retry_after, len(served.requests)) == (3600, 1)
        assert refused.value.code == "unknown"


async def test_no_answer_at_all() -> None:
    """Nobody listens, or every answer is lost: PublishFailed with the number of attempts and why."""
    async with api(RESET) as served:
        with pytest.raises(PublishFailed) as failed:
            await called(served.url, lambda p: p.publish("room:x", "news"), retries=1)
        assert (failed.value.attempts, len(served.requests)) == (2, 2)
    with pytest.raises(PublishFailed, match="refused"):
        await called(served.url, lambda p: p.publish("room:x", "news"), retries=0)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"channel":1}', b"\xff", b"[" * 10_000])
async def test_an_answer_that_is_none_of_ours(content: bytes) -> None:
    """A 200 of somebody else is an error with words, and no publication."""
    async with api((200, {}, content)) as served:
        with pytest.raises(PublishRefused, match="not an answer of Tidings"):
            await called(served.url, lambda p: p.publish("room:x", "news"))


@pytest.mark.parametrize("status", [200, 503, 403])
async def test_an_answer_that_cannot_be_decoded(status: int) -> None:
    """A body that is not encoded as it says, whatever its status, is asked for again, then PublishFailed."""
    async with api((status, {"Content-Encoding": "gzip"}, b"no gzip")) as served:
        with pytest.raises(PublishFailed, match="cannot be decoded") as failed:
            await called(served.url, lambda p: p.publish("room:x", "news"), retries=1)
        assert (failed.value.attempts, len(served.requests)) == (2, 2)
        async with AsyncPublisher(served.url, api_key="key", retries=0) as publisher:
            with pytest.raises(PublishFailed, match="cannot be decoded"):
                await publisher.publish("room:x", "news")


async def test_a_redirection_says_where_to() -> None:
    """A proxy that sends elsewhere is not followed, and where to is in the error."""
    elsewhere = {"Location": "https://push.example/api/v1/publish"}
    async with api((301, elsewhere, b"<html>")) as served:
        with pytest.raises(PublishRefused, match=r"redirected to https://push\.example/api"):
            await called(served.url, lambda p: p.publish("room:x", "news"))
        async with AsyncPublisher(served.url, api_key="key") as publisher:
            with pytest.raises(PublishRefused, match=r"301.*redirected to https://push\.example"):
                await publisher.publish("room:x", "news")


async def test_no_proxy_stands_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """With proxies in the environment, a server on this machine is asked directly, as the client does."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    async with api((200, {}, POSITION)) as served:
        result, _ = await called(served.url, lambda p: p.publish("room:x", "news"), retries=0)
        async with AsyncPublisher(served.url, api_key="key", retries=0) as publisher:
            assert await publisher.publish("room:x", "news") == result
        far = served.url.replace("127.0.0.1", "push.invalid")
        with pytest.raises(PublishFailed, match="refused"):
            await called(far, lambda p: p.publish("room:x", "news"), retries=0)


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://localhost:8000", True),
        ("http://LOCALHOST", True),
        ("ws://127.1.2.3:1/ws", True),
        ("https://[::1]:8000", True),
        ("http://10.0.0.1", False),
        ("http://localhost.example", False),
        ("http://push.example", False),
        ("http://[::2]", False),
    ],
)
def test_what_counts_as_this_machine(url: str, here: bool) -> None:
    """localhost and the loopback addresses, and nothing that only looks like them."""
    assert on_this_machine(url) is here


async def test_threads_share_a_publisher() -> None:
    """Twenty threads publish by one publisher at a time, and each gets its answer."""
    async with api((200, {}, POSITION)) as served:
        results: list[Published] = []
        with Publisher(served.url, token="t") as publisher:

            def publish(number: int) -> None:
                results.append(publisher.publish("room:x", "news", {"number": number}))

            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(trio.to_thread.run_sync, publish, number)
        assert len(results) == 20
        assert {body["payload"]["number"] for *_, body in served.requests} == set(range(20))
        assert {headers["authorization"] for _, _, headers, _ in served.requests} == {"Bearer t"}


async def test_the_async_publisher_on_trio() -> None:
    """The same calls, awaited; a lost answer is asked for again."""
    async with (
        api(RESET, (200, {}, POSITION)) as served,
        AsyncPublisher(served.url, api_key="key") as publisher,
    ):
        assert (await publisher.to_user("alice", "news", {"a": 1})).offset == 7
        first, second = [body for *_, body in served.requests]
        assert first == second
        served.answers = [(200, {}, {"results": [POSITION]})]
        assert len(await publisher.batch([to_publish("all", "e")])) == 1
        assert len(await publisher.broadcast("e")) == 1
        served.answers = [(200, {}, STATS)]
        assert (await publisher.stats()).version == "0.1.0"
        served.answers = [(409, {}, error("conflict"))]
        with pytest.raises(PublishRefused):
            await publisher.to_room("x", "e")


async def test_the_async_publisher_on_asyncio() -> None:
    """It runs on asyncio as it does on Trio."""

    async def publish(url: str) -> Published:
        async with AsyncPublisher(url, api_key="key") as publisher:
            return await publisher.publish("room:x", "news")

    async with api((503, {"Retry-After": "0"}, b""), (200, {}, POSITION)) as served:
        run = partial(anyio.run, publish, served.url, backend="asyncio")
        assert (await trio.to_thread.run_sync(run)).offset == 7


@pytest.mark.parametrize("both", [{}, {"api_key": "a", "token": "b"}])
def test_one_credential(both: dict[str, str]) -> None:
    """Neither or both is a mistake that shows at once; so is a URL that is none."""
    with pytest.raises(ValueError, match="api_key or token"):
        Publisher("http://h", **both)  # type: ignore[arg-type]  # from a dict
    with pytest.raises(ValueError, match="expected"):
        Publisher("h", api_key="a")


@pytest.mark.parametrize("publisher", [Publisher, AsyncPublisher])
@pytest.mark.parametrize("kind", ["token", "api_key"])
@pytest.mark.parametrize("value", ["", "canary\n", "can ary", "canaryé"])
def test_a_credential_that_cannot_be_sent(publisher: Any, kind: str, value: str) -> None:
    """It is refused before anything is sent, by its name and without its value."""
    with pytest.raises(ValueError, match=f"^{kind}: ") as refused:
        publisher("http://h", **{kind: value})
    assert "can" not in str(refused.value)


def test_delays_grow_and_stay_bounded() -> None:
    """The n-th pause is drawn below 0.2 s doubled, at most 10 s, on top of what the server asks for."""
    requests = Requests(retries=10, uniform=lambda _low, high: high)
    exchange: Exchange[Published] = requests.publish(to_publish("all", "e"))
    waits = [exchange.failed("x").seconds for _ in range(8)]
    assert waits == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10])
    asked = exchange.answered(503, str(int(PATIENCE_SECONDS)), b"")
    assert asked == Wait(PATIENCE_SECONDS + 10)


async def test_what_an_answer_is_worth_is_told() -> None:
    """Durability, and what an inbox lost, come with the position; a server of before tells neither."""
    told = POSITION | {"durability": "disk", "dropped": 2}
    async with api(
        (200, {}, told), (200, {}, POSITION), (200, {}, {"results": [told, POSITION]})
    ) as served:
        for expected in (Published("room:x", 7, "e", "disk", 2), Published("room:x", 7, "e", None, 0)):
            assert (await called(served.url, lambda publisher: publisher.to_user("a", "e")))[0] == expected
        results, _ = await called(served.url, lambda publisher: publisher.batch([]))
        assert results == [Published("room:x", 7, "e", "disk", 2), Published("room:x", 7, "e", None, 0)]


async def test_a_login_is_left_out_only_where_one_is_named() -> None:
    """`excluded_session` is sent by every way to publish; a server of before is not bothered with it."""
    item = ToPublish(channel="user:a", event="e", excluded_session="s")
    async with api((200, {}, POSITION), (200, {}, POSITION), (200, {}, {"results": []})) as served:
        await called(served.url, lambda each: each.publish("user:a", "e", excluded_session="s"))
        await called(served.url, lambda each: each.to_user("a", "e", excluded_session="s"))
        await called(served.url, lambda each: each.batch([item, to_publish("user:a", "e")]))
        await called(
            served.url, lambda each: each.broadcast("e", channels=["user:a"], excluded_session="s")
        )
        await called(served.url, lambda each: each.broadcast("e"))
        async with AsyncPublisher(served.url, api_key="key") as publisher:
            await publisher.broadcast("e", channels=["user:a"], excluded_session="s")
            served.answers[:] = [(200, {}, POSITION)]
            await publisher.publish("user:a", "e", excluded_session="s")
            await publisher.to_user("a", "e", excluded_session="s")
    bodies = [body for _, _, _, body in served.requests]
    named = [body.get("excluded_session") for body in bodies]
    assert named == ["s", "s", None, "s", None, "s", "s", "s"]
    assert "excluded_session" not in bodies[4]
    batch = [each.get("excluded_session", "left out") for each in bodies[2]["publications"]]
    assert batch == ["s", "left out"]
