"""The publishers against the real HTTP API, and the client that hears them."""

import pytest
import trio
from support.site import SECRET, configured, listening_site

from tidings.client import (
    AsyncPublisher,
    Disconnected,
    Publication,
    Published,
    Publisher,
    PublishFailed,
    PublishRefused,
    ToPublish,
    connect,
)
from tidings.client.publishing import to_publish
from tidings.server.config import Auth

KEY = "a-key-that-is-long-enough-for-anybody"


async def test_what_is_published_is_heard() -> None:
    """Every call of the publisher reaches the API as it expects it; the subscriber hears the events in order."""
    config = configured(auth=Auth(secret=SECRET, api_keys=(KEY,)))
    with trio.fail_after(60):
        async with listening_site(config) as site:
            url = f"http://127.0.0.1:{site.port}"
            async with (
                connect(url, token=site.token()) as client,
                AsyncPublisher(url, api_key=KEY) as publisher,
            ):
                feed = client.publications()
                await client.join("lobby")
                first = await publisher.to_user("alice", "news", {"n": 1})
                assert first.offset == 1
                assert first.epoch
                again = [
                    await publisher.publish("room:lobby", "news", {"n": 2}, idempotency_key="k")
                    for _ in range(2)
                ]
                assert again[0] == again[1]
                results = await publisher.batch(
                    [
                        ToPublish(channel="room:lobby", event="news", payload={"n": 3}),
                        ToPublish(
                            channel="room:lobby", event="news", payload={"n": 0}, idempotency_key="k"
                        ),
                    ]
                )
                assert isinstance(results[0], Published)
                assert isinstance(results[1], PublishRefused)
                assert results[1].code == "conflict"
                with pytest.raises(PublishRefused, match="only the server") as refused:
                    await publisher.batch([to_publish("all", "news"), to_publish("all", "connected")])
                assert (refused.value.status, refused.value.code) == (403, "forbidden")
                (everybody,) = await publisher.broadcast("news", {"n": 4})
                assert isinstance(everybody, Published)
                heard = []
                for _ in range(4):
                    item = await anext(feed)
                    assert isinstance(item, Publication)
                    heard.append((item.channel, item.payload["n"]))
                assert heard == [("user:alice", 1), ("room:lobby", 2), ("room:lobby", 3), ("all", 4)]
                stats = await publisher.stats()
                assert stats.publications == 4
                assert stats.version
                there = await publisher.connections("alice")
                assert (there.online, len(there.connections)) == (True, 1)
                assert "room:lobby" in there.connections[0].channels
                assert await publisher.disconnect("alice", reason="because") == 1
                with pytest.raises(Disconnected) as ended:
                    await anext(feed)
                assert (ended.value.code, ended.value.reason) == (3503, "because")
                assert not (await publisher.connections("alice")).online


async def test_who_may_not_publish_is_told() -> None:
    """No administrator: 403. Nobody at all: 401. Another body under the same key: 409. An ill-formed name: 400."""
    with trio.fail_after(60):
        async with listening_site() as site:
            url = f"ws://127.0.0.1:{site.port}/ws"
            admin = site.token("root", roles=["admin"])
            statuses = []

            def call(token: str, channel: str, payload: dict[str, int]) -> None:
                with Publisher(url, token=token) as publisher:
                    try:
                        publisher.publish(channel, "news", payload, idempotency_key="k")
                    except PublishRefused as refused:
                        statuses.append((refused.status, refused.code))

            for token, channel, payload in (
                (site.token(), "all", {}),
                ("a.b.c", "all", {}),
                (admin, "all", {"n": 1}),
                (admin, "all", {"n": 2}),
                (admin, "nonsense", {}),
            ):
                await trio.to_thread.run_sync(call, token, channel, payload)
    assert statuses == [
        (403, "forbidden"),
        (401, "unauthorized"),
        (409, "conflict"),
        (400, "invalid_data"),
    ]


async def test_tls_to_a_server_without_it_is_told_as_such() -> None:
    """https:// to a plain server: what failed is TLS, with either publisher, and no traceback's words."""
    with trio.fail_after(60):
        async with listening_site() as site:
            url = f"https://127.0.0.1:{site.port}"

            def call() -> None:
                with Publisher(url, token=site.token(), retries=0) as publisher:
                    publisher.publish("all", "news")

            with pytest.raises(PublishFailed) as failed:
                await trio.to_thread.run_sync(call)
            assert failed.value.why.startswith("TLS: ")
            async with AsyncPublisher(url, token=site.token(), retries=0) as publisher:
                with pytest.raises(PublishFailed) as failed:
                    await publisher.publish("all", "news")
            assert failed.value.why.startswith("TLS: ")
