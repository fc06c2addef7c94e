"""Figures, channels and metrics over HTTP."""

from importlib.metadata import version

import httpx
import msgspec
import pytest
from support.client import RawClient
from support.site import Site

from tidings.protocol.messages.answers import ServerStats

CHANNELS = "/api/v1/channels"


async def test_the_figures_are_those_of_the_stats_command(
    api_site: Site, api: httpx.AsyncClient, alice: RawClient
) -> None:
    """Every figure that an admin reads over the WebSocket, and beside them uptime and version."""
    await api.post("/api/v1/publish", json={"channel": "all", "event": "news", "payload": {}})
    await alice.receive_json()
    answer = (await api.get("/api/v1/stats")).json()
    figures = msgspec.convert(answer, ServerStats)
    assert (figures.connections, figures.users, figures.publications, figures.deliveries) == (1, 1, 1, 1)
    assert figures.subscriptions == len(api_site.server.context.hub.channels_of(
        api_site.server.context.hub.connections_of("alice")[0]))  # fmt: skip
    assert figures.bytes_sent > 0
    assert answer["version"] == version("tidings")
    assert answer["uptime_seconds"] >= 0
    assert set(answer) == {*ServerStats.__struct_fields__, "uptime_seconds", "version"}


async def test_closes_are_counted_by_code(api: httpx.AsyncClient, alice: RawClient) -> None:
    """The codes are strings, since JSON has no other keys."""
    await api.post("/api/v1/users/alice/disconnect")
    await alice.closed()
    await alice.aclose()
    while not (closes := (await api.get("/api/v1/stats")).json()["closes"]):
        pass
    assert closes == {"3503": 1}


async def test_channels_come_page_by_page(api: httpx.AsyncClient, alice: RawClient) -> None:
    """Each once, sorted by name; `next` leads to the following page and is null on the last."""
    rooms = sorted(f"room:r{number}" for number in range(25))
    for room in rooms:
        await alice.command("subscribe", {"channel": room})
    found, pages, after = [], 0, ""
    while True:
        page = (await api.get(CHANNELS, params={"prefix": "room:", "after": after, "limit": 10})).json()
        found += [entry["channel"] for entry in page["channels"]]
        pages += 1
        if page["next"] is None:
            break
        after = page["next"]
    assert (found, pages) == (rooms, 3)
    exact = (await api.get(CHANNELS, params={"prefix": "room:", "limit": 25})).json()
    assert (len(exact["channels"]), exact["next"]) == (25, None)


async def test_a_channel_tells_its_position_and_subscribers(
    api: httpx.AsyncClient, alice: RawClient, bob: RawClient
) -> None:
    """As the publisher and the subscribers know them."""
    told = await alice.command("subscribe", {"channel": "room:x"})
    await bob.command("subscribe", {"channel": "room:x"})
    published = await api.post("/api/v1/publish", json={"channel": "room:x", "event": "e", "payload": {}})
    (entry,) = (await api.get(CHANNELS, params={"prefix": "room:x"})).json()["channels"]
    assert entry == {"channel": "room:x", "subscribers": 2, "epoch": told["data"]["epoch"], "offset": 1}
    assert published.json()["epoch"] == entry["epoch"]
    everything = (await api.get(CHANNELS)).json()["channels"]
    assert {"all", "user:alice", "user:bob", "room:x"} <= {one["channel"] for one in everything}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("prefix=" + "x" * 257, "prefix"),
        ("after=" + "x" * 257, "after"),
    ],
)
async def test_a_wrong_parameter_is_named(api: httpx.AsyncClient, query: str, said: str) -> None:
    """400 `invalid_data`, and which parameter it was."""
    response = await api.get(f"{CHANNELS}?{query}")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_data")
    assert response.json()["error"]["message"].startswith(f"{said}: ")


@pytest.mark.parametrize("query", ["prefix=%ff", "after=%00", "unknown=1", "prefix=a&prefix=b", "&&=&"])
async def test_odd_queries_are_answered(api: httpx.AsyncClient, query: str) -> None:
    """What names no channel finds none; what is not known is ignored."""
    assert (await api.get(f"{CHANNELS}?{query}")).status_code in {200, 400}


async def test_metrics_are_served_as_prometheus_reads_them(
    api: httpx.AsyncClient, alice: RawClient
) -> None:
    """The text format with its content type; the request itself is counted by the next one."""
    await api.get("/metrics")
    response = await api.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = response.text.splitlines()
    assert "tidings_connections 1.0" in lines
    assert 'tidings_http_requests_total{method="GET",route="/metrics",status="200"} 1.0' in lines


async def test_routes_are_counted_by_their_template(
    api: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    """Neither user ids nor made-up paths and methods become labels."""
    for user in ("alice", "bob"):
        await api.get(f"/api/v1/users/{user}/connections")
    for path in ("/nothing/1", "/nothing/2", "/api/v1/users"):
        await api.get(path)
    await stranger.request("BREW", "/pot")
    await stranger.get("/api/v1/stats")
    await stranger.get("/healthz")
    counted = [
        line
        for line in (await api.get("/metrics")).text.splitlines()
        if line.startswith("tidings_http_requests_total{")
    ]
    assert sorted(counted) == [
        'tidings_http_requests_total{method="GET",route="/api/v1/stats",status="401"} 1.0',
        'tidings_http_requests_total{method="GET",route="/api/v1/users/{user_id}/connections",status="200"} 2.0',
        'tidings_http_requests_total{method="GET",route="/healthz",status="200"} 1.0',
        'tidings_http_requests_total{method="GET",route="other",status="404"} 3.0',
        'tidings_http_requests_total{method="other",route="other",status="404"} 1.0',
    ]
