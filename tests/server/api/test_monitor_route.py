"""`GET /api/v1/monitor`: what happened is in it, at most a second later, and for admins alone."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import trio
from support.client import RawClient
from support.fakes import JSON, Listener
from support.site import Site
from support.tokens import forged

from tidings.protocol.positions import Position
from tidings.server.api.routes.monitor import monitor
from tidings.server.delivery.hub import Hub
from tidings.server.metrics import Metrics

MONITOR = "/api/v1/monitor"

Report = dict[str, Any]


async def until(
    api: httpx.AsyncClient, right: Callable[[Report], bool], do: Callable[[], Awaitable[object]]
) -> Report:
    """Ask again, and do something between, until the report is right; the fixtures bound it."""
    while True:
        report: Report = (await api.get(MONITOR)).json()
        if right(report):
            return report
        await do()


async def nothing() -> None:
    """Only look again."""
    await trio.lowlevel.checkpoint()


async def test_what_happens_is_reported(
    api_site: Site, api: httpx.AsyncClient, alice: RawClient, bob: RawClient
) -> None:
    """Connections, crowds, loud channels, refusals and closes; samples add up to the totals."""
    began = time.monotonic()
    for client in (alice, bob):
        await client.command("subscribe", {"channel": "room:loud"})
    for number in range(5):
        body = {"channel": "room:loud", "event": "e", "payload": {"n": number}}
        assert (await api.post("/api/v1/publish", json=body)).status_code == 200
        await alice.receive_json()
        await bob.receive_json()
    refused = await bob.command("publish", {"channel": "all", "event": "e", "payload": {}})
    assert refused["data"]["code"] == "forbidden"
    await api.post("/api/v1/users/bob/disconnect")
    await bob.closed()
    await bob.aclose()

    await until(api, lambda told: told["totals"]["closes"] != {}, nothing)
    # As the server's own task does every two seconds.
    api_site.server._metrics.samples.take()
    asked = time.monotonic()
    # The walk's figures are a second old at most.
    report = await until(api, lambda told: told["totals"]["bytes_sent"] > 500, nothing)
    assert report["uptime_seconds"] >= round(asked - began, 3)
    totals = report["totals"]
    assert (totals["connections"], totals["users"], totals["closes"]) == (1, 1, {"3503": 1})
    assert (totals["publications"], totals["deliveries"], totals["encodings"]) == (5, 10, 5)
    assert totals["outbox_bytes"] == totals["waiting"] == 0
    hub = api_site.server.context.hub
    (rest,) = hub.connections_of("alice")
    assert totals["subscriptions"] == len(hub.channels_of(rest))
    assert {"where": "command", "cause": "forbidden", "count": 1} in report["refusals"]
    (loud,) = report["loudest_channels"]
    assert (loud["channel"], loud["subscribers"]) == ("room:loud", 1)
    assert 0 < loud["publications_per_second"] <= 2.5
    assert {"channel": "room:loud", "subscribers": 1, **_rate(loud)} in report["largest_channels"]
    assert report["latencies"]["fanout"]["count"] >= 1
    assert report["latencies"]["requests"]["p99"] > 0
    assert sum(sample["publications"] for sample in report["samples"]) == 5
    assert sum(sample["closes"] for sample in report["samples"]) == 1
    assert sum(sample["refusals"] for sample in report["samples"]) == 1
    assert sum(sample["cpu_seconds"] for sample in report["samples"]) > 0
    assert report["samples"][-1]["resident_bytes"] > 1e6
    later = (await api.get(MONITOR, params={"after": report["samples"][-1]["at"]})).json()
    assert [sample for sample in later["samples"] if sample in report["samples"]] == []


async def test_each_figure_is_where_it_belongs() -> None:
    """Version, uptime and sums; refusals by how many, then by name."""
    hub = Hub()
    refusals = Counter({("head", "431"): 2, ("command", "forbidden"): 7, ("command", "bad"): 2})
    started = time.monotonic() - 5_000
    route = monitor(hub, Metrics(hub, refusals), started=started, version="9.8.7")
    position = Position("e", 0)
    for name in ("ann", "bob"):
        person = Listener(JSON, name)
        hub.connect(person)
        for channel in ("all", f"user:{name}", "room:x", "room:y"):
            hub.subscribe(person, channel, position)
    before = time.monotonic()
    report = await route.fn(after=0)
    assert round(before - started, 3) <= report.uptime_seconds <= round(time.monotonic() - started, 3)
    assert report.version == "9.8.7"
    totals = report.totals
    assert (totals.connections, totals.users, totals.channels, totals.subscriptions) == (2, 2, 5, 8)
    assert [(each.where, each.cause, each.count) for each in report.refusals] == [
        ("command", "forbidden", 7),
        ("command", "bad", 2),
        ("head", "431", 2),
    ]
    assert [each.channel for each in report.largest_channels] == [
        "all",
        "room:x",
        "room:y",
        "user:ann",
        "user:bob",
    ]


def _rate(load: dict[str, Any]) -> dict[str, Any]:
    return {"publications_per_second": load["publications_per_second"]}


async def test_a_slow_consumer_is_named_and_then_counted(
    api_site: Site, api: httpx.AsyncClient, bob: RawClient
) -> None:
    """Who does not read is among the deepest outboxes, by name and bytes, until closed with 3008."""
    body = {"channel": "user:bob", "event": "e", "payload": {"text": "x" * 60_000}}

    async def publish() -> None:
        await api.post("/api/v1/publish", json=body)

    while not api_site.server.context.hub.queueing():
        await publish()
    report = await until(api, lambda told: bool(told["deepest_outboxes"]), nothing)
    (deepest,) = report["deepest_outboxes"]
    assert (deepest["user_id"], deepest["peer"], deepest["dialect"]) == ("bob", "127.0.0.1", "native")
    assert deepest["outbox_bytes"] == report["totals"]["outbox_bytes"] > 0
    assert report["totals"]["waiting"] == 1
    report = await until(api, lambda told: "3008" in told["totals"]["closes"], publish)
    assert report["totals"]["closes"]["3008"] == 1


@pytest.mark.parametrize("after", ["-1", "x", str(2**53 + 1)])
async def test_only_a_time_is_an_after(api: httpx.AsyncClient, after: str) -> None:
    """Anything else is refused, and named."""
    response = await api.get(MONITOR, params={"after": after})
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("after: ")


async def test_it_is_for_admins(stranger: httpx.AsyncClient) -> None:
    """403 with anybody's token, 401 without one: it names users and addresses."""
    assert (await stranger.get(MONITOR)).status_code == 401
    headers = {"Authorization": f"Bearer {forged()}"}
    assert (await stranger.get(MONITOR, headers=headers)).status_code == 403
